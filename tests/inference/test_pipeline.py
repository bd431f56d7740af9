"""Long sound through a model: nothing depends on how it is cut, and a state does not drift."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from kwspot import Spotter, Stream
from kwspot.audio.reading import resample
from kwspot.errors import ConfigError, MissingError
from kwspot.export.export import write_models
from kwspot.inference.detector import DetectionSettings
from kwspot.inference.pipeline import Spotting, detection_settings, posteriors_of, spot, spot_at_once
from kwspot.inference.streaming import SlidingWindow, open_model
from kwspot.training.run import run_experiment
from tests.sounds import RATE, tone
from tests.speech import spoken
from tests.toy import make_cache, toy_experiment

DEFAULTS = DetectionSettings()
MINUTE, OVERLAP = 60 * RATE, 10 * RATE
REAL_STREAM = Path(os.environ.get("KWSPOT_REAL_STREAM", ""))  # a .stream.onnx of real words


@pytest.fixture(scope="module")
def spotter():
    return Spotter.load(threads=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small trained model with its stream."""
    folder = tmp_path_factory.mktemp("run")
    make_cache(folder / "data")
    experiment = toy_experiment("lstm", "train.epochs=1", "model.pooling=mean")
    run = run_experiment(experiment, seed=1, data=folder / "data", runs_dir=folder / "runs", device="cpu")
    write_models(run, folder / "data")
    return run


def blocks_of(wave, size=RATE):
    return (wave[i : i + size] for i in range(0, len(wave), size))


def middles(events):
    return [(event.word, (event.start_s + event.end_s) / 2) for event in events]


def in_overlapping_minutes(streaming_model, wave):
    """Spot every minute by itself, from 10 s before it to 10 s after, and keep what lies in it."""
    found = []
    for start in range(0, len(wave), MINUTE):
        first = max(0, start - OVERLAP)
        events = spot(streaming_model, blocks_of(wave[first : start + MINUTE + OVERLAP]), DEFAULTS)
        heard = [(word, middle_s + first / RATE) for word, middle_s in middles(events)]
        found += [(word, at) for word, at in heard if start / RATE <= at < (start + MINUTE) / RATE]
    return found


def test_rows_are_the_posteriors_of_the_windows(spotter):
    wave = np.random.default_rng(0).normal(0, 0.1, round(3.3 * RATE)).astype(np.float32)
    windows = SlidingWindow(spotter)
    rows = windows.feed(wave)
    padded = np.concatenate([np.zeros(windows.clip_length, np.float32), wave])
    ends = range(windows.step_length, len(wave) + 1, windows.step_length)
    clips = np.stack([padded[end : end + windows.clip_length] for end in ends])
    np.testing.assert_allclose(rows, spotter.posteriors(clips), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 9_000), max_size=6))
def test_rows_do_not_depend_on_the_blocks(sizes):
    wave = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    windows = SlidingWindow(Spotter.load(threads=1), step_ms=100)
    blocks = np.split(wave, np.cumsum(sizes))
    whole = windows.feed(wave)
    windows.reset()
    np.testing.assert_allclose(posteriors_of(windows, blocks), whole, atol=1e-5)


def test_spoken_words_are_found_where_they_are(spotter):
    wave, said = spoken(6)
    events = list(spot(SlidingWindow(spotter), blocks_of(wave), DEFAULTS))
    assert [event.word for event in events] == [word for word, _, _ in said]
    for event, (_, start_s, end_s) in zip(events, said, strict=True):
        assert (event.start_s + event.end_s) / 2 == pytest.approx((start_s + end_s) / 2, abs=0.15)


@pytest.mark.parametrize("size", [100, 1_600, 7_777])
def test_events_do_not_depend_on_the_blocks(spotter, size):
    wave, _ = spoken(2)
    whole = list(spot(SlidingWindow(spotter), [wave], DEFAULTS))
    assert middles(spot(SlidingWindow(spotter), blocks_of(wave, size), DEFAULTS)) == middles(whole)


def test_a_word_at_the_very_end_is_found(spotter):
    wave, said = spoken(1, gap_s=0)
    wave = wave[: round(said[0][2] * RATE)]
    (event,) = spot(SlidingWindow(spotter), [wave], DEFAULTS)
    assert event.word == said[0][0]
    assert event.end_s <= len(wave) / RATE


def test_words_are_given_once_each_when_they_end_and_not_when_they_leave_the_window(spotter):
    wave, said = spoken(6)
    taken = 0

    def counted():
        nonlocal taken
        for block in blocks_of(wave, RATE // 10):
            taken += len(block)
            yield block

    given = [(event, taken / RATE) for event in spot_at_once(SlidingWindow(spotter), counted(), DEFAULTS)]
    late = list(spot(SlidingWindow(spotter), blocks_of(wave), DEFAULTS))
    assert [event.word for event, _ in given] == [event.word for event in late] == [word for word, _, _ in said]
    for (event, at), whole, (_, _, end_s) in zip(given, late, said, strict=True):
        assert at < end_s + 0.5
        assert event.start_s <= whole.start_s + 1e-6
        assert event.end_s == pytest.approx(whole.end_s, abs=0.1)
        assert event.posterior <= whole.posterior + 1e-6


def test_a_word_that_only_the_end_of_the_sound_completes_is_given_once(spotter):
    wave, said = spoken(1, gap_s=0)
    wave = wave[: round(said[0][2] * RATE)]
    for blocks in ([wave], blocks_of(wave, RATE // 10)):
        (event,) = spot_at_once(SlidingWindow(spotter), blocks, DEFAULTS)
        assert event.word == said[0][0]


@pytest.mark.slow
def test_five_minutes_are_their_overlapping_minutes(spotter):
    """With windows; benchmarks/inference/spot.py does it with an hour."""
    sentence, _ = spoken(12)
    pause = np.random.default_rng(1).normal(0, 1e-3, 170 * RATE // 10).astype(np.float32)
    wave = np.concatenate([sentence, pause] * 11)[: 5 * MINUTE]
    streaming_model = SlidingWindow(spotter, step_ms=80)
    whole, parts = (
        middles(spot(streaming_model, blocks_of(wave), DEFAULTS)),
        in_overlapping_minutes(streaming_model, wave),
    )
    assert len(whole) > 50
    assert [word for word, _ in whole] == [word for word, _ in parts]
    assert [at for _, at in whole] == pytest.approx([at for _, at in parts], abs=0.081)


def test_a_streams_state_does_not_drift(run):
    """After ten minutes of sound a row is what it is after ten seconds of it."""
    stream = Stream(run.path / "model.stream.onnx")
    random = np.random.default_rng(0)
    loudness = np.repeat(random.uniform(0, 0.3, 6_000), RATE // 10).astype(np.float32)
    wave = loudness * random.normal(0, 1, len(loudness)).astype(np.float32)  # ten minutes
    rows = posteriors_of(stream, blocks_of(wave))
    skipped = (len(wave) - 20 * RATE) // stream.step_length
    late = posteriors_of(stream, blocks_of(wave[skipped * stream.step_length :]))
    n = 10 * RATE // stream.step_length
    np.testing.assert_allclose(rows[-n:], late[-n:], atol=1e-4)
    assert np.isfinite(rows).all()
    assert np.ptp(rows[-n:, 0]) > 1e-3  # it does hear something


def test_a_stream_is_found_by_name_in_the_folder_of_runs(run, monkeypatch):
    monkeypatch.setenv("KWSPOT_RUNS", str(run.path.parent))
    assert Stream.load(run.id).labels == Spotter.load(run.id).labels


def test_a_stream_takes_any_rate_and_refuses_what_is_no_sound(run):
    where = {"runs_dir": run.path.parent}
    wave = np.concatenate([tone(hz, 0.4) for hz in (300, 900, 1500)])
    pcm = np.round(resample(wave, RATE, 48_000) * 32767).astype(np.int16)
    fast = Stream.load(run.id, input_rate=48_000, **where)
    rows = np.concatenate([fast.feed(pcm[i : i + 1000]) for i in range(0, len(pcm), 1000)])
    slow = Stream.load(run.id, **where).feed(wave)
    np.testing.assert_allclose(rows, slow[: len(rows)], atol=0.02)
    assert len(rows) >= len(slow) - 0.1 * RATE / fast.step_length  # the resampler holds back a little
    with pytest.raises(ValueError, match="NaN"):
        fast.feed(np.full(9, np.nan))


@pytest.mark.skipif(not REAL_STREAM.is_file(), reason="KWSPOT_REAL_STREAM names no stream of real words")
def test_ten_minutes_of_a_stream_are_its_overlapping_minutes():
    sentence, said = spoken(60)
    wave = np.concatenate([sentence] * 6)[: 10 * MINUTE]
    streaming_model = Stream(REAL_STREAM)
    whole, parts = (
        middles(spot(streaming_model, blocks_of(wave), DEFAULTS)),
        in_overlapping_minutes(streaming_model, wave),
    )
    assert len(whole) > 4 * len(said)
    assert [word for word, _ in whole] == [word for word, _ in parts]
    assert [at for _, at in whole] == pytest.approx([at for _, at in parts], abs=0.041)


def test_one_ear_hears_several_sounds_one_after_the_other(spotter):
    wave, _ = spoken(2)
    streaming_model = SlidingWindow(spotter)
    first = list(spot(streaming_model, [wave], DEFAULTS))
    assert list(spot(streaming_model, [wave], DEFAULTS)) == first
    spotting = Spotting(streaming_model, DEFAULTS)
    events, rows = spotting.process(wave)
    assert rows.shape == (len(wave) // streaming_model.step_length, len(streaming_model.labels))
    assert events + spotting.finish() == first


def test_settings_come_from_the_model_and_give_way_to_options():
    assert detection_settings({}) == DEFAULTS
    stored = {"spotting": {"threshold": 0.7, "refractory_ms": 500.0, "false_alarms_per_hour": 1.0}}
    assert detection_settings(stored) == DetectionSettings(threshold=0.7, refractory_ms=500.0)
    assert detection_settings(stored, threshold=0.9, smoothing_ms=None).threshold == 0.9
    with pytest.raises(ConfigError, match="threshold"):
        detection_settings({}, threshold=2.0)


def test_models_that_hear_long_sound(run, tmp_path):
    runs = run.path.parent
    assert isinstance(open_model(None, tmp_path), SlidingWindow)
    assert isinstance(open_model("lstm", runs), SlidingWindow)
    assert isinstance(open_model("lstm", runs, streaming=True), Stream)
    for model, heard_by in (("lstm", Stream), (None, Stream), ("keywords10", SlidingWindow)):
        assert isinstance(open_model(model, runs, streaming=None), heard_by)
    assert isinstance(open_model(str(run.path / "model.stream.onnx"), runs), Stream)
    with pytest.raises(MissingError, match=r"^keywords10: comes without a stream; keywords10_long has one$"):
        open_model("keywords10", runs, streaming=True)
    (run.path / "model.onnx").rename(tmp_path / "alone.onnx")
    try:
        with pytest.raises(MissingError, match="no stream of this model; 'kwspot export RUN --stream' writes one"):
            open_model(str(tmp_path / "alone.onnx"), runs, streaming=True)
    finally:
        (tmp_path / "alone.onnx").rename(run.path / "model.onnx")
