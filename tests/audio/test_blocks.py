"""Sound in blocks is the sound as a whole, whatever brings it; what is no sound is one clear line."""

import os
import subprocess
import sys
from threading import Thread
import time

import numpy as np
import pytest
import soundfile

from kwspot.audio import inputs
from kwspot.audio.blocks import file_blocks, long_sounds, pipe_blocks, resampled
from kwspot.audio.inputs import Pipe
from kwspot.audio.reading import STDIN, AudioError, read_waveform, resample
from kwspot.errors import KwspotError, MissingError
from tests.sounds import RATE, tone, write_sound

HEADERS = ["wav", "ogg", "mp3"]  # that come through a pipe


def chord(rate, seconds=3.3):
    return tone(440, seconds, rate) + tone(1800, seconds, rate, volume=0.2)


def joined(blocks):
    return np.concatenate(list(blocks))


def as_a_whole(path):
    decoded = read_waveform(path)
    return resample(decoded.waveform, decoded.sample_rate, RATE)


def piped(content, monkeypatch, raw_rate=None, block_s=1.0):
    """Give bytes through standard input, slowly enough that it has to wait for them; return the sound."""
    out, into = os.pipe()
    monkeypatch.setattr(inputs, "STANDARD_INPUT", out)

    def write():
        with os.fdopen(into, "wb") as pipe:
            for i in range(0, len(content), 10_000):
                pipe.write(content[i : i + 10_000])
                pipe.flush()
                time.sleep(0.001)

    writer = Thread(target=write)
    writer.start()
    try:
        return joined(pipe_blocks(Pipe(STDIN, raw_rate), RATE, block_s))
    finally:
        while os.read(out, 1 << 16):
            pass
        os.close(out)
        writer.join()


@pytest.mark.parametrize("block_s", [0.03, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (22_050, 1), (44_100, 2), (48_000, 6)])
def test_blocks_are_the_whole_file(tmp_path, rate, channels, block_s):
    path = write_sound(tmp_path / "x.flac", np.stack([chord(rate)] * channels, axis=1), rate)
    np.testing.assert_allclose(joined(file_blocks(path, RATE, block_s)), as_a_whole(path), atol=1e-3)


@pytest.mark.parametrize("ending", HEADERS)
def test_a_pipe_is_the_file(tmp_path, monkeypatch, ending):
    path = write_sound(tmp_path / f"x.{ending}", chord(44_100), 44_100)
    heard = piped(path.read_bytes(), monkeypatch)
    np.testing.assert_allclose(heard, as_a_whole(path), atol=1e-3)


def test_a_header_written_before_the_length_was_known_promises_nothing(tmp_path, monkeypatch):
    content = bytearray(write_sound(tmp_path / "x.wav", chord(RATE)).read_bytes())
    for unknown in (0x7FFF_FFFF, 0xFFFF_FFFF):
        content[40:44] = unknown.to_bytes(4, "little")
        heard = piped(bytes(content), monkeypatch)
        assert len(heard) == len(chord(RATE))


def test_raw_samples_are_the_file(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "x.wav", chord(8_000), 8_000)
    raw = soundfile.read(path, dtype="int16")[0].astype("<i2").tobytes() + b"\0"  # half a sample too many
    np.testing.assert_allclose(piped(raw, monkeypatch, 8_000, 0.1), as_a_whole(path), atol=1e-3)


@pytest.mark.parametrize("sizes", [[48_000], [1] * 50 + [47_950], [1_600] * 30])
def test_resampling_has_no_seams(sizes):
    wave = chord(48_000, 1.0)
    blocks = ((block, 48_000) for block in np.split(wave, np.cumsum(sizes)))
    np.testing.assert_allclose(joined(resampled(blocks, RATE)), resample(wave, 48_000, RATE), atol=1e-3)


def test_a_named_pipe_is_heard_as_it_comes(tmp_path):
    path = write_sound(tmp_path / "x.wav", chord(RATE))
    os.mkfifo(tmp_path / "fifo")
    writer = Thread(target=lambda: (tmp_path / "fifo").write_bytes(path.read_bytes()))
    writer.start()
    ((name, blocks),) = long_sounds([str(tmp_path / "fifo")], RATE)
    np.testing.assert_allclose(joined(blocks), as_a_whole(path), atol=1e-6)
    writer.join()
    assert name.endswith("fifo")


def test_names_are_those_of_predict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clips/b.wav", "clips/a.wav", "c.wav"):
        write_sound(tmp_path / name, chord(RATE, 0.5))
    (tmp_path / "list.txt").write_text("c.wav\nclips\n")
    names = [name for name, _ in long_sounds(["@list.txt", "clips/*.wav"], RATE)]
    assert names == ["c.wav", "clips/a.wav", "clips/b.wav", "clips/a.wav", "clips/b.wav"]
    ((name, error),) = long_sounds(["*.mp3"], RATE)
    assert (name, type(error)) == ("*.mp3", MissingError)


def cut_off(path):
    whole = write_sound(path, chord(RATE)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.touch(), "empty file"),
        (lambda path: path.write_text("no sound"), "no readable audio"),
        (lambda path: write_sound(path, np.zeros(0)), "holds no samples"),
        (cut_off, "cut off: "),
        (lambda path: write_sound(path, np.full(RATE, np.nan), subtype="FLOAT"), "not finite"),
        (lambda path: write_sound(path, np.full(RATE, 9_000.0), subtype="FLOAT"), "scale them"),
    ],
)
def test_what_is_no_sound_is_one_clear_line(tmp_path, make, message):
    path = tmp_path / "x.wav"
    make(path)
    with pytest.raises(KwspotError, match=message) as caught:
        joined(file_blocks(path, RATE))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable audio"),
        (b"no sound", "no readable audio"),
        ("flac", "through a pipe comes WAV, OGG or MP3, not FLAC"),
        ("cut off", "cut off: 26,3.. of 52,800 samples"),
    ],
)
def test_a_pipe_without_sound_is_one_clear_line(tmp_path, monkeypatch, content, message):
    if content == "flac":
        content = write_sound(tmp_path / "x.flac", chord(RATE)).read_bytes()
    if content == "cut off":
        cut_off(tmp_path / "x.wav")
        content = (tmp_path / "x.wav").read_bytes()
    with pytest.raises(AudioError, match=message) as caught:
        piped(content, monkeypatch)
    assert str(caught.value).startswith("-: ")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Five minutes of 48 kHz stereo would be 115 MB of samples."""
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 48_000, 2) as file:
        for _ in range(10):
            file.write(np.zeros((30 * 48_000, 2), np.float32))
    code = (
        "import sys, resource; from pathlib import Path; from kwspot.audio.blocks import file_blocks\n"
        "blocks = file_blocks(Path(sys.argv[1]), 16_000); next(blocks)\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); n = sum(map(len, blocks)); print(n, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.flac"], capture_output=True, text=True, check=True)
    n, grown = map(int, done.stdout.split())
    assert n == pytest.approx(299 * RATE, abs=RATE)
    assert grown < 20_000  # kB
