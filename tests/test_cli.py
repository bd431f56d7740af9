"""The command line: light to start, one line an error, quiet on a closed pipe, documented codes."""

from contextlib import suppress
import csv
import json
import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kwspot import __version__, errors
from kwspot.cli import GROUPS, NEEDS, app
from kwspot.extras import extra_of
from tests.toy import SETTINGS, make_cache

HEAVY = ("torch", "torchaudio", "numpy", "matplotlib", "soundfile", "tensorboard", "onnxruntime", "onnx", "starlette")
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def run(*arguments, **options):
    """Run a command in this process: starting torch anew for each would take minutes."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def start(*arguments):
    """Start a command as a process of its own."""
    command = [sys.executable, "-m", "kwspot", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a small corpus of features, as `./data`."""
    make_cache(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for name in ("KWSPOT_DATA", "KWSPOT_RUNS", "KWSPOT_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def overrides(*more):
    return [part for setting in (*SETTINGS, *more) for part in ("-o", setting)]


def test_help_imports_nothing_heavy():
    helps = [["--help"], ["--version"], *[[name, "--help"] for name in COMMANDS]]
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom kwspot.cli import app\n"
        f"assert all(CliRunner().invoke(app, arguments).exit_code == 0 for arguments in {helps!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples_to_copy(name):
    text = COMMANDS[name].help
    assert text
    assert f"kwspot {name}" in text


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_fits_80_columns(name):
    arguments = [name, "--help"] if name else ["--help"]
    done = run(*arguments, env={"COLUMNS": "80"})
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "..." not in done.stdout.replace("]...", "").replace("}...", "")


def options_of(command):
    """Return the options of a command and of those below it."""
    below = getattr(command, "commands", {}).values()
    own = [one for one in command.params if one.param_type_name == "option"]
    return own + [one for command in below for one in options_of(command)]


def kind_of(option):
    """Say what an option takes, whether once or several times."""
    taken = str(option.type_descriptor.annotation)
    return next((kind for kind in ("Path", "bool", "int", "float", "str") if kind in taken), taken)


def test_an_option_name_means_one_thing():
    """`-o` is an override wherever it stands; `--out` takes a path, in every command."""
    meanings = {}
    for one in (one for command in COMMANDS.values() for one in options_of(command)):
        for text in one.opts:
            long = next(opt for opt in one.opts if opt.startswith("--"))
            meanings.setdefault(text, set()).add((long, kind_of(one)))
    several = {text: found for text, found in meanings.items() if len(found) > 1}
    assert not several


def test_every_table_for_programs_is_one_for_spreadsheets_too():
    tables = ("compare", "listen", "models", "predict", "runs", "spot")
    for name in tables:
        assert {"--json", "--csv"} <= {text for one in COMMANDS[name].params for text in one.opts}, name


def test_short_help_and_groups():
    done = run("-h")
    assert done.exit_code == 0
    for group, commands in GROUPS.items():
        listed = done.stdout.partition(f" {group} ")[2].partition("\u256f")[0]
        assert {command.__name__.rstrip("_") for command in commands} <= set(
            re.findall(r"^\u2502 (\w+) ", listed, re.M)
        )
    assert run("runs", "show", "-h").exit_code == 0


def test_version():
    for option in ("--version", "-V"):
        assert run(option).stdout == f"kwspot {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "lstn"], 2, "no experiment 'lstn'; did you mean 'lstm'?"),
        (["train", "lstm", "-o", "train.epoch=3"], 2, "lstm.train.epoch: unknown; did you mean 'epochs'?"),
        (["train", "lstm", "--resume", "--again"], 2, "give one of them"),
        (["train", "lstm", "--device", "abacus", "--data", "data", *overrides()], 2, "write auto, cpu or cuda"),
        (["train", "lstm", "--data", "nowhere"], 3, "nowhere: no"),
        (["train", "lstm", *overrides("task=[left, house]")], 3, "no clips of house"),
        (["train", "lstm", "--registry", "nowhere.yaml"], 3, "nowhere.yaml: no such registry"),
        (["eval", "lstm"], 3, "'kwspot train NAME' makes one"),
        (["compare"], 3, "kwspot train"),
        (["predict"], 2, "predict needs audio files, or --random"),
        (["predict", "x.wav", "--model", "lstm"], 3, "no such run"),
        (["predict", "x.wav", "--model", "lstm.onnx"], 3, "lstm.onnx: no such model; 'kwspot models' lists"),
        (["predict", "--random", "--data", "nowhere"], 3, "nowhere: no such folder"),
        (["predict", "--random"], 3, "data: no clips"),
        (["models", "nothing"], 3, "bundled models: keywords10, keywords10_long, keywords10_nano"),
        (["export", "lstm"], 3, "no such run"),
        (["tensorboard"], 3, "no runs with events yet"),
        (["featurize", "--data", "nowhere"], 3, "nowhere: no"),
        (["runs", "show", "nothing"], 3, "nothing"),
    ],
)
def test_error_is_one_line_with_its_code(project, arguments, code, message):
    done = run(*arguments)
    assert done.exit_code == code
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_debug_shows_the_traceback(project):
    assert isinstance(run("--debug", "eval", "lstm").exception, errors.MissingError)


@pytest.mark.parametrize("arguments", [["train"], ["nonsense"], ["train", "lstm", "--nonsense"]])
def test_usage_error_is_code_2(project, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "x", "--long-audio", "--hours", "inf"],
        ["eval", "x", "--long-audio", "--snr-db", "nan"],
        ["enroll", "x", "--text", "computer", "--false-alarms-per-hour", "inf"],
        ["spot", "x.wav", "--threshold", "nan"],
    ],
)
def test_a_number_that_is_none_is_refused(project, arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr == f"error: {arguments[-2]}: a finite number is needed, got {arguments[-1]}\n"


def test_codes_are_the_documented_ones():
    codes = {
        errors.KwspotError: 1,
        errors.ConfigError: 2,
        errors.MissingError: 3,
        errors.IntegrityError: 4,
    }
    assert {error: error("x").exit_code for error in codes} == codes
    assert errors.MissingPartError("kwspot eval needs torch", "train").exit_code == 3
    assert [errors.StoppedError("x", number).exit_code for number in (signal.SIGINT, signal.SIGTERM)] == [130, 143]


@pytest.mark.slow
def test_seeds_may_follow_one_another(project):
    done = run("train", "rnn", "lstm", "--seed", 3, 1, *overrides("train.epochs=1"), "-q")
    assert done.exit_code == 0, done.stderr
    ids = [line.split("\t")[0].rsplit("-", 1)[0] for line in done.stdout.splitlines()]
    assert ids == ["rnn-s3", "rnn-s1", "lstm-s3", "lstm-s1"]
    assert done.stderr == ""


def test_progress_goes_to_stderr_a_line_an_epoch(project):
    done = run("train", "rnn", *overrides("train.epochs=2"), env={"NO_COLOR": "1"})
    assert len(done.stdout.splitlines()) == 1
    lines = [line for line in done.stderr.splitlines() if "epoch" in line]
    assert len(lines) == 2
    assert "clips/s" in lines[0]
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_names_the_command_that_resumes(project, number, code):
    arguments = ["train", "lstm", *overrides("train.epochs=500", "train.patience=500")]
    with start(*arguments) as process:
        process.stderr.readline()
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert process.returncode == code
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("error: stopped and saved in runs/lstm-s1-")
    resuming = last.partition("resume with: ")[2]
    assert resuming.startswith("kwspot train lstm")
    assert resuming.endswith("--resume")
    assert stdout == ""
    assert "unfinished run; continue it with --resume" in run(*arguments).stderr


def test_closed_pipe_is_quiet(project):
    with start("experiments") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_gate_of_eval(project):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    passed = run("eval", "lstm", "--json", "--min-accuracy", 0)
    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["n"] == 18
    head, row = csv.reader(run("eval", "lstm", "--csv").stdout.splitlines())
    assert float(row[head.index("accuracy")]) == json.loads(passed.stdout)["accuracy"]
    failed = run("eval", "lstm", "--json", "--min-accuracy", 1)
    assert failed.exit_code == 1
    assert "accuracy below --min-accuracy 1.0: lstm-s1-" in failed.stderr


@pytest.mark.parametrize("where", [[], ["--false-alarms", "."]])
def test_a_split_that_is_none_is_refused_with_those_there_are(project, where):
    done = run("eval", "lstm", "--split", "foo", *where)
    assert done.exit_code == 2
    assert "--split foo: no such split; known: train, validation, test, " in done.stderr


def test_training_ends_with_model_files(project):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    (folder,) = (project / "runs").iterdir()
    assert {"model.onnx", "model.stream.onnx"} <= {path.name for path in folder.iterdir()}
    for lost in ("model.onnx", "model.stream.onnx"):  # a process killed between the two
        (folder / lost).unlink()
        again = run("train", "lstm", *overrides("train.epochs=1"))
        assert f"wrote {folder.relative_to(project) / lost}" in again.stderr


def test_export_writes_what_was_asked_for(project):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    (folder,) = (path.relative_to(project) for path in (project / "runs").iterdir())
    done = run("export", "lstm")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        str(folder / "model.onnx"), str(folder / "model.stream.onnx")
    ]  # fmt: skip
    for other in ([], ["--stream"], ["--int8", "--stream"]):
        assert "--most-lost: goes with" in run("export", "lstm", "--most-lost", 1, *other).stderr
    done = run("export", "lstm", "--int8", "--most-lost", 1, "--out", "small.onnx")
    assert "validation accuracy" in done.stderr
    assert done.stdout == f"small.onnx\t{(project / 'small.onnx').stat().st_size} bytes\n"
    assert run("export", "lstm", "--stream", "--out", "s.onnx").stdout.startswith("s.onnx\t")
    (project / "card.md").write_text("# Card\n<!-- figures: written -->\n<!-- /figures -->\n")
    run("eval", "lstm")
    assert run("export", "lstm", "--out", "m.onnx", "--card", "card.md").exit_code == 0
    assert "| left | 6 | " in (project / "card.md").read_text()


def test_models_lists_bundled_ones_and_runs(project):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    run("eval", "lstm")
    lines = run("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "model",
        "keywords10",
        "keywords10_long",
        "keywords10_nano",
        next((project / "runs").iterdir()).name,
    ]
    assert " – " not in lines[2]  # eval wrote the test accuracy into the file
    assert run("models", "keywords10").stdout.startswith("keywords10: for single clips\nwords            yes no")
    assert "\n# keywords10\n" in run("models", "keywords10").stdout
    assert "left right up" in run("models", "lstm").stdout
    assert max(map(len, run("models", "lstm").stdout.splitlines())) < 200
    rows = list(csv.DictReader(run("models", "--csv").stdout.splitlines()))
    assert [row["n_classes"] for row in rows] == ["12", "12", "12", "3"]
    known = json.loads(run("models", "lstm", "--json").stdout)
    assert known["labels"] == ["left", "right", "up"]
    (next((project / "runs").iterdir()) / "model.onnx").write_text("damaged")
    done = run("models")
    assert done.exit_code == 4
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "model",
        "keywords10",
        "keywords10_long",
        "keywords10_nano",
    ]
    assert "no model that onnxruntime can read" in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train lstm_1", {"lstm_15words"}),
        ("train rnn --registry nowhere.yaml ls", set()),
        ("eval l", {"lstm", "RUN"}),
        ("eval --runs nowhere l", set()),
        ("runs show ls", {"lstm", "RUN"}),
        ("predict --model k", {"keywords10", "keywords10_long", "keywords10_nano"}),
        ("predict --model l", {"RUN"}),
        ("models k", {"keywords10", "keywords10_long", "keywords10_nano"}),
    ],
)
def test_shell_completion_knows_the_names(project, line, expected):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    words = ["kwspot", *line.split()]
    environment = {**os.environ, "_KWSPOT_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    program = Path(sys.executable).with_name("kwspot")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    found = {re.sub(r"lstm-s1-.*", "RUN", name) for name in done.stdout.split()}
    assert found == expected, done.stderr


@pytest.mark.slow
def test_tensorboard_shows_the_runs(project):
    run("train", "lstm", *overrides("train.epochs=1"), "-q")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start("tensorboard", "--port", port) as process:
        try:
            for _ in range(300):
                with suppress(OSError):
                    page = urlopen(f"http://127.0.0.1:{port}/data/runs", timeout=5).read()
                    if page != b"[]\n" and json.loads(page):
                        break
                time.sleep(0.2)
            assert json.loads(page)[0].startswith("lstm-s1-")
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 143


@pytest.mark.parametrize("name", NEEDS)
def test_a_command_without_its_extra_is_one_line_before_any_work(project, monkeypatch, name):
    arguments = {"sweep": ["lstm", "--over", "train.epochs=1,2"], "ui": [], "tensorboard": []}
    arguments["record"] = ["yes", "--out", "clips"]
    arguments["serve"] = ["--wyoming"]
    missing = NEEDS[name][0]
    monkeypatch.setitem(sys.modules, missing, None)
    done = run(name, *arguments.get(name, ["lstm"]))
    assert done.exit_code == 3
    assert done.stdout == ""
    install = f"pip install 'kwspot[{extra_of(missing)}]'"
    assert done.stderr == f"error: kwspot {name} needs {missing}; run: {install}\n"
    assert sorted(path.name for path in project.iterdir()) == ["data"]


@pytest.mark.parametrize(("name", "extra"), [*((name, extra_of(NEEDS[name][0])) for name in NEEDS), ("listen", "mic")])
def test_help_names_the_optional_part(name, extra):
    """Square brackets are markup to rich, which drops what it does not know."""
    assert f"pip install 'kwspot[{extra}]'" in CliRunner().invoke(app, [name, "--help"]).stdout
