"""From a corpus to its features: every clip once, bad ones named, interrupted at will, in bounded memory."""

import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot.audio.reading import read_clip
from kwspot.cli import app
from kwspot.corpus.layout import TEST, TRAIN, VALIDATION, read_corpus
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features import extract as featurize_module
from kwspot.features.cache import open_cache
from kwspot.features.extract import featurize, summary
from kwspot.features.log_mel import log_mel_frames
from kwspot.files import write_json
from tests.sounds import RATE, make_corpus, tone, write_noise, write_sound

ROOT = Path(__file__).parents[2]
FRONT_END = FrontEnd()
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def compute(data, **options):
    cache, made = featurize(data, FRONT_END, **{"workers": 1, "shard_size": 5, **options})
    assert made
    return cache


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spoil(data):
    """Add one of each kind of bad file; return their names."""
    (data / "left" / "empty.wav").write_bytes(b"")
    (data / "left" / "text.wav").write_text("not a sound")
    (data / "left" / "gone.wav").symlink_to("nowhere.wav")
    (data / "left" / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    write_sound(data / "left" / "nothing.wav", tone(300)[:0])
    whole = write_sound(data / "left" / "cut.wav", tone(300)).read_bytes()
    (data / "left" / "cut.wav").write_bytes(whole[:9000])
    names = ("empty.wav", "text.wav", "gone.wav", "phone.m4a", "nothing.wav", "cut.wav")
    return {f"left/{name}" for name in names}


def test_every_row_holds_the_features_of_its_clip(tmp_path):
    make_corpus(tmp_path, n_speakers=4)
    write_sound(tmp_path / "left" / "short_nohash_0.wav", tone(600, 0.4))
    cache = compute(tmp_path)
    assert [clip.name for clip in cache.clips] == [clip.name for clip in read_corpus(tmp_path).clips]
    for clip in cache.clips:
        expected = log_mel_frames([read_clip(tmp_path / clip.name, FRONT_END).waveform], FRONT_END)[0]
        np.testing.assert_allclose(cache.frames[clip.row], expected, atol=0.01)  # float16 near -14
        assert (clip.word, clip.n_frames) == (clip.name.split("/")[0], 38 if "short" in clip.name else 98)
    assert open_cache(tmp_path, FRONT_END).clips == cache.clips
    assert cache.meta["source"] == "waveforms"
    assert not list((tmp_path / ".kwspot").glob("*.partial"))


def test_the_second_time_does_nothing(tmp_path, monkeypatch):
    make_corpus(tmp_path, n_speakers=2)
    folder = compute(tmp_path).folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(featurize_module, "compute_shard", None)
    cache, made = featurize(tmp_path, FRONT_END)
    assert (cache.folder, made) == (folder, False)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_changed_corpus_is_computed_anew_and_the_old_features_go(tmp_path):
    make_corpus(tmp_path, n_speakers=2)
    old = compute(tmp_path)
    kept, _ = featurize(tmp_path, FrontEnd(n_mels=20), workers=1)
    assert old.folder.is_dir() and kept.folder.is_dir()  # two front ends live side by side
    write_sound(tmp_path / "up" / "new_nohash_0.wav", tone(900))
    new = compute(tmp_path)
    assert new.meta["corpus_digest"] != old.meta["corpus_digest"]
    assert "up" in {clip.word for clip in new.clips}
    assert [path.name for path in (tmp_path / ".kwspot").iterdir()] == [new.folder.name]


def test_a_damaged_cache_is_computed_again(tmp_path):
    make_corpus(tmp_path, n_speakers=2)
    folder = compute(tmp_path).folder
    whole = contents(folder)
    (folder / "index.tsv").write_text("")
    compute(tmp_path)
    assert contents(folder) == whole


def test_the_corpus_digest_is_of_names_and_contents_only(tmp_path):
    make_corpus(tmp_path / "a", n_speakers=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)  # other times, other place
    digests = [compute(tmp_path / name).meta["corpus_digest"] for name in "ab"]
    assert digests[0] == digests[1]
    write_sound(tmp_path / "b" / "left" / "00000000_nohash_0.wav", tone(401))
    assert compute(tmp_path / "b").meta["corpus_digest"] != digests[0]


def test_bad_files_are_skipped_and_named(tmp_path):
    make_corpus(tmp_path, n_speakers=3)
    bad = spoil(tmp_path)
    cache = compute(tmp_path)
    assert {name for name, _ in cache.meta["skipped"]} == bad
    assert all(reason for _, reason in cache.meta["skipped"])
    assert len(cache.clips) == 6 and not bad & {clip.name for clip in cache.clips}
    assert "; 6 skipped" in summary(cache)[0]


def test_conversions_are_counted_by_kind(tmp_path):
    make_corpus(tmp_path, n_speakers=1)
    stereo = np.stack([tone(300, rate=44_100)] * 2, axis=1)
    write_sound(tmp_path / "left" / "a.WAV", stereo, 44_100)
    write_sound(tmp_path / "left" / "b.flac", stereo, 44_100)
    write_sound(tmp_path / "left" / "c.mp3", tone(300, 2.0))
    write_sound(tmp_path / "left" / "d.wav.wav", tone(300, 0.01))
    write_sound(tmp_path / "left" / "e.ogg", tone(300))
    cache = compute(tmp_path)
    assert cache.meta["conversions"] == {
        "downmixed from 2 channels": 2,
        "resampled from 44100 Hz": 2,
        "cropped to the loudest part": 1,
        "padded to one window": 1,
    }
    assert {clip.n_frames for clip in cache.clips} == {1, 98}
    lines = summary(cache)
    assert "2 resampled from 44100 Hz" in lines[1]
    assert lines[2].startswith("5 clips have no speaker in their name")


def test_a_corpus_of_nothing_but_bad_files_is_an_error(tmp_path):
    (tmp_path / "left").mkdir(parents=True)
    spoil(tmp_path)
    with pytest.raises(IntegrityError, match="no file is usable audio, 6 skipped; left/"):
        featurize(tmp_path, FRONT_END, workers=1)


def test_silence_comes_from_its_splits_part_of_the_noise(tmp_path):
    make_corpus(tmp_path, n_speakers=60)
    write_noise(tmp_path, seconds=20)  # training hears 500 Hz, validation 1500 Hz, nobody 3000 Hz
    (tmp_path / "_background_noise_" / "bad.wav").write_text("not noise")
    cache = compute(tmp_path, shard_size=40)
    silence = [clip for clip in cache.clips if clip.word == "silence"]
    assert {clip.split for clip in silence} == {TRAIN, VALIDATION, TEST}
    volumes = []
    for clip in silence:
        frames = cache.frames[clip.row].astype(float)
        assert (clip.n_frames, clip.name.split("/")[0]) == (98, "_silence_")
        if clip.split == TEST:
            assert np.ptp(frames) == 0
            continue
        at_full_volume = log_mel_frames([tone(500 if clip.split == TRAIN else 1500, volume=0.9)], FRONT_END)[0]
        assert (frames.argmax(axis=1) == at_full_volume.argmax(axis=1)).all()
        volumes.append(np.exp((frames.max(axis=1).mean() - at_full_volume.max(axis=1).mean()) / 2))
    assert len(volumes) > 9 and 0 <= min(volumes) < 0.05 < max(volumes) <= 0.101
    assert cache.meta["skipped"][0][0] == "_background_noise_/bad.wav"


def test_noise_that_is_short_and_of_another_rate_will_do(tmp_path):
    make_corpus(tmp_path, n_speakers=20)
    write_sound(tmp_path / "_background_noise_" / "a.wav", tone(500, 0.7, 44_100, 0.9), 44_100)
    cache = compute(tmp_path, shard_size=100)
    assert {clip.split for clip in cache.clips if clip.word == "silence"} == {TRAIN, VALIDATION, TEST}


@pytest.mark.slow
def test_shards_and_workers_decide_nothing(tmp_path):
    make_corpus(tmp_path / "a", n_speakers=12)
    write_noise(tmp_path / "a")
    spoil(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=True)  # copies times too
    one, several = compute(tmp_path / "a", shard_size=1000), compute(tmp_path / "b", shard_size=7, workers=2)
    np.testing.assert_array_equal(one.frames, several.frames)
    assert one.clips == several.clips
    assert one.meta == several.meta | {"name": "a"}


def test_progress_reaches_the_total(tmp_path):
    make_corpus(tmp_path, n_speakers=6)
    reports = []
    compute(tmp_path, report=lambda done, total, message="": reports.append((done, total)))
    assert reports == [(0, 12), (5, 12), (10, 12), (12, 12)]


def test_a_corpus_that_changes_while_it_is_read_is_not_cached(tmp_path):
    make_corpus(tmp_path, n_speakers=6)

    def meddle(done, total, message=""):
        (tmp_path / "left" / "00000000_nohash_0.wav").touch()

    with pytest.raises(KwspotError, match="changed while it was read"):
        compute(tmp_path, report=meddle)
    assert not list((tmp_path / ".kwspot").iterdir())


def test_imported_frames_of_another_front_end_are_no_corpus_to_compute(tmp_path):
    write_json(tmp_path / ".kwspot" / "imported.json", {"digest": "abc"})
    with pytest.raises(MissingError, match="imported frames of another front end"):
        featurize(tmp_path, FRONT_END)


SCRIPT = """
import sys
from pathlib import Path
from kwspot.experiments.settings import FrontEnd
from kwspot.features.extract import featurize

def report(done, total, message=""):
    peak = next((line for line in open("/proc/self/status") if line.startswith("VmHWM")), "- 0")
    print(done, int(peak.split()[1]) / 1024, flush=True)

if __name__ == "__main__":
    workers, shard_size = map(int, sys.argv[2:])
    featurize(Path(sys.argv[1]), FrontEnd(), workers=workers, shard_size=shard_size, report=report)
"""


def start(tmp_path, data, workers, shard_size):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, script, data, str(workers), str(shard_size)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@linux
def test_killed_at_any_moment_it_goes_on_with_the_unfinished_shards(tmp_path, monkeypatch):
    data = make_corpus(tmp_path / "data", n_speakers=200)
    with start(tmp_path, data, workers=2, shard_size=10) as process:
        for line in process.stdout:
            if int(line.split()[0]) >= 60:
                break
        workers = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]  # none waits for ever

    (partial,) = (data / ".kwspot").glob("*.partial")
    with pytest.raises(MissingError):
        open_cache(data, FRONT_END)
    finished = {int(path.stem[6:]) for path in partial.glob("shard-*.json")}
    assert 6 <= len(finished) < 40
    computed, really = [], featurize_module.compute_shard
    monkeypatch.setattr(featurize_module, "compute_shard", lambda s: (computed.append(s.number), really(s)))
    resumed = compute(data, shard_size=10)
    assert sorted(computed) == sorted(set(range(40)) - finished)

    monkeypatch.undo()
    shutil.copytree(data, tmp_path / "undisturbed", ignore=shutil.ignore_patterns(".kwspot"))
    whole = compute(tmp_path / "undisturbed", shard_size=1000)
    np.testing.assert_array_equal(resumed.frames, whole.frames)
    assert resumed.clips == whole.clips
    assert resumed.meta["corpus_digest"] == whole.meta["corpus_digest"]


def add_hours(data):
    """Add four hours of zeros in one file, of which the disk holds next to nothing."""
    path = write_sound(data / "up" / "hours.wav", tone(300, 0.1))
    header, n_bytes = bytearray(path.read_bytes()[:44]), 4 * 3600 * RATE * 2
    header[4:8], header[40:44] = (n_bytes + 36).to_bytes(4, "little"), n_bytes.to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, 44 + n_bytes)


@pytest.mark.slow
@linux
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    data = tmp_path / "data"
    first = write_sound(data / "up" / "first_nohash_0.wav", tone(300))
    for s in range(1500):
        shutil.copyfile(first, data / "up" / f"{s:08x}_nohash_0.wav")
    add_hours(data)  # sorted last
    with start(tmp_path, data, workers=1, shard_size=100) as process:
        peaks = [float(line.split()[1]) for line in process.stdout]  # MB, torch and all
    assert (process.returncode, len(peaks)) == (0, 17)
    assert max(peaks) < 1000
    assert peaks[-1] - peaks[3] < 30  # after 300 clips came 77 MB of waveforms, then 920 MB in one file


def run(*arguments):
    return CliRunner().invoke(app, ["featurize", *map(str, arguments)])


@pytest.fixture
def registry(tmp_path):
    path = tmp_path / "registry.yaml"
    path.write_text(
        "experiments:\n  a: {why: test}\n  b: {why: test, model: {cell: lstm}}\n"
        "  c: {why: test, front_end: {n_mels: 20}}\n"
    )
    return path


def test_command_computes_every_front_end_once(tmp_path, registry):
    data = make_corpus(tmp_path / "data", n_speakers=2)
    result = run("--data", data, "--registry", registry)
    assert result.exit_code == 0, result.output
    folders = [Path(line) for line in result.stdout.splitlines()]
    assert len(folders) == 2
    assert [json.loads((f / "meta.json").read_text())["front_end"]["n_mels"] for f in folders] == [40, 20]
    again = run("b", "--data", data, "--registry", registry)
    assert again.stdout.split() == [str(folders[0])]
    assert "already there" in again.stderr


def test_command_takes_overrides(tmp_path, registry):
    data = make_corpus(tmp_path / "data", n_speakers=2)
    result = run("a", "-o", "front_end.hop_ms=20", "--data", data, "--registry", registry, "-q")
    meta = json.loads((Path(result.stdout.strip()) / "meta.json").read_text())
    assert meta["front_end"]["hop_ms"] == 20
    assert result.stderr == ""


@pytest.mark.parametrize("time", ["first", "second"])
def test_command_fails_on_skipped_files_only_when_strict(tmp_path, registry, time):
    data = make_corpus(tmp_path / "data", n_speakers=2)
    bad = spoil(data)
    if time == "second":
        run("a", "--data", data, "--registry", registry)
    strict = run("a", "--data", data, "--registry", registry, "--strict")
    assert strict.exit_code == 1
    lax = run("a", "--data", data, "--registry", registry, "-q")
    assert lax.exit_code == 0
    for result in (strict, lax):
        assert all(f"skipped {data / name}: " in result.stderr for name in bad)
    assert "error: " in strict.stderr and "6 skipped" in strict.stderr


def test_command_without_corpus_exits_3(tmp_path, registry):
    result = run("--data", tmp_path / "none", "--registry", registry)
    assert result.exit_code == 3
    assert "kwspot download" in result.stderr
