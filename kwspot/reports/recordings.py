"""What real recordings showed of a model, as text, for a model card, and as a figure: a DET curve for every keyword.

`record` is what `recordings-<split>.json` holds (evaluation/recordings.py): WINDOWS and perhaps STREAMED.
"""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from kwspot.experiments.runs import STREAMED, WINDOWS
from kwspot.reports.det import FRRS, WAYS, best_points, dress
from kwspot.reports.results_table import align
from kwspot.reports.style import COLOURS, MOST_LINES, drawing

Record = Mapping[str, Any]


def ways_of(record: Record) -> list[str]:
    """Return how the model was run, window by window first."""
    return [way for way in (WINDOWS, STREAMED) if way in record]


def rate_of(point: Record) -> str:
    """Say how many false alarms there were an hour, with the interval."""
    low, high = point["interval"]
    return f"{point['per_hour']:.1f} ({low:.1f} to {high:.1f})"


def recordings_table(record: Record, width: int = 80) -> str:
    """Render what was measured of one model for the terminal."""
    return "\n\n".join(_table(record[way], way, width) for way in ways_of(record))


def _table(measured: Record, way: str, width: int) -> str:
    settings = measured["settings"]
    chosen = "chosen here" if measured["split"] == "validation" else "the model's own"
    skipped = f"; {n} recording{'s' * (n > 1)} skipped" if (n := len(measured["skipped"])) else ""
    heading = (
        f"{WAYS[way]}, threshold {settings['threshold']:g} ({chosen}), smoothing {settings['smoothing_ms']:g} ms; "
        f"{measured['folder']}, {measured['split']} split; interval: 95 %, Poisson{skipped}"
    )
    sources = [["source", "hours", "alarms", "an hour", "said", "found"], *_sources(measured)]
    words = [["keyword", "said", "found", "alarms"], *_words(measured["speech"])]
    points = [["at most an hour", "threshold", "an hour", "found", ""], *_points(measured)]
    worst = "; ".join(
        f"{word} {posterior:.2f} at {start:.1f} s of {name}" for name, start, word, posterior in measured["worst"][:5]
    )
    return "\n".join(
        [
            fill(heading, width),
            "",
            *align(sources),
            "",
            *align(words),
            "",
            *align(points),
            "",
            fill(f"Worst false alarms: {worst or 'none'}.", width),
        ]
    )


def _sources(measured: Record) -> list[list[str]]:
    named = list(measured["sources"].items())
    named += [("with transcripts", measured["speech"])] if len(named) > 1 else []
    return [
        [name, f"{one['hours']:.2f}", str(one["false_alarms"]), rate_of(one), str(one["said"]), _share(one)]
        for name, one in named
    ]


def _points(measured: Record) -> list[list[str]]:
    hours, said = measured["speech"]["hours"], measured["speech"]["said"]
    return [
        [rate, f"{t:.3f}", f"{fa:.2f}", _per_cent(1 - frr if said else None), _support(float(rate), hours)]
        for rate, (t, fa, frr) in measured["points"].items()
    ]


def _support(per_hour: float, hours: float) -> str:
    """Mark a rate that so few hours cannot show: it asks for no false alarm at all in them."""
    return f"fewer than one in {hours:.2f} hours" if per_hour * hours < 1 else ""


def _words(point: Record) -> list[list[str]]:
    return [[word, str(one["said"]), _share(one), str(one["alarms"])] for word, one in point["words"].items()]


def _share(point: Record) -> str:
    return _per_cent(point["found"] / point["said"] if point["said"] else None)


def _per_cent(share: float | None) -> str:
    """Write a share; None of keywords that nobody said."""
    return "-" if share is None else f"{100 * share:.1f} %"


def card_lines(record: Record) -> list[str]:
    """Write what was measured for a model card: a line for every source and way."""
    lines = []
    for way in ways_of(record):
        measured = record[way]
        for name, point in measured["sources"].items():
            found = f"; {point['found']} of {point['said']} keywords in it detected" if point["said"] else ""
            lines.append(
                f"- False alarms an hour {WAYS[way]} in {60 * point['hours']:.0f} minutes of {name} "
                f"({measured['split']} split): {rate_of(point)}{found}"
            )
    return lines


def plot_recordings(record: Record, path: Path) -> None:
    """Draw FRR against false alarms per hour for every keyword, some to a panel, and in each for all of them."""
    measured = record[ways_of(record)[0]]
    words, one = sorted(measured["curves"]), 1 / measured["speech"]["hours"]
    n_panels = max(1, -(-len(words) // MOST_LINES))
    with drawing(path, 6.4, 1.0 + 3.4 * n_panels, fitted=True) as (figure, whole):
        whole.remove()
        panels = figure.subplots(n_panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for panel, axes in enumerate(panels):
            curves = {word: measured["curves"][word] for word in words[panel::n_panels]} | {"all": measured["curve"]}
            for (word, curve), colour in zip(curves.items(), COLOURS, strict=False):
                rates, shares = best_points(curve, one)
                colour, width = ("#000000", 2.5) if word == "all" else (colour, 1.2)
                missed = [max(100 * share, FRRS[0]) for share in shares]
                axes.plot(rates, missed, color=colour, label=word, linewidth=width)
            dress(axes, "false alarms of the keyword per hour", "")
            axes.legend(ncols=2)
            axes.label_outer()
        panels[0].set_title(f"FRR against false alarms in {measured['folder']}, {measured['split']} split")
