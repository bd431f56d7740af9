"""`kwspot models`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, AsCsv, AsJson, RunsDir, complete_model
from kwspot.errors import ConfigError, IntegrityError, KwspotError

if TYPE_CHECKING:
    from kwspot.inference.model_zoo import ModelFile


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show one model: a summary, then its card or what its file says.",
            autocompletion=complete_model,
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the enrolled model NAME.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    runs: RunsDir = RUNS,
) -> None:
    """List the available models: bundled ones, enrolled ones and those of runs.

    Examples:

      kwspot models

      kwspot models keywords10

      kwspot models lstm-s1 --json

      kwspot models house --remove
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    from kwspot.inference.model_zoo import bundled_models, find_model, run_models

    if remove:
        _remove(name, runs)
        return
    if name:
        model = find_model(name, runs)
        known = _known(model)
        if form != "text":
            console.say(json.dumps(known, indent=2, ensure_ascii=False) if as_json else _csv({model.name: known}))
        else:
            from kwspot.reports.model_text import model_text

            console.say(model_text(model.name, known, model.card))
        return
    listed: dict[str, dict[str, Any]] = {}
    broken: list[str] = []
    for model in [*bundled_models(), *run_models(runs)]:
        try:
            listed[model.name] = _known(model)
        except KwspotError as error:
            broken.append(str(error))
        except OSError as error:
            broken.append(f"{model.path}: {error.strerror}")
    if as_json:
        console.say(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        console.say(_csv(listed) if as_csv else "\n".join(_table(listed)))
    for trouble in broken:
        console.error(trouble)
    if broken:
        raise typer.Exit(IntegrityError.exit_code)


def _remove(name: str | None, runs: Path) -> None:
    from kwspot.inference.model_zoo import enrolled_models

    enrolled = {model.name: model.path for model in enrolled_models(runs)}
    if name not in enrolled:
        known = ", ".join(enrolled) or "none"
        what = f"{name}: no enrolled model" if name else "--remove: NAME is missing, of an enrolled model"
        raise ConfigError(f"{what}; enrolled: {known}; 'kwspot runs' removes runs")
    enrolled[name].unlink()
    console.note(f"removed {enrolled[name]}")


def _known(model: "ModelFile") -> dict[str, Any]:
    from kwspot.inference.spotter import Spotter

    size = model.path.stat().st_size if model.path.is_file() else 0
    return {"path": str(model.path), "size_bytes": size, **Spotter(model.path).metadata}


def _table(listed: dict[str, dict[str, Any]]) -> list[str]:
    from kwspot.reports.results_table import ABSENT, align

    def row(name: str, known: dict[str, Any]) -> list[str]:
        accuracy, size = known.get("accuracy_test"), known.get("n_parameters")
        percent = ABSENT if accuracy is None else f"{100 * accuracy:.1f}"
        return [
            name,
            str(len(known["labels"])),
            percent,
            ABSENT if size is None else f"{size:,}",
            f"{known['size_bytes']:,}",
        ]

    head = ["model", "classes", "test acc %", "parameters", "bytes"]
    return align([head, *(row(name, known) for name, known in listed.items())])


def _csv(listed: dict[str, dict[str, Any]]) -> str:
    keys = ("path", "size_bytes", "n_parameters", "macs", "accuracy_validation", "accuracy_test", "sample_rate")
    rows = [[name, len(known["labels"]), *(known.get(key) for key in keys)] for name, known in listed.items()]
    return console.csv_text(["model", "n_classes", *keys], rows)
