"""Clips of `silence`: noise at a volume of U(0, 0.1) for training and validation, zeros for the test split.

So has it TensorFlow's speech_commands, whose hash-split protocol tests with digital zeros.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kwspot.audio.reading import Waveform, read_waveform, resample
from kwspot.corpus.layout import Clip
from kwspot.corpus.noise import NOISE_SPANS
from kwspot.experiments.settings import FrontEnd

SILENCE_SEED = 59185  # TensorFlow's RANDOM_SEED
SILENCE_VOLUME = 0.1  # at most; uniform from 0


def silence_waveform(data: Path, clip: Clip, noise: Sequence[tuple[str, float]], front_end: FrontEnd) -> Waveform:
    """Make a clip of silence: zeros for the test split, else a piece of noise; decided by the clip's name."""
    n_samples = front_end.clip_length
    if clip.split not in NOISE_SPANS:
        return np.zeros(n_samples, dtype=np.float32)
    number = int(clip.name.rpartition("-")[2])
    random = np.random.default_rng([SILENCE_SEED, list(NOISE_SPANS).index(clip.split), number])
    name, seconds = noise[int(random.integers(len(noise)))]
    begin, end = (share * seconds for share in NOISE_SPANS[clip.split])
    clip_s = min(n_samples / front_end.sample_rate, end - begin)
    start_s = begin + random.uniform() * (end - begin - clip_s)
    decoded = read_waveform(data / name, longest_s=clip_s, start_s=start_s)
    piece = resample(decoded.waveform, decoded.sample_rate, front_end.sample_rate)
    volume = np.float32(random.uniform(0, SILENCE_VOLUME))
    return volume * np.resize(piece, n_samples)  # a short piece is repeated
