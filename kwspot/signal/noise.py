"""Noise: made, cut out of a recording, or the babble of several talkers.

waveform (n_samples,); every draw comes from the random stream given
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.signal.level import active_level

Array = NDArray[np.float64]

SAMPLE_RATE = 16_000  # Hz: of noise that is made
SLOPES = (-2.0, 0.3)  # of noise power over frequency: brown to a little brighter than white


def coloured_noise(
    rng: np.random.Generator,
    n_samples: int,
    slope: float = 0.0,
    gain: Array | None = None,
    hum_hz: int = 50,
    hum_db: float = -np.inf,
) -> Array:
    """Make noise with an rms of 1: slope 0 white, -1 pink, -2 brown; `gain` over the frequencies of a transform.

    Mains hum adds lines at the multiples of `hum_hz`, together `hum_db` above the noise; exact in whole seconds.
    """
    hz = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE)
    spectrum = rng.normal(size=2 * len(hz)).view(complex) * np.maximum(hz, 40) ** (slope / 2)
    if gain is not None:
        spectrum *= np.interp(hz, np.linspace(0, SAMPLE_RATE / 2, len(gain)), gain)
    spectrum[0] = 0
    spectrum /= np.sqrt(np.sum(np.abs(spectrum) ** 2))
    harmonics = np.array([1, 2, 3, 4, 5, 7, 9, 12])
    lines = np.exp(2j * np.pi * rng.uniform(size=len(harmonics))) / harmonics
    lines *= 10 ** (hum_db / 20) / np.sqrt(np.sum(np.abs(lines) ** 2))
    spectrum[harmonics * hum_hz * n_samples // SAMPLE_RATE] += lines
    wave = np.fft.irfft(spectrum, n_samples)
    return np.asarray(wave / wave.std())


def clicks(rng: np.random.Generator, n_samples: int) -> Array:
    """Make four clicks a second, each a short ring, over faint noise."""
    wave, length = np.zeros(n_samples), 800
    steps = np.arange(length)
    for start in rng.integers(0, n_samples - length, 4 * n_samples // SAMPLE_RATE):
        ring = rng.lognormal(0, 0.7) * np.exp(-steps / rng.uniform(20, 150)) * np.sin(steps * rng.uniform(0.2, 2.0))
        wave[start : start + length] += ring * rng.normal(1, 0.3, length)
    return np.asarray(wave / wave.std() + 0.05 * coloured_noise(rng, n_samples, -1))


def noise_crop(rng: np.random.Generator, recordings: Sequence[Waveform], n_samples: int) -> Waveform:
    """Cut a piece, never silent, out of one of the recordings; coloured noise where there are none.

    A recording shorter than the piece is repeated. No recording may be all zeros.
    """
    if not recordings:
        return coloured_noise(rng, n_samples, rng.uniform(*SLOPES)).astype(np.float32)
    recording = recordings[int(rng.integers(len(recordings)))]
    while True:
        start = int(rng.integers(max(1, len(recording) - n_samples + 1)))
        piece = np.resize(recording[start : start + n_samples], n_samples)
        if piece.any():
            return piece


def babble(rng: np.random.Generator, talks: Sequence[Waveform], n_samples: int, sample_rate: int) -> Waveform:
    """Mix several talkers, each at the same active level and from a random offset.

    A talk shorter than the babble is repeated.
    """
    total = np.zeros(n_samples)
    for talk in talks:
        level = active_level(talk, sample_rate) or 1.0
        total += np.roll(np.resize(talk, n_samples), int(rng.integers(n_samples))) / level
    return total.astype(np.float32)
