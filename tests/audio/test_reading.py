"""What files become waveforms, what is done to them, and what is refused with which reason."""

from io import BytesIO
import os
from pathlib import Path
import struct
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import soundfile

from kwspot.audio import reading
from kwspot.audio.reading import (
    AudioError,
    duration_s,
    fit_length,
    loudest,
    read_clip,
    read_waveform,
    resample,
    write_wav,
)
from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments.settings import FrontEnd
from tests.sounds import RATE, tone, write_sound

HUM = tone(440)
CLIP = FrontEnd()


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("pcm16.wav", {"subtype": "PCM_16"}, 1e-4),
        ("pcm8.wav", {"subtype": "PCM_U8"}, 1e-2),
        ("pcm24.wav", {"subtype": "PCM_24"}, 1e-6),
        ("float.wav", {"subtype": "FLOAT"}, 0),
        ("double.wav", {"subtype": "DOUBLE"}, 1e-7),
        ("ulaw.wav", {"subtype": "ULAW"}, 2e-2),
        ("LOUD.WAV", {}, 1e-4),
        ("twice.wav.wav", {}, 1e-4),
        ("clip.flac", {}, 1e-4),
        ("clip.aiff", {}, 1e-4),
        ("clip.ogg", {}, 5e-2),
        ("clip.mp3", {}, 5e-2),
        ("flac-within.wav", {"format": "FLAC"}, 1e-4),
    ],
)
def test_every_format_gives_the_same_waveform(tmp_path, name, kind, error):
    decoded = read_waveform(write_sound(tmp_path / name, HUM, **kind))
    assert decoded.waveform.dtype == np.float32
    assert decoded.waveform.shape == HUM.shape
    assert np.abs(decoded.waveform - HUM)[800:-800].max() <= error
    assert (decoded.sample_rate, decoded.conversions) == (RATE, ())


@settings(max_examples=200, deadline=None)
@given(
    damage=st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=2),
    cut=st.integers(40, 2_044),
    longest_s=st.sampled_from([None, 0.05]),
    start_s=st.sampled_from([None, 0.02]),
    kind=st.sampled_from(["WAV", "WAVEX"]),
)
def test_plain_files_are_read_as_libsndfile_reads_them(tmp_path_factory, damage, cut, longest_s, start_s, kind):
    """Also damaged ones: what libsndfile refuses is read or refused, and what it reads is read alike."""
    content = BytesIO()
    soundfile.write(content, HUM[:1000], RATE, "PCM_16", format=kind)
    path = tmp_path_factory.mktemp("plain") / "a.wav"
    damaged = bytearray(content.getvalue())
    for position, value in damage.items():
        damaged[position] = value
    path.write_bytes(damaged[:cut])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "_plain_wav", lambda *_: None)
        try:
            expected = read_waveform(path, longest_s, start_s)
        except AudioError:
            expected = None
    try:
        found = read_waveform(path, longest_s, start_s)
    except AudioError:
        assert expected is None
        return
    if expected is not None:
        assert (found.sample_rate, found.conversions) == (expected.sample_rate, expected.conversions)
        np.testing.assert_array_equal(found.waveform, expected.waveform)


@pytest.mark.parametrize("n_channels", [2, 6])
def test_channels_are_averaged_and_that_is_said(tmp_path, n_channels):
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, n_channels)).astype(np.float32)
    decoded = read_waveform(write_sound(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(decoded.waveform, channels.mean(axis=1), atol=1e-6)
    assert decoded.conversions == (f"downmixed from {n_channels} channels",)


def test_the_rate_is_the_files_own(tmp_path):
    decoded = read_waveform(write_sound(tmp_path / "a.wav", tone(440, rate=44_100), 44_100))
    assert (decoded.sample_rate, len(decoded.waveform)) == (44_100, 44_100)
    assert duration_s(tmp_path / "a.wav") == 1.0


def test_slightly_too_loud_floats_are_clipped_and_that_is_said(tmp_path):
    decoded = read_waveform(write_sound(tmp_path / "a.wav", tone(440, volume=1.5), subtype="FLOAT"))
    assert np.abs(decoded.waveform).max() == 1
    assert decoded.conversions == ("clipped at full scale",)


def test_only_the_wanted_part_of_a_long_file_is_read(tmp_path):
    ramp = (np.arange(10 * RATE) / (10 * RATE)).astype(np.float32)  # the value tells the time
    path = write_sound(tmp_path / "long.wav", ramp, subtype="FLOAT")
    centre = read_waveform(path, longest_s=2.0).waveform
    np.testing.assert_array_equal(centre, ramp[4 * RATE : 6 * RATE])
    np.testing.assert_array_equal(read_waveform(path, 0.5, start_s=1.0).waveform, ramp[RATE : RATE * 3 // 2])
    np.testing.assert_array_equal(read_waveform(path, 2.0, start_s=9.5).waveform, ramp[8 * RATE :])
    assert len(read_waveform(path, longest_s=99.0).waveform) == len(ramp)


def test_a_streamed_header_promises_no_length(tmp_path):
    path = write_sound(tmp_path / "piped.wav", HUM)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)  # what ffmpeg writes into a pipe
    path.write_bytes(content)
    assert len(read_waveform(path).waveform) == len(HUM)


def _wav(waveform, **kind):
    def write(path):
        write_sound(path, waveform, **kind)

    return write


def _cut(n_bytes, suffix="wav"):
    def write(path):
        whole = write_sound(path.with_name(f"whole.{suffix}"), HUM)
        path.write_bytes(whole.read_bytes()[:n_bytes])

    return write


def _rate(rate):
    def write(path):
        content = bytearray(write_sound(path, HUM).read_bytes())
        content[24:28] = struct.pack("<I", rate)
        path.write_bytes(content)

    return write


BAD = {
    "empty file": lambda path: path.write_bytes(b""),
    "no readable audio": lambda path: path.write_text("not a sound " * 50),
    r"no readable audio \(.+\)": lambda path: path.write_bytes(np.random.default_rng(1).bytes(20_000)),
    "no readable audio .*data": _cut(30),
    "no readable audio .*sync": _cut(5000, "flac"),
    "cut off: 0 of 32,000 bytes": _cut(44),
    "cut off: 15,956 of 32,000 bytes": _cut(16_000),
    "holds no samples": _wav(HUM[:0]),
    "not finite": _wav(np.where(np.arange(16_000) == 5, np.nan, HUM), subtype="FLOAT"),
    "not finite numbers": _wav(np.where(np.arange(16_000) == 5, np.inf, HUM), subtype="FLOAT"),
    r"up to .*e\+04; scale": _wav(HUM * 100_000, subtype="FLOAT"),
    "sample rate of 7 Hz": _rate(7),
    "sample rate of 2000000000 Hz": _rate(2_000_000_000),
    "cannot be read": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_file_is_named_with_its_reason(tmp_path, reason):
    path = tmp_path / "bad.wav"
    BAD[reason](path)
    with pytest.raises(AudioError, match=reason) as caught:
        read_waveform(path)
    assert isinstance(caught.value, IntegrityError)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in caught.value.reason


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_waveform(tmp_path / "none.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_forbidden_file_is_refused(tmp_path):
    path = write_sound(tmp_path / "a.wav", HUM)
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        read_waveform(path)


@pytest.mark.parametrize(
    ("n_samples", "expected", "said"),
    [
        (100, (0, 100, 480), ("padded to one window",)),
        (480, (0, 480, 480), ()),
        (15_000, (0, 15_000, 15_000), ()),
        (16_000, (0, 16_000, 16_000), ()),
        (16_003, (1, 16_001, 16_000), ("cropped to the loudest part",)),
        (20_000, (2_000, 18_000, 16_000), ("cropped to the loudest part",)),
    ],
)
def test_fit_length(n_samples, expected, said):
    waveform = np.ones(n_samples, np.float32)  # as loud everywhere: the middle
    waveform[::2] = -1
    start, stop, length = expected
    fitted, conversions = fit_length(waveform, 16_000, 480)
    np.testing.assert_array_equal(fitted[: stop - start], waveform[start:stop])
    assert not fitted[stop - start :].any()
    assert (len(fitted), conversions) == (length, said)


def test_reading_files_and_caches_needs_no_torch():
    code = "import sys, kwspot.audio.reading, kwspot.features.extract; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_010, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone_and_its_length(rate):
    resampled = resample(tone(1000, rate=rate), rate, RATE)
    assert len(resampled) == pytest.approx(RATE, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(resampled * np.hanning(len(resampled))))
    assert spectrum.argmax() * RATE / len(resampled) == pytest.approx(1000, abs=2)
    assert np.abs(resampled[1000:-1000]).max() == pytest.approx(0.3, rel=0.02)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    high = resample(tone(11_000, rate=44_100), 44_100, RATE)
    assert np.abs(high[1000:-1000]).max() < 0.01 * 0.3


def test_an_odd_rate_needs_no_huge_filter():
    resampled = resample(tone(1000, rate=44_101), 44_101, RATE)  # the exact filter would hold 7e8 numbers
    assert len(resampled) == pytest.approx(RATE, abs=16)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_the_systems_own_error():
    with pytest.raises(OSError, match="No space left"):
        write_wav(Path("/dev/full"), HUM, RATE)


def test_equal_rates_change_nothing():
    waveform = tone(440)
    assert resample(waveform, RATE, RATE) is waveform


@pytest.mark.parametrize(
    ("seconds", "rate", "n_channels", "n_samples", "said"),
    [
        (1.0, 16_000, 1, 16_000, []),
        (0.5, 16_000, 1, 8_000, []),
        (0.01, 16_000, 1, 480, ["padded to one window"]),
        (3.0, 16_000, 1, 16_000, ["cropped to the loudest part"]),
        (1.0, 44_100, 2, 16_000, ["downmixed from 2 channels", "resampled from 44100 Hz"]),
        (9.0, 8_000, 1, 16_000, ["resampled from 8000 Hz", "cropped to the loudest part"]),
    ],
)
def test_read_clip_says_what_it_did(tmp_path, seconds, rate, n_channels, n_samples, said):
    channels = np.repeat(tone(440, seconds, rate)[:, None], n_channels, axis=1)
    decoded = read_clip(write_sound(tmp_path / "a.wav", channels, rate), CLIP)
    assert (len(decoded.waveform), decoded.sample_rate, list(decoded.conversions)) == (n_samples, RATE, said)


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_a_long_clip_keeps_its_loudest_part(tmp_path, rate):
    waveform = np.concatenate([tone(500, 0.5, rate, 0.01), tone(1500, 1, rate), tone(3000, 1.5, rate, 0.01)])
    decoded = read_clip(write_sound(tmp_path / "a.wav", waveform, rate), CLIP)
    np.testing.assert_allclose(decoded.waveform[200:-200], tone(1500)[200:-200], atol=2e-3)


@pytest.mark.parametrize("start", [0, 9_000, 40_000])
def test_a_short_word_lies_in_the_middle_where_it_can(start):
    waveform = np.random.default_rng(0).normal(0, 0.0005, 3 * RATE).astype(np.float32)
    waveform[start : start + 6_000] += tone(440)[:6_000]
    middle = (max(0, start - 10_000) + min(start, 2 * RATE)) // 2  # of the places that hold all of it
    assert loudest(waveform, RATE) == pytest.approx(middle, abs=200)


def test_the_loudest_part_of_a_second_is_all_of_it():
    assert loudest(HUM[:100], RATE) == loudest(HUM, len(HUM)) == 0
    assert loudest(np.zeros(3 * RATE, np.float32), RATE) == RATE
