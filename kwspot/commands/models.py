"""`kwspot models`."""

from collections import Counter
import json
from pathlib import Path
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, AsCsv, AsJson, RunsDir, complete_model
from kwspot.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from kwspot.inference.model_zoo import ModelFile

LONGEST_LIST = 12  # that is printed


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Show one model: its card, or the metadata of its file.", autocompletion=complete_model
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
            console.say(model.card or "\n".join(_described(known)))
        return
    listed: dict[str, dict[str, Any]] = {}
    broken: list[IntegrityError] = []
    for model in [*bundled_models(), *run_models(runs)]:
        try:
            listed[model.name] = _known(model)
        except IntegrityError as error:
            broken.append(error)
    if as_json:
        console.say(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        console.say(_csv(listed) if as_csv else "\n".join(_table(listed)))
    for trouble in broken:
        console.error(str(trouble))
    if broken:
        raise typer.Exit(IntegrityError.exit_code)


def _remove(name: str | None, runs: Path) -> None:
    from kwspot.inference.model_zoo import enrolled_models

    enrolled = {model.name: model.path for model in enrolled_models(runs)}
    if name not in enrolled:
        known = ", ".join(enrolled) or "none"
        raise ConfigError(f"{name or '--remove'}: no enrolled model; enrolled: {known}; 'kwspot runs' removes runs")
    enrolled[name].unlink()
    console.note(f"removed {enrolled[name]}")


def _known(model: "ModelFile") -> dict[str, Any]:
    from kwspot.inference.spotter import Spotter

    size = model.path.stat().st_size if model.path.is_file() else 0
    return {"path": str(model.path), "size_bytes": size, **Spotter(model.path).metadata}


def _table(listed: dict[str, dict[str, Any]]) -> list[str]:
    from kwspot.reports.results_table import ABSENT, align

    def row(name: str, known: dict[str, Any]) -> list[str]:
        accuracy = known["accuracy_test"]
        percent = ABSENT if accuracy is None else f"{100 * accuracy:.1f}"
        return [name, str(len(known["labels"])), percent, f"{known['n_parameters']:,}", f"{known['size_bytes']:,}"]

    head = ["model", "classes", "test acc %", "parameters", "bytes"]
    return align([head, *(row(name, known) for name, known in listed.items())])


def _csv(listed: dict[str, dict[str, Any]]) -> str:
    keys = ("path", "size_bytes", "n_parameters", "macs", "accuracy_validation", "accuracy_test", "sample_rate")
    rows = [[name, len(known["labels"]), *(known.get(key) for key in keys)] for name, known in listed.items()]
    return console.csv_text(["model", "n_classes", *keys], rows)


def _described(known: dict[str, Any]) -> list[str]:
    """Describe a model file without a card, a line a fact; long lists are counted, --json has them."""
    shown = {"words": " ".join(known["labels"]), **{k: v for k, v in known.items() if k not in ("labels", "schema")}}
    if enrollment := shown.pop("enrollment", None):
        for key, spoken in (("takes", False), ("synthetic takes", True)):
            takes = Counter(source["word"] for source in enrollment["sources"] if source.get("spoken", False) is spoken)
            if takes:
                shown[key] = ", ".join(f"{word} {n}" for word, n in takes.items())
        shown |= {f"expected {key}": value for key, value in enrollment["expected"].items()}
    return [line for key, value in shown.items() for line in _lines(key, value)]


def _lines(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        within = [f"{one} {_short(of_it)}" for one, of_it in value.items()]
        return textwrap.wrap(
            ", ".join(within), 80, initial_indent=f"{key:20} ", subsequent_indent=" " * 21,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return [f"{key:20} {_short(value)}"]


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > LONGEST_LIST:
        return f"of {len(value)} points"
    return f"{value:g}" if isinstance(value, float) else str(value)
