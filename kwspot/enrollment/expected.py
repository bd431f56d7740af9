"""What to expect of a head: takes, or speakers where there are several, are left out of the fit and then recognised.

What synthesisers say beside recordings always stays in, as the model is for people. Every fold fits a head as the
model's own is fitted; half of the held-out words choose its margin, and the other half are counted. Detected is a word
whose posterior is the highest of all, `unknown` and `silence` among them.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kwspot.enrollment.background import WORD, Background
from kwspot.enrollment.examples import Examples, Source
from kwspot.enrollment.fitting import fit_examples
from kwspot.enrollment.head import Head
from kwspot.enrollment.operating import ACCEPTED, accepted_by

N_FOLDS = 5
SPEAKERS, TAKES = "speakers", "takes"


@dataclass(frozen=True)
class Expected:
    """Figures of `n` clips that were left out with their `by`: fractions; None where there is nothing to leave out.

    `right`: the word is the likeliest of the words; `detected`: the likeliest of all classes; `accepted`: other words
    taken for one of these. `confused`: (said, taken for, clips). `posteriors`: of the right word where it is detected,
    else 0.
    """

    n: int
    by: str
    n_speakers: int  # takes whose names do not say who speaks count as one
    right: float | None
    detected: float | None
    accepted: float
    confused: tuple[tuple[str, str, int], ...]
    posteriors: tuple[float, ...]

    def missed(self, thresholds: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """Return the fraction of clips whose word is missed at each threshold."""
        if not self.n:
            return None
        return np.asarray((np.asarray(self.posteriors)[None] < thresholds[:, None]).mean(1))


@dataclass(frozen=True)
class _Trial:
    """A clip that was left out: what was said, the nearest of the words, and the likeliest class with its posterior."""

    word: str
    nearest: str
    best: str
    posterior: float


def expect(
    examples: Examples, background: Background, noises: NDArray[np.float32], seed: int, accepted: float = ACCEPTED
) -> Expected:
    """Leave out, fit and recognise, in five folds at most."""
    groups, by = _groups(examples)
    names = sorted({group for group in groups if group is not None})
    fold_of = {names[int(i)]: at % N_FOLDS for at, i in enumerate(np.random.default_rng(seed).permutation(len(names)))}
    folds = np.array([-1 if group is None else fold_of[group] for group in groups])
    halves = background.halves()
    others = [half.part(held_out=True).of(WORD) for half in halves]
    trials: list[_Trial] = []
    passed: list[float] = []
    for fold in sorted(set(folds) - {-1}):
        left_out = folds == fold
        settled = fold % 2  # the half of the held-out words that the margin is chosen by
        head = fit_examples(examples, halves[settled], noises, ~left_out[examples.source_of], accepted)
        passed.append(accepted_by(head, others[1 - settled]))
        learned = {source.word for source, out in zip(examples.sources, left_out, strict=True) if not out}
        trials += [
            _recognise(head, examples, int(i)) for i in np.flatnonzero(left_out) if examples.sources[i].word in learned
        ]
    confused = Counter((trial.word, trial.nearest) for trial in trials if trial.nearest != trial.word)
    return Expected(
        n=len(trials),
        by=by,
        n_speakers=max(1, len({source.speaker for source in _tested(examples)})),
        right=float(np.mean([trial.nearest == trial.word for trial in trials])) if trials else None,
        detected=float(np.mean([trial.best == trial.word for trial in trials])) if trials else None,
        accepted=float(np.mean(passed)) if passed else 0.0,
        confused=tuple((said, taken, n) for (said, taken), n in confused.most_common()),
        posteriors=tuple(trial.posterior if trial.best == trial.word else 0.0 for trial in trials),
    )


def _recognise(head: Head, examples: Examples, source: int) -> _Trial:
    """Recognise a take as it was recorded."""
    row = examples.embeddings[examples.as_recorded[source]][None]
    logits, posteriors = head.logits(row)[0], head.posteriors(row)[0]
    nearest, best = int(logits[: len(head.keywords)].argmax()), int(posteriors.argmax())
    return _Trial(examples.sources[source].word, head.labels[nearest], head.labels[best], float(posteriors[best]))


def _groups(examples: Examples) -> tuple[list[str | None], str]:
    """Say what each source is left out with, None if it always stays in: its speaker if every word has two."""
    tested = _tested(examples)
    speakers: dict[str, set[str | None]] = {}
    for source in tested:
        speakers.setdefault(source.word, set()).add(source.speaker)
    n_takes = Counter(source.word for source in examples.sources)
    by_speaker = all(len(those) > 1 and None not in those for those in speakers.values())
    groups: list[str | None] = []
    for i, source in enumerate(examples.sources):
        if source not in tested or n_takes[source.word] < 2:
            groups.append(None)
        else:
            groups.append(source.speaker if by_speaker else f"{i:06d}")
    return groups, SPEAKERS if by_speaker else TAKES


def _tested(examples: Examples) -> set[Source]:
    """Return the takes of words, but for what synthesisers say if there are recordings."""
    takes = [source for source in examples.sources if source.word in examples.keywords]
    return set([source for source in takes if not source.spoken] or takes)
