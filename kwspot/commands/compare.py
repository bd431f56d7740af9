"""`kwspot compare`."""

from collections.abc import Sequence
import os
from pathlib import Path
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, Quiet, RunsDir, complete_run
from kwspot.errors import ConfigError

if TYPE_CHECKING:  # the table needs no numpy
    from kwspot.evaluation.significance import Difference

ACCURACY = "accuracy"


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Experiments or runs. Default: all that finished.", autocompletion=complete_run
        ),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A markdown table with its caption.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Unrounded figures as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Unrounded figures as CSV.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="A LaTeX table (booktabs).")] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="model, train-loss, train-acc, val-loss, val-acc, test-acc, params, macs, time, epochs or seeds. "
            "Default: as named, else val-acc.",
        ),
    ] = None,
    versus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Say how much better each other row is on test than this one, and whether by chance. Repeatable.",
        ),
    ] = None,
    show: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="accuracy, robustness or false-alarms, as 'kwspot eval' measured them on test."
        ),
    ] = ACCURACY,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the learning curves as SVG here.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table into a block of a markdown file.")
    ] = None,
    block: Annotated[str, typer.Option(metavar="NAME", help="With --write: the block's name.")] = "results",
    runs: RunsDir = RUNS,
    quiet: Quiet = False,
) -> None:
    """Compare experiments: a row each, mean ± sample standard deviation over the seeds that finished.

    Train and validation figures are those of the best epoch on validation.
    Runs of other settings or of another corpus get rows of their own.
    Works on records alone: needs neither corpus nor weights.

    Examples:

      kwspot compare

      kwspot compare rnn rnn_ln lstm --plots plots

      kwspot compare --markdown --sort test-acc

      kwspot compare rnn_best gru_stream --versus rnn_best

      kwspot compare rnn_best gru_stream --show robustness

      kwspot compare --runs results --plots docs/plots --write README.md

      kwspot compare --json | jq '.rows[].accuracy_test'
    """
    from kwspot.evaluation.comparison import choose_runs, notes, sort_rows, table_rows
    from kwspot.reports import results_table

    formats = {"--markdown": as_markdown, "--json": as_json, "--csv": as_csv, "--latex": as_latex}
    if len(given := [option for option, wanted in formats.items() if wanted]) > 1:
        raise ConfigError(f"{' and '.join(given)}: give one of them")
    if show != ACCURACY:
        refused = {**formats, "--sort": sort, "--versus": versus}
        _show(show, names or (), runs, plots, write, block, [option for option, wanted in refused.items() if wanted])
        return
    finished, unfinished = choose_runs(runs, names or ())
    rows = table_rows(finished)
    if sort or not names:
        rows = sort_rows(rows, sort or "val-acc")
    for run in unfinished:
        console.note(f"left out, not finished: {run.id} ({run.state})")
    for line in notes(rows):
        console.note(f"note: {line}")
    against: list[Difference] = []
    if versus:
        from kwspot.evaluation.significance import differences

        against = differences(rows, versus)
    written: list[Path] = []
    if plots:
        from kwspot.reports.plots import write_plots

        with console.progress("drawing", unit="figures", quiet=quiet) as report:
            written = write_plots(rows, plots, report)
        console.note(f"wrote {len(written)} figures below {plots}")
    if write:
        from kwspot.reports.markdown_blocks import write_block

        write_block(write, results_table.markdown(rows, _pictures(written, write), against), block)
        console.note(f"wrote the {block} block of {write}")
    if as_json:
        console.say(results_table.as_json(rows, against))
    elif as_csv:
        console.say(results_table.as_csv(rows))
    elif as_latex:
        console.say(results_table.latex(rows))
    elif as_markdown:
        console.say(results_table.markdown(rows, differences=against))
    else:
        console.say(results_table.terminal(rows, _width(), against))


def _show(
    show: str, names: Sequence[str], runs: Path, plots: Path | None, write: Path | None, block: str, given: list[str]
) -> None:
    """Show what a view knows of runs, in the form given: --markdown, --json or for the terminal."""
    from kwspot.evaluation.comparison import choose_runs
    from kwspot.reports.views import VIEWS

    if show not in VIEWS:
        raise ConfigError(f"--show {show}: unknown; known: {', '.join((ACCURACY, *VIEWS))}")
    if refused := [option for option in given if option not in ("--markdown", "--json")]:
        raise ConfigError(f"{' and '.join(refused)}: not with --show {show}")
    view, (finished, unfinished) = VIEWS[show], choose_runs(runs, names)
    for run in unfinished:
        console.note(f"left out, not finished: {run.id} ({run.state})")
    pictures = []
    if plots:
        written = view.draw(finished, plots)
        console.note(f"wrote {', '.join(map(str, written))}")
        pictures = [(view.title, _beside(path, write)) for path in written] if write else []
    if write:
        from kwspot.reports.markdown_blocks import write_block

        write_block(write, view.markdown(finished, pictures), block)
        console.note(f"wrote the {block} block of {write}")
    if "--json" in given:
        console.say(view.as_json(finished))
    elif "--markdown" in given:
        console.say(view.markdown(finished, ()))
    else:
        console.say(view.terminal(finished, _width()))


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _beside(path: Path, document: Path) -> str:
    """Return the address of a file as seen from a document."""
    return Path(os.path.relpath(path, document.parent)).as_posix()


def _pictures(written: list[Path], beside: Path) -> list[tuple[str, str]]:
    """List the pictures that a results block shows, as seen from the file that holds it."""
    titles = {
        "cost": "Test accuracy against cost",
        "accuracy_validation": "Learning curves: accuracy, validation",
        "loss_validation": "Learning curves: loss, validation",
    }
    overlays = {path.stem: path for path in reversed(written)}  # they come first
    return [(title, _beside(overlays[name], beside)) for name, title in titles.items() if name in overlays]
