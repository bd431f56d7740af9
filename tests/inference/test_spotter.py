"""The spotting half: one file, no torch, the same answer whatever way the sound comes in."""

import io
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile

from kwspot import Spotter, Stream
from kwspot.audio.reading import AudioError
from kwspot.errors import IntegrityError, MissingError
from kwspot.inference.model_zoo import bundled_models
from kwspot.inference.streaming import SlidingWindow
from tests.closed import close_file
from tests.sounds import RATE, write_sound

BUNDLED = {model.name: model for model in bundled_models()}


@pytest.fixture(scope="module")
def spotter():
    return Spotter.load(threads=1)


def chirp(seconds=1.0, rate=RATE):
    """A sound with content up to 3 kHz, the same at every rate."""
    time_s = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (300 + 1200 * time_s) * time_s) * np.hanning(len(time_s))).astype(np.float32)


def posteriors(prediction):
    return dict(prediction.top)


def same(a, b, tolerance):
    return max(abs(posteriors(a)[word] - posteriors(b)[word]) for word in posteriors(a)) < tolerance


def test_top_is_the_posteriors_by_falling_order(spotter):
    prediction = spotter.predict(chirp(), n_top=99)
    values = [posterior for _, posterior in prediction.top]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    assert {word for word, _ in prediction.top} == set(spotter.labels)
    assert (prediction.word, prediction.posterior) == prediction.top[0]
    assert prediction.seconds == 1


def test_integers_of_full_scale_are_the_floats(spotter):
    wave = chirp() + np.random.default_rng(0).normal(0, 0.003, RATE).astype(np.float32)  # as a recording has it
    n = len(spotter.labels)
    for dtype, scale, tolerance in (("int16", 2**15, 0.01), ("int32", 2**31, 1e-4)):
        assert same(
            spotter.predict(wave, n_top=n),
            spotter.predict(np.round(wave * np.float64(scale)).astype(dtype), n_top=n),
            tolerance,
        )


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_sample_rate_hardly_matters(spotter, rate):
    n = len(spotter.labels)
    assert same(spotter.predict(chirp(), n_top=n), spotter.predict(chirp(rate=rate), rate, n), 0.1)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_file_stream_and_waveform_agree(spotter, tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    write_sound(path, np.stack([chirp(), chirp()], axis=1))
    read, rate = soundfile.read(path, dtype="float32")
    n = len(spotter.labels)
    from_file = spotter.predict_file(path, n)
    assert same(from_file, spotter.predict_file(str(path), n), 1e-9)
    assert same(from_file, spotter.predict_file(io.BytesIO(path.read_bytes()), n), 1e-9)
    assert same(from_file, spotter.predict(read[:, 0], rate, n), 1e-5)


def test_a_long_recording_is_looked_at_where_it_is_loudest(spotter):
    n, quiet = len(spotter.labels), np.zeros(5 * RATE, np.float32)
    long = np.concatenate([quiet[:RATE], chirp(), quiet])
    assert same(spotter.predict(long, RATE, n_top=n), spotter.predict(chirp(), n_top=n), 1e-3)


def test_clips_of_one_length_together_are_the_clips_alone(spotter):
    clips = [spotter.fit(chirp(seconds)) for seconds in (1.0, 1.0, 0.5, 0.01, 1.0)]
    for clip, together in zip(clips, spotter.predict_clips(clips, 12), strict=True):
        assert same(together, spotter.predict_clips([clip], 12)[0], 1e-5)


@pytest.mark.parametrize("waveform", [np.zeros((10, 2)), np.zeros(0), np.float32(0.0)])
def test_what_is_no_waveform_is_refused(spotter, waveform):
    with pytest.raises(ValueError, match=r"waveform \(n_samples,\) of one channel is needed"):
        spotter.predict(waveform)


def test_what_is_no_sound_is_refused(spotter, tmp_path):
    (tmp_path / "x.wav").write_text("no sound")
    with pytest.raises(AudioError, match="no readable audio"):
        spotter.predict_file(tmp_path / "x.wav")
    with pytest.raises(MissingError, match="no such file"):
        spotter.predict_file(tmp_path / "y.wav")


def test_models_by_name(tmp_path):
    assert Spotter.load("keywords10").name == "keywords10"
    path = BUNDLED["keywords10"].path
    assert Spotter.load(path).labels == Spotter.load(str(path)).labels == Spotter.load().labels
    with pytest.raises(
        MissingError, match=r"bundled models: keywords10, keywords10_long, keywords10_nano; a file ends in \.onnx"
    ):
        Spotter.load("keyword10", runs_dir=tmp_path)
    with pytest.raises(MissingError, match="no such model"):
        Spotter.load(tmp_path / "x.onnx")


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(IntegrityError, match="no model that onnxruntime can read"):
        Spotter.load(tmp_path / "text.onnx")
    graph = onnx.load(BUNDLED["keywords10"].path)
    for key, value, message in (
        ("schema", "2", "schema 2, this kwspot reads 1"),
        ("labels", "yes no", "not JSON"),
        ("labels", None, "no labels in its metadata"),
        ("n_parameters", '"many"', "n_parameters that is no number"),
    ):
        changed = onnx.ModelProto.FromString(graph.SerializeToString())
        entries = {entry.key: entry.value for entry in graph.metadata_props}
        entries = {**entries, key: value} if value else {k: v for k, v in entries.items() if k != key}
        del changed.metadata_props[:]
        onnx.helper.set_model_props(changed, entries)
        onnx.save(changed, tmp_path / "other.onnx")
        with pytest.raises(IntegrityError, match=message):
            Spotter.load(tmp_path / "other.onnx")
    with pytest.raises(IntegrityError, match="takes whole clips"):
        Stream(BUNDLED["keywords10"].path)


def test_spotting_needs_no_torch(tmp_path):
    path = write_sound(tmp_path / "x.wav", chirp(rate=8000), 8000)
    code = (
        "import sys; from kwspot import Spotter; Spotter.load().predict_file(sys.argv[1]);"
        "print([m for m in ('torch', 'torchaudio', 'matplotlib', 'onnx', 'spox', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_model_is_small_and_says_what_it_is(name):
    model = BUNDLED[name]
    spotter = Spotter(model.path)
    assert model.path.stat().st_size < 2_000_000
    assert {"yes", "no", "unknown", "silence"} <= set(spotter.labels)
    assert "CC BY 4.0" in model.card
    assert f"Run `{spotter.metadata['run']}`" in model.card
    assert spotter.predict(np.zeros(RATE, np.float32)).word == "silence"
    record = Path(__file__).parents[2] / "results" / "bundled" / spotter.metadata["run"]
    evaluation = json.loads((record / "eval-test.json").read_text())
    rounded = 0.002 if "weights" in spotter.metadata else 0  # 8 bits
    assert spotter.metadata["accuracy_test"] == pytest.approx(evaluation["accuracy"], abs=rounded)
    assert spotter.metadata["front_end"]["sample_rate"] == spotter.sample_rate


SOURCE = {"word": "yes", "speaker": None, "name": "a.wav", "digest": "0" * 16, "n_rows": 2}
EXPECTED = {"n": 2, "by": "takes", "right": 1.0, "detected": 0.5, "accepted": 0.1, "confused": [["yes", "no", 1]]}


def changed(path, change):
    """Write a bundled model with other metadata."""
    model = onnx.load(BUNDLED["keywords10"].path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, known | {key: json.dumps(value) for key, value in change.items()})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "yes"}, "labels"),
        ({"labels": [1] * 12}, "labels"),
        ({"labels": ["yes"] * 12}, "twice"),
        ({"labels": ["yes", "no"]}, "its graph is not the one"),
        ({"labels": []}, "its graph is not the one"),
        ({"labels": ["a\x1b[2J", *"bcdefghijkl"]}, "labels"),
        ({"labels": ["a\u202e", *"bcdefghijkl"]}, "labels"),
        ({"sample_rate": 0}, "number of samples"),
        ({"sample_rate": 16000.5}, "number of samples"),
        ({"sample_rate": 10**30}, "sample rate"),
        ({"sample_rate": 10**400}, "sample rate"),
        ({"clip_length": 10**12}, "longer than a minute"),
        ({"clip_length": -1}, "number of samples"),
        ({"clip_length": True}, "number of samples"),
        ({"win_length": 99_999}, "longer than a clip"),
        ({"schema": [1]}, "schema"),
        ({"spotting": [1]}, "spotting"),
        ({"spotting": {"threshold": "high"}}, "spotting"),
        ({"spotting": {"threshold": 10**400}}, "spotting"),
        ({"spotting": {"before_ms": "long"}}, "spotting"),
        ({"spotting": {"curve": [[1]]}}, "curve"),
        ({"step_length": 0, "lead_length": 0}, "step"),
    ],
    ids=str,
)
def test_metadata_that_makes_no_sense_is_refused(tmp_path, change, message):
    with pytest.raises(IntegrityError, match=message):
        Spotter(changed(tmp_path / "m.onnx", change), threads=1)


@pytest.mark.parametrize(
    "enrollment",
    [
        {}, 5, None, [], {"sources": [SOURCE]}, {"expected": EXPECTED}, {"sources": {}, "expected": EXPECTED},
        *({"sources": [SOURCE | wrong], "expected": EXPECTED} for wrong in (
            {"word": 5}, {"word": ""}, {"word": "a\x1b[2J"}, {"n_rows": "x"}, {"n_rows": -3}, {"n_rows": True},
            {"speaker": 5}, {"name": None}, {"digest": 1}, {"spoken": "no"},
        )),
        *({"sources": [SOURCE], "expected": EXPECTED | wrong} for wrong in (
            {"right": None}, {"accepted": "few"}, {"by": 5}, {"n": -1}, {"n": "x"}, {"n": False}, {"confused": None},
            {"confused": [["yes", "no"]]}, {"confused": [[1, "no", 1]]},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_an_enrollment_that_nobody_wrote_is_refused(tmp_path, enrollment):
    path = changed(tmp_path / "m.onnx", {"enrollment": enrollment})
    with pytest.raises(IntegrityError, match=r"m\.onnx: .* an enrollment that 'kwspot enroll' did not write"):
        Spotter(path, threads=1)


def test_an_enrollment_may_say_more_and_leave_out_what_was_not_estimated(tmp_path):
    alone = {"n": 0, "right": None, "detected": None, "accepted": 0.0, "confused": []}
    enrollment = {"sources": [SOURCE | {"colour": "red"}, SOURCE | {"spoken": True}], "expected": alone, "more": 1}
    assert Spotter(changed(tmp_path / "m.onnx", {"enrollment": enrollment}), threads=1).metadata["enrollment"]


def test_a_model_that_may_not_be_read_is_the_systems_refusal_and_no_damage(monkeypatch):
    close_file(monkeypatch, "keywords10.onnx")
    with pytest.raises(PermissionError):
        Spotter(BUNDLED["keywords10"].path, threads=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_not_taken_for_a_word(spotter, value):
    waveform = chirp()
    waveform[500] = value
    for taking in (spotter.predict, SlidingWindow(spotter).feed):
        with pytest.raises(ValueError, match="finite"):
            taking(waveform)


@pytest.mark.parametrize("name", [b"waveform", b"posteriors", b"front_end"])
def test_a_model_file_whose_names_are_no_utf_8_is_refused_without_a_word_from_onnxruntime(capfd, name):
    content = BUNDLED["keywords10"].path.read_bytes().replace(name, name[:-1] + b"\xff")
    with pytest.raises(IntegrityError, match=r"x\.onnx: "):
        Spotter(Path("x.onnx"), content=content, threads=1)
    assert capfd.readouterr() == ("", "")
