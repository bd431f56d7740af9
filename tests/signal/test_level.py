"""The level of speech is that of ITU-T P.56, and a signal-to-noise ratio the one asked for."""

import numpy as np
import pytest

from kwspot.signal.level import active_level, mix, quantized, rms
from tests.sounds import RATE, tone

RNG = np.random.default_rng


def db(ratio):
    return 20 * np.log10(ratio)


def word_in_silence(seconds=0.4, before=0.3, after=0.3, volume=0.3):
    zeros = [np.zeros(round(s * RATE), np.float32) for s in (before, after)]
    return np.concatenate([zeros[0], tone(440, seconds, volume=volume), zeros[1]])


def p56_of_the_standard(waveform, rate=RATE):
    """The flow chart of ITU-T P.56, method B, as written: sample by sample, thresholds a factor of two apart."""
    decay, hangover = np.exp(-1 / (0.03 * rate)), round(0.2 * rate)
    thresholds = 2.0 ** np.arange(-15, 0)
    active, since = np.zeros(15), np.full(15, hangover)
    p = q = energy = 0.0
    for x in waveform.astype(float):
        energy += x * x
        p = decay * p + (1 - decay) * abs(x)
        q = decay * q + (1 - decay) * p
        above = q >= thresholds
        since = np.where(above, 0, since + 1)
        active += above | (since <= hangover)
    level, threshold = 10 * np.log10(energy / np.maximum(active, 1)), 20 * np.log10(thresholds)
    margins = level - threshold
    k = int(np.flatnonzero((margins <= 15.9) & (active > 0))[0])  # the lowest threshold that is near enough
    share = (margins[k - 1] - 15.9) / (margins[k - 1] - margins[k])
    return level[k - 1] + share * (level[k] - level[k - 1])


@pytest.mark.parametrize("seed", range(5))
def test_active_level_is_that_of_the_standard(seed):
    """Noise whose loudness rises and falls like a word's, over a floor; the standard allows a decibel."""
    rng = RNG(seed)
    times = np.arange(RATE) / RATE
    shape = sum(np.exp(-(((times - at) / 0.06) ** 2)) for at in rng.uniform(0.3, 0.7, 3))
    waveform = (0.2 * shape * rng.normal(size=RATE) + 1e-3 * rng.normal(size=RATE)).astype(np.float32)
    assert db(active_level(waveform, RATE)) == pytest.approx(p56_of_the_standard(waveform), abs=0.5)


def test_active_level_of_a_steady_sound_is_its_rms():
    for waveform in (tone(440), RNG(0).normal(0, 0.1, RATE).astype(np.float32)):
        assert db(active_level(waveform, RATE) / rms(waveform)) == pytest.approx(0, abs=0.2)


def test_silence_around_a_word_does_not_count():
    short, long = word_in_silence(), word_in_silence(before=1, after=2)
    assert db(active_level(long, RATE) / active_level(short, RATE)) == pytest.approx(0, abs=0.1)
    assert db(rms(long) / rms(short)) < -4
    active_s = 0.4 + 0.2 + 0.08  # the word, the hangover, and the envelope's way down
    assert db(active_level(short, RATE) / rms(tone(440, 0.4))) == pytest.approx(10 * np.log10(0.4 / active_s), abs=0.2)
    assert active_level(np.zeros(RATE, np.float32), RATE) == 0


def test_active_level_follows_the_gain():
    word = word_in_silence()
    for factor in (0.001, 0.1, 3):
        level = active_level((factor * word).astype(np.float32), RATE)
        assert level == pytest.approx(factor * active_level(word, RATE), rel=1e-3)


@pytest.mark.parametrize("snr_db", [20, 10, 0, -5])
@pytest.mark.parametrize("volume", [0.001, 0.9])
def test_the_ratio_is_the_one_asked_for(snr_db, volume):
    word, noise = word_in_silence(volume=volume), RNG(1).normal(0, 3, RATE).astype(np.float32)
    mixed = mix(word, noise, snr_db, RATE)
    assert mixed.dtype == np.float32
    added = mixed.astype(float) - word
    assert db(active_level(word, RATE) / rms(added)) == pytest.approx(snr_db, abs=0.1)
    np.testing.assert_allclose(added / rms(added), noise / rms(noise), atol=1e-3)


def test_nothing_is_added_to_or_from_silence():
    silence, noise = np.zeros(RATE, np.float32), RNG(1).normal(0, 1, RATE).astype(np.float32)
    np.testing.assert_array_equal(mix(silence, noise, 0, RATE), silence)
    np.testing.assert_array_equal(mix(tone(440), silence, 0, RATE), tone(440))


def test_quantized_clips_at_full_scale():
    assert quantized(np.array([-2.0, -1.0, 0.0, 2.0**-15, 1.0, 2.0])).tolist() == [
        -32768, -32768, 0, 1, 32767, 32767,
    ]  # fmt: skip
