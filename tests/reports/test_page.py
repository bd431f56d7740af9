"""The report: one file that needs no other, with what was measured and the clips that went wrong."""

import base64
from html.parser import HTMLParser
import io
import re
import shutil

from hypothesis import given
from hypothesis import strategies as st
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot import Spotter
from kwspot.cli import app
from kwspot.corpus.layout import TEST, which_split
from kwspot.experiments.runs import MODEL
from kwspot.reports.det import best_points, plot_det, thresholds_of
from kwspot.reports.page import STYLE
from kwspot.reports.style import PAGE
from tests.browsers import AXE, CHROMIUM
from tests.documents import ROOT
from tests.records import make_run
from tests.sounds import tone, write_sound


class Parts(HTMLParser):
    """What a browser would find, and all that it would load."""

    def __init__(self):
        super().__init__()
        self.loaded, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.loaded += [found[key] for key in ("src", "href") if key in found]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two finished runs, one with a model file, and a corpus with a test clip that is no word at all."""
    monkeypatch.chdir(tmp_path)
    for name in ("KWSPOT_DATA", "KWSPOT_RUNS"):
        monkeypatch.delenv(name, raising=False)
    run = make_run(tmp_path / "runs", "lstm")
    make_run(tmp_path / "runs", "rnn", accuracies=(0.1, 0.2), why="Is it <worse> than `lstm` & why?")
    shutil.copy(Spotter.load().path, run.path / MODEL)
    speaker = next(f"{i:08x}" for i in range(100) if which_split(f"{i:08x}") == TEST)
    write_sound(tmp_path / "data" / "left" / f"{speaker}_nohash_0.wav", tone(440))
    return tmp_path


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def read(path):
    parts = Parts()
    parts.feed(path.read_text())
    return parts


@pytest.mark.slow
def test_one_file_has_it_all_and_loads_nothing(project):
    done = report("lstm", "rnn", "--out", "study.html")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"study.html\t{(project / 'study.html').stat().st_size} bytes\n"
    assert re.search(r"without clips of rnn-s1-\w+: .*model\.onnx: no such model", done.stderr)
    parts = read(project / "study.html")
    assert all(address.startswith("data:") for address in parts.loaded)
    alts = [found["alt"] for tag, found in parts.tags if tag == "img"]
    assert {"accuracy_validation of all runs", "Test accuracy against MACs of a clip"} <= set(alts)
    assert sum(alt.startswith("Confusion matrix") for alt in alts) == 2
    text = (project / "study.html").read_text()
    assert "Is it &lt;worse&gt; than <code>lstm</code> &amp; why?" in text
    (clip,) = [found["src"] for tag, found in parts.tags if tag == "audio"]
    waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(clip.partition(",")[2])))
    assert (len(waveform), rate) == (16_000, 16_000)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or not AXE.is_file(), reason="no chromium, or `make space` has not fetched axe")
def test_everybody_can_read_it_in_light_and_dark_wide_and_narrow(project):
    playwright = pytest.importorskip("playwright.sync_api")
    assert report("lstm", "rnn", "--quiet").exit_code == 0
    with (
        playwright.sync_playwright() as started,
        started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
                page.goto((project / "report.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                page.evaluate(AXE.read_text())
                assert page.evaluate("axe.run().then(({violations}) => violations)") == []


def test_colours_are_those_of_the_other_pages():
    theme = (ROOT / "kwspot" / "web" / "static" / "theme.css").read_text("utf-8")
    for scheme, block in enumerate(re.findall(r":root \{([^}]*)\}", theme)):
        known = dict(re.findall(r"--([a-z-]+): (#\w+)", block))
        assert {name: both[scheme] for name, both in PAGE.items()}.items() <= known.items()
    assert scheme == 1  # light, then dark
    assert set(re.findall(r"var\(--(\w+)\)", STYLE)) == set(PAGE)


def test_clips_can_be_left_out_and_a_report_of_nothing_is_refused(project):
    done = report("lstm", "--no-audio", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "<audio" not in (project / "report.html").read_text()
    done = report("gru", "--out", "none.html")
    assert done.exit_code == 3
    assert not (project / "none.html").exists()


def numbers(most):
    """Draw numbers from 0 on; torch, once training has run in this process, takes subnormal ones for 0."""
    return st.floats(0, most, allow_subnormal=False)


@given(st.lists(st.tuples(numbers(1), numbers(500), numbers(1)), min_size=1, max_size=40))
def test_a_det_curve_never_turns_back(curve):
    """More alarms never cost more misses, and below one alarm in all the sound nothing is told apart."""
    rates, shares = best_points(curve, 0.5)
    assert rates == sorted(set(rates))
    assert shares == sorted(shares, reverse=True)
    assert all(0.5 <= rate < 200 for rate in rates)
    for rate, share in zip(rates, shares, strict=True):
        assert share == min(frr for _, alarms, frr in curve if alarms <= rate or alarms <= 0.75)


@pytest.mark.parametrize(("rate", "is_said"), [(0.0, True), (2.0, False)])
def test_a_threshold_without_an_alarm_stands_left_of_its_curve(rate, is_said, tmp_path):
    curve = [[0.5, 8.0, 0.1, 0.0], [0.9, 0.5, 0.4, 0.0], [0.95, 0.0, 0.6, 0.0]]
    plot_det(
        {"x": {"hours": 2.0, "windows": {"curve": curve, "at_threshold": [0.95, rate, 0.6, 0.0]}}}, tmp_path / "x.svg"
    )
    assert ("a triangle: no alarm there" in (tmp_path / "x.svg").read_text()) == is_said


def test_only_a_threshold_that_was_chosen_is_called_that_of_validation():
    before, chosen, default = ({"windows": given} for given in ({}, {"chosen": True}, {"chosen": False}))
    assert thresholds_of([before, chosen], " or ") == "threshold of validation"
    assert thresholds_of([default], " or ") == "default threshold"
    assert thresholds_of([chosen, default], " or ") == "threshold of validation or default threshold"
