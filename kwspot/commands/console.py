"""Terminal output: data on stdout; messages, progress and errors on stderr, plain where it is no terminal."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
import csv
import io
import os
from pathlib import Path
import re
import shutil
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from kwspot.errors import ConfigError
from kwspot.names import escaped

if TYPE_CHECKING:
    from rich.table import Table

SPELT = "kwspot.spelt"  # how a stream writes what its encoding lacks
PATIENCE_S = 2.0  # of waiting, after which progress is shown of what mostly takes no time


class Report(Protocol):
    """Receives progress: done and total, in the unit of the work; total None if unknown."""

    def __call__(self, done: int, total: int | None, message: str = "") -> None: ...  # noqa: D102


FORGED = re.compile(r"\n(?!  )")  # a message may have more lines, indented: no name in it can pass for one


def _spell(error: UnicodeError) -> tuple[bytes, int]:
    """Write bytes of a file name that are no UTF-8 as they came, and what else the encoding lacks as escapes."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    spelt = (
        bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else c.encode("ascii", "backslashreplace")
        for c in lacking
    )
    return b"".join(spelt), error.end


codecs.register_error(SPELT, _spell)


def say(text: str) -> None:
    """Print data on stdout, which may be several lines; what is unprintable beside line ends and tabs as escapes."""
    _write(sys.stdout, text)


def say_wrapped(text: str) -> None:
    """Print a sentence on stdout: on a terminal in lines of its width, all but the first indented."""
    lines = textwrap.wrap(text, width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    say("\n".join(lines) if sys.stdout.isatty() else text)


def note(text: str) -> None:
    """Print a message on stderr; of more lines, all but the first are indented."""
    try:
        _write(sys.stderr, FORGED.sub(lambda match: escaped(match[0]), text))
    except OSError:  # nobody reads it, or its disk is full: no reason to end
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def _write(file: TextIO, text: str) -> None:
    """Write a line at once; not by `typer.echo`, which writes past rich, into a bar that is shown."""
    file.write("".join(part if part in "\n\t" else escaped(part) for part in re.split(r"([\n\t])", text)) + "\n")
    file.flush()


def error(text: str) -> None:
    """Print an error on stderr."""
    note(f"error: {text}")


def chosen(otherwise: str, **forms: bool) -> str:
    """Return the form of output that was asked for; ConfigError if several were."""
    given = [form for form, wanted in forms.items() if wanted]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'--{form}' for form in given)}: give one of them")
    return given[0] if given else otherwise


def csv_line(values: Iterable[object]) -> str:
    """Write a line of CSV, without its end; None is an empty cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV, without the end of its last line."""
    return "\n".join(map(csv_line, [head, *rows]))


def show(table: "Table") -> None:
    """Print a rich table on stdout: as wide as the terminal; elsewhere 80 columns without colour."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 80, no_color=None if terminal else True, highlight=False).print(table)


def width() -> int:
    """Return the columns of the terminal; 80 off one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


@contextmanager
def progress(title: str, *, unit: str = "", quiet: bool = False, brief: bool = False) -> Iterator[Report]:
    """Show progress on stderr: a bar with speed and time left on a terminal, else a line at every tenth.

    `unit` "bytes" is shown in MB; any other unit as a count. `brief` is for work that may be over at once and whose
    results appear as they come: a bar on a terminal after PATIENCE_S, no lines elsewhere.
    """
    if quiet or (brief and not sys.stderr.isatty()):
        yield lambda done, total, message="": None
    elif brief:
        with _late_bar(title, unit) as report:
            yield report
    elif sys.stderr.isatty():
        with _bar(title, unit) as report:
            yield report
        note(f"{title}: done")
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
        rp.TextColumn("{task.fields[message]}", markup=False),  # a file's name may look like rich's markup
    )
    # Results printed below a bar must reach stdout; on one terminal with it, rich moves them above the bar.
    with rp.Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as bar:
        task = bar.add_task(title, total=None, message="")

        def report(done: int, total: int | None, message: str = "") -> None:
            bar.update(task, completed=done, total=total, message=escaped(message))

        yield report


@contextmanager
def _late_bar(title: str, unit: str) -> Iterator[Report]:
    began, shown = time.monotonic(), None
    with ExitStack() as stack:

        def report(done: int, total: int | None, message: str = "") -> None:
            nonlocal shown
            if shown is None and time.monotonic() - began > PATIENCE_S:
                shown = stack.enter_context(_bar(title, unit))
            if shown:
                shown(done, total, message)

        yield report


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
