"""The command line: every command by name, errors as one line, exit codes as errors.py lists them.

Nothing heavy is imported here: a command imports what it needs when it runs, so `--help` stays fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import errno
from math import isfinite
import os
from pathlib import Path
import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from kwspot import __version__
from kwspot.commands import console
from kwspot.commands.compare import compare
from kwspot.commands.cut import cut
from kwspot.commands.doctor import doctor
from kwspot.commands.download import download
from kwspot.commands.enroll import enroll
from kwspot.commands.eval import eval_
from kwspot.commands.experiments import experiments
from kwspot.commands.export import export
from kwspot.commands.featurize import featurize
from kwspot.commands.listen import listen
from kwspot.commands.models import models
from kwspot.commands.predict import predict
from kwspot.commands.record import record
from kwspot.commands.report import report
from kwspot.commands.runs import runs
from kwspot.commands.serve import serve
from kwspot.commands.spot import spot
from kwspot.commands.sweep import sweep
from kwspot.commands.synthesize import synthesize
from kwspot.commands.tensorboard import tensorboard
from kwspot.commands.train import train
from kwspot.commands.ui import ui
from kwspot.commands.vocabulary import vocabulary
from kwspot.errors import ConfigError, KwspotError
from kwspot.extras import EXTRAS, extra_of, require


class OneLineErrors(TyperGroup):
    """Show what a user can act on as one line with its exit code: KwspotError, the system's refusals, Ctrl-C.

    A closed pipe is no error; only --debug shows a traceback.
    """

    def main(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        """Run everything, also the parsing of arguments and the printing of help."""
        with self.shown_errors("--debug" in (sys.argv if args is None else args)):
            try:
                return super().main(args, *more, **kwargs)
            except SystemExit as ended:  # typer's own end, without a line, of what is interrupted before a command runs
                if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what it raises into a line and an exit code."""
        with self.shown_errors(ctx.params.get("debug")):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result

    @contextmanager
    def shown_errors(self, debug: bool = False) -> Iterator[None]:
        """Let a block end in a line and an exit code."""
        try:
            with _signals_first():
                yield
        except KwspotError as error:
            if debug:
                raise
            raise _failed(str(error), error.exit_code) from error
        except BrokenPipeError:
            _drop_stdout()  # nothing left to flush into
            raise SystemExit(0) from None
        except (OSError, MemoryError) as error:
            if debug:
                raise
            raise _failed(_refusal(error)) from error
        except KeyboardInterrupt:
            raise _failed("interrupted", 128 + signal.SIGINT) from None
        except RuntimeError as error:
            if debug or not any(said in str(error) for said in NO_MEMORY):
                raise
            raise _failed(_refusal(MemoryError())) from error


@contextmanager
def _signals_first() -> Iterator[None]:
    """End by the signal that came, whatever a library made of it while it was being loaded."""
    try:
        yield
    except Exception as error:
        if not SIGNALS:
            raise
        ended = KeyboardInterrupt() if SIGNALS[0] == signal.SIGINT else SystemExit(128 + SIGNALS[0])
        raise ended from error


def _refusal(error: OSError | MemoryError) -> str:
    """Say what the system refused, and where if it is known."""
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs or work on less at once"
    reason = error.strerror or str(error)
    where = error.filename if error.filename2 is None else error.filename2  # the second: what was to be replaced
    if where is not None:
        return f"{os.fsdecode(where)}: {reason}"
    if error.errno == errno.ENOSPC:
        return f"{reason}: what was being written, or standard output; free some space and run the command again"
    return reason


def _failed(message: str, code: int = KwspotError.exit_code) -> SystemExit:
    """Print an error; return what ends the command."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    console.error(message)
    return SystemExit(code)


def _drop_stdout() -> None:
    """Let what is still to be written to standard output go nowhere: Python flushes it once more at its end."""
    with suppress(OSError, ValueError):  # none, or a test's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Command(TyperCommand):
    """A command that asks for the libraries it needs before it does anything, and for numbers that are some."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; MissingPartError if a library it needs is not installed, ConfigError for infinity or NaN."""
        for param in self.params:
            value = ctx.params.get(param.name)
            if isinstance(value, float) and not isfinite(value):  # a least value lets infinity through
                raise ConfigError(f"{param.opts[0]}: a finite number is needed, got {value}")
        if self.name != "export":  # which copies models of own words without them, and asks itself
            require(f"kwspot {self.name}", *NEEDS.get(self.name or "", ()))
        return super().invoke(ctx)


class SeveralSeeds(Command):
    """Take `--seed 1 2 3` for `--seed 1 --seed 2 --seed 3`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before every further number."""
        spread: list[str] = []
        in_seeds = False
        for arg in args:
            if in_seeds and arg.isdecimal() and spread[-1] != "--seed":
                spread.append("--seed")
            spread.append(arg)
            in_seeds = arg == "--seed" or (in_seeds and arg.isdecimal())
        return super().parse_args(ctx, spread)


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"kwspot {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Use, train and compare small recurrent keyword spotters.

    Start with predict or spot, which need nothing else. For words of your
    own: record, enroll. To train from scratch: download, featurize, train,
    eval, compare.
    """


SIGNALS: list[int] = []  # that came since the start
NO_MEMORY = ("can't allocate memory", "out of memory")  # torch's words for it, in an error of no kind of its own
GROUPS = {
    "Use": (predict, spot, listen, ui, record, enroll, serve),
    "Train": (download, synthesize, vocabulary, cut, featurize, train, sweep, export),
    "Study": (eval_, compare, report, experiments, tensorboard),
    "Manage": (models, doctor),
}
COMMANDS = tuple(command for group in GROUPS.values() for command in group)
# Libraries of an extra that a command cannot do without; what only some options need is asked for where it is used.
NEEDS = dict.fromkeys(("featurize", "train", "eval", "export"), EXTRAS["train"].libraries)
NEEDS |= {
    "sweep": ("optuna", *NEEDS["train"]),
    "tensorboard": ("tensorboard",),
    "ui": ("starlette", "uvicorn"),
    "record": ("sounddevice",),
    "serve": ("wyoming",),
}
for group, commands in GROUPS.items():
    for command in commands:
        name = command.__name__.rstrip("_")
        needs = rf"Needs: pip install 'kwspot\[{extra_of(NEEDS[name][0])}]'" if name in NEEDS else None
        kind = SeveralSeeds if command is train else Command
        app.command(name, cls=kind, epilog=needs, rich_help_panel=group)(command)
app.add_typer(runs, name="runs", rich_help_panel="Manage")


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    SIGNALS.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    console.error("terminated")
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line as the process's own: with its signals, and standard error for its own words only."""
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115 - first: the lowest file descriptor is its own
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - closed by the caller
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stdout.reconfigure(errors=console.SPELT)  # type: ignore[union-attr]
    if "--debug" not in sys.argv:
        _quiet_libraries()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    app()


def _quiet_libraries() -> None:
    """Keep what C libraries print (libmpg123 of every damaged frame) apart from kwspot's own lines.

    Python's standard error becomes a copy of file descriptor 2, and the descriptor leads nowhere.
    """
    own = os.dup(sys.stderr.fileno())
    sys.stderr = open(own, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")  # noqa: PTH123, SIM115
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # last: a signal before it is still heard of
