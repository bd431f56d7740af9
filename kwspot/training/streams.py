"""torch's random streams, one per purpose, as kwspot.seeding has NumPy's."""

import numpy as np
import torch

from kwspot.seeding import seed_for


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """Return torch's random stream of one purpose."""
    return torch.Generator().manual_seed(seed_for(seed, *purpose))


def rng_from(stream: torch.Generator) -> np.random.Generator:
    """Return a random stream of NumPy that one of torch begins, for what torch draws from its global state only."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=stream)))
