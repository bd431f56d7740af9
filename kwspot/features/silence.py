"""Clips of `silence`: noise at a volume of U(0, 0.1) for training and validation, zeros for the test split.

TensorFlow's speech_commands does the same; its hash-split protocol tests with digital zeros.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from kwspot.audio.reading import Waveform
from kwspot.corpus.layout import Clip
from kwspot.corpus.noise import NOISE_SPANS, read_noises
from kwspot.experiments.settings import FrontEnd
from kwspot.seeding import rng_for
from kwspot.signal.noise import noise_crop

SILENCE_SEED = 59185  # TensorFlow's RANDOM_SEED
SILENCE_VOLUME = 0.1  # at most; uniform from 0


def silence_waveform(data: Path, clip: Clip, noise: Sequence[str], front_end: FrontEnd) -> Waveform:
    """Make a clip of silence: zeros for the test split, else a piece of noise; decided by the clip's name."""
    if clip.split not in NOISE_SPANS:
        return np.zeros(front_end.clip_length, dtype=np.float32)
    rng = rng_for(SILENCE_SEED, *clip.name.split("/"))
    piece = noise_crop(rng, _recordings(data, tuple(noise), clip.split, front_end.sample_rate), front_end.clip_length)
    return np.float32(rng.uniform(0, SILENCE_VOLUME)) * piece


@lru_cache(maxsize=len(NOISE_SPANS))
def _recordings(data: Path, names: tuple[str, ...], split: str, sample_rate: int) -> list[Waveform]:
    return list(read_noises(data, names, NOISE_SPANS[split], sample_rate).values())
