"""What a command wrote into a document is what it would write now."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from docs import architecture_drawing
from docs.generate import BLOCKS, DRAWING, record_line
from kwspot import Spotter
from kwspot.cli import app
from kwspot.experiments.registry import load_experiment
from kwspot.experiments.runs import WINDOWS, list_runs, read_run
from kwspot.export.export import spotting_of
from kwspot.inference.model_zoo import bundled_models
from kwspot.reports.accuracy import card_figures
from kwspot.reports.markdown_blocks import read_block
from tests.documents import DOCUMENTS, ROOT
from tests.records import make_run


def compare_lines():
    """Return the `kwspot compare` lines with which `make docs` writes blocks, without the program's name."""
    makefile = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+) := (.*)$", makefile, re.MULTILINE))
    lines = re.findall(r"^\t\$\(BIN\)/kwspot (compare .*)$", makefile, re.MULTILINE)
    expanded = [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], line) for line in lines]
    return [shlex.split(line) for line in expanded if "--write" in line]


def option(command, name):
    return command[command.index(name) + 1]


@pytest.mark.parametrize("command", compare_lines(), ids=lambda command: option(command, "--block"))
def test_tables_are_the_generated_ones(command, tmp_path):
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


@pytest.mark.parametrize(("document", "name"), BLOCKS)
def test_blocks_are_the_generated_ones(document, name):
    assert read_block(ROOT / document, name) == f"{BLOCKS[document, name]()}\n", "run 'make docs'"


def test_an_experiment_is_credited_with_runs_of_its_own_settings_only(tmp_path):
    experiment = load_experiment("rnn")
    for seed, test in ((1, None), (2, 0.9)):
        make_run(tmp_path, "rnn", seed, settings=experiment.deciding(), test=test)
    make_run(tmp_path, "rnn", 3, test=0.5)
    told = "seeds 1, 2: test accuracy of seed 2 90.0 %; 1 of other settings"
    assert record_line("tries", experiment, list_runs(tmp_path)) == f"- `results/tries`, {told}"


def test_drawing_of_the_packages_is_the_generated_one():
    assert DRAWING.read_text("utf-8") == architecture_drawing.svg(), "run 'make docs'"


def test_drawing_holds_every_box():
    x = architecture_drawing.places(architecture_drawing.laid_out(architecture_drawing.imports_between_packages())[0])
    half = architecture_drawing.BOX_WIDTH / 2
    boxes = [at for name, at in x.items() if " " not in name]  # the others are lanes
    assert half < min(boxes) and max(boxes) < architecture_drawing.WIDTH - half


def test_drawing_has_every_package_and_no_arrow_that_others_imply():
    imports = architecture_drawing.imports_between_packages()
    drawn = architecture_drawing.direct_imports(imports)
    assert {name for pair in drawn for name in pair} == set(imports)
    kept = {package: {below for above, below in drawn if above == package} for package in imports}
    for package in imports:  # the arrows drawn reach what all imports reach
        assert architecture_drawing.below(package, kept) == architecture_drawing.below(package, imports)


def test_every_block_is_written_by_make_docs():
    written = {(option(command, "--write"), option(command, "--block")) for command in compare_lines()} | set(BLOCKS)
    there = {
        (path, name)
        for path, text in DOCUMENTS.items()
        for name in re.findall(r"^<!-- (\w+): written by `(?:kwspot compare|make docs)` -->", text, re.MULTILINE)
    }
    assert there == written


def test_results_hold_no_recordings_and_no_weights():
    endings = {path.suffix for path in (ROOT / "results").rglob("*") if path.is_file()}
    assert endings <= {".json", ".jsonl"}


@pytest.mark.parametrize("model", bundled_models(), ids=lambda model: model.name)
def test_model_card_has_the_figures_of_the_run(model):
    run = read_run(ROOT / "results" / "bundled" / Spotter(model.path).metadata["run"])
    assert read_block(model.path.with_suffix(".md"), "figures").strip() == card_figures(run)


@pytest.mark.parametrize("model", bundled_models(), ids=lambda model: model.name)
def test_model_file_has_the_operating_point_of_the_run(model):
    known = Spotter(model.path).metadata
    spotting = spotting_of(read_run(ROOT / "results" / "bundled" / known["run"]), WINDOWS)
    assert known["spotting"] == spotting
    assert min(spotting["before_ms"], spotting["after_ms"]) > 0
