"""Figures as SVG: learning curves of a run, overlays of all experiments, a confusion matrix.

    DIR/<experiment>/<run>/{accuracy,loss}_{train,validation}.svg   one run
    DIR/{accuracy,loss}_{train,validation}.svg                      all of them, with the spread over seeds
    DIR/cost.svg                                                    test accuracy against MACs, with the Pareto front
    DIR/trace.svg                                                   gradients and states of runs trained with --trace

The same records give the same bytes.
"""

from collections.abc import Callable, Sequence
import math
from pathlib import Path
import statistics
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kwspot.evaluation.comparison import Row
from kwspot.experiments.records import TraceShape
from kwspot.experiments.runs import TRACE, Run, read_lines
from kwspot.reports.style import COLOURS, MOST_LINES, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = ("accuracy_train", "accuracy_validation", "loss_train", "loss_validation")
LIGHTEST = 0.9  # of viridis: beyond it is a yellow that white paper swallows
ACCURACIES = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 99.9)  # per cent, where marks may stand


def _points(run: Run, curve: str) -> tuple[list[int], list[float]]:
    """Return the epochs of a run and its curve: accuracy in per cent, loss in nats a clip."""
    scale = 100.0 if curve.startswith("accuracy") else 1.0
    values = [math.nan if line[curve] is None else scale * line[curve] for line in run.history]
    return [line["epoch"] for line in run.history], values


def _axes_of(axes: "Axes", curve: str) -> None:
    from matplotlib.ticker import MaxNLocator

    quantity, _, split = curve.partition("_")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "accuracy":
        axes.set_ylabel(f"{split} accuracy (%)")
        axes.set_ylim(0, 100)
    else:
        axes.set_ylabel(f"{split} loss (nats a clip)")
        axes.set_ylim(bottom=0)


def _title(curve: str) -> str:
    quantity, _, split = curve.partition("_")
    return f"{split} {quantity}"


def plot_run(run: Run, curve: str, path: Path) -> None:
    """Draw one curve of one run against the epoch; the best epoch on validation is marked."""
    epochs, values = _points(run, curve)
    with drawing(path, 6.4, 3.8, fitted=False) as (_, axes):
        axes.plot(epochs, values, color=COLOURS[0], marker="o" if len(epochs) < 2 else "")
        best = run.metrics["best_epoch"] if run.metrics else None
        if best in epochs:
            value = values[epochs.index(best)]
            figure = f"{value:.1f} %" if curve.startswith("accuracy") else f"{value:.3f}"
            axes.plot([best], [value], "o", color=COLOURS[1], label=f"best epoch on validation: {best}, {figure}")
            axes.legend(loc="best")
        axes.set_title(f"{run.experiment}, seed {run.seed}: {_title(curve)}")
        _axes_of(axes, curve)


def plot_overlay(rows: Sequence[Row], curve: str, path: Path) -> None:
    """Draw a curve of every row: the mean over seeds and, as a band, the lowest and highest seed.

    More than MOST_LINES rows are shared out among panels of the same axes. Seeds stop at different epochs, and a mean
    that loses a seed would jump: it ends with the first seed that stops, and thin lines carry the others on.
    """
    n_panels = -(-len(rows) // MOST_LINES)
    size = -(-len(rows) // n_panels)
    shares = [rows[i : i + size] for i in range(0, len(rows), size)]
    width = 6.5 + 0.075 * max(len(row.label) for row in rows)  # room for the legend
    several = any(len(row.runs) > 1 for row in rows)
    with drawing(path, width, 1.2 + 3.2 * n_panels, fitted=True) as (figure, whole):
        whole.remove()
        panels = figure.subplots(n_panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, share in zip(panels, shares, strict=True):
            for i, row in enumerate(share):
                _draw_row(axes, row, curve, several, {"color": COLOURS[i % len(COLOURS)]})
            title = "experiment (seeds)" if several else "experiment"
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=title, alignment="left")
        for axes in panels:  # when all are drawn: limits hold for every panel
            _axes_of(axes, curve)
            axes.label_outer()
        seeds_told = "mean of the seeds, band from lowest to highest" if several else "one seed each"
        panels[0].set_title(f"{_title(curve)}: {seeds_told}")


def _draw_row(axes: "Axes", row: Row, curve: str, several: bool, look: dict[str, Any]) -> None:
    curves = [points for run in row.runs if (points := _points(run, curve))[0]]
    if not curves:
        return
    shared = min(len(epochs) for epochs, _ in curves)
    epochs = curves[0][0][:shared]
    seeds = list(zip(*(values[:shared] for _, values in curves), strict=True))
    label = f"{row.label} ({len(curves)})" if several else row.label
    means = [statistics.fmean(at) for at in seeds]
    axes.plot(epochs, means, label=label, linewidth=1.8, marker="o" if shared < 2 else "", **look)
    if len(curves) > 1:
        low, high = [min(at) for at in seeds], [max(at) for at in seeds]
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.18, linewidth=0)
    for own_epochs, values in curves:
        axes.plot(own_epochs[shared - 1 :], values[shared - 1 :], linewidth=0.7, alpha=0.7, **look)


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no cheaper one equals in test accuracy, cheapest first; rows without it are left out."""
    front: list[Row] = []
    for row in sorted(filter(_placed, rows), key=lambda row: (_cost(row)[0], -_cost(row)[1])):
        if not front or _cost(row)[1] > _cost(front[-1])[1]:
            front.append(row)
    return front


def _placed(row: Row) -> bool:
    return row.figures["accuracy_test"] is not None and row.figures["macs"] is not None


def _cost(row: Row) -> tuple[float, float]:
    """Return MACs of a clip and test accuracy in per cent."""
    macs, accuracy = row.figures["macs"], row.figures["accuracy_test"]
    assert macs is not None
    assert accuracy is not None
    return macs.mean, 100 * accuracy.mean


def plot_cost(rows: Sequence[Row], path: Path) -> None:
    """Draw every row's test accuracy against its MACs, with the standard deviation over seeds and the front.

    Half the errors is the same step up everywhere, so 97 and 98 % can be told apart beside a model that fails.
    """
    from matplotlib.ticker import FixedLocator, StrMethodFormatter

    with drawing(path, 7.2, 6.4, fitted=True) as (picture, axes):
        front = pareto_front(rows)
        axes.plot(*zip(*map(_cost, front), strict=True), color="#999999", zorder=1, label="Pareto front")
        points = []
        for row in filter(_placed, rows):
            (macs, accuracy), figure = _cost(row), row.figures["accuracy_test"]
            std = 100 * figure.std if figure is not None and figure.std is not None else 0.0
            colour = COLOURS[0] if row in front else COLOURS[1]
            axes.errorbar([macs], [accuracy], yerr=std or None, fmt="o", color=colour, capsize=3)
            points.append((row.label, macs, accuracy, std))
        axes.set_xscale("log")
        axes.set_yscale("function", functions=(_rarity_of_errors, lambda rarity: 100 - 10**-rarity))
        axes.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.margins(x=0.2, y=0.12)
        axes.set_xlabel("MACs a clip")
        axes.set_ylabel("test accuracy (%)")
        axes.set_title("accuracy against cost")
        axes.legend(loc="lower right")
        picture.draw_without_rendering()  # fits the margins, so that points lie where they will
        _label_points(axes, points)


def _rarity_of_errors(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return minus the logarithm of the errors in per cent; one in a thousand stands for none."""
    return -np.log10(np.maximum(100 - accuracy, 0.1))


def _label_points(axes: "Axes", points: Sequence[tuple[str, float, float, float]]) -> None:
    """Name points (name, x, y, half the error bar) beside them, clear of bars and other names where there is room.

    A name that finds its place only further away has a line to its point.
    """
    from matplotlib.transforms import Bbox

    beside: list[tuple[int, int, Literal["left", "right"], Literal["bottom", "top"]]] = [
        (right, up, "left" if right > 0 else "right", "bottom" if up > 0 else "top")
        for far in range(2, 70, 11)
        for right in (6, -6)
        for up in (far, -far)
    ]
    taken = []
    for _, x, y, bar in points:
        ends = axes.transData.transform([(x, y - bar), (x, y + bar)])
        taken.append(Bbox([ends[0] - 4, ends[1] + 4]))
    for name, x, y, _ in points:
        texts = [
            axes.annotate(name, (x, y), (right, up), textcoords="offset points", ha=ha, va=va, fontsize=8)
            for right, up, ha, va in beside
        ]
        boxes = [text.get_window_extent() for text in texts]
        free = next((i for i, box in enumerate(boxes) if not box.count_overlaps(taken)), 0)
        taken.append(boxes[free])
        for text in texts[:free] + texts[free + 1 :]:
            text.remove()
        right, up, _, _ = beside[free]
        if abs(up) > 2:
            line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", (x, y), (right, up), textcoords="offset points", arrowprops=line, zorder=1)


def plot_traces(runs: Sequence[Run], path: Path) -> None:
    """Draw what `--trace` measured, a column a run, from the first epoch to the last, dark to light.

    Above, the gradient that reaches each moment of a clip; a moment without a line got nothing. Below, how far the
    states lie apart. Of many epochs MOST_LINES are drawn.
    """
    from matplotlib import colormaps

    with drawing(path, 1.2 + 3.1 * len(runs), 5.4, fitted=True) as (figure, whole):
        whole.remove()
        grid = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
        for run, (above, below) in zip(runs, grid.T, strict=True):
            lines = read_lines(run.path / TRACE, TraceShape)
            seconds = len(lines[0]["gradient"]) * run.record["settings"]["front_end"]["hop_ms"] / 1000
            chosen = np.unique(np.linspace(0, len(lines) - 1, MOST_LINES).round().astype(int))
            for i in chosen:
                line, colour = lines[i], colormaps["viridis"](LIGHTEST * i / max(1, len(lines) - 1))
                for axes, key in ((above, "gradient"), (below, "state_spread")):
                    values = np.array(line.get(key, []), dtype=float)
                    times = (np.arange(len(values)) + 0.5) * seconds / max(1, len(values))
                    axes.plot(times, np.where(values > 0, values, np.nan), color=colour, label=line["epoch"])
            above.set_yscale("log")
            above.set_title(run.experiment)
            above.legend(title="epoch", loc="best")
            below.set_xlabel("time in the clip (s)")
        grid[0][0].set_ylabel("gradient by a frame (norm)")
        grid[1][0].set_ylabel("spread of the states")


def write_plots(rows: Sequence[Row], directory: Path, report: Callable[..., None] | None = None) -> list[Path]:
    """Write every curve of every run, the overlays of all rows and their cost; return the files, overlays first."""
    runs = [run for row in rows for run in row.runs]
    traced = [row.runs[0] for row in rows if (row.runs[0].path / TRACE).is_file()]
    comparable = len({row.scope for row in rows}) == 1 and sum(map(_placed, rows)) > 1
    total = len(CURVES) * (1 + len(runs)) + comparable + bool(traced)
    written: list[Path] = []

    def done(path: Path) -> None:
        written.append(path)
        if report:
            report(len(written), total)

    for curve in CURVES:
        plot_overlay(rows, curve, path := directory / f"{curve}.svg")
        done(path)
    if comparable:
        plot_cost(rows, path := directory / "cost.svg")
        done(path)
    if traced:
        plot_traces(traced, path := directory / "trace.svg")
        done(path)
    for run in runs:
        for curve in CURVES:
            plot_run(run, curve, path := directory / run.experiment / run.id / f"{curve}.svg")
            done(path)
    return written


def plot_confusion(evaluation: dict[str, Any], path: Path, title: str = "") -> None:
    """Draw the confusion matrix of an evaluation: colour is the share of the true word's clips, text the clips.

    The colour follows the square root of the share, else a few mistakes among hundreds of hits would not show.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter
    import numpy as np

    classes, counts = evaluation["classes"], np.asarray(evaluation["confusion"])
    of_word = counts.sum(axis=1, keepdims=True)
    shares = np.where(of_word > 0, 100 * counts / np.maximum(of_word, 1), np.nan)
    n = len(classes)
    side = min(12.0, 2.6 + 0.42 * n)
    size = 9 if n <= 12 else 5
    with drawing(path, side + 1.0, side, fitted=True) as (figure, axes):
        axes.grid(False)
        mesh = axes.pcolormesh(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), edgecolors="white", linewidth=0.4)
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[i, j] > 40 else "#222222"  # no black: its ground is light in the dark, too
            axes.text(j + 0.5, i + 0.5, f"{counts[i, j]}", ha="center", va="center", fontsize=size, color=colour)
        axes.set_xticks(np.arange(n) + 0.5, classes, rotation=90, fontsize=8 if n <= 12 else 7)
        axes.set_yticks(np.arange(n) + 0.5, classes, fontsize=8 if n <= 12 else 7)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted word")
        axes.set_ylabel("true word")
        what = title or f"{evaluation.get('split', 'one')} split"
        axes.set_title(f"{what}: accuracy {100 * evaluation['accuracy']:.1f} % of {evaluation['n']:,} clips")
        bar = figure.colorbar(mesh, ax=axes, shrink=0.7, format=PercentFormatter(decimals=0, symbol=" %"))
        bar.set_label("share of the true word's clips")
        bar.outline.set_visible(False)
