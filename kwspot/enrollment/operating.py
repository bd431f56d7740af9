"""How often a head is wrong about speech that it does not know, and which threshold follows from that.

windows of held-out words -> the margin of a keyword over the rest
windows of held-out speech -> false alarms an hour at a threshold

A window over a threshold stays there while it slides on: for about half a second, as events of the spotter (200 ms of
smoothing) in 12 minutes of held-out speech show, a third to one and a half by model and threshold. So the share of
windows, taken anywhere, that is over a threshold gives the false alarms an hour. What is rarer than the windows show
follows from their tail: the scores (log odds) of the highest hundredth fall off exponentially.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kwspot.enrollment.background import SPEECH, WORD, Background
from kwspot.enrollment.head import Array, Head

# Of other words, and of windows of speech: what the margin of a head lets through. Clips that people recorded resemble
# each other more than what synthesisers say, so a head of the latter is stricter as it is (docs/log.md).
ACCEPTED, ACCEPTED_SPOKEN = 0.0025, 0.01
TAIL = 0.01  # of the windows, by which what is rarer is extrapolated
ALARM_S = 0.5  # that a false alarm lasts
RAREST_PER_HOUR, HIGHEST = 0.1, 0.99  # false alarms, and the posterior that is meant to be
LEAST_THRESHOLD = 0.3
THRESHOLDS = (LEAST_THRESHOLD, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)


def margin_for(head: Head, held_out: Background, accepted: float) -> float:
    """Return the margin at which only a fraction of other words, and of speech, is taken for a keyword."""
    found = [head.margins(embeddings) for kind in (WORD, SPEECH) if len(embeddings := held_out.of(kind))]
    return max(float(np.quantile(margins, 1 - accepted)) for margins in found)


def accepted_by(head: Head, embeddings: NDArray[np.floating]) -> float:
    """Return the fraction of windows that a head takes for a keyword."""
    return float((head.margins(embeddings) > 0).mean()) if len(embeddings) else 0.0


def false_alarms_per_hour(head: Head, held_out: Background, thresholds: NDArray[np.floating]) -> Array:
    """Return the false alarms an hour of speech at every threshold."""
    tail, wanted = _tail(head, held_out), _log_odds(np.asarray(thresholds, float))
    counted = (tail.scores[None] >= wanted[:, None]).sum(1)
    extrapolated = tail.n * np.exp(-np.maximum(wanted - tail.start, 0) / tail.fall)
    windows = np.where(wanted > tail.start, extrapolated, counted)
    return np.asarray(windows / len(tail.scores) * 3600 / ALARM_S)


def threshold_for(head: Head, held_out: Background, per_hour: float) -> float:
    """Return the threshold that lets so many false alarms an hour through: a posterior from 0.3 to 0.9999."""
    return float(np.clip(1 / (1 + np.exp(-_log_odds_for(head, held_out, per_hour))), LEAST_THRESHOLD, 0.9999))


def temperature_for(head: Head, held_out: Background) -> float:
    """Return what to divide logits by, 1 at least, so that one false alarm in ten hours has a posterior of 0.99.

    Posteriors nearer to 1 leave no room for thresholds, and a mean over rows hardly reaches them.
    """
    return max(1.0, _log_odds_for(head, held_out, RAREST_PER_HOUR) / float(_log_odds(np.array(HIGHEST))))


@dataclass(frozen=True)
class _Tail:
    """The log odds of a keyword in windows of speech, falling; from `start` on, the highest `n`, they fall off by e
    every `fall`."""

    scores: Array
    n: int
    start: float
    fall: float


def _tail(head: Head, held_out: Background) -> _Tail:
    scores = np.sort(_log_odds(head.posteriors(held_out.of(SPEECH))[:, : len(head.keywords)].max(1)))[::-1]
    n = max(2, round(TAIL * len(scores)))
    # The mean excess is the maximum-likelihood estimate for an exponential.
    return _Tail(scores, n, float(scores[n - 1]), max(float((scores[:n] - scores[n - 1]).mean()), 1e-3))


def _log_odds_for(head: Head, held_out: Background, per_hour: float) -> float:
    tail = _tail(head, held_out)
    n_windows = per_hour * ALARM_S / 3600 * len(tail.scores)
    if n_windows >= tail.n:
        return float(tail.scores[min(int(n_windows), len(tail.scores) - 1)])
    return tail.start + tail.fall * float(np.log(tail.n / n_windows))


def _log_odds(posteriors: NDArray[np.floating]) -> Array:
    inside = np.clip(posteriors, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(inside / (1 - inside)))
