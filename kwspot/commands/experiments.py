"""`kwspot experiments`."""

from collections.abc import Iterator, Mapping
import json
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, AsCsv, RegistryPath, RunsDir, complete_experiment
from kwspot.errors import ConfigError

if TYPE_CHECKING:
    from kwspot.experiments.runs import Run
    from kwspot.experiments.settings import Experiment


def experiments(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Show every setting of these experiments.", autocompletion=complete_experiment
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as a JSON list.")] = False,
    as_csv: AsCsv = False,
    registry: RegistryPath = None,
    runs: RunsDir = RUNS,
) -> None:
    """List the experiments of the registry: why each exists, what it changes, how many runs are finished.

    Examples:

      kwspot experiments

      kwspot experiments lstm

      kwspot experiments --json | jq -r '.[].name'
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    from kwspot.experiments.registry import find_registry, flat, load_defaults, load_registry
    from kwspot.experiments.runs import list_runs

    known = load_registry(registry)
    if strange := [name for name in names or () if name not in known]:
        raise ConfigError(f"{find_registry(registry)}: no experiment {', '.join(strange)}; known: {', '.join(known)}")
    defaults, recorded = flat(load_defaults(registry).deciding()), list_runs(runs)
    chosen = [known[name] for name in names or known]
    described = [describe(one, defaults, [run for run in recorded if run.experiment == one.name]) for one in chosen]
    if form == "json":
        console.say(json.dumps(described, indent=2, ensure_ascii=False))
        return
    if form == "csv":
        keys = list(dict.fromkeys(key for one in described for key in one["differs"]))
        rows = [
            [one["name"], len(one["finished"]), len(one["unfinished"]), one["why"], *(_cell(one, key) for key in keys)]
            for one in described
        ]
        console.say(console.csv_text(["name", "finished", "unfinished", "why", *keys], rows))
        return
    for i, experiment in enumerate(described):
        if i:
            console.say("")
        console.say("\n".join(lines_of(experiment, every_setting=bool(names))))


def _cell(described: Mapping[str, Any], key: str) -> str | None:
    """Write what a described experiment changes of a setting; an empty cell if nothing."""
    return json.dumps(described["differs"][key], ensure_ascii=False) if key in described["differs"] else None


def describe(experiment: "Experiment", defaults: Mapping[str, Any], runs: "list[Run]") -> dict[str, Any]:
    """Describe an experiment: reason, what differs from the defaults, and its runs, by state."""
    from kwspot.experiments.registry import flat

    settings = experiment.deciding()
    own = dict.fromkeys(defaults) | flat(settings)  # null switches a default off
    same = [run for run in runs if run.record["settings"] == settings]
    return {
        "name": experiment.name,
        "why": experiment.why,
        "differs": {key: value for key, value in own.items() if defaults.get(key) != value},
        "settings": settings,
        "finished": [run.id for run in same if run.metrics],
        "unfinished": [run.id for run in same if not run.metrics],
        "of_other_settings": [run.id for run in runs if run not in same],
    }


def lines_of(experiment: Mapping[str, Any], *, every_setting: bool) -> Iterator[str]:
    """Write a described experiment in lines of at most 80 columns."""
    from kwspot.experiments.registry import flat

    counts = {what: len(experiment[what]) for what in ("finished", "unfinished", "of_other_settings")}
    state = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items() if n)
    yield f"{experiment['name']}  ({'runs: ' + state if state else 'no runs'})"
    yield from textwrap.wrap(experiment["why"], 80, initial_indent="    ", subsequent_indent="    ")
    settings = flat(experiment["settings"]) | experiment["differs"] if every_setting else experiment["differs"]
    pairs = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    if every_setting:
        yield from (f"    {pair}{'  *' if pair.partition(':')[0] in experiment['differs'] else ''}" for pair in pairs)
        yield "    (* differs from the defaults)"
    elif pairs:
        text = "   ".join(pairs)
        yield from textwrap.wrap(text, 80, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
