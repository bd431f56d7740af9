"""Recording: words are cut out of what a microphone gives, clicks and silence are none, clipped takes are refused."""

import numpy as np
import pytest
import soundfile

from kwspot.enrollment.endpoints import endpoints
from kwspot.enrollment.recording import refused, takes_in, write_take
from tests.sounds import RATE
from tests.words import word

NAMES = ("rise", "fall", "high")


def said(gap_s=1.2, noise=1e-3, volume=0.3):
    """Words between pauses, in noise."""
    pause = np.zeros(round(gap_s * RATE), np.float32)
    sound = np.concatenate([part for name in NAMES for part in (pause, word(name, volume=volume))] + [pause])
    return sound + np.random.default_rng(0).normal(0, noise, len(sound)).astype(np.float32)


def in_blocks(sound, n):
    return (sound[i : i + n] for i in range(0, len(sound), n))


@pytest.mark.parametrize("n", [160, 1600, 7001])
@pytest.mark.parametrize("noise", [0, 1e-3, 5e-3])
def test_every_word_is_a_take_whole(n, noise):
    takes = list(takes_in(in_blocks(said(noise=noise), n), RATE))
    assert len(takes) == len(NAMES)
    for take, name in zip(takes, NAMES, strict=True):
        assert refused(take, RATE) is None
        energy = float(np.sum(take**2))
        assert energy == pytest.approx(float(np.sum(word(name) ** 2)), rel=0.1)


def test_a_take_is_ready_before_the_sound_goes_on():
    """It comes within a second of the word's end, from a sound that never ends."""
    n_read = 0

    def blocks():
        nonlocal n_read
        for block in in_blocks(np.concatenate([said(), np.zeros(60 * RATE, np.float32)]), 1600):
            n_read += len(block)
            yield block

    next(takes_in(blocks(), RATE))
    assert n_read <= RATE * 1.2 + len(word("rise")) + RATE


def test_clicks_hum_and_silence_are_no_takes():
    clicks = np.zeros(5 * RATE, np.float32)
    clicks[:: 2 * RATE] = 0.9
    hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(20 * RATE) / RATE).astype(np.float32)
    for sound in (clicks, hum[4 * RATE :], np.zeros(5 * RATE, np.float32)):
        takes = list(takes_in(in_blocks(sound, 1600), RATE))
        assert all(refused(take, RATE) for take in takes)


def test_clipped_and_endless_takes_are_refused():
    assert "clipped" in refused((3 * word("rise", volume=0.9)).clip(-1, 1), RATE)
    takes = list(
        takes_in(in_blocks(np.concatenate([np.zeros(RATE, np.float32), np.tile(word("rise"), 9)]), 1600), RATE)
    )
    assert "longer than 4 s" in refused(takes[0], RATE)


def test_a_take_that_touches_an_edge_is_refused():
    (take,) = takes_in(in_blocks(said()[: round(2.4 * RATE)], 1600), RATE)
    assert refused(take, RATE) is None
    middle = len(take) // 2
    start, end = endpoints(take, RATE)
    inside = round(0.15 * RATE)  # beside the margin of endpoints
    assert "no pause before the word" in refused(take[start + inside :], RATE)
    assert "no pause after the word" in refused(take[: end - inside], RATE)
    other = np.tile(0.5 * word("fall"), 2)
    assert "no pause before" in refused(np.concatenate([other[len(other) // 4 :], take]), RATE)
    assert "no pause after" in refused(np.concatenate([take, other[: -len(other) // 4]]), RATE)
    assert start < middle < end


@pytest.mark.parametrize("snr_db", [10, 15, 20, 30])
@pytest.mark.parametrize("name", NAMES)
def test_noise_at_the_edges_is_no_word(name, snr_db):
    spoken = np.concatenate([np.zeros(RATE // 2, np.float32), word(name), np.zeros(RATE // 2, np.float32)])
    level = np.sqrt(np.mean(np.square(word(name)))) * 10 ** (-snr_db / 20)
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, level, len(spoken)).astype(np.float32)
        assert refused(spoken + noise, RATE) is None


@pytest.mark.parametrize("gap_s", [0, 0.03, 0.3])
def test_a_word_at_the_end_of_the_sound_is_kept_or_named(gap_s):
    pause = np.zeros(RATE, np.float32)
    sound = np.concatenate([pause, word("rise"), np.zeros(round(gap_s * RATE), np.float32)])
    (take,) = takes_in(in_blocks(sound, 1600), RATE)
    assert len(take) >= len(word("rise"))
    (cut,) = takes_in(in_blocks(sound[: len(pause) + len(word("rise")) // 2], 1600), RATE)
    assert "no pause after the word" in refused(cut, RATE)


def test_level_is_that_of_the_sound():
    levels = []
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    list(takes_in([tone], RATE, lambda level_db, seconds, _: levels.append((level_db, seconds))))
    assert np.median([level for level, _ in levels]) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.2)
    assert sum(seconds for _, seconds in levels) == pytest.approx(1, abs=0.05)


def test_takes_are_numbered_on(tmp_path):
    first, second = (write_take(word("rise", seed), RATE, tmp_path / "rise") for seed in (1, 2))
    assert [first.name, second.name] == ["take_1.wav", "take_2.wav"]
    first.unlink()
    assert write_take(word("rise", 3), RATE, tmp_path / "rise").name == "take_3.wav"
    info = soundfile.info(second)
    assert (info.samplerate, info.subtype, info.channels) == (RATE, "PCM_16", 1)
