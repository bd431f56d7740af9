"""Differences between experiments on the same clips: chance is called chance, and a real gain is found."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import ConfigError, MissingError
from kwspot.evaluation.comparison import choose_runs, table_rows
from kwspot.evaluation.metrics import measure
from kwspot.evaluation.significance import differences
from kwspot.files import write_json
from tests.records import make_run

N_SPEAKERS, N_CLIPS = 60, 20
SHORT = {"task": ["yes", "no", "stop", "go"], "front_end": {}, "model": {}, "train": {"epochs": 3}}


def evaluation_of(correct):
    """Measure clips (n_speakers, n_clips) of two words that were right or wrong."""
    labels = np.zeros(correct.size, dtype=int)
    speakers = np.repeat([f"s{i}" for i in range(len(correct))], correct.shape[1])
    measured = measure(labels, np.where(correct.ravel(), 0, 1), speakers, ["a", "b"])
    return {"split": "test", "corpus": {"name": "x", "digest": "0"}, **measured}


def rows_with(runs_dir, **correct):
    """Return rows of runs whose test clips were recognised as said, a seed for each array."""
    for name, seeds in correct.items():
        for seed, right in enumerate(seeds, 1):
            run = make_run(runs_dir, name, seed)
            write_json(run.path / "eval-test.json", evaluation_of(right))
    return table_rows(choose_runs(runs_dir, list(correct))[0])


def held(rows, versus):
    """Hold rows against others; none may be left out."""
    left_out = []
    found = differences(rows, versus, left_out.append)
    assert left_out == []
    return found


def draws(share, seed):
    """Speakers differ in how hard they are; `share` of the clips is right."""
    random = np.random.default_rng(seed)
    hard = np.random.default_rng(7).normal(0, 0.15, (N_SPEAKERS, 1))
    return random.random((N_SPEAKERS, N_CLIPS)) < share + hard


def test_a_difference_is_that_of_the_hand(tmp_path):
    base = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
    better = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=bool)
    (found,) = held(rows_with(tmp_path, base=[base], better=[better, base]), ["base"])
    assert (found.model, found.versus, found.n_speakers) == ("better", "base", 2)
    assert found.mean == pytest.approx(0.5 / 8)  # one clip more, with one of two seeds
    assert (found.low, found.high) == (0, pytest.approx(0.5 / 4))
    assert found.verdict == "within chance"


def test_a_gain_is_found_and_noise_is_not(tmp_path):
    rows = rows_with(
        tmp_path,
        base=[draws(0.7, 1), draws(0.7, 2)],
        same=[draws(0.7, 3), draws(0.7, 4)],
        better=[draws(0.8, 5), draws(0.8, 6)],
        once=[draws(0.8, 8)],
    )
    same, better, once = held(rows, ["base"])
    assert same.verdict == "within chance"
    assert better.verdict == "larger than chance and seeds"
    assert better.low > 0.05
    assert once.verdict == "larger than chance and seeds"  # the spread is that of the base's seeds
    (alone,) = (d for d in held(rows[2:], ["once"]))
    assert alone.mean == pytest.approx(better.mean - once.mean)


def test_a_gain_smaller_than_the_spread_of_seeds_says_so(tmp_path):
    rows = rows_with(tmp_path, base=[draws(0.5, 1), draws(0.75, 2)], better=[draws(0.72, 3)])
    (found,) = held(rows, ["base"])
    assert found.low > 0
    assert found.verdict == "within the spread of seeds"


def test_two_rows_named_are_held_against_each_other_once(tmp_path):
    rows = rows_with(tmp_path, one=[draws(0.7, 1)], two=[draws(0.7, 2)], three=[draws(0.7, 3)])
    found = [(d.model, d.versus) for d in held(rows, ["one", "two", "one"])]
    assert found == [("two", "one"), ("three", "one"), ("three", "two")]


def test_what_cannot_be_paired_is_refused(tmp_path):
    rows = rows_with(tmp_path, base=[draws(0.7, 1)], fewer=[draws(0.7, 1)[:, :9]])
    with pytest.raises(MissingError, match="tested on different clips"):
        held(rows, ["base"])
    with pytest.raises(MissingError, match="--versus lstm: not in the table; it has base, fewer"):
        held(rows, ["lstm"])
    make_run(tmp_path, "unmeasured", test=None)
    with pytest.raises(MissingError, match="measure it with 'kwspot eval unmeasured'"):
        held(table_rows(choose_runs(tmp_path, ["base", "unmeasured"])[0]), ["base"])


def test_rows_that_learned_from_other_clips_are_held_against_each_other_and_of_other_corpora_not(tmp_path):
    fewer = {"n_clips": {"train": 5, "validation": 1000, "test": 1100}}
    for name, corpus in {"lstm": {}, "fewer": fewer, "far": {"digest": "7" * 64}}.items():
        make_run(tmp_path, name, corpus=corpus)
    text = CliRunner().invoke(app, ["compare", "lstm", "fewer", "far", "--runs", str(tmp_path), "--versus", "lstm"])
    assert "fewer [a] against lstm [a]: +0.0 points" in " ".join(text.stdout.split())
    assert "5 to 8,100 train, 1,000 validation, 1,100 test clips" in " ".join(text.stdout.split())
    assert "far" not in text.stdout.partition("against")[2]
    assert "note: --versus lstm: not against far [b], of another corpus or task" in text.stderr


def test_a_name_of_several_rows_is_refused_with_their_labels(tmp_path):
    rows = [make_run(tmp_path, "lstm", settings=settings) for settings in (None, SHORT)]
    table = table_rows(rows)
    with pytest.raises(ConfigError, match=f"--versus lstm: 2 rows; name one: {table[0].label}, {table[1].label}"):
        held(table, ["lstm"])
    assert held(table, [table[0].label])[0].versus == table[0].label


def test_the_command_says_it_in_every_form(tmp_path):
    make_run(tmp_path, "lstm", test=0.88)
    make_run(tmp_path, "rnn", test=0.40)

    def compare(*more):
        result = CliRunner().invoke(app, ["compare", "lstm", "rnn", "--runs", str(tmp_path), "--versus", "lstm", *more])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = compare()
    assert "rnn against lstm: -48.0 points (95 % interval over 25 speakers" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\n- rnn against lstm: -48.0 points" in compare("--markdown")
    (difference,) = json.loads(compare("--json"))["differences"]
    assert difference["mean"] == pytest.approx(-0.48)
    assert difference["verdict"] == "larger than chance; the spread of seeds is unknown"
