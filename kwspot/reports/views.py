"""What `kwspot compare --show` can lay side by side of runs: accuracies, or what `kwspot eval` measured beside them.

A sheet is one view of some runs. It can be written in several forms and drawn. To add one: write its functions and its
line in MEASURED.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kwspot.errors import ConfigError
from kwspot.evaluation.comparison import Row, choose_runs, notes, sort_rows, table_rows
from kwspot.experiments.runs import Run
from kwspot.reports import det, results_table, robustness

if TYPE_CHECKING:  # the table needs no numpy
    from kwspot.evaluation.significance import Difference

ACCURACY = "accuracy"
TERMINAL, MARKDOWN, JSON, CSV, LATEX = "terminal", "markdown", "json", "csv", "latex"

Picture = tuple[str, Path]  # title, file
Form = Callable[[], str]
Report = Callable[..., None]


class Sheet(Protocol):
    """Runs side by side."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know, a line each."""

    def forms(self, width: int) -> Mapping[str, Form]:
        """Return the forms it can be written in, by name; for the terminal at most `width` columns wide."""

    def markdown(self, pictures: Sequence[tuple[str, str]] = ()) -> str:
        """Write it as Markdown, with pictures given as (title, address) below."""

    def draw(self, folder: Path, report: Report) -> tuple[int, list[Picture]]:
        """Write its figures below a folder; return how many, and those that stand beside its table."""


@dataclass(frozen=True)
class Accuracies:
    """The results table: a row an experiment, with differences to others."""

    rows: Sequence[Row]
    differences: Sequence["Difference"]
    not_held: Sequence[str]  # why rows have no difference

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the table must know."""
        return [f"note: {line}" for line in [*notes(self.rows), *self.not_held]]

    def forms(self, width: int) -> Mapping[str, Form]:
        """See Sheet."""
        return {
            TERMINAL: lambda: results_table.terminal(self.rows, width, self.differences),
            MARKDOWN: self.markdown,
            JSON: lambda: results_table.as_json(self.rows, self.differences),
            CSV: lambda: results_table.as_csv(self.rows),
            LATEX: lambda: results_table.latex(self.rows),
        }

    def markdown(self, pictures: Sequence[tuple[str, str]] = ()) -> str:
        """See Sheet."""
        return results_table.markdown(self.rows, pictures, self.differences)

    def draw(self, folder: Path, report: Report) -> tuple[int, list[Picture]]:
        """See Sheet."""
        from kwspot.reports.plots import write_plots

        written = write_plots(self.rows, folder, report)
        titles = {
            "cost": "Test accuracy against cost",
            "accuracy_validation": "Learning curves: accuracy, validation",
            "loss_validation": "Learning curves: loss, validation",
        }
        overlays = {path.stem: path for path in reversed(written)}  # they come first
        return len(written), [(title, overlays[name]) for name, title in titles.items() if name in overlays]


@dataclass(frozen=True)
class View:
    """How what was measured of runs is written and drawn. MissingError where nothing was measured."""

    title: str  # of the figure
    terminal: Callable[[Sequence[Run], int], str]  # runs, columns
    markdown: Callable[[Sequence[Run], Sequence[tuple[str, str]]], str]  # runs, pictures
    as_json: Callable[[Sequence[Run]], str]
    draw: Callable[[Sequence[Run], Path], list[Path]]  # runs, folder -> files


MEASURED = {
    "robustness": View(
        "Accuracy in noise and other trouble",
        robustness.terminal,
        robustness.markdown,
        robustness.as_json,
        robustness.draw,
    ),
    "false-alarms": View("FRR against false alarms in long audio", det.terminal, det.markdown, det.as_json, det.draw),
}


@dataclass(frozen=True)
class Measurements:
    """What a view shows of runs."""

    view: View
    runs: Sequence[Run]

    @property
    def notes(self) -> Sequence[str]:
        """See Sheet."""
        return ()

    def forms(self, width: int) -> Mapping[str, Form]:
        """See Sheet."""
        return {
            TERMINAL: lambda: self.view.terminal(self.runs, width),
            MARKDOWN: self.markdown,
            JSON: lambda: self.view.as_json(self.runs),
        }

    def markdown(self, pictures: Sequence[tuple[str, str]] = ()) -> str:
        """See Sheet."""
        return self.view.markdown(self.runs, pictures)

    def draw(self, folder: Path, report: Report) -> tuple[int, list[Picture]]:
        """See Sheet."""
        written = self.view.draw(self.runs, folder)
        return len(written), [(self.view.title, path) for path in written]


def open_sheet(
    show: str, runs_dir: Path, names: Sequence[str], *, sort: str | None = None, versus: Sequence[str] = ()
) -> tuple[Sheet, list[Run]]:
    """Lay the finished runs of some names, or all, side by side; return those left out too, which are not finished.

    ConfigError if there is no such view, or if it cannot be sorted or compared with others.
    """
    if show != ACCURACY and show not in MEASURED:
        raise ConfigError(f"--show {show}: unknown; known: {', '.join((ACCURACY, *MEASURED))}")
    if refused := [option for option, given in (("--sort", sort), ("--versus", versus)) if given and show != ACCURACY]:
        raise ConfigError(f"{' and '.join(refused)}: not with --show {show}")
    finished, unfinished = choose_runs(runs_dir, names)
    if show != ACCURACY:
        return Measurements(MEASURED[show], finished), unfinished
    rows = table_rows(finished)
    if sort or not names:
        rows = sort_rows(rows, sort or "val-acc")
    differences: Sequence[Difference] = ()
    not_held: list[str] = []
    if versus:
        from kwspot.evaluation.significance import differences as differences_to

        differences = differences_to(rows, versus, not_held.append)
    return Accuracies(rows, differences, not_held), unfinished
