"""Misses and false alarms: counted by hand on small sounds, and the whole way on a run."""

from dataclasses import asdict, replace
import json
from pathlib import Path
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot import Spotter, Stream
from kwspot.cli import app
from kwspot.errors import MissingError
from kwspot.evaluation.false_alarms import Trial, at_rate, choose, match, measure_false_alarms, with_margins
from kwspot.evaluation.long_audio import Assembly, Spoken
from kwspot.experiments.runs import MODEL, STREAM, copy_record, read_run
from kwspot.export.export import refresh_metadata, write_models
from kwspot.features.extract import featurize
from kwspot.inference.detector import DetectionSettings, Event
from kwspot.reports.det import draw, false_alarm_table, markdown, terminal
from kwspot.training.run import run_experiment
from tests.sounds import make_corpus, write_noise
from tests.toy import FRONT_END, toy_experiment

KEYWORDS = ("yes", "no")


def spoken(word, start_s, clip="a.wav"):
    return Spoken(word, clip, "speaker", start_s, start_s + 1)


def event(word, middle_s):
    return Event(word, middle_s - 0.2, middle_s + 0.2, 0.9)


SOUND = [spoken("yes", 1), spoken("bed", 4, "bed.wav"), spoken("no", 7)]


def test_every_kind_of_event_is_counted_once():
    nothing = match([], SOUND, KEYWORDS)
    assert [said.word for said in nothing.missed] == ["yes", "no"]
    assert not nothing.wrong
    assert not nothing.false_alarms
    right = match([event("yes", 1.5), event("no", 7.5)], SOUND, KEYWORDS)
    assert not right.missed
    assert not right.false_alarms
    wrong = match([event("no", 1.5), event("no", 7.5)], SOUND, KEYWORDS)
    assert [(said.word, heard) for said, heard in wrong.wrong] == [("yes", "no")]
    assert [said.word for said in wrong.missed] == ["yes"]
    assert not wrong.false_alarms
    at_word = match([event("yes", 4.5)], SOUND, KEYWORDS)
    assert at_word.false_alarms == [("yes", "bed.wav")]
    in_noise = match([event("yes", 3.0)], SOUND, KEYWORDS)
    assert in_noise.false_alarms == [("yes", "noise")]
    twice = match([event("yes", 1.4), event("yes", 1.8)], SOUND, KEYWORDS)
    assert len(twice.false_alarms) == 1


def test_a_wrong_word_beside_the_right_one_is_no_miss():
    outcome = match([event("no", 1.2), event("yes", 1.7)], SOUND[:1], KEYWORDS)
    assert not outcome.missed
    assert not outcome.wrong
    assert outcome.false_alarms == [("no", "a.wav")]  # but it was heard


def test_an_event_may_lie_a_quarter_of_a_second_beside_the_clip():
    assert not match([event("yes", 0.8)], SOUND[:1], KEYWORDS).missed
    assert match([event("yes", 0.7)], SOUND[:1], KEYWORDS).missed
    assert not match([event("yes", 2.2)], SOUND[:1], KEYWORDS).missed
    assert match([event("yes", 2.3)], SOUND[:1], KEYWORDS).missed


class FakeEar:
    """Rows of 0.1 s of windows of a second."""

    name, metadata = "fake", {}
    labels = ("yes", "no", "unknown", "silence")
    sample_rate, clip_length, step_length, span_length, lead_length = 1000, 1000, 100, 1000, 0


def trial(*peaks, seconds=36):
    """Posteriors in which each (word, from, to, posterior) stands out from `unknown`."""
    rows = np.full((seconds * 10, 4), 0.02, np.float32)
    rows[:, 2] = 0.94
    for word, start, end, posterior in peaks:
        here = slice(round(start * 10), round(end * 10))
        rows[here] = (1 - posterior) / 3
        rows[here, FakeEar.labels.index(word)] = posterior
    assembly = Assembly(None, FRONT_END, (*SOUND, spoken("bed", seconds - 1)), {}, 10.0, 1)
    return Trial(FakeEar(), rows, assembly, KEYWORDS)


QUIET = trial(("yes", 1.9, 2.2, 0.9), ("no", 7.9, 8.2, 0.6), ("yes", 4.9, 5.2, 0.7))
ONE_ROW = DetectionSettings(smoothing_ms=0, refractory_ms=200)


def test_the_curve_trades_misses_for_false_alarms():
    curve = QUIET.curve(ONE_ROW)
    rates, misses = [point[1] for point in curve], [point[2] for point in curve]
    assert rates == sorted(rates, reverse=True)
    assert misses == sorted(misses)
    by_threshold = {point[0]: point[1:] for point in curve}
    assert by_threshold[0.5] == [100.0, 0.0, 0.0]  # one false alarm in 36 s
    assert by_threshold[0.65] == [100.0, 0.5, 0.0]
    assert by_threshold[0.8] == [0.0, 0.5, 0.0]
    assert by_threshold[0.95] == [0.0, 1.0, 0.0]


def test_a_rate_asked_for_is_kept_with_the_fewest_misses():
    curve = QUIET.curve(ONE_ROW)
    assert at_rate(curve, 100)[2] == 0.0
    threshold, rate, misses, _ = at_rate(curve, 1)
    assert (rate, misses) == (0.0, 0.5)
    assert 0.7 < threshold <= 0.9
    assert at_rate([[0.5, 30.0, 0.1, 0.0], [0.9, 20.0, 0.2, 0.0]], 1)[0] == 0.9  # what comes nearest


def test_settings_are_chosen_for_the_rate():
    """A flicker of one row is a false alarm until posteriors are averaged."""
    flickering = trial(("yes", 1.9, 2.3, 0.9), ("no", 7.9, 8.3, 0.9), ("yes", 20.0, 20.1, 0.95), ("no", 30, 30.1, 0.95))
    settings = choose(flickering, 1)
    assert settings.smoothing_ms > 100
    smoothed = flickering.smoothed(settings)
    assert flickering.point(smoothed, settings)[1:] == [0.0, 0.0, 0.0]


def test_margins_cover_the_word_nine_times_in_ten(monkeypatch):
    """Windows know "yes" from 0.2 s after its beginning to 0.3 s before its end."""
    known = trial(("yes", 1.7, 2.2, 0.9), ("no", 7.7, 8.2, 0.9))
    monkeypatch.setattr(Assembly, "sounding", lambda self, said: (said.start_s, said.start_s + 1.0))
    settings = with_margins(known, ONE_ROW)
    for said, found in known.outcome(known.smoothed(settings), settings).detected:
        assert found.start_s <= said.start_s + 0.1
        assert found.end_s >= said.start_s + 0.9
    assert with_margins(trial(), ONE_ROW) == ONE_ROW  # nothing was detected: nothing is known


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run that can stream, on tones: two words, and a third that counts as unknown."""
    folder = tmp_path_factory.mktemp("run")
    data = make_corpus(folder / "data", ("left", "right", "up"), n_speakers=60, seconds=0.23)
    write_noise(data)
    featurize(data, FRONT_END)
    experiment = toy_experiment("lstm", "train.epochs=3", "task=[left, right]")
    run = run_experiment(experiment, seed=1, data=data, runs_dir=folder / "runs", device="cpu")
    write_models(run, data)
    asked = ["--split", "validation", "--long-audio", "--hours", "0.03", "--json"]
    result = CliRunner().invoke(
        app,
        ["eval", "lstm", "--runs", str(folder / "runs"), "--data", str(data), "--plots", str(folder / "plots"), *asked],
    )
    assert result.exit_code == 0, result.output
    return run, data, json.loads(result.stdout)["false_alarms"], folder / "plots"


@pytest.mark.slow
def test_what_validation_chose_is_in_the_model_files(measured):
    run, _, record, _ = measured
    assert record == read_run(run.path).false_alarms["validation"]
    for name, way, opened in ((MODEL, "windows", Spotter), (STREAM, "stream", Stream)):
        known = opened(run.path / name).metadata["spotting"]
        assert known["threshold"] == record[way]["settings"]["threshold"]
        assert known["snr_db"] == 10
        thresholds = [point[0] for point in known["curve"]]
        assert thresholds == sorted(thresholds)


@pytest.mark.slow
def test_test_uses_what_validation_chose(measured):
    run, data, chosen, _ = measured
    record = measure_false_alarms(read_run(run.path), split="test", data=data, hours=0.02, snr_db=5, per_hour=1)
    for way in ("windows", "stream"):
        assert record[way]["settings"] == chosen[way]["settings"]
        assert record[way]["at_threshold"][0] == chosen[way]["settings"]["threshold"]
    assert record["n_keywords"] + record["n_others"] > 10
    assert record["snr_db"] == 5


@pytest.mark.slow
def test_without_validation_the_threshold_is_the_default_and_is_called_so(measured, tmp_path):
    run, data, *_ = measured
    copied = replace(run, path=Path(shutil.copytree(run.path, tmp_path / run.id)))
    refresh_metadata(copied)
    record = measure_false_alarms(copied, split="test", data=data, hours=0.02, snr_db=5, per_hour=1)
    assert record["windows"]["settings"] == asdict(DetectionSettings())
    assert "default threshold" in false_alarm_table(record)
    refresh_metadata(read_run(copied.path))
    record = measure_false_alarms(copied, split="test", data=data, hours=0.02, snr_db=5, per_hour=1)
    assert "threshold of validation" in false_alarm_table(record)


@pytest.mark.slow
def test_the_record_is_copied_with_the_run(measured, tmp_path):
    run, _, record, _ = measured
    copied = copy_record(run, tmp_path)
    assert read_run(copied).false_alarms["validation"] == record


@pytest.mark.slow
def test_the_table_fits_80_columns_and_the_figure_says_what_it_shows(measured, tmp_path):
    _, _, record, plots = measured
    text = false_alarm_table(record)
    assert max(map(len, text.splitlines())) <= 80
    assert "false alarms an hour" in text
    (figure,) = plots.rglob("det_validation.svg")
    assert "false alarms per hour" in figure.read_text()


@pytest.mark.slow
def test_words_held_out_are_named(measured):
    record = measured[2] | {"held_out": ["up"], "n_held_out": 7}
    text = false_alarm_table(record)
    assert re.search(r"never trained on +\d+ of 7", text)
    assert "Words never trained on: up." in text


@pytest.mark.slow
def test_compare_shows_what_was_measured_on_test(measured, tmp_path):
    run, data, _, _ = measured
    with pytest.raises(MissingError, match="--long-audio"):
        terminal([replace(run, false_alarms={})])
    measure_false_alarms(read_run(run.path), split="test", data=data, hours=0.02, snr_db=5, per_hour=1)
    document = tmp_path / "x.md"
    document.write_text("<!-- long: here -->\n<!-- /long -->\n")
    shown = ["--show", "false-alarms", "--runs", str(run.path.parent), "--plots", str(tmp_path)]
    result = CliRunner().invoke(app, ["compare", *shown, "--write", str(document), "--block", "long"])
    assert result.exit_code == 0, result.output
    again = read_run(run.path)
    assert result.stdout.strip() == terminal([again]).strip()
    assert markdown([again]).splitlines()[0] in document.read_text()
    first = (tmp_path / "det.svg").read_bytes()
    draw([again], tmp_path)
    assert (tmp_path / "det.svg").read_bytes() == first


@pytest.mark.slow
def test_without_model_or_other_words_it_says_what_to_do(measured, tmp_path):
    run, data, _, _ = measured
    bare = copy_record(run, tmp_path)
    asked = ["--data", str(data), "--split", "test", "--long-audio", "--hours", "0.02"]
    result = CliRunner().invoke(app, ["eval", str(bare), "--runs", str(tmp_path), *asked])
    assert result.exit_code == 3
    assert "best.pt" in result.output
