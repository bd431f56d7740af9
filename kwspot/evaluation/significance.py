"""Is one experiment better than another on the same test clips? A paired bootstrap over speakers.

The clips of one speaker are alike, and both experiments were tested on the same ones: draw as many speakers as there
are, with replacement, and take the difference of the two accuracies on their clips (Bisani and Ney, ICASSP 2004). An
experiment's clip counts as right in the share of its seeds that recognised it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kwspot.errors import ConfigError, MissingError
from kwspot.evaluation.comparison import Row

CONFIDENCE = 0.95
N_RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """Test accuracy of `model` minus that of `versus`, in fractions, and its interval."""

    model: str
    versus: str
    mean: float
    low: float
    high: float
    n_speakers: int
    seed_std: float | None  # the larger of the two sample standard deviations over seeds

    @property
    def verdict(self) -> str:
        """Say whether the difference is larger than chance and than the spread of the seeds."""
        if self.low <= 0 <= self.high:
            return "within chance"
        if self.seed_std is None:
            return "larger than chance; the spread of seeds is unknown"
        return "larger than chance and seeds" if abs(self.mean) > self.seed_std else "within the spread of seeds"

    def __str__(self) -> str:
        mean, low, high = (f"{100 * value:+.1f}" for value in (self.mean, self.low, self.high))
        return (
            f"{self.model} against {self.versus}: {mean} points ({100 * CONFIDENCE:.0f} % interval over "
            f"{self.n_speakers} speakers {low} to {high}), {self.verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def differences(rows: Sequence[Row], versus: Sequence[str], note: Callable[[str], object]) -> list[Difference]:
    """Hold the rows of the same task and corpus against each that `versus` labels, two rows once; note the others.

    MissingError if there is no such row, or a row has no test clips by speaker; ConfigError if there are several.
    """
    found: list[Difference] = []
    left = list(rows)
    for name in dict.fromkeys(versus):
        base = _labelled(rows, name)
        left = [row for row in left if row is not base]
        found += [_difference(row, base) for row in left if row.scope == base.scope]
        if others := [row.label for row in left if row.scope != base.scope]:
            note(f"--versus {name}: not against {', '.join(others)}, of another corpus or task")
    return found


def _labelled(rows: Sequence[Row], name: str) -> Row:
    """Find the row of a label, or of an experiment."""
    fitting = [row for row in rows if row.label == name] or [row for row in rows if row.experiment == name]
    if not fitting:
        raise MissingError(f"--versus {name}: not in the table; it has {', '.join(row.label for row in rows)}")
    if len(fitting) > 1:
        raise ConfigError(f"--versus {name}: {len(fitting)} rows; name one: {', '.join(row.label for row in fitting)}")
    return fitting[0]


def _difference(row: Row, base: Row) -> Difference:
    ours, theirs = _right_by_speaker(row), _right_by_speaker(base)
    speakers = sorted(ours)
    if speakers != sorted(theirs) or any(ours[s][1] != theirs[s][1] for s in speakers):
        raise MissingError(f"{row.label} and {base.label} were tested on different clips; measure both again")
    gained = np.array([ours[s][0] - theirs[s][0] for s in speakers])
    n_clips = np.array([ours[s][1] for s in speakers])
    drawn = np.random.default_rng(0).integers(len(speakers), size=(N_RESAMPLES, len(speakers)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(gained[drawn].sum(1) / n_clips[drawn].sum(1), [tail, 1 - tail])
    stds = [figure.std for r in (row, base) if (figure := r.figures["accuracy_test"]) and figure.std is not None]
    return Difference(
        row.label,
        base.label,
        float(gained.sum() / n_clips.sum()),
        float(low),
        float(high),
        len(speakers),
        max(stds, default=None),
    )


def _right_by_speaker(row: Row) -> dict[str, tuple[float, int]]:
    """Return for each speaker the test clips recognised, mean over seeds, and all there are."""
    counted = [run.evaluations.get("test", {}).get("speakers") for run in row.runs]
    if not (known := [counts for counts in counted if counts]):
        name = row.experiment
        raise MissingError(f"{row.label}: no test accuracy by speaker; measure it with 'kwspot eval {name}'")
    return {
        speaker: (sum(counts[speaker][0] for counts in known) / len(known), n) for speaker, (_, n) in known[0].items()
    }
