"""Frames computed elsewhere: checked, scaled, and then like any other features."""

import numpy as np
import pytest
import soundfile

from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import open_cache
from kwspot.features.dataset import resolve_task, select
from kwspot.features.imported import check_frames, import_frames, read_frames
from kwspot.features.log_mel import log_mel_frames

FRONT_END = FrontEnd(clip_ms=500)
HEADING = "word\tname\tspeaker\tsplit\n"
SCALE, OFFSET = 0.1, -20.0


def speak(path, pitch, seed):
    generator = np.random.default_rng(seed)
    time = np.arange(8000) / 16000
    waveform = 0.05 * np.sin(2 * np.pi * pitch * time) * np.linspace(0, 1, 8000) + 0.01 * generator.normal(size=8000)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, 16000)
    return waveform.astype(np.float32)


@pytest.fixture
def foreign(tmp_path):
    """Six recordings, and their frames as someone else's 8-bit DSP would give them."""
    lines, frames = [], []
    for i, (split, word) in enumerate(
        zip(["training"] * 4 + ["validation", "testing"], ["up", "down"] * 3, strict=True)
    ):
        name = f"{i:08x}_nohash_0"
        waveform = speak(tmp_path / "recordings" / word / f"{name}.wav", 300 + 400 * i, i)
        power = np.exp(log_mel_frames([waveform], FRONT_END)[0].astype(np.float64)) - FRONT_END.log_offset
        log_power = np.log(np.maximum(power, 1e-9))
        frames.append(np.clip(np.rint((log_power - OFFSET) / SCALE), 0, 255).astype(np.uint8))
        lines.append(f"{word}\t{name}\t{i:08x}\t{split}\n")
    np.save(tmp_path / "frames.npy", np.stack(frames))
    (tmp_path / "index.tsv").write_text(HEADING + "".join(lines))
    return tmp_path


def read(folder, **options):
    options = {"scale": SCALE, "offset": OFFSET, **options}
    return read_frames(folder / "frames.npy", folder / "index.tsv", FRONT_END, **options)


def test_imported_frames_are_those_of_the_recordings(foreign):
    cache = import_frames(read(foreign), foreign / "data", FRONT_END)
    assert cache.meta["source"] == "frames"
    assert cache.meta["n_clips"] == {"test": 1, "train": 4, "validation": 1}
    for clip in cache.clips:
        waveform, _ = soundfile.read(foreign / "recordings" / clip.word / f"{clip.name}.wav", dtype="float32")
        expected = log_mel_frames([waveform], FRONT_END)[0]
        np.testing.assert_allclose(cache.frames[clip.row], expected, atol=2 * SCALE)
    assert open_cache(foreign / "data", FRONT_END).folder == cache.folder


def test_teacher_is_imported_with_the_frames(foreign):
    taught = np.arange(18, dtype=np.float32).reshape(6, 3)
    taught[2] = np.nan
    np.save(foreign / "targets.npy", taught)
    soundfile.write(foreign / "noise.wav", np.random.default_rng(0).normal(size=16000) * 0.1, 16000)
    plain = import_frames(read(foreign), foreign / "data", FRONT_END)
    cache = import_frames(read(foreign, targets=foreign / "targets.npy", noise=foreign), foreign / "data", FRONT_END)
    assert plain.targets is None
    assert cache.folder != plain.folder
    assert len(cache.targets) == len(cache.frames) > 6
    np.testing.assert_array_equal(cache.targets[:6], taught.astype(np.float16))
    assert np.isnan(cache.targets[6:]).all()  # of `silence` the teacher made nothing
    split = select(cache, resolve_task(["up", "down"], cache), "train")
    chosen = np.array([1, 2])
    np.testing.assert_array_equal(split.taught(chosen).numpy(), cache.targets[split.rows[chosen]].astype(np.float32))


@pytest.mark.parametrize("values", [np.zeros((5, 3)), np.zeros(6), np.zeros((6, 3), np.int64)])
def test_teacher_of_other_clips_is_refused(foreign, values):
    np.save(foreign / "targets.npy", values)
    with pytest.raises(IntegrityError, match=r"targets.npy: .*; must be \(6, n_features\) numbers"):
        read(foreign, targets=foreign / "targets.npy")


def test_same_frames_are_imported_once_and_other_scales_apart(foreign):
    first = import_frames(read(foreign), foreign / "data", FRONT_END)
    stamp = (first.folder / "frames.npy").stat().st_mtime_ns
    import_frames(read(foreign), foreign / "data", FRONT_END)
    assert (first.folder / "frames.npy").stat().st_mtime_ns == stamp
    other = import_frames(read(foreign, scale=0.2), foreign / "data", FRONT_END)
    assert other.folder != first.folder
    assert open_cache(foreign / "data", FRONT_END).folder == other.folder
    import_frames(read(foreign), foreign / "data", FRONT_END)
    assert open_cache(foreign / "data", FRONT_END).folder == first.folder


def test_check_finds_the_scale_that_made_the_frames(foreign):
    agreement = check_frames(read(foreign, scale=0.15, offset=-18), foreign / "recordings", FRONT_END)
    assert agreement.n_clips == 6
    assert agreement.correlation > 0.95
    assert agreement.fitted_scale == pytest.approx(SCALE, rel=0.02)
    assert agreement.fitted_offset == pytest.approx(OFFSET, abs=0.3)
    assert check_frames(read(foreign), foreign / "recordings", FRONT_END).difference < SCALE / 2


def test_check_refuses_frames_of_another_front_end(foreign):
    values = np.load(foreign / "frames.npy")
    np.save(foreign / "frames.npy", values[:, :, ::-1])
    with pytest.raises(IntegrityError, match="declare the front end that made them"):
        check_frames(read(foreign), foreign / "recordings", FRONT_END)
    with pytest.raises(MissingError, match="no recording of any clip"):
        check_frames(read(foreign), foreign / "data", FRONT_END)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("word\tname\tsplit\n", "no column speaker"),
        (HEADING + "up\ta\ts1\ttraining\n", "1 clips, but .* has frames of 6"),
        (HEADING + "up\ta\ts1\tdevelopment\n", "line 2: split 'development'; known"),
        (HEADING + "u\x1bp\ta\ts1\ttraining\n", r"line 2: word 'u\\u001bp'; it holds characters"),
        (HEADING + "up\ta\ts1\n", "line 2: needs word, name, speaker, split"),
        (HEADING + "up\ta\ts1\ttraining\nup\tb\ts1\ttesting\n", "speaker s1 is in train and test"),
        ("word\tname\tspeaker\tsplit\tn_frames\nup\ta\ts1\ttraining\t99\n", "n_frames '99'; must be 1 to 48"),
    ],
)
def test_index_that_cannot_be_right_is_refused(foreign, index, message):
    (foreign / "index.tsv").write_text(index)
    with pytest.raises(IntegrityError, match=message):
        read(foreign)


@pytest.mark.parametrize("values", [np.zeros((6, 40, 48)), np.zeros((6, 48)), np.zeros((6, 48, 40), dtype="U1")])
def test_frames_of_another_shape_are_refused(foreign, values):
    np.save(foreign / "frames.npy", values)
    with pytest.raises(IntegrityError, match="declare the front end"):
        read(foreign)


def test_frames_that_are_no_array_are_refused(foreign):
    (foreign / "frames.npy").write_bytes(b"PK\x03\x04")
    with pytest.raises(IntegrityError, match="not a NumPy array"):
        read(foreign)
    (foreign / "frames.npy").unlink()
    with pytest.raises(MissingError, match="no such file"):
        read(foreign)


def test_values_that_are_not_finite_are_refused_and_nothing_is_left(foreign):
    values = np.load(foreign / "frames.npy").astype(np.float32)
    values[3, 5, 7] = np.nan
    np.save(foreign / "frames.npy", values)
    with pytest.raises(IntegrityError, match=f"frames of clip {3:08x}_nohash_0: not finite"):
        import_frames(read(foreign), foreign / "data", FRONT_END)
    with pytest.raises(MissingError):
        open_cache(foreign / "data", FRONT_END)
