"""Terminal output: data on stdout; messages, progress and errors on stderr, plain where it is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
import shutil
import sys
from typing import TYPE_CHECKING, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.table import Table


class Report(Protocol):
    """Receives progress: done and total, in the unit of the work; total None if unknown."""

    def __call__(self, done: int, total: int | None, message: str = "") -> None: ...  # noqa: D102


def say(text: str) -> None:
    """Print a line of data on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a message on stderr."""
    typer.echo(text, err=True)


def error(text: str) -> None:
    """Print an error on stderr."""
    note(f"error: {text}")


def show(table: "Table") -> None:
    """Print a rich table on stdout: as wide as the terminal; elsewhere 80 columns without colour."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 80, no_color=None if terminal else True, highlight=False).print(table)


def width() -> int:
    """Return the columns of the terminal; 80 off one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


@contextmanager
def progress(title: str, *, unit: str = "", quiet: bool = False) -> Iterator[Report]:
    """Show progress on stderr: a bar with speed and time left on a terminal, else a line at every tenth.

    `unit` "bytes" is shown in MB; any other unit as a count.
    """
    if quiet:
        yield lambda done, total, message="": None
    elif sys.stderr.isatty():
        with _bar(title, unit) as report:
            yield report
    else:
        yield _lines(title, unit)


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Report]:
    from rich import progress as rp
    from rich.console import Console

    amount: tuple[Any, ...] = (
        (rp.DownloadColumn(), rp.TransferSpeedColumn()) if unit == "bytes" else (rp.MofNCompleteColumn(), unit)
    )
    columns = (
        rp.TextColumn("{task.description}"),
        rp.BarColumn(),
        *amount,
        rp.TimeRemainingColumn(),
        "{task.fields[message]}",
    )
    with rp.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, message="")

        def report(done: int, total: int | None, message: str = "") -> None:
            bar.update(task, completed=done, total=total, message=message)

        yield report
    note(f"{title}: done")


def _lines(title: str, unit: str) -> Report:
    last_tenth = -1

    def amount(done: int, total: int | None) -> str:
        """Write `3.1 of 9.0 MB`, `1,500 of 14,078 clips`, or without a total `1,500 clips`."""
        scale, shown, name = (1e6, ",.1f", "MB") if unit == "bytes" else (1, ",.0f", unit)
        whole = f" of {format(total / scale, shown)}" if total else ""
        return f"{format(done / scale, shown)}{whole} {name}".rstrip()

    def report(done: int, total: int | None, message: str = "") -> None:
        nonlocal last_tenth
        tenth = 10 * done // total if total else 0
        if tenth != last_tenth:
            last_tenth = tenth
            note(f"{title}: {amount(done, total)}{'  ' + message if message else ''}")

    return report
