"""`kwspot report`."""

from pathlib import Path
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, Quiet, RunNames, RunsDir
from kwspot.errors import MissingError


def report(
    names: RunNames,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="HTML file to write.")] = Path("report.html"),
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Add test clips that went wrong, if the corpus is there.")
    ] = True,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
    quiet: Quiet = False,
) -> None:
    """Write runs as one HTML file to read or to send: table, curves, confusions, false alarms, wrong clips.

    It holds what was measured of the runs, and needs no other file. With the
    corpus and a run's model file, it also has the test clips that the model
    was surest of and wrong, to listen to. They are recordings: mind their
    licence when you pass the file on.

    Examples:

      kwspot report lstm

      kwspot report rnn lstm --out study.html --no-audio
    """
    from kwspot.evaluation.comparison import choose_runs
    from kwspot.files import require_file_to_be, write_text
    from kwspot.reports.page import Wrong, html, wrong_clips

    require_file_to_be(out)
    finished, _ = choose_runs(runs, names)
    wrong: dict[str, list[Wrong]] = {}
    for run in finished if audio else []:
        try:
            with console.progress(f"predict {run.id}", unit="clips", quiet=quiet) as progress:
                wrong[run.id] = wrong_clips(run, data, progress)
        except MissingError as error:
            console.note(f"without clips of {run.id}: {error}")
    write_text(out, html(finished, wrong))
    console.say(f"{out}\t{out.stat().st_size} bytes")
