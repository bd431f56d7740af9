"""How well a split was classified: loss, accuracy with its interval, confusion, precision and recall.

    labels (n_clips,) class indices   logits (n_clips, n_classes), or predictions (n_clips,) class indices
    speakers (n_clips,) whoever spoke each clip   confusion (n_classes, n_classes), true × predicted, counts

The clips of one speaker are alike, so the interval is a bootstrap over speakers, not over clips: draw as many
speakers as there are, with replacement, each with all of their clips (Bisani and Ney, ICASSP 2004).
"""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kwspot.errors import KwspotError, MissingError

CONFIDENCE = 0.95
MOST_CONFUSED = 20  # pairs listed; the confusion matrix holds them all
PRECISIONS = (0.95, 0.99)  # of the decisions above an operating threshold

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cross_entropy(labels: Ints, logits: Floats) -> float:
    """Return the mean cross-entropy in nats a clip."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_posteriors = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_posteriors[np.arange(len(labels)), labels].mean())


def confusion_matrix(labels: Ints, predictions: Ints, n_classes: int) -> Ints:
    """Count clips by true class (row) and predicted class (column)."""
    cells = np.bincount(labels * n_classes + predictions, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def speaker_interval(
    correct: ArrayLike,
    speakers: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[float] | None:
    """Return [low, high] of the accuracy by bootstrap over speakers; None if one speaker says it all.

    `correct` (n_clips,) is whether each clip was recognised; the draws depend on `seed` only.
    """
    _, index = np.unique(np.asarray(speakers), return_inverse=True)
    n_clips = np.bincount(index)
    n_correct = np.bincount(index, weights=np.asarray(correct, dtype=np.float64))
    n_speakers = len(n_clips)
    if n_speakers < 2 or n_resamples < 1:
        return None
    generator = np.random.default_rng(seed)
    accuracies = np.empty(n_resamples)
    for i in range(n_resamples):  # one draw at a time: a corpus may have as many speakers as clips
        drawn = generator.integers(n_speakers, size=n_speakers)
        accuracies[i] = n_correct[drawn].sum() / n_clips[drawn].sum()
    tail = (1 - confidence) / 2
    low, high = np.quantile(accuracies, [tail, 1 - tail])
    return [float(low), float(high)]


def _per_class(confusion: Ints, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Give each class its clips, precision and recall; null where there is nothing to divide by."""
    hits, spoken, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        {
            "class": name,
            "n": int(n),
            "precision": float(hit / chosen) if chosen else None,
            "recall": float(hit / n) if n else None,
        }
        for name, hit, n, chosen in zip(classes, hits, spoken, predicted, strict=True)
    ]


def _confused(confusion: Ints, classes: Sequence[str]) -> list[dict[str, Any]]:
    """List the most confused pairs, most clips first, then in the order of the classes."""
    mistakes = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_CONFUSED]
    pairs = [divmod(int(cell), len(classes)) for cell in order]
    return [
        {"true": classes[true], "predicted": classes[predicted], "n": int(mistakes[true, predicted])}
        for true, predicted in pairs
        if mistakes[true, predicted]
    ]


def _by_speaker(correct: NDArray[np.bool_], speakers: Sequence[Any] | NDArray[Any]) -> dict[str, list[int]]:
    """Count for each speaker the clips that were right, and all: what a paired comparison draws from."""
    names, index = np.unique(np.asarray(speakers), return_inverse=True)
    right, n = np.bincount(index, weights=correct), np.bincount(index)
    return {str(name): [int(r), int(all_)] for name, r, all_ in zip(names, right, n, strict=True)}


def _checked(labels: ArrayLike, logits: ArrayLike, n_speakers: int, n_classes: int) -> tuple[Ints, NDArray[Any]]:
    """Return labels and logits as arrays; refuse shapes, indices and values that mean nothing."""
    true, scores = np.asarray(labels), np.asarray(logits)
    if len(true) == 0:
        raise MissingError("no clips to measure: the split is empty; look at the corpus with 'kwspot doctor'")
    if true.ndim != 1 or len(scores) != len(true) or n_speakers != len(true):
        sizes = f"{true.shape} labels, {scores.shape} logits, {n_speakers} speakers"
        raise KwspotError(f"metrics need one label, one row of logits and one speaker a clip, got {sizes}")
    if scores.ndim == 2:
        if scores.shape[1] != n_classes:
            raise KwspotError(f"{n_classes} classes, but {scores.shape[1]} logits a clip")
        if bad := int((~np.isfinite(scores)).any(axis=1).sum()):
            raise KwspotError(f"{bad} of {len(true)} clips have logits that are not finite: the training diverged")
    indices = [true] if scores.ndim == 2 else [true, scores]
    if any(array.min() < 0 or array.max() >= n_classes for array in indices):
        raise KwspotError(f"a class index lies outside 0 to {n_classes - 1}")
    return true.astype(np.int64), scores


def measure(
    labels: ArrayLike,
    logits: ArrayLike,
    speakers: Sequence[Any] | NDArray[Any],
    classes: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a classified split: what `eval-<split>.json` holds, all but the split's name.

    `logits` (n_clips, n_classes), or predictions (n_clips,), which leave the loss null. Every value is JSON,
    a figure that does not exist (the recall of a class without clips) is null.
    """
    true, scores = _checked(labels, logits, len(speakers), len(classes))
    with_logits = scores.ndim == 2
    predictions = scores.argmax(axis=1) if with_logits else scores.astype(np.int64)
    confusion = confusion_matrix(true, predictions, len(classes))
    correct = predictions == true
    return {
        "n": len(true),
        "n_speakers": len(set(np.asarray(speakers).tolist())),
        "loss": cross_entropy(true, scores.astype(np.float64)) if with_logits else None,
        "accuracy": float(correct.mean()),
        "interval": speaker_interval(correct, speakers, n_resamples=n_resamples, seed=seed),
        "confidence": CONFIDENCE,
        "n_resamples": n_resamples,
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "per_class": _per_class(confusion, classes),
        "confused": _confused(confusion, classes),
        "speakers": _by_speaker(correct, speakers),
    }


def operating_thresholds(logits: ArrayLike, labels: ArrayLike) -> dict[str, float | None]:
    """Find the lowest posterior from which on 95 % and 99 % of the decisions are right.

    `{"precision_0.95": 0.61, "precision_0.99": 0.93}`; null where no posterior is high enough.
    """
    scores = np.asarray(logits, np.float64)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    posteriors = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    correct = scores.argmax(axis=1) == np.asarray(labels)
    falling = np.argsort(-posteriors, kind="stable")
    precision = np.cumsum(correct[falling]) / np.arange(1, len(falling) + 1)
    thresholds: dict[str, float | None] = {}
    for wanted in PRECISIONS:
        reached = np.flatnonzero(precision >= wanted)
        lowest = round(float(posteriors[falling[reached[-1]]]), 4) if len(reached) else None
        thresholds[f"precision_{wanted}"] = lowest
    return thresholds


def poisson_interval(n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval of the mean of a Poisson count (Garwood, Biometrika 1936)."""
    tail = (1 - confidence) / 2
    lower = _where_at_most(n - 1, 1 - tail) if n else 0.0
    return lower, _where_at_most(n, tail)


def _where_at_most(n: int, probability: float) -> float:
    """Return the mean with which a Poisson count is at most `n` with this probability."""
    low, high = 0.0, n + 10 * math.sqrt(n + 1) + 10
    for _ in range(100):
        middle = (low + high) / 2
        terms = [math.exp(k * math.log(middle) - middle - math.lgamma(k + 1)) for k in range(n + 1)]
        low, high = (middle, high) if math.fsum(terms) > probability else (low, middle)
    return (low + high) / 2
