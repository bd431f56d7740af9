"""`kwspot sweep`."""

from dataclasses import asdict
import json
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import (
    DATA,
    RUNS,
    AsCsv,
    AsJson,
    DataDir,
    Overrides,
    Quiet,
    RegistryPath,
    RunsDir,
    complete_experiment,
)
from kwspot.commands.train import EpochLines, stop_signals
from kwspot.errors import StoppedError

if TYPE_CHECKING:
    from kwspot.experiments.settings import Experiment
    from kwspot.training.run import Callbacks


def sweep(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Experiment to vary.", autocompletion=complete_experiment)
    ],
    over: Annotated[
        list[str], typer.Option(metavar="KEY=RANGE", help="A setting: low..high, or a choice one,two,three.")
    ],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, including those of an earlier call.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of every run and of the search.")] = 1,
    override: Overrides = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
    registry: RegistryPath = None,
    quiet: Quiet = False,
) -> None:
    """Search over settings of an experiment: the best validation accuracy wins.

    Every trial is a run; the same command resumes the search, which is kept
    beside them. Run in several processes at once, it shares the trials out among
    them. Prints run, validation accuracy and settings, the best first.

    Examples:

      kwspot sweep gru_stream --over train.learning_rate=5e-4..5e-3 --trials 10

      kwspot sweep lstm --over model.hidden_size=64,128 --over model.dropout=0.0..0.5
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    import torch

    from kwspot.export.encoder import write_missing
    from kwspot.training.run import Callbacks
    from kwspot.training.sweep import read_dimension, search

    if threads:
        torch.set_num_threads(threads)
    dimensions = [read_dimension(text) for text in over]
    with stop_signals() as stopped:

        def callbacks(experiment: "Experiment") -> "Callbacks":
            lines = EpochLines(f"{experiment.name} seed {seed}", experiment.train.epochs, quiet)
            return Callbacks(console.note, lines.step, lines.epoch, lambda: stopped() is not None)

        found = search(
            name, dimensions, trials, registry=registry, overrides=override or (), seed=seed, data=data, runs_dir=runs,
            device=device, callbacks=callbacks, ended=lambda run: write_missing(run, data),
        )  # fmt: skip
        if found is None:
            raise StoppedError("stopped and saved; run the same command to resume", stopped() or signal.SIGINT)
    if form == "json":
        console.say(json.dumps([asdict(trial) for trial in found], indent=2, ensure_ascii=False))
        return
    if form == "csv":
        keys = [dimension.key for dimension in dimensions]
        rows = [[trial.run_id, trial.accuracy_validation, *(trial.chosen[key] for key in keys)] for trial in found]
        console.say(console.csv_text(["run", "accuracy_validation", *keys], rows))
        return
    for trial in found:
        chosen = " ".join(f"{key}={value}" for key, value in trial.chosen.items())
        console.say(f"{trial.run_id}\t{trial.accuracy_validation:.2%}\t{chosen}")
