"""The head: a linear classifier of embeddings, fitted in NumPy: words, `unknown`, `silence`.

    embeddings (n, n_features) -> logits (n, n_classes) = (embeddings - mean) / scale @ weight + bias

Multinomial logistic regression with an L2 penalty. Each step solves with the bound of the Hessian that Böhning (1992)
gives, ½ XᵀDX for all classes, factored once; Nesterov's momentum makes the steps count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PENALTY = 100.0  # on the squared weights; a word has a weight of 50 or more in all
N_STEPS = 200


@dataclass(frozen=True)
class Head:
    """`labels` by output; `mean` (n_features,), `weight` (n_features, n_classes), `bias` (n_classes,)."""

    labels: tuple[str, ...]
    mean: Array
    weight: Array
    bias: Array

    def logits(self, embeddings: NDArray[np.floating]) -> Array:
        """Compute the logits (n, n_classes)."""
        return (embeddings - self.mean) @ self.weight + self.bias

    def posteriors(self, embeddings: NDArray[np.floating]) -> Array:
        """Compute the posteriors (n, n_classes)."""
        return softmax(self.logits(embeddings))

    def margins(self, embeddings: NDArray[np.floating]) -> Array:
        """Return by how much the best keyword's logit is above that of the best other class: (n,)."""
        logits = self.logits(embeddings)
        keyword = np.array([label in self.keywords for label in self.labels])
        return np.asarray(logits[:, keyword].max(1) - logits[:, ~keyword].max(1))

    @property
    def keywords(self) -> tuple[str, ...]:
        """The words to spot: the last two labels are `unknown` and `silence`."""
        return self.labels[:-2]

    def harder(self, margin: float) -> "Head":
        """Return the head that says a keyword only where it is so much above the others."""
        raised = np.array([0.0 if label in self.keywords else margin for label in self.labels])
        return replace(self, bias=self.bias + raised)

    def tempered(self, temperature: float) -> "Head":
        """Return the head whose logits are divided: it decides the same, with posteriors farther from 0 and 1."""
        return replace(self, weight=self.weight / temperature, bias=self.bias / temperature)


def fit(
    labels: Sequence[str], embeddings: NDArray[np.floating], classes: NDArray[np.integer], weights: NDArray[np.floating]
) -> Head:
    """Fit a head to embeddings (n, n_features) of classes (n,), each with the weight (n,) it has in the loss."""
    total = weights.sum()
    mean = weights @ embeddings / total
    centred = embeddings - mean
    scale = np.sqrt(weights @ (centred**2).mean(1) / total)
    x = np.column_stack([centred / scale, np.ones(len(centred))])
    wanted = np.eye(len(labels))[classes]
    penalty = np.full((x.shape[1], 1), PENALTY)
    penalty[-1] = 1e-3  # the bias is almost free
    bound = np.linalg.inv(0.5 * (x * weights[:, None]).T @ x + np.diag(penalty[:, 0]))
    solution = ahead = np.zeros((x.shape[1], len(labels)))
    for step in range(N_STEPS):
        wrong = weights[:, None] * (softmax(x @ ahead) - wanted)
        before, solution = solution, ahead - bound @ (x.T @ wrong + penalty * ahead)
        ahead = solution + step / (step + 3) * (solution - before)
    return Head(tuple(labels), mean, solution[:-1] / scale, solution[-1])


def softmax(logits: Array) -> Array:
    """Return exp(x) over its sum along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def weights_of(classes: NDArray[np.integer], n_classes: int, totals: Sequence[float]) -> Array:
    """Share the weight that each class has in all equally among its rows: (n,)."""
    counts = np.bincount(classes, minlength=n_classes)
    return np.asarray((np.asarray(totals) / np.maximum(counts, 1))[classes])
