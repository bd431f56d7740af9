"""What is done to a clip is what it says: ratios in dB, bands, decay times, lengths, full scale."""

import numpy as np
import pytest

from kwspot.signal.degrade import gain, play, reverberate, telephone
from kwspot.signal.level import rms
from kwspot.signal.room import impulse_response, reverberation
from tests.sounds import RATE, tone

RNG = np.random.default_rng


def db(ratio):
    return 20 * np.log10(ratio)


def test_gain_clips_at_full_scale_and_rounds_to_16_bits():
    loud = gain(tone(440, volume=0.3), 20)
    assert loud.max() == 1 - 2**-15
    assert loud.min() == -1
    assert np.mean(np.abs(loud) > 0.99) > 0.5
    quiet = gain(tone(440, volume=0.3), -20)
    assert db(rms(quiet) / rms(tone(440, volume=0.3))) == pytest.approx(-20, abs=0.01)
    np.testing.assert_array_equal(quiet * 2**15, np.round(quiet * 2**15))


@pytest.mark.parametrize(
    ("hz", "passes"), [(50, False), (150, False), (440, True), (1000, True), (3300, True), (3700, False), (6000, False)]
)
@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_a_telephone_passes_300_to_3400_hz(hz, passes, rate):
    sent = tone(hz, rate=rate)
    heard = telephone(sent, rate)
    assert heard.shape == sent.shape
    assert heard.dtype == np.float32
    middle = slice(rate // 10, -rate // 10)
    if passes:
        assert db(rms((heard - sent)[middle]) / rms(sent)) < -30  # the noise of eight bits
    else:
        assert db(rms(heard[middle]) / rms(sent)) < -40


@pytest.mark.parametrize("volume", [0.01, 0.1, 0.9])
def test_eight_bits_of_a_telephone_are_finer_where_it_is_quiet(volume):
    sent = tone(1000, volume=volume)
    middle = slice(1600, -1600)
    assert -50 < db(rms((telephone(sent, RATE) - sent)[middle]) / rms(sent)) < -30


def test_a_room_keeps_the_direct_sound_and_rings_on():
    response = impulse_response(reverberation(RNG(2), 0.5, 8000), 0)
    click = np.zeros(RATE, np.float32)
    click[100] = 0.5
    heard = reverberate(click, response)
    assert heard.shape == click.shape
    np.testing.assert_allclose(heard[100:8100], 0.5 * response, atol=1e-6)
    np.testing.assert_allclose(heard[:100], 0, atol=1e-6)


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_a_tape_changes_length_and_pitch_together(speed):
    played = play(tone(1000), RATE, speed)
    assert len(played) == pytest.approx(RATE / speed, abs=1)
    assert np.abs(np.fft.rfft(played)).argmax() * RATE / len(played) == pytest.approx(1000 * speed, abs=2)
