"""The examples of the documents are those of the program: commands exist, blocks run as written, output is real."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from typer.main import get_command

from kwspot.cli import app
from kwspot.errors import KwspotError, StoppedError
from kwspot.experiments.registry import load_registry
from kwspot.synthesis.engines import installed
from tests.documents import DOCUMENTS, ROOT, bash_lines, fenced
from tests.sounds import tone, write_sound

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
TRAIN, USE, README = DOCUMENTS["docs/train.md"], DOCUMENTS["docs/predict-and-spot.md"], DOCUMENTS["README.md"]
POSTERIOR = re.compile(r"\b\d\.\d\d\b")  # and times in seconds: what may differ from machine to machine


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    assert f"kwspot {name}" in DOCUMENTS["docs/commands.md"].partition("<!-- commands")[0]


def test_exit_codes_are_those_of_the_errors():
    errors = {KwspotError, *KwspotError.__subclasses__()} - {StoppedError}  # whose code is that of its signal
    raised = {vars(error)["exit_code"] for error in errors if "exit_code" in vars(error)}
    documented = re.findall(r"^\| (\d+)(?:, (\d+))? \| ", DOCUMENTS["docs/commands.md"], re.MULTILINE)
    signals = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert {int(code) for pair in documented for code in pair if code} == {0} | raised | signals


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_exists(document):
    text = DOCUMENTS[document]
    typed = re.findall(r"^(?:\$ )?kwspot ([a-z]+)", "\n".join(fenced(text, r"\w*")), re.MULTILINE)
    assert {*re.findall(r"`kwspot ([a-z]+)", text), *typed} <= set(COMMANDS)
    for line in bash_lines(text):
        assert line[line.index("kwspot") + 1] in COMMANDS


@pytest.fixture
def environment():
    """The user's environment with `kwspot` on the path, and nothing set for it."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("KWSPOT_")}
    return own | {"PATH": os.pathsep.join([os.path.dirname(sys.executable), own["PATH"]])}  # noqa: PTH120


def run(command, folder, environment):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}: {done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_blocks_of_use_and_training_run(tmp_path, environment):
    """Every bash and Python block, as written, one after the other in a folder with recordings."""
    write_sound(tmp_path / "x.wav", tone(440))
    write_sound(tmp_path / "clips" / "y.mp3", tone(440, rate=44_100), 44_100)
    write_sound(tmp_path / "more" / "z.flac", tone(440))
    outputs, commands = {}, set()
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", USE + TRAIN.partition("## Define")[0], re.DOTALL):
        lines = [["bash", "-o", "pipefail", "-c", line] for line in block.splitlines() if language == "bash"]
        for command in lines or [[sys.executable, "-c", block]]:
            outputs[command[-1].partition("  ")[0]] = run(command, tmp_path, environment)
            commands |= set(re.findall(r"kwspot (\w+)", command[-1]))
    elsewhere = {
        "ui",
        "tensorboard",
        "synthesize",
        "vocabulary",
        "cut",
        "record",
        "enroll",
        "report",
        "serve",
    }  # with tests of their own
    assert commands - {"import"} == set(COMMANDS) - elsewhere
    assert outputs["kwspot predict x.wav"].startswith("x.wav\t")
    assert len(outputs["kwspot predict --top 3 x.wav clips/ 'more/*.flac'"].splitlines()) == 3
    assert len(outputs["kwspot train rnn lstm --seed 1 2 -o train.epochs=2"].splitlines()) == 4
    assert "streams" in outputs["kwspot eval rnn lstm --streaming"]
    assert "true word: " in outputs["kwspot predict --random --top 3 --model lstm"]
    assert len(list((tmp_path / "plots").glob("*/*/accuracy_validation.svg"))) == 4


@pytest.mark.slow
def test_readme_prints_what_its_commands_print(tmp_path, environment):
    """Posteriors and times may differ in their digits, nothing else."""
    if {"hibari", "pico"} - set(installed()):
        pytest.skip("the [synth] extra is not installed")
    shutil.copytree(ROOT / "results" / "study", tmp_path / "results" / "study")
    (block,) = fenced(README, "console")
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert len(steps) == 5
    for command, shown in steps:
        printed = run(["bash", "-c", command], tmp_path, environment)
        if "spoken/" in command:
            shown, printed = POSTERIOR.sub("#", shown), POSTERIOR.sub("#", printed)
        assert printed == shown


def test_python_of_the_readme_runs(tmp_path, environment):
    write_sound(tmp_path / "x.wav", tone(440))
    (block,) = fenced(README, "python")
    assert run([sys.executable, "-c", block], tmp_path, environment).strip()


def test_readme_is_short():
    assert len(README.splitlines()) <= 150
    assert "make demo" in README
    assert "make test" in README


def test_experiments_of_the_documents_are_valid(tmp_path):
    (block,) = fenced(TRAIN, "yaml")
    (tmp_path / "experiments.yaml").write_text(block)
    assert load_registry(tmp_path / "experiments.yaml")["lstm_wide"].model.hidden_size == 256
