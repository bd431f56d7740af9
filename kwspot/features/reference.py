"""The front end from its definition, in NumPy: what the page draws without torch, and what `log_mel` is tested against.

waveform (n_samples,) -> features (n_frames, n_mels) float64, natural log of (mel power + log_offset)
"""

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.experiments.settings import FrontEnd


def reference_frames(waveform: Waveform, front_end: FrontEnd) -> NDArray[np.float64]:
    """Compute the frames (n_frames, n_mels) of a waveform of at least one window."""
    win, hop = front_end.win_length, front_end.hop_length
    windows = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), win)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win) / win)  # periodic
    power = np.abs(np.fft.rfft(windows * hann, front_end.n_fft)) ** 2
    result: NDArray[np.float64] = np.log(power @ _mel_bands(front_end) + front_end.log_offset)
    return result


def _mel_bands(front_end: FrontEnd) -> NDArray[np.float64]:
    """Return the HTK mel filterbank (n_fft // 2 + 1, n_mels): triangles of height one, even in mels."""
    first, last = 2595 * np.log10(1 + np.array([front_end.f_min, front_end.f_max]) / 700)
    edges = 700 * (10 ** (np.linspace(first, last, front_end.n_mels + 2) / 2595) - 1)  # Hz
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.fft.rfftfreq(front_end.n_fft, 1 / front_end.sample_rate)[:, None]
    bands: NDArray[np.float64] = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    return bands
