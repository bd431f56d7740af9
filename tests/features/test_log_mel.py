"""The front end against an independent computation, physics, and its own promises."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from kwspot.errors import ConfigError
from kwspot.experiments.registry import load_registry
from kwspot.experiments.settings import FrontEnd
from kwspot.features.log_mel import LogMel, log_mel_frames, mel_bands
from kwspot.features.reference import reference_frames
from tests.sounds import RATE, tone

DEFAULT = FrontEnd()
FRONT_ENDS = {
    "default": DEFAULT,
    "odd surplus": FrontEnd(win_ms=25.0625),  # 401 samples in 512
    "whole window": FrontEnd(win_ms=32.0, hop_ms=20.0),
    "8 kHz": FrontEnd(sample_rate=8_000, n_fft=256, win_ms=25.0, n_mels=20),
    "high bands": FrontEnd(n_fft=1024, n_mels=64, f_min=60.0, f_max=7600.0, log_offset=1e-3),
}
every_front_end = pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def log_mel(waveform, front_end=DEFAULT):
    return LogMel(front_end)(torch.as_tensor(waveform))


@every_front_end
def test_equals_an_independent_computation(front_end):
    waveform = noise(front_end.clip_length)
    ours = log_mel(waveform[None], front_end)[0]
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference_frames(waveform, front_end), atol=1e-4)


@every_front_end
def test_equals_torchaudios_mel_spectrogram(front_end):
    surplus = front_end.n_fft - front_end.win_length
    mel = MelSpectrogram(
        front_end.sample_rate,
        n_fft=front_end.n_fft,
        win_length=front_end.win_length,
        hop_length=front_end.hop_length,
        f_min=front_end.f_min,
        f_max=front_end.f_max,
        n_mels=front_end.n_mels,
        center=False,
    )
    waveform = torch.as_tensor(noise(front_end.clip_length))
    padded = torch.nn.functional.pad(waveform, (surplus // 2, surplus - surplus // 2))
    expected = (mel(padded) + front_end.log_offset).log().T
    torch.testing.assert_close(log_mel(waveform[None], front_end)[0], expected)


@pytest.mark.parametrize("band", range(DEFAULT.n_mels))
def test_a_pure_tone_lands_in_its_band(band):
    bins = mel_bands(DEFAULT)[:, band] * torch.linspace(0, RATE / 2, DEFAULT.n_fft // 2 + 1)
    centre = float(bins.sum() / mel_bands(DEFAULT)[:, band].sum())
    frames = log_mel(tone(centre)[None])[0]
    assert set(frames.argmax(dim=1).tolist()) == {band}


def test_frame_i_covers_its_own_samples_and_no_others():
    waveform, i = noise(RATE), 37
    start, stop = i * DEFAULT.hop_length, i * DEFAULT.hop_length + DEFAULT.win_length
    frame = log_mel(waveform[None])[0, i]
    outside = noise(RATE, seed=1)
    outside[start:stop] = waveform[start:stop]
    torch.testing.assert_close(log_mel(outside[None])[0, i], frame)
    for sample in (start + 1, stop - 1):  # a periodic Hann window is zero at its first sample
        changed = waveform.copy()
        changed[sample] += 100
        assert not torch.allclose(log_mel(changed[None])[0, i], frame, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(DEFAULT.win_length, 2 * RATE))
def test_number_of_frames(n_samples):
    assert log_mel(np.zeros((1, n_samples), np.float32)).shape == (1, DEFAULT.n_frames(n_samples), 40)


def test_one_second_has_98_frames_and_silence_the_value_of_the_offset():
    frames = log_mel(np.zeros((1, RATE), np.float32))
    assert frames.shape == (1, 98, 40)
    torch.testing.assert_close(frames, torch.full_like(frames, float(np.log(1e-6))))


def test_ten_times_the_amplitude_adds_two_ln_ten():
    quiet = tone(1000, volume=0.05)
    added = log_mel(10 * quiet[None]) - log_mel(quiet[None])
    band = log_mel(quiet[None])[0, 0].argmax()
    assert added[0, :, band].numpy() == pytest.approx(2 * np.log(10), abs=1e-3)


def test_a_clip_does_not_depend_on_its_batch():
    waveforms = [noise(n, seed) for seed, n in enumerate((16_000, 480, 639, 640, 15_999, 8_000))]
    frames = log_mel_frames(waveforms, DEFAULT)
    assert frames.shape == (6, 98, 40)
    for row, waveform in zip(frames, waveforms, strict=True):
        alone = log_mel(waveform[None])[0].numpy()
        np.testing.assert_allclose(row[: len(alone)], alone, atol=1e-4)
        assert (row[len(alone) :] == np.float32(np.log(1e-6))).all()


def test_the_module_has_no_parameters_and_reloads():
    module = LogMel(DEFAULT)
    assert not list(module.parameters())
    LogMel(DEFAULT).load_state_dict(module.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"win_ms": 40.0}, "n_fft 512 cannot hold the window of 640"),
        ({"clip_ms": 20.0}, "the window of 480 samples is longer than a clip of 320"),
        ({"f_max": 9000.0}, "f_max.*8000"),
        ({"f_min": 4000.0}, "f_max"),
        ({"n_mels": 128}, "n_mels: band .* holds no FFT bin"),
    ],
)
def test_settings_that_cannot_be_computed_are_refused(change, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        LogMel(FrontEnd(**change))


def test_every_front_end_of_the_registry_is_computed_and_drawn_alike():
    for front_end in {experiment.front_end for experiment in load_registry().values()}:
        for n_samples in (front_end.clip_length, front_end.win_length, front_end.win_length + front_end.hop_length - 1):
            waveform = noise(n_samples)
            drawn = reference_frames(waveform, front_end)
            assert drawn.shape == (front_end.n_frames(n_samples), front_end.n_mels)
            np.testing.assert_allclose(log_mel(waveform[None], front_end)[0].numpy(), drawn, atol=1e-4)
