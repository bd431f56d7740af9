"""The search over settings: real runs, the best by validation first, resumed where it was stopped."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import optuna
import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments import runs
from kwspot.training.run import Callbacks
from kwspot.training.sweep import Dimension, read_dimension, search
from tests.toy import SETTINGS, make_cache


@pytest.fixture
def data(tmp_path):
    make_cache(tmp_path / "data")
    return tmp_path / "data"


ROOT = Path(__file__).parents[2]
RATE = Dimension("train.learning_rate", (1e-5, 1e-2), True)
WIDTH = Dimension("model.hidden_size", (4, 8), False)


def run_search(data, n_trials, *, epochs=2, callbacks=None, ended=lambda _: None):
    return search(
        "lstm", [RATE, WIDTH], n_trials, registry=None, overrides=[*SETTINGS, f"train.epochs={epochs}"], seed=1,
        data=data, runs_dir=data.parent / "runs", device="cpu",
        callbacks=lambda _: callbacks or Callbacks(), ended=ended,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.learning_rate=1e-4..1e-2", Dimension("train.learning_rate", (1e-4, 1e-2), True)),
        ("train.learning_rate=1.5e-3..1.", Dimension("train.learning_rate", (1.5e-3, 1.0), True)),
        ("model.dropout=0.0..0.5", Dimension("model.dropout", (0.0, 0.5), True)),
        ("model.hidden_size=64,128", Dimension("model.hidden_size", (64, 128), False)),
        ("model.num_layers=1..3", Dimension("model.num_layers", (1, 3), True)),
        ("model.pooling=mean,max", Dimension("model.pooling", ("mean", "max"), False)),
        ("model.stem.channels=[8,16],[16,24]", Dimension("model.stem.channels", ([8, 16], [16, 24]), False)),
    ],
)
def test_dimensions_are_read(text, expected):
    assert read_dimension(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "model.dropout",
        "model.dropout=0.1",
        "model.dropout=0.5..0.1",
        "model.cell=rnn..gru",
        "model.stem.channels=[8,16",
    ],
)
def test_what_is_no_dimension_is_refused(text):
    with pytest.raises(ConfigError, match="--over model"):
        read_dimension(text)


@pytest.mark.slow
def test_trials_are_runs_and_the_best_comes_first(data):
    ended = []
    found = run_search(data, 3, ended=ended.append)
    records = {run.id: run for run in runs.list_runs(data.parent / "runs")}
    assert len(found) == 3
    assert [one.accuracy_validation for one in found] == sorted((o.accuracy_validation for o in found), reverse=True)
    for one in found:
        record = records[one.run_id]
        assert one.accuracy_validation == record.metrics["accuracy_validation"]
        assert one.chosen["model.hidden_size"] == record.record["settings"]["model"]["hidden_size"]
        assert 1e-5 <= record.record["settings"]["train"]["learning_rate"] <= 1e-2
    assert {run.id for run in ended} == set(records)
    assert len(run_search(data, 5)) == 5  # two more
    assert run_search(data, 5, callbacks=Callbacks(should_stop=lambda: True))  # nothing left to stop


def test_the_same_search_on_other_data_is_another_study(data):
    (one,) = run_search(data, 1, epochs=1)
    assert run_search(data, 1, epochs=1) == [one]
    make_cache(data, seed=1)
    (other,) = run_search(data, 1, epochs=1)
    corpora = {run.id: run.record["corpus"]["digest"] for run in runs.list_runs(data.parent / "runs")}
    assert (corpora[one.run_id], corpora[other.run_id]) == ("toy-0", "toy-1")


def test_a_stopped_search_goes_on_with_the_trial_it_was_at(data):
    steps = []
    stopping = Callbacks(step=lambda *_: steps.append(1), should_stop=lambda: len(steps) == 15)  # in its second trial
    assert run_search(data, 3, callbacks=stopping) is None
    before = {run.id: run.state for run in runs.list_runs(data.parent / "runs")}
    found = run_search(data, 3)
    after = {run.id: run.state for run in runs.list_runs(data.parent / "runs")}
    assert len(before) == 2
    assert set(before) < set(after)
    assert len(after) == len(found) == 3
    assert set(after.values()) == {"finished"}


def test_half_a_line_of_a_journal_is_cut_off_and_a_damaged_one_is_named(data):
    ended = []
    (first,) = run_search(data, 1, epochs=1)
    (journal,) = (data.parent / "runs" / "sweeps").glob("*.log")
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":')
    assert run_search(data, 1, epochs=1, ended=ended.append) == [first]
    assert ended == []
    for damage in (b"garbage\n", b"{}\n", b"[1,2]\n", b'{"op_code": 99, "worker_id": "a"}\n', b"\xff\n"):
        journal.write_bytes(whole + damage)
        with pytest.raises(IntegrityError, match=rf"{journal}: damaged; delete it"):
            run_search(data, 1, epochs=1)
    journal.unlink()
    assert run_search(data, 1, epochs=1, ended=ended.append) == [first]  # the run is found again


@pytest.mark.slow
def test_what_falls_behind_is_stopped_early(data):
    """After four trials that learn, one with a rate of almost nothing is not worth its epochs."""
    learns = Dimension("train.learning_rate", (1e-2, 2e-2), True)
    options = {
        "registry": None, "seed": 1, "data": data, "runs_dir": data.parent / "runs", "device": "cpu",
        "callbacks": lambda _: Callbacks(), "ended": lambda _: None,
    }  # fmt: skip
    settings = [*SETTINGS, "train.epochs=6", "train.patience=null", "model.feature_norm=standard"]
    assert len(search("lstm", [learns], 4, overrides=settings, **options)) == 4
    idles = Dimension("train.learning_rate", (1e-7, 1e-7 * 1.01), True)
    journal = next((data.parent / "runs" / "sweeps").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kwspot.training.sweep.digest_of", lambda _: journal.stem.rpartition("-")[2])  # the same study
        patch.setattr(Dimension, "suggest", lambda self, trial: self.values[0])
        search("lstm", [idles], 5, overrides=settings, **options)
    last = max(runs.list_runs(data.parent / "runs"), key=lambda run: run.path.stat().st_mtime)
    assert last.metrics is None
    assert len(last.history) < 6


@pytest.mark.slow
def test_processes_share_the_trials_out_among_them(data):
    """Two real processes, and a killed one before them whose trial is taken again."""
    code = (
        "import sys, os, signal; from pathlib import Path; from kwspot.training.run import Callbacks\n"
        "import tests.training.test_sweep as t\n"
        "stop = (lambda *_: os.kill(os.getpid(), signal.SIGKILL)) if sys.argv[2] == 'killed' else (lambda *_: None)\n"
        "found = t.run_search(Path(sys.argv[1]), 4, callbacks=Callbacks(step=stop))\n"
        "print(len(found))"
    )
    command = [sys.executable, "-c", code, str(data)]
    assert subprocess.run([*command, "killed"], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    both = [subprocess.Popen([*command, "whole"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(one.communicate()[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert max(counts) == 4
    records = runs.list_runs(data.parent / "runs")
    assert {run.state for run in records} == {"finished"}
    study = load_study(data)
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE"] * 4 + ["FAIL"]
    assert len({tuple(trial.params.items()) for trial in study.trials[1:]}) == 4
    assert not list((data.parent / "runs" / "sweeps").glob("*.lock"))


def load_study(data):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    (journal,) = (data.parent / "runs" / "sweeps").glob("*.log")
    return optuna.load_study(study_name="lstm", storage=JournalStorage(JournalFileBackend(str(journal))))


def test_command_names_bad_input_and_prints_trials(data):
    place = ["--data", str(data), "--runs", str(data.parent / "runs"), "--quiet"]
    settings = [part for one in [*SETTINGS, "train.epochs=1"] for part in ("-o", one)]
    call = ["sweep", "lstm", "--trials", "2", *place, *settings]
    bad = CliRunner().invoke(app, [*call, "--over", "model.hiden_size=4,8"])
    assert bad.exit_code == 2
    assert "did you mean 'hidden_size'?" in bad.stderr
    assert not (data.parent / "runs").exists()
    good = CliRunner().invoke(app, [*call, "--over", "model.hidden_size=4,8"])
    assert good.exit_code == 0, good.stderr
    lines = [line.split("\t") for line in good.stdout.splitlines()]
    assert {line[2] for line in lines} <= {"model.hidden_size=4", "model.hidden_size=8"}
    assert all((data.parent / "runs" / line[0] / runs.MODEL).is_file() for line in lines)
    again = CliRunner().invoke(app, [*call, "--over", "model.hidden_size=4,8", "--csv"]).stdout.splitlines()
    assert again[0] == "run,accuracy_validation,model.hidden_size"
    assert [line.split(",")[0] for line in again[1:]] == [line[0] for line in lines]
    switched = CliRunner().invoke(app, [*call, "--over", "model.bidirectional=true,false", "--json"])
    assert {trial["chosen"]["model.bidirectional"] for trial in json.loads(switched.stdout)} <= {True, False}
    listed = json.loads(CliRunner().invoke(app, [*call, "--over", "model.hidden_size=4,8", "--json"]).stdout)
    assert [trial["run_id"] for trial in listed] == [line[0] for line in lines]


def test_lists_can_be_chosen_from(data):
    channels = read_dimension("model.stem.channels=[4,8],[8,4]")
    found = search(
        "lstm", [channels], 1, registry=None, overrides=[*SETTINGS, "train.epochs=1"], seed=1, data=data,
        runs_dir=data.parent / "runs", device="cpu", callbacks=lambda _: Callbacks(), ended=lambda _: None,
    )  # fmt: skip
    (run,) = runs.list_runs(data.parent / "runs")
    assert run.record["settings"]["model"]["stem"]["channels"] == found[0].chosen[channels.key]


def test_the_trials_of_an_encoder_end_with_its_file(data):
    encoder = ["train.epochs=1", "model.embedding_size=4", "model.pooling=mean"]
    settings = [part for one in [*SETTINGS, *encoder] for part in ("-o", one)]
    place = ["--data", str(data), "--runs", str(data.parent / "runs"), "--quiet"]
    call = ["sweep", "lstm", "--trials", "1", "--over", "model.hidden_size=4,8", *place, *settings]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.stderr
    assert (data.parent / "runs" / done.stdout.partition("\t")[0] / runs.ENCODER).is_file()


def test_interrupted_command_says_how_to_go_on(data, monkeypatch):
    monkeypatch.setattr("kwspot.training.trainer.Trainer._set_rate", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    place = ["--data", str(data), "--runs", str(data.parent / "runs"), "--quiet"]
    settings = [part for one in SETTINGS for part in ("-o", one)]
    stopped = CliRunner().invoke(app, ["sweep", "lstm", "--over", "model.hidden_size=4,8", *place, *settings])
    assert stopped.exit_code == 130
    assert "run the same command to resume" in stopped.stderr
