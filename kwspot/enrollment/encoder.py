"""The bundled encoder: windows of sound -> embeddings, with what it makes of speech that nobody enrolled.

windows (n, window_length) float32 at `sample_rate` Hz -> (n, n_features) float32, each of length 1: it was trained
with cosines, so the length of an embedding carries no meaning
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.errors import IntegrityError
from kwspot.inference.model_zoo import ENCODER
from kwspot.inference.spotter import open_session, read_metadata, require_graph, run_session

KIND = "encoder"
BATCH = 32

Embeddings = NDArray[np.float32]


class Encoder:
    """An encoder file, the bundled one if no other is named; IntegrityError if it is none."""

    def __init__(self, path: Path = ENCODER, threads: int = 0) -> None:
        self.path = path
        self.session = open_session(self.path, threads)
        self.metadata: dict[str, Any] = read_metadata(self.session, self.path)
        if self.metadata.get("kind") != KIND:
            raise IntegrityError(f"{self.path}: a model, but no encoder; install kwspot again")
        require_graph(self.session, path, ["waveform"], {"embedding": None})
        self.sample_rate = int(self.metadata["sample_rate"])  # Hz
        self.clip_length = int(self.metadata["clip_length"])  # samples of the windows it was trained on

    def embed(self, windows: NDArray[np.float32] | Sequence[Waveform]) -> Embeddings:
        """Embed windows of one length: unit vectors."""
        found = [
            run_session(self.session, self.path, ["embedding"], {"waveform": np.stack(list(windows[i : i + BATCH]))})[0]
            for i in range(0, len(windows), BATCH)
        ]
        embeddings = np.concatenate(found) if found else np.zeros((0, self.n_features), np.float32)
        return np.asarray(embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9))

    @cached_property
    def n_features(self) -> int:
        """Size of an embedding."""
        return int(self.embed(np.zeros((1, self.clip_length), np.float32)).shape[1])
