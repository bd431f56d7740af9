"""Randomness as an argument, one stream per purpose: switching one thing on does not move what another draws."""

from hashlib import sha256
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # half of kwspot works without torch
    import torch


def seed_for(seed: int, *purpose: str | int) -> int:
    """Derive the seed of one purpose; other purposes do not move it."""
    digest = sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch wants it below 2**63


def rng_for(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's random stream of one purpose."""
    return np.random.default_rng(seed_for(seed, *purpose))


def rng_from(stream: "torch.Generator") -> np.random.Generator:
    """Return a random stream of NumPy that one of torch begins, for what torch draws from its global state only."""
    import torch

    return np.random.default_rng(int(torch.randint(2**62, (), generator=stream)))


def generator_for(seed: int, *purpose: str | int) -> "torch.Generator":
    """Return torch's random stream of one purpose."""
    import torch

    return torch.Generator().manual_seed(seed_for(seed, *purpose))
