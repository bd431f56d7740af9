"""`kwspot compare`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, Quiet, RunsDir, complete_run
from kwspot.errors import ConfigError


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Experiments or runs. Default: all that finished.", autocompletion=complete_run
        ),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table with its caption.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Unrounded figures as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Unrounded figures as CSV.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="A LaTeX table (booktabs).")] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="model, train-loss, train-acc, val-loss, val-acc, test-acc, params, macs, time, epochs or seeds. "
            "Default: the order given, else val-acc.",
        ),
    ] = None,
    versus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Tell how much better on test each other row is than this one, and whether by chance. Repeatable.",
        ),
    ] = None,
    show: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="accuracy, robustness or false-alarms, as measured on test by 'kwspot eval'."
        ),
    ] = "accuracy",
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write figures here, as SVG.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table into a block of this Markdown file.")
    ] = None,
    block: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --write: the block's name. Default: results.")
    ] = None,
    runs: RunsDir = RUNS,
    quiet: Quiet = False,
) -> None:
    """Compare experiments: one row each, mean ± sample standard deviation over the seeds that finished.

    Train and validation figures are those of the best epoch on validation.
    Runs with other settings or of another corpus get rows of their own.
    Needs only run records: no corpus, no weights.

    Examples:

      kwspot compare

      kwspot compare rnn rnn_ln lstm --plots plots

      kwspot compare --markdown --sort test-acc

      kwspot compare rnn_best gru_stream --versus rnn_best

      kwspot compare rnn_best gru_stream --show robustness

      kwspot compare --runs results --plots docs/plots --write README.md

      kwspot compare --json | jq '.rows[].accuracy_test'
    """
    from kwspot.experiments.runs import read_runs
    from kwspot.reports.views import CSV, JSON, LATEX, MARKDOWN, TERMINAL, open_sheet

    wanted = {MARKDOWN: as_markdown, JSON: as_json, CSV: as_csv, LATEX: as_latex}
    form = console.chosen(TERMINAL, **wanted)
    if versus and form in (CSV, LATEX):
        raise ConfigError(f"--{form}: not with --versus; --markdown and --json have the differences")
    if block and not write:
        raise ConfigError("--block: goes with --write FILE, which has the block")
    sheet, unfinished = open_sheet(show, runs, names or (), sort=sort, versus=versus or ())
    forms = sheet.forms(console.width())
    if form not in forms:
        raise ConfigError(f"--{form}: not with --show {show}")
    for run in unfinished:
        console.note(f"left out, not finished: {run.id} ({run.state})")
    for trouble in read_runs(runs)[1]:
        console.note(f"left out, cannot be read: {trouble}")
    for line in sheet.notes:
        console.note(line)
    text = forms[form]()
    pictures: list[tuple[str, Path]] = []
    if plots:
        with console.progress("drawing", unit="figures", quiet=quiet) as report:
            n_figures, pictures = sheet.draw(plots, report)
        console.note(f"wrote {n_figures} figure{'s' if n_figures > 1 else ''} below {plots}")
    if write:
        from kwspot.reports.markdown_blocks import write_block

        block = block or "results"
        shown = [(title, Path(os.path.relpath(path, write.parent)).as_posix()) for title, path in pictures]
        write_block(write, sheet.markdown(shown), block)
        console.note(f"wrote the {block} block of {write}")
    console.say(text)
