"""The command line: every command by name, errors as one line, exit codes as errors.py lists them.

Nothing heavy is imported here: a command imports what it needs when it runs, so `--help` stays fast.
"""

import os
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
from kwspot.errors import KwspotError
from kwspot.extras import EXTRAS, extra_of, require


class OneLineErrors(TyperGroup):
    """Show a KwspotError as its message, ignore a closed pipe; show tracebacks only with --debug."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what it raises into a line and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KwspotError as error:
            if ctx.params.get("debug"):
                raise
            console.error(str(error))
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing left to flush into
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            console.error("interrupted")
            raise typer.Exit(128 + signal.SIGINT) from None


class Command(TyperCommand):
    """A command that asks for the libraries it needs before it does anything."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; MissingPartError if a library it needs is not installed."""
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Use, train and compare small recurrent keyword spotters.

    Start with predict or listen, which need nothing else. For words of your
    own: record, enroll. To train from scratch: download, featurize, train,
    eval, compare.
    """


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


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    console.error("terminated")
    raise SystemExit(128 + signal.SIGTERM)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminated)
    app()
