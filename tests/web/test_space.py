"""The demo that needs no server: in a real browser, it spots what `kwspot spot` spots, and is there for everybody."""

from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import json
from threading import Thread

import pytest

import kwspot
from kwspot import Spotter
from kwspot.audio.reading import duration_s
from kwspot.inference.expectation import expectation
from kwspot.inference.model_zoo import DEFAULT_LONG
from space.build import build
from tests.browsers import AXE, CHROMIUM, NODE_MODULES, chromium, visit
from tests.sounds import RATE, tone, write_sound
from tests.speech import spoken

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None or not NODE_MODULES.is_dir():
    pytest.skip("no chromium, or `make space` has not fetched the runtime", allow_module_level=True)
THRESHOLD = 0.6  # at which the words of a synthesiser are spotted


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def static_server(folder):
    """Serve a folder as any static server would; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    waveform, said = spoken(5)
    return write_sound(tmp_path_factory.mktemp("words") / "words.wav", waveform), [word for word, _, _ in said]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "demo"
    build(NODE_MODULES, folder)
    with static_server(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(words):
    with playwright.sync_playwright() as started, chromium(started, words[0]) as browser:
        yield browser


@pytest.fixture
def page(browser, address, request):
    page = visit(browser, address, **getattr(request, "param", {}))
    page.get_by_role("button", name="Start", exact=True).and_(page.locator(":enabled")).wait_for()
    yield page
    assert page.failed == []
    assert all(url.startswith((address, "data:", "blob:")) for url in page.requested)
    page.context.close()


def spotted(page):
    items = page.locator("#words li").evaluate_all("items => items.map(item => ({...item.dataset}))")
    return [{key: value if key == "word" else float(value) for key, value in one.items()} for one in reversed(items)]


def set_threshold(page, threshold):
    page.locator("#threshold").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", threshold
    )


def test_a_file_has_the_same_words_as_for_the_command(page, words):
    path, said = words
    set_threshold(page, THRESHOLD)
    page.locator("#file").set_input_files(path)
    page.get_by_text(f"words in {duration_s(path):.1f} s").wait_for()
    expected = [event.to_dict() for event in kwspot.spot(path, threshold=THRESHOLD)]
    assert len(expected) >= len(said) / 2  # synthesised words are not what the model was trained on
    found = spotted(page)
    assert [event["word"] for event in found] == [event["word"] for event in expected]
    for one, other in zip(found, expected, strict=True):
        for key in ("start_s", "end_s", "posterior"):
            assert one[key] == pytest.approx(other[key], abs=2e-3)


def test_words_said_into_the_microphone_are_spotted_and_played_again(page, words):
    set_threshold(page, THRESHOLD)
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("#words li").nth(1).wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped").wait_for()
    assert {event["word"] for event in spotted(page)} <= set(words[1])
    play = page.get_by_role("button", name="Play").first
    play.click()
    assert play.inner_text() == "Play"  # its sound is still there


def test_what_is_no_sound_is_one_sentence(page, tmp_path):
    (tmp_path / "x.wav").write_text("no sound")
    page.locator("#file").set_input_files(tmp_path / "x.wav")
    page.get_by_role("alert").filter(has_text="x.wav is no sound that this browser can read.").wait_for()
    write_sound(tmp_path / "y.wav", tone(440, volume=1e-3), RATE)
    page.locator("#file").set_input_files(tmp_path / "y.wav")
    page.get_by_text("0 words in 1.0 s").wait_for()


def test_what_a_threshold_costs_is_said_as_on_the_page(page):
    metadata = Spotter.load(DEFAULT_LONG).metadata
    for threshold in (0.05, 0.6, 0.988, 0.996):
        set_threshold(page, threshold)
        nearest = max(threshold, metadata["spotting"]["curve"][0][0])
        assert page.locator("#cost").inner_text() == expectation(metadata, nearest)


LOOKS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for scheme in ("light", "dark")
    for width in (1280, 390)
]


@pytest.mark.parametrize(
    "page", LOOKS, indirect=True, ids=lambda look: f"{look['color_scheme']}-{look['viewport']['width']}"
)
def test_everybody_can_use_it_in_light_and_dark_wide_and_narrow(page, words):
    set_threshold(page, THRESHOLD)
    page.locator("#file").set_input_files(words[0])
    page.get_by_text(" words in ").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.evaluate(AXE.read_text())
    violations = page.evaluate("axe.run().then(({violations}) => violations)")
    assert violations == [], json.dumps(violations, indent=1)


def test_it_can_be_used_with_the_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "start"
    page.keyboard.press("Enter")
    page.get_by_text("Listening").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "stop"
    page.keyboard.press("Enter")
    page.get_by_text("Stopped").wait_for()
