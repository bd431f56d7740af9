"""The documents say what the program does: commands exist, examples run, numbers and functions are the real ones."""

import importlib
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kwspot import Spotter
from kwspot.cli import app
from kwspot.experiments.registry import load_registry
from kwspot.experiments.runs import read_run
from kwspot.inference.model_zoo import bundled_models
from kwspot.reports.accuracy import card_figures
from kwspot.reports.markdown_blocks import read_block
from tests.sounds import tone, write_sound

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROCESSING = (ROOT / "data_processing.md").read_text("utf-8")
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
FRONT_END = load_registry()["lstm"].front_end


def bash_lines(text):
    """Return the commands of all ```bash blocks, without their comments."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"kwspot {name}" in README


def test_every_command_in_the_readme_exists():
    named = set(re.findall(r"`?kwspot ([a-z]+)", README))
    assert named & set(COMMANDS)
    for line in bash_lines(README):
        assert line[line.index("kwspot") + 1] in COMMANDS


@pytest.mark.slow
def test_blocks_of_the_readme_run(tmp_path):
    """Every block under 'Use it' and 'Train your own', as written, one after the other in a folder with recordings."""
    write_sound(tmp_path / "x.wav", tone(440))
    write_sound(tmp_path / "clips" / "y.mp3", tone(440, rate=44_100), 44_100)
    write_sound(tmp_path / "more" / "z.flac", tone(440))
    use = README[README.index("## Use it") : README.index("| command | does |")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KWSPOT_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    outputs, commands = {}, set()
    for language, block in re.findall(r"```(\w+)\n(.*?)```", use, re.DOTALL):
        lines = [["bash", "-o", "pipefail", "-c", line] for line in block.splitlines() if language == "bash"]
        for command in lines or [[sys.executable, "-c", block]]:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command[-1]}: {done.stderr}"
            outputs[command[-1].partition("  ")[0]] = done.stdout
            commands |= set(re.findall(r"kwspot (\w+)", command[-1]))
    assert commands - {"import"} == set(COMMANDS) - {"ui", "tensorboard", "synthesize"}  # with tests of their own
    assert outputs["kwspot predict x.wav"].startswith("x.wav\t")
    assert len(outputs["kwspot predict --top 3 x.wav clips/ 'more/*.flac'"].splitlines()) == 3
    assert len(outputs["kwspot train rnn lstm --seed 1 2 -o train.epochs=2"].splitlines()) == 4
    assert "streams" in outputs["kwspot eval rnn lstm --streaming"]
    assert "true word: " in outputs["kwspot predict --random --top 3 --model lstm"]
    assert len(list((tmp_path / "plots").glob("*/*/accuracy_validation.svg"))) == 4


def test_experiments_of_the_readme_are_valid(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "experiments.yaml").write_text(block)
    assert load_registry(tmp_path / "experiments.yaml")["lstm_wide"].model.hidden_size == 256


def written_blocks():
    """Return the commands with which `make docs` writes a block of a document, without the program's name."""
    makefile = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+) := (.*)$", makefile, re.MULTILINE))
    lines = re.findall(r"^\t\$\(BIN\)/kwspot (compare .*)$", makefile, re.MULTILINE)
    expanded = [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], line) for line in lines]
    return [shlex.split(line) for line in expanded if "--write" in line]


def option(command, name):
    return command[command.index(name) + 1]


@pytest.mark.parametrize("command", written_blocks(), ids=lambda command: option(command, "--block"))
def test_blocks_of_the_documents_are_the_generated_ones(command, tmp_path):
    """Figures take long to draw and are not drawn: only that those shown are there."""
    document, copy = ROOT / option(command, "--write"), tmp_path / "copy.md"
    copy.write_text(document.read_text("utf-8"), "utf-8")
    command = [str(copy) if word == option(command, "--write") else word for word in command]
    command[command.index("--runs") + 1] = str(ROOT / option(command, "--runs"))
    if "--plots" in command:
        del command[command.index("--plots") : command.index("--plots") + 2]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    block, pictures = read_block(document, option(command, "--block")), re.compile(r"\n*!\[.*?\]\((.*?)\)")
    assert pictures.sub("", block) == read_block(copy, option(command, "--block"))
    assert all((document.parent / path).is_file() for path in pictures.findall(block))


def test_every_block_is_written_by_make_docs():
    written = {(option(command, "--write"), option(command, "--block")) for command in written_blocks()}
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    there = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in documents
        for name in re.findall(r"^<!-- (\w+): written by `kwspot compare` -->", path.read_text("utf-8"), re.MULTILINE)
    }
    assert there == written


def test_results_hold_no_recordings_and_no_weights():
    endings = {path.suffix for path in (ROOT / "results").rglob("*") if path.is_file()}
    assert endings <= {".json", ".jsonl"}


@pytest.mark.parametrize("model", bundled_models(), ids=lambda model: model.name)
def test_model_card_has_the_figures_of_the_run(model):
    run = read_run(ROOT / "results" / "bundled" / Spotter(model.path).metadata["run"])
    assert read_block(model.path.with_suffix(".md"), "figures").strip() == card_figures(run)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bkwspot(?:\.[A-Za-z_]+)+", PROCESSING))))
def test_function_named_in_data_processing_exists(name):
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[n:]:
        found = getattr(found, part)


@pytest.mark.parametrize("name", list(type(FRONT_END).model_fields))
def test_numbers_of_data_processing_are_the_registrys(name):
    value = getattr(FRONT_END, name)
    shown = {"sample_rate": "16000 Hz", "clip_ms": "`clip_ms` = 1000", "win_ms": "30 ms = 480 samples"}
    shown |= {"hop_ms": "10 ms = 160 samples", "f_min": "0 Hz, 4000 Hz", "f_max": "0 Hz, 4000 Hz"}
    text = shown.get(name, f"| {value} |")
    assert text in PROCESSING
    assert f"{value:g}" in text


def test_derived_numbers_of_data_processing():
    assert f"= {FRONT_END.win_length} samples" in PROCESSING
    assert f"= {FRONT_END.hop_length} samples" in PROCESSING
    shape = f"({FRONT_END.max_frames}, {FRONT_END.n_mels})"
    assert f"{shape} float32" in PROCESSING
    assert f"= {FRONT_END.max_frames * FRONT_END.n_mels * 2:,} bytes" in PROCESSING
    train = load_registry()["lstm"].train
    assert f"({train.batch_size}, {FRONT_END.max_frames}, {FRONT_END.n_mels}) float32" in PROCESSING
