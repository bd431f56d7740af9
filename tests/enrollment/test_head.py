"""The head separates what can be separated, agrees with scikit-learn, and its margin is what it says."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kwspot.enrollment.head import PENALTY, fit, softmax, weights_of
from kwspot.tasks import SILENCE, UNKNOWN

LABELS = ("yes", "no", UNKNOWN, SILENCE)


def clusters(n=40, size=12, spread=0.5, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(LABELS), size))
    classes = np.repeat(np.arange(len(LABELS)), n)
    return centres[classes] + random.normal(0, spread, (len(classes), size)), classes


def fitted(**how):
    embeddings, classes = clusters(**how)
    return fit(LABELS, embeddings, classes, weights_of(classes, 4, [50, 50, 150, 50])), embeddings, classes


def test_fit_is_the_minimum_that_scikit_learn_finds():
    head, embeddings, classes = fitted(spread=1.5)
    weights = weights_of(classes, 4, [50, 50, 150, 50])
    scale = np.sqrt(np.average(((embeddings - head.mean) ** 2).mean(1), weights=weights))
    other = LogisticRegression(C=1 / PENALTY, max_iter=5000, tol=1e-9)
    other.fit((embeddings - head.mean) / scale, classes, sample_weight=weights)
    expected = other.predict_proba((embeddings - head.mean) / scale)
    assert head.posteriors(embeddings) == pytest.approx(expected, abs=5e-3)


def test_clusters_are_told_apart():
    head, _, _ = fitted()
    embeddings, classes = clusters()
    assert (head.posteriors(embeddings).argmax(1) == classes).all()


@pytest.mark.parametrize("margin", [-2.0, 0.5, 3.0])
def test_a_margin_is_what_a_word_must_be_above_the_rest(margin):
    head, embeddings, _ = fitted(spread=2.0)
    harder = head.harder(margin)
    assert harder.margins(embeddings) == pytest.approx(head.margins(embeddings) - margin)
    assert ((harder.posteriors(embeddings).argmax(1) < 2) == (head.margins(embeddings) > margin)).all()


def test_class_weights_do_not_depend_on_how_many_rows_there_are():
    classes = np.array([0, 0, 0, 1])
    assert weights_of(classes, 2, [6, 6]).tolist() == [2, 2, 2, 6]


def test_softmax_of_large_numbers():
    assert softmax(np.array([[1000.0, 0.0], [0.0, 0.0]])).tolist() == [[1, 0], [0.5, 0.5]]
