"""What long audio showed of a model, as text and as a figure: FRR against false alarms per hour (DET curve).

`record` is what `false-alarms-<split>.json` holds (evaluation/false_alarms.py).
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import math
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments.runs import STREAMED, WINDOWS, Run
from kwspot.reports.results_table import align
from kwspot.reports.style import COLOURS, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAYS = {WINDOWS: "window by window", STREAMED: "as a stream"}
SPLIT = "test"
MOST_RATE = 200  # false alarms an hour that the figure shows
RATES, FRRS = (0.1, 1, 10, 100), (1, 2, 5, 10, 20, 50, 100)  # that stand at the axes, an hour and per cent

Record = Mapping[str, Any]


def scope(record: Record) -> str:
    """Describe the sound: how long, how loud the noise, how many words of how many people."""
    noises = ", ".join(name.replace("_", " ") for name in record["noises"])
    return (
        f"{record['split']} split: {record['hours']:.2f} hours at {record['snr_db']:g} dB SNR, "
        f"{record['n_keywords']:,} keywords and {record['n_others']:,} other words ({record['n_clips']:,} clips of "
        f"{record['n_speakers']:,} speakers of {record['corpus']['name']}), noise: {noises}; seed {record['seed']}"
    )


def rows(record: Record) -> list[list[str]]:
    """Tabulate the point at the threshold of the file, and the point that has the rate asked for on this sound."""
    ways = [way for way in WAYS if way in record]
    of_target = f"at most {record['target_per_hour']:g} an hour"

    def figures(point: str, index: int, scale: float = 100.0, digits: int = 1) -> list[str]:
        return [f"{scale * record[way][point][index]:.{digits}f}" for way in ways]

    used = "threshold chosen here" if record["split"] == "validation" else thresholds_of([record], " / ")
    lines = [
        ["", *(WAYS[way] for way in ways)],
        [used, *figures("at_threshold", 0, 1, 3)],
        ["  FRR (keywords missed), %", *figures("at_threshold", 2)],
        ["  taken for another keyword, %", *figures("at_threshold", 3)],
        ["  false alarms an hour", *figures("at_threshold", 1, 1)],
        [f"threshold for {of_target}", *figures("at_target", 0, 1, 3)],
        ["  FRR (keywords missed), %", *figures("at_target", 2)],
        ["  false alarms an hour", *figures("at_target", 1, 1)],
    ]
    thirds = [" / ".join(f"{100 * share:.0f}" for share in record[way]["frr_by_third"]) for way in ways]
    lines.insert(5, ["  FRR in each third of the time, %", *thirds])
    if record["held_out"] and record["n_held_out"]:
        alarms = [f"{record[way]['false_alarms_held_out']} of {record['n_held_out']}" for way in ways]
        lines.append(["alarms at words never trained on", *alarms])
    return lines


def thresholds_of(records: Iterable[Record], between: str) -> str:
    """Say where the thresholds of records come from; those from before do not tell, and count as chosen."""
    ways = [record[way] for record in records for way in WAYS if way in record]
    kinds = ("threshold of validation" if way.get("chosen", True) else "default threshold" for way in ways)
    return between.join(dict.fromkeys(kinds))


def words(record: Record) -> str:
    """Name the keywords missed most and the causes of false alarms, window by window."""
    way = record[WINDOWS]
    worst = sorted(way["frr"].items(), key=lambda item: -item[1])[:5]
    missed = ", ".join(f"{word} {100 * share:.0f} %" for word, share in worst if share)
    alarms = ", ".join(f"{word} at {said} ({n})" for word, said, n in way["false_alarms"][:5])
    held_out = f" Words never trained on: {', '.join(record['held_out'])}." if record["held_out"] else ""
    return f"Missed most: {missed or 'none'}. False alarms: {alarms or 'none'}.{held_out}"


def false_alarm_table(record: Record, width: int = 80) -> str:
    """Render what was measured of one run for the terminal."""
    return "\n".join([fill(scope(record), width), "", *align(rows(record)), "", fill(words(record), width)])


def measured(runs: Sequence[Run]) -> dict[str, Record]:
    """Return what was measured on the test split, by run; MissingError if nothing was."""
    found: dict[str, Record] = {run.id: run.false_alarms[SPLIT] for run in runs if SPLIT in run.false_alarms}
    if not found:
        raise MissingError("no run was measured; 'kwspot eval NAME --long-audio' does it")
    if old := [name for name, record in found.items() if "misses" in record.get(WINDOWS, {})]:
        raise IntegrityError(f"{old[0]}: 'misses' is called 'frr' now; run 'kwspot eval NAME --long-audio' again")
    return found


def terminal(runs: Sequence[Run], width: int = 80) -> str:
    """Render what was measured of runs for the terminal."""
    return "\n\n".join(f"{name}\n{false_alarm_table(record, width)}" for name, record in measured(runs).items())


def markdown(runs: Sequence[Run], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Render what was measured of runs in Markdown, then pictures given as (title, address)."""
    records = measured(runs)
    parts = []
    for name, record in records.items():
        (_, *ways), *lines = rows(record)
        table = [
            [f"`{name}`", *ways],
            [":--", *["--:"] * len(ways)],
            *([cells[0].strip(), *cells[1:]] for cells in lines),
        ]
        text = scope(record)
        parts.append("\n".join(f"| {' | '.join(map(str.strip, cells))} |" for cells in table))
        parts.append(f"{text[0].upper()}{text[1:]}. {words(record)}")
    return "\n\n".join([*parts, *(f"![{title}]({address})" for title, address in pictures)])


def as_json(runs: Sequence[Run]) -> str:
    """Write what was measured of runs as JSON."""
    return json.dumps(measured(runs), indent=2, ensure_ascii=False)


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw the curves of runs into `det.svg` of a folder; return the file."""
    path = folder / "det.svg"
    plot_det(measured(runs), path)
    return [path]


def best_points(curve: Sequence[Sequence[float]], least_rate: float) -> tuple[list[float], list[float]]:
    """Return rates of false alarms and, at each, the lowest FRR of any threshold with no more; both monotone.

    `curve` holds (threshold, false alarms an hour, FRR, …). A rate below that of one alarm in all the sound is not
    known any better: it counts as that rate.
    """
    lowest: dict[float, float] = {}
    for _, rate, frr, *_ in sorted(curve, key=lambda point: point[1]):
        at = rate if rate > 1.5 * least_rate else least_rate  # two alarms, or one
        lowest[at] = min(frr, *lowest.values()) if lowest else frr
    shown = {rate: frr for rate, frr in lowest.items() if rate < MOST_RATE}
    return list(shown), list(shown.values())


def dress(axes: "Axes", xlabel: str, title: str) -> None:
    """Give the axes of a DET curve their scales, marks and labels: false alarms an hour, FRR in per cent."""
    from matplotlib.ticker import NullFormatter

    axes.set(xscale="log", yscale="log")
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.set_yticks(FRRS, [f"{share:g}" for share in FRRS], minor=False)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(None if math.isfinite(axes.dataLim.minposy) else FRRS[0], 100)  # nothing to show of short sound
    axes.set_xlabel(xlabel)
    axes.set_ylabel("FRR: keywords missed (%)")
    axes.set_title(title)


def plot_det(records: Mapping[str, Record], path: Path) -> None:
    """Draw FRR against false alarms per hour, a line for each model file, with the file's threshold on it.

    Without a single alarm there, its rate is lower than the line tells: a dotted piece leads left to a triangle.
    """
    marked = f"a dot: the {thresholds_of(records.values(), ' or ')}"
    triangle = ""
    with drawing(path, 6.4, 4.4, fitted=True) as (_, axes):
        colours = iter(COLOURS * len(records))
        for name, record in records.items():
            for way in WAYS:
                if way in record:
                    colour, label, one = next(colours), f"{name}, {WAYS[way]}", 1 / record["hours"]
                    rates, shares = best_points(record[way]["curve"], one)
                    axes.plot(rates, [100 * share for share in shares], color=colour, label=label)
                    _, rate, frr, _ = record[way]["at_threshold"]
                    if rate:
                        axes.plot(rate, 100 * frr, "o", color=colour)
                    else:
                        ends = [*zip(rates[:1], shares, strict=False), (one / 2, frr)]
                        axes.plot([at for at, _ in ends], [100 * share for _, share in ends], ":", color=colour)
                        axes.plot(one / 2, 100 * frr, "<", color=colour)
                        triangle = "; a triangle: no alarm there"
        dress(axes, f"false alarms per hour ({marked}{triangle})", "FRR against false alarms in long audio")
        axes.legend()
