"""What `kwspot eval --robustness` measured, for people: a table for the terminal or in Markdown, a line, a figure.

Runs stand side by side, a column each; the interval has room only where there is one run. `robustness` is what
`robustness-<split>.json` holds (evaluation/robustness.py).
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
import textwrap
from typing import Any

from kwspot.errors import MissingError
from kwspot.experiments.runs import BABBLE, CLEAN, NOISE, TELEPHONE, Run
from kwspot.reports.results_table import ABSENT, align
from kwspot.reports.style import COLOURS, drawing

SPLIT = "test"
CURVES = (NOISE, BABBLE)
STEP_PERCENT = 10  # that the axis of the other conditions begins at a multiple of
IN_A_LINE = (10, 0)  # dB: the ratios that a line names

Record = Mapping[str, Any]


def measured(runs: Sequence[Run]) -> dict[str, Record]:
    """Return what was measured on the test split by the experiments' names, the runs' where an experiment has several.

    MissingError if nothing was.
    """
    found = [run for run in runs if SPLIT in run.robustness]
    if not found:
        raise MissingError("no run was measured; 'kwspot eval NAME --robustness' does it")
    names = [run.experiment for run in found]
    labels = [run.id if names.count(run.experiment) > 1 else run.experiment for run in found]
    return {label: run.robustness[SPLIT] for label, run in zip(labels, found, strict=True)}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _cells(records: Mapping[str, Record]) -> list[list[str]]:
    """Lay out head and conditions: name, accuracies in per cent, and of a single run the interval."""
    first, *others = records.values()
    by_name = [{condition["name"]: condition["accuracy"] for condition in record["conditions"]} for record in others]
    lines = [["condition", *records]] if others else [["condition", "accuracy %", "95 % interval"]]
    for condition in first["conditions"]:
        line = [condition["name"], _percent(condition["accuracy"])]
        line += [_percent(known[line[0]]) if line[0] in known else ABSENT for known in by_name]
        if not others:
            interval = condition["interval"]
            line.append(" to ".join(map(_percent, interval)) if interval else ABSENT)
        lines.append(line)
    return lines


def clips_of(robustness: Record) -> str:
    """Say on which clips it was measured."""
    return (
        f"{robustness['n']:,} {robustness['split']} clips of {robustness['corpus']['name']} by"
        f" {robustness['n_speakers']:,} speakers, without silence"
    )


def caption(robustness: Record) -> str:
    """Say on which clips it was measured, and what the noises are."""
    n_noise, n_talkers = robustness["n_noise_recordings"], robustness["n_talkers"]
    noise = f"the last tenth of {n_noise} noise recordings" if n_noise else "coloured noise that was generated"
    return (
        f"{clips_of(robustness)}. Noise: {noise}; babble: {n_talkers} other speaker{'' if n_talkers == 1 else 's'} at"
        f" once. SNR: active speech level (ITU-T P.56) over rms of the noise. Intervals: bootstrap over speakers."
    )


def _captions(records: Mapping[str, Record]) -> list[str]:
    said: dict[str, list[str]] = {}
    for label, record in records.items():
        said.setdefault(caption(record), []).append(label)
    return list(said) if len(said) == 1 else [f"{', '.join(labels)}: {text}" for text, labels in said.items()]


def _table(records: Mapping[str, Record], width: int) -> str:
    """Set the table for the terminal; runs that do not fit beside the others come in a further table."""
    labels = list(records)
    n = next(n for n in range(len(labels), 0, -1) if n == 1 or _widest(labels[:n], records) <= width)
    parts = [align(_cells({label: records[label] for label in labels[i : i + n]})) for i in range(0, len(labels), n)]
    captions = [line for text in _captions(records) for line in textwrap.wrap(text, width)]
    return "\n".join([*"\n\n".join("\n".join(part) for part in parts).split("\n"), "", *captions])


def _widest(labels: Sequence[str], records: Mapping[str, Record]) -> int:
    return max(map(len, align(_cells({label: records[label] for label in labels}))))


def robustness_table(robustness: Record, width: int = 80) -> str:
    """Render what was measured of one run for the terminal."""
    return _table({"": robustness}, width)


def terminal(runs: Sequence[Run], width: int = 80) -> str:
    """Render what was measured of runs for the terminal."""
    return _table(measured(runs), width)


def markdown(runs: Sequence[Run], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Render what was measured of runs in Markdown, then pictures given as (title, address)."""
    records = measured(runs)
    head, *lines = _cells(records)
    table = [f"| {' | '.join(line)} |" for line in (head, [":--", *["--:"] * (len(head) - 1)], *lines)]
    shown = [f"![{title}]({address})" for title, address in pictures]
    return "\n\n".join(["\n".join(table), *_captions(records), *shown])


def as_json(runs: Sequence[Run]) -> str:
    """Write what was measured of runs as JSON."""
    return json.dumps(measured(runs), indent=2, ensure_ascii=False)


def in_a_line(robustness: Record) -> str:
    """Name the accuracies that most depends on: clean, at two ratios of each noise, over the telephone."""
    shown = [
        f"{condition['name']} {_percent(condition['accuracy'])} %"
        for condition in robustness["conditions"]
        if condition["kind"] in (CLEAN, TELEPHONE) or (condition["kind"] in CURVES and condition["amount"] in IN_A_LINE)
    ]
    return "; ".join(shown)


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw what was measured of runs as `robustness.svg`."""
    plot_robustness(measured(runs), path := folder / "robustness.svg")
    return [path]


def plot_robustness(records: Mapping[str, Record], path: Path) -> None:
    """Draw accuracy against SNR with its interval, a panel a noise, and beside them the other conditions.

    A dotted line is the accuracy as recorded. Of several runs, each has a colour.
    """
    first = next(iter(records.values()))
    names = [c["name"] for c in first["conditions"] if c["kind"] not in (CLEAN, *CURVES)]
    with drawing(path, 10.4, 5.6, fitted=True) as (figure, whole):
        whole.remove()
        panels = figure.subplot_mosaic(
            [[kind, "others"] for kind in CURVES], width_ratios=(1.15, 1), gridspec_kw={"wspace": 0.08}
        )
        for i, (label, record) in enumerate(records.items()):
            look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)]}
            clean, _, _ = _points([c for c in record["conditions"] if c["kind"] == CLEAN])
            dots = look | {"linewidth": 1.0, "linestyle": ":"}
            for kind in CURVES:
                curve = [c for c in record["conditions"] if c["kind"] == kind]
                snrs, (values, low, high) = [c["amount"] for c in curve], _points(curve)
                panels[kind].axhline(clean[0], **dots)
                panels[kind].plot(snrs, values, label=label, marker="o", markersize=5, **look)
                panels[kind].fill_between(snrs, low, high, alpha=0.15, linewidth=0, **look)
                panels[kind].set_xticks(snrs)
            others = [c for c in record["conditions"] if c["name"] in names]
            values, low, high = _points(others)
            places = [names.index(c["name"]) + 0.14 * (i - (len(records) - 1) / 2) for c in others]
            panels["others"].axvline(clean[0], **dots)
            panels["others"].hlines(places, low, high, **look)
            panels["others"].plot(values, places, "o", markersize=5, **look)
        accuracy = f"{first['split']} accuracy (%)"
        for kind in CURVES:
            panels[kind].set(ylabel=accuracy, ylim=(0, 100), title=f"in {kind} (dotted: as recorded)")
        panels[CURVES[-1]].set_xlabel("SNR (dB)")
        panels["others"].set_yticks(range(len(names)), names)
        panels["others"].invert_yaxis()
        lowest = max(0.0, STEP_PERCENT * (panels["others"].get_xlim()[0] // STEP_PERCENT))
        panels["others"].set(xlabel=accuracy, xlim=(lowest, 100), title="other conditions")
        panels["others"].locator_params(axis="x", nbins=5, integer=True)
        if len(records) > 1:
            panels[CURVES[0]].legend(loc="lower right")


def _points(conditions: Sequence[Record]) -> tuple[list[float], list[float], list[float]]:
    """Return accuracies and the ends of their intervals in per cent; without an interval, the accuracy itself."""
    ends = [condition["interval"] or [condition["accuracy"]] * 2 for condition in conditions]
    values = [100 * condition["accuracy"] for condition in conditions]
    return values, [100 * low for low, _ in ends], [100 * high for _, high in ends]
