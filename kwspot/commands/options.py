"""Options and arguments that several commands share, defined once, with shell completion."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from kwspot.errors import ConfigError, KwspotError

T = TypeVar("T")

DATA = Path("data")
RUNS = Path("runs")


def only_one(found: Iterable[T], option: str) -> Iterator[T]:
    """Return the one recording that an option is for; ConfigError if there are more, or none."""
    first = list(islice(found, 2))
    if len(first) != 1:
        raise ConfigError(f"--{option}: one recording at a time; give one")
    return iter(first)


def _complete(names: Callable[[typer.Context], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Make a completion of names that must not fail, whatever the folder holds."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            return sorted({name for name in names(context) if name.startswith(incomplete)})
        except (KwspotError, OSError):
            return []

    return complete


def _runs_dir(context: typer.Context) -> Path:
    from kwspot.inference.model_zoo import runs_folder

    return runs_folder(context.params.get("runs"))


def _experiments(context: typer.Context) -> Iterable[str]:
    from kwspot.experiments.registry import load_registry

    return load_registry(context.params.get("registry"))


def _runs(context: typer.Context) -> Iterable[str]:
    from kwspot.experiments.runs import list_runs

    return (name for run in list_runs(_runs_dir(context)) for name in (run.experiment, run.id))


def _models(context: typer.Context) -> Iterable[str]:
    from kwspot.inference.model_zoo import bundled_models, run_models

    return (model.name for model in [*bundled_models(), *run_models(_runs_dir(context))])


complete_experiment = _complete(_experiments)
complete_run = _complete(_runs)
complete_model = _complete(_models)


def _address(given: str) -> str:
    if not given:  # which would admit every machine
        raise ConfigError("--host: an empty address; 127.0.0.1 is this machine, 0.0.0.0 admits others")
    return given


DataDir = Annotated[
    Path, typer.Option("--data", envvar="KWSPOT_DATA", help="Folder of the corpus: one folder of clips per word.")
]
RunsDir = Annotated[
    Path, typer.Option("--runs", envvar="KWSPOT_RUNS", help="Folder of run records and enrolled models.")
]
RegistryPath = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        envvar="KWSPOT_REGISTRY",
        help="Registry of experiments, beside the packaged ones. Default: ./experiments.yaml.",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Bundled or enrolled model, run, experiment (its best run) or .onnx file.",
        autocompletion=complete_model,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Smoothed posterior at which a word is detected. Default: the model's, chosen on validation."),
]
SmoothingMs = Annotated[
    float | None, typer.Option(min=0, help="Time over which posteriors are averaged. Default: the model's.")
]
RefractoryMs = Annotated[
    float | None,
    typer.Option(min=0, help="Time without the word that ends a detection. Default: the model's."),
]
Streaming = Annotated[
    bool,
    typer.Option("--stream", help="Use the model's stream (model.stream.onnx), which carries a state forward."),
]
LiveStreaming = Annotated[
    bool | None,
    typer.Option(
        "--stream/--windows",
        help="With the model's stream, which carries a state forward, or window by window. Default: the stream, if the "
        "model has one.",
    ),
]
RawRate = Annotated[
    int | None, typer.Option(min=1000, max=768_000, help="Standard input is raw 16-bit mono sound at this rate in Hz.")
]
Host = Annotated[
    str, typer.Option("--host", callback=_address, help="Address to serve on; 0.0.0.0 admits other machines.")
]
Microphone = Annotated[
    str | None, typer.Option("--microphone", metavar="NAME|NUMBER", help="Input device. Default: the system's.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY=VALUE", help="Change a setting, e.g. -o train.epochs=3."),
]
Experiments = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Experiments of the registry.", autocompletion=complete_experiment),
]
RunNames = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Runs, or experiments: all their finished runs.", autocompletion=complete_run),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV with a header, for spreadsheets.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]
