"""An evaluation in the terminal: complete, aligned, in 80 columns."""

import numpy as np
import pytest

from kwspot.evaluation.metrics import measure
from kwspot.reports.accuracy import PAIRS, confusion_lines, evaluation_table, per_word, run_text
from kwspot.tasks import TASKS, WORDS_35
from tests.records import make_run


def evaluation_of(classes, n=4000, skill=2.0, n_speakers=50):
    generator = np.random.default_rng(len(classes))
    labels = generator.integers(len(classes), size=n)
    logits = generator.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += skill
    speakers = generator.integers(n_speakers, size=n)
    return {"split": "test", **measure(labels, logits, speakers, classes, n_resamples=50)}


LONG = [f"a-rather-long-word-of-my-own-{i}" for i in range(20)]


@pytest.mark.parametrize("confusion", [False, True])
@pytest.mark.parametrize("classes", [("yes", "no"), TASKS["kws12"].classes, WORDS_35, LONG], ids=len)
@pytest.mark.parametrize("skill", [0.0, 9.0])
def test_everything_fits_80_columns(classes, confusion, skill):
    evaluation = evaluation_of(classes, skill=skill)
    text = evaluation_table(evaluation, confusion=confusion)
    assert max(map(len, text.splitlines())) <= 80
    for word in classes:
        assert word in text


def test_the_summary_has_the_figures():
    evaluation = evaluation_of(("yes", "no"))
    first, second = evaluation_table(evaluation).splitlines()[:2]
    assert first == "test: 4,000 clips of 50 speakers, 2 classes"
    low, high = (f"{100 * bound:.1f}" for bound in evaluation["interval"])
    assert f"accuracy {100 * evaluation['accuracy']:.1f} % (95 % interval over speakers {low} to {high} %)" in second
    assert f"loss {evaluation['loss']:.3f}" in second


@pytest.mark.parametrize("classes", [TASKS["kws12"].classes, WORDS_35], ids=len)
def test_every_count_of_the_matrix_is_printed(classes):
    evaluation = evaluation_of(classes)
    printed = {name: [] for name in classes}
    for line in confusion_lines(evaluation):
        words = line.split()
        name = next((word for word in words[:2] if word in printed), None)
        if name and not set(words[words.index(name) + 1 :]) & set(classes):
            printed[name] += [0 if word == "·" else int(word) for word in words[words.index(name) + 1 :]]
    assert [printed[name] for name in classes] == evaluation["confusion"]


def test_every_word_has_its_line():
    evaluation = evaluation_of(WORDS_35)
    cells = " ".join(per_word(evaluation)).split()
    for word in evaluation["per_class"]:
        at = cells.index(word["class"])
        figures = [f"{100 * word['precision']:.1f}", f"{100 * word['recall']:.1f}"]
        assert cells[at + 1 : at + 4] == [str(word["n"]), *figures]


def test_many_classes_show_pairs_in_place_of_the_matrix():
    evaluation = evaluation_of(WORDS_35)
    text = evaluation_table(evaluation)
    assert "confusion matrix" not in text
    pair = evaluation["confused"][0]
    first = text.split("most confused\n")[1].splitlines()[1].split()
    assert first[:3] == [pair["true"], pair["predicted"], str(pair["n"])]
    assert len(text.split("most confused\n")[1].splitlines()) == 1 + PAIRS
    assert "confusion matrix" in evaluation_table(evaluation_of(TASKS["kws12"].classes))


def test_what_does_not_exist_is_a_dash():
    evaluation = {"split": "test", **measure([0, 0], [0, 0], ["a", "a"], ("yes", "no"))}
    text = evaluation_table(evaluation)
    assert "no interval: one speaker" in text
    assert "loss" not in text
    assert ["no", "0", "–", "–"] in [line.split() for line in text.splitlines()]


def test_a_run_is_shown_in_80_columns(tmp_path):
    run = make_run(tmp_path, "lstm", 2, classes=WORDS_35)
    text = run_text(run)
    assert max(map(len, text.removesuffix(str(run.path)).splitlines())) <= 80
    for part in (
        "accuracy 90.0 %",
        "accuracy 88.0 %",
        "122,347 parameters",
        "best 3",
        "epochs 9",
        "840 s",
        "seed        2",
    ):
        assert part in text
    unfinished = run_text(make_run(tmp_path, "gru", 4, finished=False))
    assert "kwspot train gru --seed 4 --resume" in unfinished
