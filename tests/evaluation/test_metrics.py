"""Metrics against scikit-learn, and the interval over speakers against every resample there is."""

from itertools import product
import json
import random

import numpy as np
import pytest
from sklearn import metrics as oracle

from kwspot.errors import KwspotError, MissingError
from kwspot.evaluation.metrics import MOST_CONFUSED, measure, speaker_interval

CLASSES = ("yes", "no", "stop", "go", "up")


@pytest.fixture(scope="module")
def split():
    """300 clips of 20 speakers, 5 classes, about two thirds right."""
    generator = np.random.default_rng(5)
    labels = generator.integers(5, size=300)
    logits = generator.normal(size=(300, 5))
    logits[np.arange(300), labels] += 1.5
    speakers = [f"{speaker:08x}" for speaker in generator.integers(20, size=300)]
    return labels, logits, speakers


def test_agrees_with_scikit_learn(split):
    labels, logits, speakers = split
    predictions = logits.argmax(1)
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    measured = measure(labels, logits, speakers, CLASSES, n_resamples=10)
    precision, recall, _, n = oracle.precision_recall_fscore_support(labels, predictions, labels=range(5))
    assert measured["n"] == 300
    assert measured["n_speakers"] == len(set(speakers))
    assert measured["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predictions))
    assert measured["loss"] == pytest.approx(oracle.log_loss(labels, posteriors))
    assert measured["confusion"] == oracle.confusion_matrix(labels, predictions).tolist()
    assert [word["precision"] for word in measured["per_class"]] == pytest.approx(precision)
    assert [word["recall"] for word in measured["per_class"]] == pytest.approx(recall)
    assert [word["n"] for word in measured["per_class"]] == n.tolist()
    assert [word["class"] for word in measured["per_class"]] == list(CLASSES)


def test_predictions_in_place_of_logits_leave_only_the_loss_out(split):
    labels, logits, speakers = split
    from_logits = measure(labels, logits, speakers, CLASSES)
    from_predictions = measure(labels, logits.argmax(1), speakers, CLASSES)
    assert from_predictions == {**from_logits, "loss": None}


def test_order_of_clips_does_not_matter(split):
    labels, logits, speakers = split
    order = np.random.default_rng(1).permutation(len(labels))
    shuffled = measure(labels[order], logits[order], [speakers[i] for i in order], CLASSES)
    whole = measure(*split, CLASSES)  # type: ignore[call-arg]
    assert shuffled == {**whole, "loss": pytest.approx(whole["loss"])}


def test_huge_logits_have_a_finite_loss():
    measured = measure([0, 1], [[1e4, 0.0], [1e4, 0.0]], ["a", "b"], ("yes", "no"))
    assert measured["loss"] == pytest.approx(5000)


def test_absent_figures_are_null_and_everything_is_json():
    # "go" is never spoken nor predicted; "stop" is predicted but never spoken; "no" spoken, never predicted
    measured = measure(np.array([0, 0, 1]), np.array([0, 2, 0]), ["a", "a", "b"], CLASSES[:4])
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    figures = {word["class"]: (word["precision"], word["recall"]) for word in measured["per_class"]}
    assert figures == {"yes": (0.5, 0.5), "no": (None, 0.0), "stop": (0.0, None), "go": (None, None)}


def test_most_confused_pairs_come_first_and_no_hit_is_among_them():
    labels = [0] * 5 + [1] * 5 + [2] * 5
    predictions = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 2, 2, 2, 2]
    measured = measure(labels, predictions, range(15), CLASSES[:3])
    assert measured["confused"] == [
        {"true": "no", "predicted": "stop", "n": 3},
        {"true": "yes", "predicted": "no", "n": 2},
        {"true": "stop", "predicted": "yes", "n": 1},
    ]


def test_the_list_of_confused_pairs_ends():
    classes = [f"word{i}" for i in range(30)]
    labels = list(range(30))
    measured = measure(labels, [29 - label for label in labels], labels, classes)
    assert len(measured["confused"]) == MOST_CONFUSED


def test_interval_agrees_with_every_possible_resample():
    """Four speakers can be drawn in 4^4 ways, all equally likely: the exact distribution of the accuracy."""
    clips = {"a": [1, 1, 1, 0], "b": [0, 0], "c": [1, 1, 1, 1, 1, 0], "d": [0, 1, 0]}
    every = sorted(
        sum(sum(clips[s]) for s in drawn) / sum(len(clips[s]) for s in drawn) for drawn in product(clips, repeat=4)
    )
    low, high = np.quantile(every, [0.025, 0.975])
    speakers = [speaker for speaker, hits in clips.items() for _ in hits]
    correct = [hit for hits in clips.values() for hit in hits]
    assert speaker_interval(correct, speakers, n_resamples=20_000) == pytest.approx([low, high], abs=0.02)


def test_interval_agrees_with_a_plain_bootstrap_over_lists():
    """Another program of the same definition: lists of clips, drawn with random.choices."""
    generator = random.Random(3)
    clips = [[generator.random() < chance for _ in range(generator.randint(2, 20))] for chance in [0.9, 0.7, 0.5] * 10]
    accuracies = []
    for _ in range(4000):
        drawn = [clip for speaker in generator.choices(clips, k=len(clips)) for clip in speaker]
        accuracies.append(sum(drawn) / len(drawn))
    accuracies.sort()
    speakers = [i for i, hits in enumerate(clips) for _ in hits]
    correct = [hit for hits in clips for hit in hits]
    interval = speaker_interval(correct, speakers, n_resamples=4000)
    assert interval == pytest.approx([accuracies[100], accuracies[3900]], abs=0.01)


def test_clips_of_a_speaker_are_alike_so_the_interval_is_wider_than_over_clips():
    generator = np.random.default_rng(2)
    chances = generator.beta(4, 1, size=40)  # some speakers are hard
    speakers = np.repeat(np.arange(40), 25)
    correct = generator.random(1000) < chances[speakers]
    low, high = speaker_interval(correct, speakers)  # type: ignore[misc]
    clip_low, clip_high = speaker_interval(correct, np.arange(1000))  # type: ignore[misc]
    assert high - low > 2 * (clip_high - clip_low)
    assert low < correct.mean() < high


def test_interval_is_seeded():
    correct, speakers = [1, 0, 1, 1, 0, 1, 0, 0] * 5, list(range(8)) * 5
    assert speaker_interval(correct, speakers, seed=1) == speaker_interval(correct, speakers, seed=1)
    assert speaker_interval(correct, speakers, seed=1) != speaker_interval(correct, speakers, seed=2)


def test_one_speaker_gives_no_interval():
    assert measure([0, 1, 1], [0, 1, 0], ["a"] * 3, CLASSES)["interval"] is None


@pytest.mark.parametrize(
    ("labels", "logits", "speakers", "complaint"),
    [
        ([0, 1], [[0.0, 1.0]], "ab", "one row of logits"),
        ([0, 1], [[0.0, 1.0]] * 2, "a", "one speaker"),
        ([0, 1], [[0.0, 1.0, 2.0]] * 2, "ab", "3 logits"),
        ([0, 2], [[0.0, 1.0]] * 2, "ab", "class index"),
        ([0, 1], [0, -1], "ab", "class index"),
        ([0, 1], [[0.0, 1.0], [np.nan, 0.0]], "ab", "1 of 2 clips .* not finite"),
    ],
)
def test_what_means_nothing_is_refused(labels, logits, speakers, complaint):
    with pytest.raises(KwspotError, match=complaint):
        measure(labels, logits, list(speakers), ("yes", "no"))


def test_an_empty_split_is_missing_data():
    with pytest.raises(MissingError, match="empty"):
        measure([], np.zeros((0, 2)), [], ("yes", "no"))
