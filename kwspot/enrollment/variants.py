"""One take -> many: other voices, rooms, microphones, levels, noises and places in the window.

waveform (n_samples,) -> (n, window_length) float32 at the same rate, the first of them as it was recorded

What is drawn comes from signal.channel, which also records what synthesisers say.
"""

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.signal.channel import record
from kwspot.signal.noise import SAMPLE_RATE

VOICE = 0.08  # standard deviation of the ratio by which a vocal tract is made shorter or longer, and the tempo with it


def centred(waveform: Waveform, window_length: int) -> Waveform:
    """Put a word into the middle of a window: zeros around a shorter one, the middle of a longer one."""
    missing = window_length - len(waveform)
    if missing < 0:
        return waveform[-missing // 2 :][:window_length]
    return np.pad(waveform, (missing // 2, missing - missing // 2))


def variants(waveform: Waveform, window_length: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a take as it is and `n` - 1 times recorded anew: (n, window_length)."""
    recorded = [
        record(waveform, SAMPLE_RATE, float(np.exp(rng.normal(0, VOICE))), rng, window_length) / np.float32(2**15)
        for _ in range(n - 1)
    ]
    return np.stack([centred(waveform, window_length), *recorded]).astype(np.float32)
