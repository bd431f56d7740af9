"""What `kwspot compare --show` can lay side by side of runs, beside the accuracies of training.

A view renders what a command measured and the runs' folders keep. To add one: write its four functions and its line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kwspot.experiments.runs import Run
from kwspot.reports import det, robustness


@dataclass(frozen=True)
class View:
    """A table of runs in each form, and its figures. MissingError where nothing was measured."""

    title: str  # of the first figure
    terminal: Callable[[Sequence[Run], int], str]  # runs, columns
    markdown: Callable[[Sequence[Run], Sequence[tuple[str, str]]], str]  # runs, pictures as (title, address)
    as_json: Callable[[Sequence[Run]], str]
    draw: Callable[[Sequence[Run], Path], list[Path]]  # runs, folder -> files


VIEWS = {
    "robustness": View(
        "Accuracy in noise and other trouble",
        robustness.terminal,
        robustness.markdown,
        robustness.as_json,
        robustness.draw,
    ),
    "false-alarms": View("FRR against false alarms in long audio", det.terminal, det.markdown, det.as_json, det.draw),
}
