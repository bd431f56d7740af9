"""Examples and background -> a head that rejects what is no word of its own as often as it should."""

import numpy as np
from numpy.typing import NDArray

from kwspot.enrollment.background import NOISE, SPEECH, WORD, Background
from kwspot.enrollment.examples import Examples
from kwspot.enrollment.head import Head, fit, weights_of
from kwspot.enrollment.operating import ACCEPTED, margin_for, temperature_for
from kwspot.errors import IntegrityError
from kwspot.tasks import SILENCE, UNKNOWN

WEIGHTS = (50.0, 300.0)  # of a word in the loss: at least, and at most, otherwise as many as it has rows
UNKNOWN_WORDS = 10  # `unknown` weighs as much as so many words
ONLY_NOISE = 0.85  # mean posterior of noise, against speech, of the takes of a word


def fit_examples(
    examples: Examples,
    background: Background,
    noises: NDArray[np.float32],
    rows: NDArray[np.bool_] | None = None,
    accepted: float = ACCEPTED,
) -> Head:
    """Fit a head on examples (only `rows` of them), on the background that is not held out, and on embedded noises.

    What is held out decides how far above `unknown` a word has to be, and the temperature of the posteriors.
    """
    keywords = examples.keywords
    labels = (*keywords, UNKNOWN, SILENCE)
    classes = np.array([labels.index(source.word) for source in examples.sources])[examples.source_of]
    kept = np.ones(len(classes), bool) if rows is None else rows
    known = background.part(held_out=False)
    others, silence = known.of(WORD, SPEECH), np.concatenate([known.of(NOISE), noises])
    embeddings = np.concatenate([examples.embeddings[kept], others, silence])
    classes = np.concatenate(
        [classes[kept], np.full(len(others), len(keywords)), np.full(len(silence), len(keywords) + 1)]
    )
    counts = np.bincount(classes, minlength=len(labels))[: len(keywords)]
    weights = [float(weight) for weight in np.clip(counts, *WEIGHTS)]
    mean = float(np.mean(weights))
    totals = [*weights, UNKNOWN_WORDS * mean, mean]
    head = fit(labels, embeddings.astype(np.float64), classes, weights_of(classes, len(labels), totals))
    held_out = background.part(held_out=True)
    head = head.harder(margin_for(head, held_out, accepted))
    return head.tempered(temperature_for(head, held_out))


def require_speech(examples: Examples, background: Background, noises: NDArray[np.float32]) -> None:
    """Refuse a word whose takes the encoder knows for noise: IntegrityError names it."""
    known = background.part(held_out=False)
    speech, silence = known.of(WORD, SPEECH), np.concatenate([known.of(NOISE), noises])
    classes = np.repeat([0, 1], [len(speech), len(silence)])
    weights = weights_of(classes, 2, [WEIGHTS[0]] * 2)
    head = fit((UNKNOWN, SILENCE), np.concatenate([speech, silence]).astype(np.float64), classes, weights)
    posteriors = head.posteriors(examples.embeddings[examples.as_recorded])[:, 1]
    for word in examples.keywords:
        mine = posteriors[[source.word == word for source in examples.sources]]
        if mine.mean() > ONLY_NOISE:
            raise IntegrityError(f"{word}: only noise in its {len(mine)} clips; record the word again")
