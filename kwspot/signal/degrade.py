"""What a clip meets on its way to a spotter: noise, gain, a telephone, a room, another speed.

    waveform (n_samples,) float32 in [-1, 1] at `sample_rate` Hz -> waveform; all but `play` keep its length

Nothing here is random: noises and rooms are arguments. Where a sum or an echo goes beyond full scale it is left so,
because clipping is a change of its own; only `gain` clips.
"""

import numpy as np
from numpy.typing import NDArray
import soxr

from kwspot.audio.reading import Waveform, resample
from kwspot.signal.level import quantized

TELEPHONE_RATE = 8_000  # Hz
PASSED_HZ = (300.0, 3_400.0)  # the band of a telephone, ITU-T G.712
EDGE_HZ = 100.0  # over which the band begins and ends
MU = 255  # G.711: quiet samples get finer steps, 8 bits a sample


def gain(waveform: Waveform, gain_db: float) -> Waveform:
    """Make a clip louder or quieter as a 16-bit file holds it: rounded, and clipped at full scale."""
    return (quantized(waveform.astype(np.float64) * 10 ** (gain_db / 20)) / np.float32(2**15)).astype(np.float32)


def telephone(waveform: Waveform, sample_rate: int) -> Waveform:
    """Send a clip through a telephone: 8 kHz, 300 to 3400 Hz, 8 bits a sample by the µ-law; then back to its rate."""
    narrow = resample(waveform, sample_rate, TELEPHONE_RATE)
    hz = np.fft.rfftfreq(len(narrow), 1 / TELEPHONE_RATE)
    inside = np.minimum(hz - (PASSED_HZ[0] - EDGE_HZ), PASSED_HZ[1] + EDGE_HZ - hz) / EDGE_HZ
    band = np.fft.irfft(np.fft.rfft(narrow) * np.sin(np.pi / 2 * np.clip(inside, 0, 1)) ** 2, len(narrow)).clip(-1, 1)
    companded = np.round(127 * np.log1p(MU * np.abs(band)) / np.log1p(MU)) / 127
    decoded = np.copysign(np.expm1(companded * np.log1p(MU)) / MU, band).astype(np.float32)
    wide = resample(decoded, TELEPHONE_RATE, sample_rate)
    return np.pad(wide, (0, max(0, len(waveform) - len(wide))))[: len(waveform)]


def reverberate(waveform: Waveform, response: NDArray[np.float64]) -> Waveform:
    """Play a clip in a room of this impulse response (any length); what rings on after the clip's end is cut off."""
    n_fft = 1 << (len(waveform) + len(response) - 2).bit_length()
    sound = np.fft.irfft(np.fft.rfft(waveform, n_fft) * np.fft.rfft(response, n_fft), n_fft)
    return sound[: len(waveform)].astype(np.float32)


def play(waveform: Waveform, sample_rate: int, speed: float) -> Waveform:
    """Play a clip like a tape: at twice the speed it takes half the time and sounds an octave higher."""
    return np.asarray(soxr.resample(waveform, sample_rate * speed, sample_rate), np.float32)
