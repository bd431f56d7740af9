"""Noise has the spectrum, the length and the level asked for; a crop is never silent; talkers are equally loud."""

import numpy as np
import pytest

from kwspot.signal.level import active_level
from kwspot.signal.noise import SAMPLE_RATE, babble, coloured_noise, noise_crop
from tests.sounds import RATE, tone


def random(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("slope", [0, -1, -2])
def test_noise_falls_by_its_slope(slope):
    power = np.abs(np.fft.rfft(coloured_noise(random(), 4 * SAMPLE_RATE, slope))) ** 2
    low, high = (power[4 * hz : 8 * hz].mean() for hz in (200, 3_200))  # an octave each, four apart
    assert 10 * np.log10(high / low) == pytest.approx(slope * 4 * 3.01, abs=1.5)


def test_hum_has_lines_at_the_mains_frequency():
    wave = coloured_noise(random(), 2 * SAMPLE_RATE, hum_hz=60, hum_db=20)
    assert np.abs(np.fft.rfft(wave)).argmax() * SAMPLE_RATE / len(wave) == 60
    assert wave.std() == pytest.approx(1)


def test_a_crop_is_a_piece_of_a_recording_and_never_silent():
    recording = np.zeros(10 * RATE, np.float32)
    recording[7 * RATE :] = np.arange(1, 3 * RATE + 1) / (3 * RATE)
    for seed in range(20):
        piece = noise_crop(random(seed), [recording], RATE)
        assert piece.any()
        steps = np.diff(piece[piece > 0])
        np.testing.assert_allclose(steps, 1 / (3 * RATE), atol=1e-6)


def test_a_short_recording_is_repeated_and_none_is_coloured_noise():
    short = tone(440, 0.1)
    piece = noise_crop(random(), [short], RATE)
    assert np.array_equal(piece[: len(short)], piece[len(short) : 2 * len(short)])
    made = noise_crop(random(), [], RATE)
    assert made.shape == (RATE,)
    assert made.std() == pytest.approx(1, rel=1e-3)


def test_talkers_are_equally_loud_and_talk_all_the_time():
    quiet, loud = tone(440, 0.5, volume=0.01), tone(1_000, 0.5, volume=0.9)
    total = babble(random(), [quiet, loud], 2 * RATE, RATE)
    spectrum = np.abs(np.fft.rfft(total)) ** 2
    each = [spectrum[2 * hz - 8 : 2 * hz + 9].sum() for hz in (440, 1_000)]
    assert 10 * np.log10(each[1] / each[0]) == pytest.approx(0, abs=0.5)
    windows = total.reshape(-1, RATE // 10)
    assert np.square(windows).mean(1).min() > 0.5 * np.square(total).mean()
    assert babble(random(), [np.zeros(RATE, np.float32)], RATE, RATE).any() == np.False_
    assert active_level(loud, RATE) > active_level(quiet, RATE)
