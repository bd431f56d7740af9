"""What the encoder makes of sound that nobody enrolled: other words, running speech, noises.

kwspot/inference/bundled/encoder_background.npz, written by benchmarks/enrollment/background.py from recordings:

    embeddings  (n, n_features) int8, times `scale` (n_features,)      word  (n,) what is said, "" in speech and noise
    kind        (n,) WORD, SPEECH or NOISE                              n_samples  (n,) of the window
    held_out    (n,) bool: speakers whose sound heads are not fitted on; they say how often a head is wrong
    about       JSON: the encoder's digest, sources, `seconds` of held-out speech that the windows of a length stand for
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from kwspot.enrollment.encoder import Embeddings, Encoder
from kwspot.errors import IntegrityError
from kwspot.files import sha256_of_file
from kwspot.signal.noise import clicks, coloured_noise

WORD, SPEECH, NOISE = 0, 1, 2
N_GENERATED = 12  # windows of each kind of noise
LEVELS_DB = (-70.0, -10.0)  # of generated noise, below full scale


@dataclass(frozen=True)
class Background:
    """Embeddings of windows of one length: (n, n_features), with kind, word and whether it is held out."""

    embeddings: Embeddings
    kind: NDArray[np.uint8]
    word: NDArray[np.str_]
    held_out: NDArray[np.bool_]
    speech_hours: float  # that the held-out windows of speech stand for

    def without(self, words: Collection[str]) -> "Background":
        """Leave out the windows in which one of these words is said."""
        folded = {word.casefold() for word in words}
        return self._only(np.array([word.casefold() not in folded for word in self.word], bool))

    def part(self, held_out: bool) -> "Background":
        """Return what heads are fitted on, or what is held out."""
        return self._only(self.held_out == held_out)

    def halves(self) -> tuple["Background", "Background"]:
        """Return it twice, each time with another half of what is held out; no word is held out in both."""
        words = np.unique(self.word[self.held_out])
        every_other = np.arange(len(self.word)) % 2 == 0
        first = np.where(self.word == "", every_other, np.isin(self.word, words[::2]))  # "": speech and noise
        return self._only(~self.held_out | first), self._only(~self.held_out | ~first)

    def of(self, *kinds: int) -> Embeddings:
        """Return the embeddings of some kinds."""
        return self.embeddings[np.isin(self.kind, kinds)]

    def _only(self, rows: NDArray[np.bool_]) -> "Background":
        return replace(
            self, embeddings=self.embeddings[rows], kind=self.kind[rows], word=self.word[rows],
            held_out=self.held_out[rows],
        )  # fmt: skip


def background_path(encoder: Encoder) -> Path:
    """Return the file beside the encoder."""
    return encoder.path.with_name(f"{encoder.path.stem}_background.npz")


def read_background(encoder: Encoder, window_length: int) -> Background:
    """Read what belongs to an encoder, of the window length nearest to the one wanted; IntegrityError without it."""
    path = background_path(encoder)
    try:
        with np.load(path) as file:
            stored = dict(file)
        about: Mapping[str, Any] = json.loads(str(stored["about"]))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise IntegrityError(f"{path}: cannot be read; install kwspot again") from error
    if about["encoder_sha256"] != sha256_of_file(encoder.path):
        raise IntegrityError(f"{path}: of another encoder; benchmarks/enrollment/background.py writes it anew")
    lengths = np.unique(stored["n_samples"])
    nearest = int(lengths[np.abs(np.log(lengths / window_length)).argmin()])
    rows = stored["n_samples"] == nearest
    return Background(
        embeddings=(stored["embeddings"][rows] * stored["scale"]).astype(np.float32),
        kind=stored["kind"][rows],
        word=stored["word"][rows],
        held_out=stored["held_out"][rows],
        speech_hours=about["seconds"][str(nearest)] / 3600,
    )


def generated_noise(window_length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Make windows of white, pink and brown noise, hum and clicks at all levels, and of nothing: (n, window_length)."""
    slopes = (0.0, -1.0, -2.0)
    whole = -(-window_length // 16_000) * 16_000  # hum is exact in whole seconds
    sounds = [coloured_noise(rng, whole, slope) for slope in slopes for _ in range(N_GENERATED)]
    sounds += [coloured_noise(rng, whole, -1, hum_db=10) for _ in range(N_GENERATED)]
    sounds += [clicks(rng, whole) for _ in range(N_GENERATED)]
    levels = 10 ** (rng.uniform(*LEVELS_DB, size=(len(sounds), 1)) / 20)
    made = np.stack(sounds)[:, :window_length] * levels
    return np.concatenate([made, np.zeros((1, window_length))]).clip(-1, 1).astype(np.float32)
