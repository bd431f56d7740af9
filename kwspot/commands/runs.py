"""`kwspot runs`: list, show, remove and export run records."""

import json
from pathlib import Path
import sys
from typing import Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, AsCsv, AsJson, RunsDir, complete_run
from kwspot.errors import ConfigError, IntegrityError

RunsDirHere = Annotated[Path | None, typer.Option("--runs", help="Folder of the run records.")]

DESCRIBED = (
    "run", "experiment", "seed", "state", "epochs", "accuracy_validation", "accuracy_test", "folder",
)  # fmt: skip

runs = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")


@runs.callback()
def listing(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False, runs_dir: RunsDir = RUNS) -> None:
    """List the runs: state, epochs, best validation accuracy, test accuracy; or show, delete and copy them.

    Examples:

      kwspot runs

      kwspot runs show lstm-s1

      kwspot runs rm lstm-s1-3f9a2c1b

      kwspot runs export results
    """
    context.obj = runs_dir
    if context.invoked_subcommand:
        return
    form = console.chosen("text", json=as_json, csv=as_csv)
    from kwspot.experiments.runs import read_runs

    found, broken = read_runs(runs_dir)
    described = [_described(run) for run in found]
    if form == "json":
        console.say(json.dumps(described, indent=2, ensure_ascii=False))
    elif form == "csv":
        console.say("\n".join(map(console.csv_line, [DESCRIBED, *(one.values() for one in described)])))
    elif found:
        console.say("\n".join(_table(found)))
    elif not broken:
        console.note(f"{runs_dir}: no runs yet; 'kwspot train NAME' makes one")
    for trouble in broken:
        console.error(str(trouble))
    if broken:
        raise typer.Exit(IntegrityError.exit_code)


@runs.command()
def show(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, or the start of one.", autocompletion=complete_run)
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    runs_dir: RunsDirHere = None,
) -> None:
    """Show a run: why, settings, corpus, environment, figures; as CSV its line of the list.

    Examples:

      kwspot runs show lstm-s1

      kwspot runs show lstm-s1 --json | jq .metrics
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    from kwspot.experiments.runs import find_run

    run = find_run(runs_dir or context.obj, name)
    if form == "csv":
        console.say("\n".join(map(console.csv_line, [DESCRIBED, _described(run).values()])))
        return
    if form == "json":
        whole = {**_described(run), "record": run.record, "metrics": run.metrics}
        more = {"history": run.history, "timing": run.timing, "evaluations": run.evaluations}
        more["robustness"] = run.robustness
        console.say(json.dumps({**whole, **more}, indent=2, ensure_ascii=False))
        return
    from kwspot.reports.accuracy import run_text

    console.say(run_text(run))


@runs.command()
def rm(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Runs to delete, with their weights.", autocompletion=complete_run),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    runs_dir: RunsDirHere = None,
) -> None:
    """Delete runs: record, weights, checkpoint. Asks first.

    Examples:

      kwspot runs rm lstm-s1-3f9a2c1b

      kwspot runs rm --yes lstm-s1 lstm-s2
    """
    from kwspot.experiments.runs import find_run, finish_deletions, is_run, remove_run

    where = runs_dir or context.obj
    finish_deletions(where)
    # A run named in full is not read, so that one that cannot be read can be removed.
    folders = [where / name if name and is_run(where / name) else find_run(where, name).path for name in names]
    folders = list(dict.fromkeys(folders))
    if not yes:
        if not _asks():
            raise ConfigError("runs rm: no terminal to ask on; add --yes to delete without asking")
        for folder in folders:
            console.note(str(folder))
        if not typer.confirm(f"Delete {len(folders)} run{'' if len(folders) == 1 else 's'}?", err=True):
            console.note("nothing deleted")
            raise typer.Exit(1)
    for folder in folders:
        remove_run(folder)
        console.note(f"deleted {folder}")


@runs.command()
def export(
    context: typer.Context,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the copies.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Experiments or runs. Default: all that finished.", autocompletion=complete_run
        ),
    ] = None,
    runs_dir: RunsDirHere = None,
) -> None:
    """Copy the records of finished runs, without weights, checkpoints and events: small enough to commit.

    Examples:

      kwspot runs export results

      kwspot runs export results rnn lstm

      kwspot compare --runs results
    """
    from kwspot.evaluation.comparison import choose_runs
    from kwspot.experiments.runs import copy_record

    finished, unfinished = choose_runs(runs_dir or context.obj, names or ())
    for run in finished:
        console.say(str(copy_record(run, destination)))
    for run in unfinished:
        console.note(f"left out, not finished: {run.id} ({run.state})")


def _asks() -> bool:
    return sys.stdin.isatty()


def _described(run: Any) -> dict[str, Any]:
    metrics = run.metrics or {}
    values = (
        run.id, run.experiment, run.seed, run.state, len(run.history), metrics.get("accuracy_validation"),
        run.evaluations.get("test", {}).get("accuracy"), str(run.path),
    )  # fmt: skip
    return dict(zip(DESCRIBED, values, strict=True))


def _table(found: list[Any]) -> list[str]:
    from kwspot.reports.results_table import ABSENT, align

    def percent(fraction: float | None) -> str:
        return ABSENT if fraction is None else f"{100 * fraction:.1f}"

    lines = [["run", "state", "epochs", "val acc %", "test acc %"]]
    for run in found:
        line = _described(run)
        accuracies = [percent(line["accuracy_validation"]), percent(line["accuracy_test"])]
        lines.append([run.id, "finished" if run.metrics else "unfinished", str(line["epochs"]), *accuracies])
    return align(lines, left=2)
