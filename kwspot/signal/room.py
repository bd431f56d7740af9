"""Rooms as impulse responses: the direct sound, then a tail of noise that dies away.

response (n_samples,) float64, the direct sound first with amplitude 1
"""

import numpy as np
from numpy.typing import NDArray

from kwspot.signal.noise import SAMPLE_RATE

Array = NDArray[np.float64]


def reverberation(rng: np.random.Generator, rt60_s: float, n_samples: int, sample_rate: int = SAMPLE_RATE) -> Array:
    """Make what comes back in a room: noise that falls by 60 dB within `rt60_s`, nothing within the first 2 ms."""
    fall = 6.9 / (sample_rate * rt60_s)
    tail = rng.normal(size=n_samples) * np.exp(-fall * np.arange(n_samples))
    tail[: sample_rate // 500] = 0
    return tail


def impulse_response(tail: Array, drr_db: float) -> Array:
    """Put the direct sound, of amplitude 1, before a tail; its energy is `drr_db` above that of the tail."""
    response = tail * (10 ** (-drr_db / 20) / np.sqrt(np.sum(tail**2)))
    response[0] = 1
    return response
