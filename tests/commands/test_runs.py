"""`kwspot experiments` and `kwspot runs`: listings that tell the truth, deletions that ask."""

import csv
import json
import os

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.experiments.registry import flat, load_registry
from kwspot.experiments.runs import held, list_runs, remove_run
from tests.records import make_run

REGISTRY = """
extends: none
defaults:
  task: [yes, no]
  train: {epochs: 7}
experiments:
  plain:
    why: The defaults as they are.
  wide:
    why: Does a wider state help? This reason goes on for longer than a line of eighty columns can hold, far longer.
    model: {cell: lstm, hidden_size: 256}
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    path = tmp_path / "experiments.yaml"
    path.write_text(REGISTRY)
    monkeypatch.setenv("KWSPOT_REGISTRY", str(path))
    monkeypatch.setenv("KWSPOT_RUNS", str(tmp_path / "runs"))
    return load_registry(path)


def kwspot(*arguments, code=0, input=None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
    assert result.exit_code == code, result.output
    return result


def test_experiments_say_why_what_differs_and_what_was_run(registry, tmp_path):
    settings = registry["wide"].deciding()
    make_run(tmp_path / "runs", "wide", 1, settings=settings)
    make_run(tmp_path / "runs", "wide", 2, settings=settings, finished=False)
    make_run(tmp_path / "runs", "wide", 3)  # settings of an earlier registry
    lines = kwspot("experiments").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["plain  (no runs)", "    The defaults as they are."]
    wide = lines.index("wide  (runs: 1 finished, 1 unfinished, 1 of other settings)")
    assert lines[-1] == '    model.cell: "lstm"   model.hidden_size: 256'
    assert "Does a wider state help?" in lines[wide + 1]


def test_experiments_as_csv_have_a_column_for_every_setting_that_one_changes(registry):
    head, *rows = csv.reader(kwspot("experiments", "--csv").stdout.splitlines())
    wide = dict(zip(head, next(row for row in rows if row[0] == "wide"), strict=True))
    assert wide["model.hidden_size"] == "256"
    assert wide["why"].startswith("Does a wider state help? ")


def test_an_experiment_named_shows_every_setting(registry):
    text = kwspot("experiments", "wide").stdout
    for key in flat(registry["wide"].deciding()):
        assert f"    {key}: " in text
    assert "model.hidden_size: 256  *" in text
    assert "train.epochs: 7\n" in text
    assert "plain" not in text
    assert "known: plain, wide" in kwspot("experiments", "tall", code=2).stderr


def test_a_default_switched_off_is_a_difference(registry, tmp_path):
    path = tmp_path / "experiments.yaml"
    path.write_text(path.read_text() + "  unclipped: {why: Does clipping hold it back., train: {clip_norm: null}}\n")
    assert "    train.clip_norm: null" in kwspot("experiments").stdout.splitlines()
    assert "    train.clip_norm: null  *" in kwspot("experiments", "unclipped").stdout.splitlines()


def test_experiments_as_json(registry):
    plain, wide = json.loads(kwspot("experiments", "--json").stdout)
    assert plain["differs"] == {}
    assert wide["differs"] == {"model.cell": "lstm", "model.hidden_size": 256}
    assert wide["settings"]["task"] == ["yes", "no"]
    assert wide["finished"] == []


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KWSPOT_RUNS", str(tmp_path / "runs"))
    make_run(tmp_path / "runs", "lstm", 1)
    make_run(tmp_path / "runs", "lstm", 2, test=None)
    make_run(tmp_path / "runs", "rnn_orthogonal", 1, finished=False)
    return tmp_path / "runs"


def test_runs_are_listed(runs):
    lines = kwspot("runs").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1:] for line in lines[1:]] == [
        ["finished", "4", "90.0", "88.0"],
        ["finished", "4", "90.0", "–"],
        ["unfinished", "4", "–", "–"],
    ]
    assert [line.split()[0] for line in lines[1:]] == [run.id for run in list_runs(runs)]


def test_runs_as_json(runs):
    first = json.loads(kwspot("runs", "--json").stdout)[0]
    assert (first["experiment"], first["seed"], first["state"]) == ("lstm", 1, "finished")
    assert (first["accuracy_validation"], first["accuracy_test"]) == (0.9, 0.88)


def test_no_runs_is_no_error(tmp_path):
    result = kwspot("runs", "--runs", tmp_path / "none")
    assert result.stdout == ""
    assert "kwspot train" in result.stderr
    assert json.loads(kwspot("runs", "--json", "--runs", tmp_path / "none").stdout) == []


def test_a_broken_run_does_not_hide_the_others_and_can_be_removed(runs):
    broken = list_runs(runs)[0].path
    (broken / "metrics.json").write_text("{")
    result = kwspot("runs", code=4)
    assert "lstm-s2" in result.stdout
    assert str(broken) in result.stderr
    kwspot("runs", "rm", "--yes", broken.name)
    assert not broken.exists()
    assert "lstm-s2" in kwspot("runs").stdout


def test_a_run_is_shown_by_the_start_of_its_id(runs):
    run = list_runs(runs)[1]
    assert kwspot("runs", "show", "lstm-s2").stdout.startswith(run.id)
    shown = json.loads(kwspot("runs", "show", run.id, "--json").stdout)
    assert shown["metrics"] == run.metrics
    assert shown["record"] == run.record
    assert len(shown["history"]) == 4
    (row,) = csv.DictReader(kwspot("runs", "show", run.id, "--csv").stdout.splitlines())
    assert row in csv.DictReader(kwspot("runs", "--csv").stdout.splitlines())
    assert row["run"] == run.id
    assert "fits 2 runs" in kwspot("runs", "show", "lstm", code=3).stderr
    assert kwspot("runs", "--runs", runs, "show", "lstm-s2").stdout == kwspot("runs", "show", "lstm-s2").stdout
    assert "no such run" in kwspot("runs", "show", "lstm-s2", "--runs", runs / "none", code=3).stderr


def test_nothing_is_deleted_without_being_asked_for(runs, monkeypatch):
    before = list_runs(runs)
    assert "--yes" in kwspot("runs", "rm", "lstm-s1", code=2).stderr
    monkeypatch.setattr("kwspot.commands.runs._asks", lambda: True)
    result = kwspot("runs", "rm", "lstm-s1", code=1, input="n\n")
    assert before[0].id in result.stderr
    assert list_runs(runs) == before
    kwspot("runs", "rm", "lstm-s1", input="y\n")
    assert list_runs(runs) == before[1:]
    kwspot("runs", "rm", "-y", "lstm-s2", "rnn_orthogonal")
    assert list_runs(runs) == []


@pytest.mark.parametrize("command", [["rm", "--yes", ""], ["show", ""], ["export", "results", ""]])
def test_an_empty_name_is_none_even_of_the_only_run(runs, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in list_runs(runs)[1:]:
        remove_run(run.path)
    (only,) = list_runs(runs)
    for where in (runs, only.path):  # a folder of runs, and a run in its place
        assert "an empty name" in kwspot("runs", "--runs", where, *command, code=2).stderr
    assert list_runs(runs) == [only]


def test_one_wrong_name_deletes_nothing(runs):
    kwspot("runs", "rm", "--yes", "lstm-s1", "nothing", code=3)
    assert len(list_runs(runs)) == 3


def test_exported_records_compare_as_the_originals(runs, tmp_path):
    result = kwspot("runs", "export", tmp_path / "results")
    assert len(result.stdout.splitlines()) == 2
    assert "left out, not finished: rnn_orthogonal" in result.stderr
    names = {path.name for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert names == {"run.json", "history.jsonl", "timing.jsonl", "metrics.json", "eval-test.json"}
    exported = kwspot("compare", "--csv", "--runs", tmp_path / "results").stdout
    assert exported == kwspot("compare", "--csv").stdout
    assert "lstm-s1" in exported


def test_a_record_is_copied_byte_by_byte_or_not_at_all(runs, tmp_path):
    run = list_runs(runs)[0]
    (run.path / "trace.jsonl").write_bytes(b"\xff\xfe")
    kwspot("runs", "export", tmp_path / "results", run.id)
    assert (tmp_path / "results" / run.id / "trace.jsonl").read_bytes() == b"\xff\xfe"
    (run.path / "trace.jsonl").unlink()
    (run.path / "trace.jsonl").mkdir()
    kwspot("runs", "export", tmp_path / "others", run.id, code=1)
    assert not (tmp_path / "others").exists()


def test_what_is_left_of_a_run_is_named_and_can_be_removed(runs):
    left = list_runs(runs)[0].path
    (left / "run.json").unlink()
    assert "runs rm" in kwspot("runs", code=4).stderr
    assert left.name in kwspot("compare").stderr
    assert f"kwspotrunsrm{left.name}" in "".join(kwspot("doctor", "--data", runs, code=1).stdout.split())
    kwspot("runs", "rm", "--yes", left.name)
    assert not left.exists()
    assert [path for path in runs.iterdir() if path.name.startswith(".")] == []


def test_removing_a_link_to_a_run_leaves_the_run(runs, tmp_path):
    target = list_runs(runs)[0].path
    before = {path: path.read_bytes() for path in target.iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    (other / target.name).symlink_to(target)
    kwspot("runs", "rm", "--yes", target.name, "--runs", other)
    assert list(other.iterdir()) == []
    assert {path: path.read_bytes() for path in target.iterdir()} == before


def test_a_run_that_is_being_written_is_not_removed(runs):
    run = list_runs(runs)[0]
    with held(run.path):
        assert "another process" in kwspot("runs", "rm", "--yes", run.id, code=1).stderr
    assert list_runs(runs)[0] == run


def test_a_deletion_cut_short_is_no_run_and_swept_away_by_the_next(runs, monkeypatch):
    one, two, three = list_runs(runs)
    monkeypatch.setattr("kwspot.experiments.runs._delete", lambda path: None)
    remove_run(one.path)
    monkeypatch.undo()
    assert [run.id for run in list_runs(runs)] == [two.id, three.id]
    remove_run(two.path)
    assert [path.name for path in runs.iterdir()] == [three.id]


def test_a_deletion_cut_short_is_finished_by_the_same_command(runs, monkeypatch):
    one, *others = list_runs(runs)
    with monkeypatch.context() as patched:
        patched.setattr("kwspot.experiments.runs._delete", lambda path: None)
        kwspot("runs", "rm", "--yes", one.id)
    assert "no such run" in kwspot("runs", "rm", "--yes", one.id, code=3).stderr
    assert {path.name for path in runs.iterdir()} == {run.id for run in others}


def test_two_processes_that_finish_the_same_deletion_both_end_well(runs, monkeypatch):
    run = list_runs(runs)[0]
    kept, unlink = os.unlink, []

    def first_gone(path, **where):
        if not unlink:
            unlink.append(path)
            kept(path, **where)  # by the other process
        kept(path, **where)

    monkeypatch.setattr(os, "unlink", first_gone)
    remove_run(run.path)
    assert unlink
    assert not [path for path in runs.iterdir() if path.name.startswith(".")]
