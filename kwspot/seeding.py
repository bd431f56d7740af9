"""Randomness as an argument, one stream per purpose: switching one thing on does not move what another draws."""

from hashlib import sha256
import json

import numpy as np


def seed_for(seed: int, *purpose: str | int) -> int:
    """Derive the seed of one purpose; other purposes do not move it."""
    digest = sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch wants it below 2**63


def rng_for(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's random stream of one purpose."""
    return np.random.default_rng(seed_for(seed, *purpose))
