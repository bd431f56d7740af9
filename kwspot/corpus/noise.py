"""The noise recordings of a corpus, split by time: the part of each that training, validation and test use.

    DATA/_background_noise_/<name>.wav -> waveforms (n_samples,) float32, by name

Six recordings are all that Speech Commands has, so every one is in every split, from another part of its time.
"""

from collections.abc import Sequence
from pathlib import Path

from kwspot.audio.reading import AudioError, Waveform, duration_s, read_waveform, resample
from kwspot.corpus.layout import TRAIN, VALIDATION

NOISE_SPANS = {TRAIN: (0.0, 0.8), VALIDATION: (0.8, 0.9)}  # of the time of every noise file
UNHEARD_SPAN = (0.9, 1.0)  # what neither of them uses


def read_noises(data: Path, names: Sequence[str], span: tuple[float, float], sample_rate: int) -> dict[str, Waveform]:
    """Read a span of the time of every noise file, by name; without those that are no usable audio or silent there."""
    begin, end = span
    parts = {}
    for name in names:
        try:
            seconds = duration_s(data / name)
            decoded = read_waveform(data / name, longest_s=(end - begin) * seconds, start_s=begin * seconds)
        except AudioError:  # featurize named it
            continue
        parts[name] = resample(decoded.waveform, decoded.sample_rate, sample_rate)
    return {name: part for name, part in parts.items() if part.any()}
