"""Write what the documents take from the program: `python -m docs.generate`, part of `make docs`.

Blocks of markdown between two comment lines, from the registry, the records, the commands and the package; and the
drawing of the packages. tests/docs/ compares all of it with what stands in the documents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import json
from pathlib import Path
import re
from typing import Any

from docs import architecture_drawing, reference
from kwspot.corpus.layout import TEST, VALIDATION
from kwspot.evaluation.comparison import Row, choose_runs, table_rows
from kwspot.experiments.registry import load_registry, read_yaml
from kwspot.experiments.runs import Run, list_runs
from kwspot.experiments.settings import Experiment
from kwspot.files import write_text
from kwspot.inference.model_zoo import DEFAULT_LONG
from kwspot.reports.markdown_blocks import write_block
from kwspot.reports.recordings import card_lines
from kwspot.reports.results_table import parts

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "experiments.yaml"
RESULTS = ROOT / "results"
DRAWING = ROOT / "docs" / "plots" / "packages.svg"
SHORT_STUDY = {
    "study": ["rnn", "rnn_ln", "lstm", "rnn_fixed", "lstm_fixed"],
    "recipes": ["gru_micro", "gru_stream", "rnn_best", "gru_best_fine"],
}
SHORT_COLUMNS = {
    "accuracy_validation": "Val Acc",
    "accuracy_test": "Test Acc",
    "n_parameters": "Parameters",
    "macs": "MACs per clip",
}


def study_in_short() -> str:
    """Return README's table: the study, what fixes its RNN, and four recipes."""
    rows = [row for group, names in SHORT_STUDY.items() for row in table_rows(choose_runs(RESULTS / group, names)[0])]
    lines = [[f"`{row.label}`", *(_figure(row, key) for key in SHORT_COLUMNS), str(len(row.runs))] for row in rows]
    return reference.table(["Model", *SHORT_COLUMNS.values(), "Seeds"], lines, n_left=1)


def _figure(row: Row, key: str) -> str:
    mean, std, unit = parts(key, row.figures[key])
    return (f"{mean} ± {std}" if std else mean) + unit


def experiments() -> str:
    """Return every experiment of the registry, in its groups: why, what it changes, what its records say."""
    text = REGISTRY.read_text("utf-8")
    written, known = read_yaml(text, REGISTRY.name)["experiments"], load_registry(REGISTRY)
    recorded = {group.name: list_runs(group) for group in sorted(RESULTS.iterdir())}
    sections = []
    for comment, name in _groups(text):
        if comment:
            title, rest = re.split(r"(?<=[.?]) ", f"{comment} ", maxsplit=1)
            sections += [f"## {title.rstrip('.')}", *filter(None, [rest.strip()])]
        records = (record_line(group, known[name], runs) for group, runs in recorded.items())
        lines = "\n".join([_changes(written[name]), *filter(None, records)])
        sections += [f"### {name}", written[name]["why"], lines]
    return "\n\n".join(sections)


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Yield every experiment's name with the comment right above it, empty where there is none."""
    comment: list[str] = []
    for line in text.partition("\nexperiments:\n")[2].splitlines():
        if found := re.match(r"  # (.*)", line):
            comment.append(found[1])
        elif found := re.match(r"  (\w+):", line):
            yield " ".join(comment), found[1]
            comment = []


def _changes(written: Mapping[str, Any]) -> str:
    like = f"[`{written['like']}`](#{written['like']})" if "like" in written else "the defaults"
    settings = [f"`{key}: {_flow(value)}`" for key, value in written.items() if key not in ("why", "like")]
    return f"- {like}{' with ' if settings else ''}{', '.join(settings)}"


def _flow(value: Any) -> str:
    """Write a value as YAML in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return str(value) if isinstance(value, str) else json.dumps(value)


def record_line(group: str, experiment: Experiment, recorded: Sequence[Run]) -> str:
    """Say which seeds of an experiment are recorded in a folder of results/, with their accuracy on test."""
    named = sorted((run for run in recorded if run.experiment == experiment.name), key=lambda run: run.seed)
    runs = [run for run in named if run.record["settings"] == experiment.deciding()]
    said = [f"seed{'s' * (len(runs) > 1)} {', '.join(str(run.seed) for run in runs)}{_tested(runs)}"] if runs else []
    said += [f"{n} of other settings"] if (n := len(named) - len(runs)) else []
    return f"- `results/{group}`, {'; '.join(said)}" if said else ""


def _tested(runs: Sequence[Run]) -> str:
    """Write the accuracies on test of some seeds, with the seed where not all were tested."""
    accuracies = {run.seed: run.evaluations["test"]["accuracy"] for run in runs if "test" in run.evaluations}
    some = len(accuracies) < len(runs)
    figures = [f"{f'of seed {seed} ' if some else ''}{100 * one:.1f}" for seed, one in accuracies.items()]
    return f": test accuracy {', '.join(figures)} %" if figures else ""


def _measured(name: str) -> dict[str, Any]:
    """Read what a program of tests/fuzz, tests/kill or tests/load counted."""
    path = RESULTS / "reliability" / f"{name}.json"
    return dict(json.loads(path.read_text("utf-8")))


def recordings() -> str:
    """Return what real recordings showed of the bundled model for long sound."""
    (run,) = choose_runs(RESULTS / "bundled", [DEFAULT_LONG])[0]
    return "\n".join(line for split in (VALIDATION, TEST) for line in card_lines(run.recordings[split]))


def fuzz() -> str:
    """Return what came of damaged inputs, border by border."""
    borders = _measured("fuzz")["borders"]
    keys = ("inputs", "refused", "accepted")
    rows = [[name, *(f"{found[key]:,}" for key in keys), f"{found['slowest_s']:g}"] for name, found in borders.items()]
    total = ["together", *(f"{sum(found[key] for found in borders.values()):,}" for key in keys), ""]
    return reference.table(["border", *keys, "slowest, s"], [*rows, total], n_left=1)


def kills() -> str:
    """Return what came of killed processes, job by job."""
    jobs = _measured("kills")["jobs"]
    rows = [[name, str(found["kills"]), f"{found['seconds']:g}"] for name, found in jobs.items()]
    n = str(sum(found["kills"] for found in jobs.values()))
    return reference.table(["job", "kills", "seconds undisturbed"], [*rows, ["together", n, ""]], 1)


def load() -> str:
    """Return what came of many visitors on the page."""
    found = _measured("load")
    first, second, last = found["memory_mb"]
    rows = [
        ["visitors, minutes", f"{found['clients']}, {found['minutes']:g}"],
        ["cores that the server had on average", f"{found['cores']:g}"],
        *([f"answers: {what}", f"{n:,}"] for what, n in found["answers"].items() if what != "fallen behind"),
        ["live sessions that fell behind", f"{found['answers'].get('fallen behind', 0):,}"],
        ["refusals", f"{sum(found['refusals'].values()):,}"],
        ["memory in the first, second and last third, MB", f"{first:.0f}, {second:.0f}, {last:.0f}"],
        ["growth from the second third to the last", f"{100 * found['growth']:+.1f} %"],
    ]
    return reference.table(["what", "measured"], rows, 1)


BLOCKS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "study"): study_in_short,
    ("docs/experiments.md", "experiments"): experiments,
    ("docs/commands.md", "commands"): reference.commands,
    ("docs/architecture.md", "packages"): reference.packages,
    ("docs/python-api.md", "api"): reference.api,
    ("docs/evaluation.md", "recordings"): recordings,
    ("docs/reliability.md", "fuzz"): fuzz,
    ("docs/reliability.md", "kills"): kills,
    ("docs/reliability.md", "load"): load,
}


def main() -> None:
    """Write every block and the drawing of the packages."""
    for (document, name), text in BLOCKS.items():
        write_block(ROOT / document, text(), name)
    write_text(DRAWING, architecture_drawing.svg())


if __name__ == "__main__":
    main()
