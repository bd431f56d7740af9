"""Options that several commands share, spelt once."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path, typer.Option("--data", envvar="KWSPOT_DATA", help="Folder of the corpus: one folder of clips a word.")
]
RunsDir = Annotated[Path, typer.Option("--runs", envvar="KWSPOT_RUNS", help="Folder of the run records.")]
RegistryPath = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        envvar="KWSPOT_REGISTRY",
        help="Registry of experiments. Default: ./experiments.yaml, else the packaged one.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY=VALUE", help="Change a setting, e.g. -o train.epochs=3."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]

DATA = Path("data")
RUNS = Path("runs")
