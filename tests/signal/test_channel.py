import numpy as np
import pytest

from kwspot.signal import channel
from kwspot.signal.channel import CLIP_LENGTH, N_FFT, SAMPLE_RATE, Channel


def random(seed=0):
    return np.random.default_rng(seed)


def tone(hz, seconds, sample_rate):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * sample_rate)) / sample_rate)


def flat_channel():
    n_bins = N_FFT // 2 + 1
    return Channel(np.ones(n_bins), np.ones(n_bins, complex), 0.0, 60.0, 0.0, -np.inf, 50)


def loudest_hz(waveform):
    return np.abs(np.fft.rfft(waveform)).argmax() * SAMPLE_RATE / len(waveform)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 24_000])
@pytest.mark.parametrize("vtlp", [0.8, 1.0, 1.17])
def test_a_shorter_tract_raises_every_frequency_and_shortens_the_word(sample_rate, vtlp):
    sound, length = channel.transmit(tone(500, 0.4, sample_rate), sample_rate, vtlp, flat_channel())
    assert length == pytest.approx(0.4 * SAMPLE_RATE / vtlp, rel=0.012)
    assert loudest_hz(sound[:length]) == pytest.approx(500 * vtlp, rel=0.02)
    assert np.abs(sound[length + 200 :]).max() < 0.01 * np.abs(sound).max() == pytest.approx(0.01)


def test_resampling_keeps_a_16_khz_waveform_as_it_is():
    waveform = random().normal(size=8_000)
    sound, length = channel.transmit(waveform, SAMPLE_RATE, 1.0, flat_channel())
    np.testing.assert_allclose(sound[:length], waveform / np.abs(waveform).max(), atol=1e-12)


def test_trim_keeps_the_word_and_cuts_the_silence():
    word = tone(300, 0.3, SAMPLE_RATE)
    padded = np.concatenate([np.zeros(3_200), word, np.full(4_800, 1e-5)])
    np.testing.assert_array_equal(channel.trim(padded, SAMPLE_RATE), word)
    assert len(channel.trim(np.zeros(100), SAMPLE_RATE)) == len(channel.trim(np.zeros(0), SAMPLE_RATE)) == 0


@pytest.mark.parametrize("seconds", [0.05, 0.4, 2.0])
def test_a_clip_is_a_second_that_holds_the_word_above_the_noise(seconds):
    for seed in range(20):
        clip = channel.record(tone(700, seconds, 22_050), 22_050, 1.0, random(seed))
        assert clip.dtype == np.int16
        assert len(clip) == CLIP_LENGTH
        power = np.convolve(clip.astype(float) ** 2, np.ones(480), "valid")
        assert seconds > 1 or power.max() > 10 * power.min()


@pytest.mark.parametrize("clip_length", [20_000, 44_000])
def test_a_longer_clip_holds_a_longer_phrase(clip_length):
    phrase = tone(700, clip_length / SAMPLE_RATE - 0.3, 24_000)
    for seed in range(10):
        clip = channel.record(phrase, 24_000, 1.0, random(seed), clip_length)
        assert len(clip) == clip_length
        power = np.add.reduceat(clip.astype(float) ** 2, np.arange(0, clip_length, 160))
        assert (power > 0.05 * power.max()).sum() * 160 > 0.85 * len(phrase) * SAMPLE_RATE / 24_000
    with pytest.raises(ValueError, match="in steps of 4,000"):
        channel.record(phrase, 24_000, 1.0, random(), 17_000)


def test_the_stream_decides_the_clip():
    word = tone(700, 0.4, 22_050)
    one, same, other = (channel.record(word, 22_050, 1.0, random(seed)) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
