"""A clip to its word: a finished run applied to one audio file, or to a clip of the corpus.

    file -> waveform (n_samples,) -> features (1, n_frames, n_mels) -> posteriors (n_classes,)

The features are those of training: the same function of features.py, with the front end the run recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kwspot.batches import resolve_task, select
from kwspot.cache import open_cache
from kwspot.corpus import TEST
from kwspot.experiment import load_model
from kwspot.features import LogMel, read_clip
from kwspot.runs import Run


@dataclass(frozen=True)
class Prediction:
    """The words of a clip by falling posterior, and the true word where it is known."""

    path: str
    top: tuple[tuple[str, float], ...]
    true_word: str | None = None

    @property
    def word(self) -> str:
        """The most likely word."""
        return self.top[0][0]

    @property
    def posterior(self) -> float:
        """Its posterior, 0 to 1."""
        return self.top[0][1]


class Predictor:
    """The best epoch of a run, ready to predict on the CPU."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.classes: list[str] = run.record["classes"]
        self.model, self.experiment = load_model(run, torch.device("cpu"))
        self.log_mel = LogMel(self.experiment.front_end)

    def predict_file(self, path: Path, n_top: int = 1) -> Prediction:
        """Predict the word of an audio file of any rate and channel count; longer ones are cropped to their centre."""
        waveform = torch.from_numpy(read_clip(path, self.experiment.front_end).waveform)
        return self._prediction(str(path), self.log_mel(waveform[None]), n_top)

    def predict_random(self, data: Path, n_top: int = 1, choose: Callable[[int], int] | None = None) -> Prediction:
        """Predict a clip of the corpus's test split; `choose` picks one of n, at random unless given."""
        cache = open_cache(data, self.experiment.front_end)
        split = select(cache, resolve_task(self.experiment.task, cache), TEST)
        index = choose(len(split)) if choose else int(np.random.default_rng().integers(len(split)))
        clip = split.clips[index]
        features, _, labels = split.batch(np.array([index]))
        path = data / clip.name
        name = str(path) if path.is_file() else clip.name  # imported frames have no file
        return self._prediction(name, features, n_top, self.classes[int(labels[0])])

    @torch.no_grad()
    def _prediction(self, path: str, features: torch.Tensor, n_top: int, true_word: str | None = None) -> Prediction:
        logits = self.model(features, torch.tensor([features.shape[1]]))[0]
        posteriors, order = logits.softmax(0).topk(min(n_top, len(self.classes)))
        top = tuple((self.classes[i], float(p)) for i, p in zip(order.tolist(), posteriors.tolist(), strict=True))
        return Prediction(path, top, true_word)
