"""A record of the wrong shape is named with its file and what is wrong, and takes no other run with it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import IntegrityError
from kwspot.experiments.runs import list_runs, read_run
from tests.closed import close_file
from tests.records import make_run

FILES = ("run.json", "metrics.json", "eval-test.json", "history.jsonl", "timing.jsonl")
MEASURED = next(
    (Path(__file__).parents[2] / "results/bundled").glob("keywords10_long-*")
)  # has been measured in every way
WRONG = (None, [], {}, "text", -1, True, float("nan"), "a\x1b[2J", "a\u202eb")


def variants(value, key):
    """Yield a record without a key, and with values of other types in its place."""
    without = dict(value)
    del without[key]
    yield without
    for wrong in WRONG:
        if type(wrong) is not type(value[key]):
            yield {**value, key: wrong}


def commands_are_clean(runs):
    for arguments in (["runs"], ["runs", "--json"], ["compare"], ["compare", "--json"], ["models"], ["doctor"]):
        done = CliRunner().invoke(app, [*arguments, "--runs", str(runs)])
        assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)


@pytest.mark.parametrize("file", FILES)
def test_a_record_of_the_wrong_shape_is_named(tmp_path, file):
    run = make_run(tmp_path, "lstm", 1)
    path = run.path / file
    lines = file.endswith(".jsonl")
    content = path.read_text()
    value = json.loads(content.splitlines()[0] if lines else content)
    n_refused = 0
    for key in value:
        for wrong in variants(value, key):
            path.write_text(json.dumps(wrong) + ("\n" + "\n".join(content.splitlines()[1:]) if lines else ""))
            try:
                read_run(run.path)
            except IntegrityError as error:
                n_refused += 1
                assert str(path) in str(error)
                assert "kwspot runs rm" in str(error)
            else:
                assert run.path.name in CliRunner().invoke(app, ["runs", "--runs", str(tmp_path)]).stdout
    assert n_refused >= 4 * len(value) / 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "3", "{}", "[" * 100_000, "\xff", '{"schema": ' + "9" * 5000]
)
def test_a_broken_record_does_not_hide_the_others(tmp_path, content):
    make_run(tmp_path, "lstm", 1)
    broken = make_run(tmp_path, "gru", 1)
    (broken.path / "run.json").write_bytes(content.encode("latin-1"))
    assert [run.experiment for run in list_runs(tmp_path)] == ["lstm"]
    done = CliRunner().invoke(app, ["compare", "--runs", str(tmp_path)])
    assert done.exit_code == 0
    assert "lstm" in done.stdout
    assert "left out, cannot be read" in done.stderr
    assert broken.id in done.stderr
    commands_are_clean(tmp_path)


@pytest.mark.parametrize("key", ["experiment", "run"])
@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "a/b", "a\\b", ".hidden", ""])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, key, name):
    path = make_run(tmp_path, "lstm", 1).path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: name}))
    with pytest.raises(IntegrityError, match=rf"run\.json: not as kwspot writes it \({key}: "):
        read_run(path.parent)


@pytest.mark.parametrize("key", ["name", "why"])
def test_what_stands_beside_the_settings_is_none_of_them(tmp_path, key):
    path = make_run(tmp_path, "lstm", 1).path / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "settings": {**record["settings"], key: "text"}}))
    with pytest.raises(IntegrityError, match=rf"settings: {key}: no setting"):
        read_run(path.parent)


def test_a_record_that_may_not_be_read_does_not_hide_the_others(tmp_path, monkeypatch):
    make_run(tmp_path, "lstm", 1)
    closed = make_run(tmp_path, "gru", 1).path / "eval-validation.json"
    closed.write_text("{}")
    close_file(monkeypatch, closed.name)
    done = CliRunner().invoke(app, ["runs", "--runs", str(tmp_path)])
    assert "lstm-s1" in done.stdout
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert done.stderr.startswith(f"error: {closed}: Permission denied")
    commands_are_clean(tmp_path)


def test_what_is_wrong_is_said_in_the_words_of_the_file(tmp_path):
    run = make_run(tmp_path, "lstm", 1)
    (run.path / "run.json").write_text("[]")
    with pytest.raises(IntegrityError, match=r"not as kwspot writes it \(not an object\)"):
        read_run(run.path)


@pytest.mark.parametrize(
    ("file", "wrong", "said"),
    [
        ("run.json", {"n_parameters": 10**400}, "n_parameters: "),
        ("eval-test.json", {"corpus": {}}, r"corpus\.name: Field required"),
        ("false-alarms-test.json", {"corpus": {}}, r"corpus\.name: Field required"),
        ("false-alarms-test.json", {"hours": 0.0}, "hours: Input should be greater than 0"),
        ("robustness-test.json", {"conditions": []}, "the kind 'clean' is needed"),
        ("robustness-test.json", {"corpus": {}}, r"corpus\.name: Field required"),
    ],
)
def test_what_reports_could_not_show_is_refused(tmp_path, file, wrong, said):
    run = make_run(tmp_path, "lstm", 1)
    whole = (run.path if (run.path / file).is_file() else MEASURED) / file
    (run.path / file).write_text(json.dumps({**json.loads(whole.read_text("utf-8")), **wrong}))
    with pytest.raises(IntegrityError, match=said):
        read_run(run.path)
    commands_are_clean(tmp_path)


def test_the_confusion_of_an_evaluation_is_square(tmp_path):
    run = make_run(tmp_path, "lstm", 1)
    evaluation = json.loads((run.path / "eval-test.json").read_text())
    (run.path / "eval-test.json").write_text(json.dumps({**evaluation, "confusion": [[1]]}))
    with pytest.raises(IntegrityError, match="4 rows of 4 counts"):
        read_run(run.path)
