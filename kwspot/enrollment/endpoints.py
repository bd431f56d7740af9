"""Where in a clip somebody speaks, and whether anybody does.

waveform (n_samples,) -> first and last sample of the word; levels of 10 ms frames decide
"""

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform

FRAME_S = 0.01
ABOVE_NOISE_DB = 10.0  # a frame of speech
BELOW_PEAK_DB = (15.0, 40.0)  # a frame of speech, whatever the noise
MARGIN_S = 0.1  # kept at either end: a fricative is weaker than that
QUIETEST = 2e-3  # peak, of full scale: below it lies nothing but the converter's own noise


def levels_db(waveform: Waveform, sample_rate: int) -> NDArray[np.float64]:
    """Return the level of every 10 ms in dB of full scale: (n_frames,), the last one perhaps shorter."""
    n = round(FRAME_S * sample_rate)
    starts = np.arange(0, len(waveform), n)
    power = np.add.reduceat(np.square(waveform, dtype=np.float64), starts) / n
    smooth = np.convolve(np.pad(power, 1, "edge"), np.ones(3) / 3, "valid")
    return np.asarray(10 * np.log10(np.maximum(smooth, 1e-12)))


def endpoints(waveform: Waveform, sample_rate: int) -> tuple[int, int]:
    """Return where the sound that stands out begins and ends, in samples, with a tenth of a second either side.

    It is 10 dB above the quiet tenth of the clip, but at least 40 dB and never more than 15 dB below the loudest.
    """
    levels = levels_db(waveform, sample_rate)
    least, most = levels.max() - BELOW_PEAK_DB[1], levels.max() - BELOW_PEAK_DB[0]
    spoken = np.flatnonzero(levels >= np.clip(np.quantile(levels, 0.1) + ABOVE_NOISE_DB, least, most))
    n, margin = round(FRAME_S * sample_rate), round(MARGIN_S * sample_rate)
    return max(0, int(spoken[0]) * n - margin), min(len(waveform), (int(spoken[-1]) + 1) * n + margin)


def is_silent(waveform: Waveform) -> bool:
    """Tell whether there is no sound at all."""
    return float(np.abs(waveform).max(initial=0)) < QUIETEST
