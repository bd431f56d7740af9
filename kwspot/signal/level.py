"""How loud: the level of a waveform, and the signal-to-noise ratio (SNR) as everything in kwspot means it.

    snr_db = 20 log10(active speech level / rms of the noise)      active speech level: ITU-T P.56, method B

The level of speech is its rms over the time with speech in it, so the silence around a word does not count.
"""

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform

MARGIN_DB = 15.9  # P.56: of the active level above the threshold of activity
SMOOTHING_S = 0.03  # P.56: time constant of the envelope
HANGOVER_S = 0.2  # P.56: a pause up to so long is part of the speech
STEP_S = 0.001  # the envelope is followed so finely


def rms(waveform: NDArray[np.floating]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def active_level(waveform: NDArray[np.floating], sample_rate: int) -> float:
    """Return the rms of a clip over the time with speech in it: the active speech level of ITU-T P.56, method B.

    The level is the energy of the clip over its active time. Active is where the envelope (|x| smoothed twice) lies
    above a threshold, and 0.2 s after; the threshold is the one 15.9 dB below the level that follows from it. So the
    silence around a word counts for nothing. Here the threshold is sought among all values of the envelope, a
    millisecond apart, where the standard takes powers of two and interpolates.
    """
    step = max(1, round(STEP_S * sample_rate))
    loudness = np.abs(waveform[: len(waveform) // step * step], dtype=np.float64).reshape(-1, step).mean(1)
    if not loudness.any():
        return 0.0
    decay = np.exp(-step / (SMOOTHING_S * sample_rate))
    steps = np.arange(min(len(loudness), round(10 * SMOOTHING_S / STEP_S)))
    envelope = np.convolve(loudness, (1 - decay) ** 2 * (steps + 1) * decay**steps)[: len(loudness)]
    hangover = round(HANGOVER_S / STEP_S)
    reached = np.lib.stride_tricks.sliding_window_view(np.pad(envelope, (hangover, 0)), hangover + 1).max(1)
    thresholds, n_steps = np.unique(-reached[reached > 0], return_counts=True)  # the highest first
    levels = np.sqrt(np.sum(np.square(waveform, dtype=np.float64)) / (step * np.cumsum(n_steps)))
    fits = np.flatnonzero(levels <= -thresholds * 10 ** (MARGIN_DB / 20))
    return float(levels[fits[-1]]) if len(fits) else rms(waveform)


def mix(waveform: Waveform, noise: Waveform, snr_db: float, sample_rate: int) -> Waveform:
    """Add noise (n_samples,) so that the active speech level (P.56) is `snr_db` above the rms of the noise.

    So does `addnoise_asl` of Loizou's Speech Enhancement (2007). Nothing is added to a clip without a sound.
    """
    factor = active_level(waveform, sample_rate) * 10 ** (-snr_db / 20) / max(rms(noise), 1e-9)
    return (waveform + factor * noise).astype(np.float32)


def quantized(waveform: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round to 16 bits; what is beyond full scale is clipped."""
    return np.clip(np.round(waveform * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
