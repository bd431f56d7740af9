"""`kwspot train`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, Experiments, Overrides, Quiet, RegistryPath, RunsDir
from kwspot.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from kwspot.training.trainer import EpochRecord, Progress


def train(
    names: Experiments,
    seed: Annotated[list[int], typer.Option(help="Seeds, one run each: --seed 1 2 3.")] = [1],  # noqa: B006
    override: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume unfinished runs.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Train finished and unfinished runs anew.")] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="After every epoch, measure the gradient along a clip (trace.jsonl)."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")] = None,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
    registry: RegistryPath = None,
    quiet: Quiet = False,
) -> None:
    """Train experiments, one run per seed; a finished run is not trained twice.

    A run ends with model.onnx, the one file that 'kwspot predict' needs.
    Ctrl-C finishes the step, saves, and prints the command that resumes.

    Examples:

      kwspot train lstm

      kwspot train rnn rnn_ln lstm --seed 1 2 3

      kwspot train lstm -o train.epochs=3 -o model.hidden_size=64

      kwspot train lstm --resume

      torchrun --nproc_per_node 2 -m kwspot train lstm
    """
    import torch

    from kwspot.experiments.registry import load_experiment
    from kwspot.export.encoder import write_missing
    from kwspot.models.device import choose_device
    from kwspot.training.distributed import process_group
    from kwspot.training.run import Callbacks, run_experiment

    if resume and again:
        raise ConfigError("--resume continues a run, --again starts it over: give one of them")
    if threads:
        torch.set_num_threads(threads)
    experiments = [load_experiment(name, registry, override or ()) for name in names]
    with stop_signals() as stopped, process_group(choose_device(device)) as group:
        quiet = quiet or not group.is_main
        for experiment in experiments:
            for one in seed:
                with EpochLines(f"{experiment.name} seed {one}", experiment.train.epochs, quiet) as lines:
                    callbacks = Callbacks(
                        note=console.note if group.is_main else lambda _: None,
                        step=lines.step,
                        epoch=lines.epoch,
                        should_stop=lambda: stopped() is not None,
                    )
                    run = run_experiment(
                        experiment, seed=one, data=data, runs_dir=runs, device=device,
                        resume=resume, again=again, trace=trace, group=group, callbacks=callbacks,
                    )  # fmt: skip
                if run.metrics is None:
                    raise StoppedError(
                        f"stopped and saved in {run.path}; resume with: {_resuming()}", stopped() or signal.SIGINT
                    )
                if not group.is_main:
                    continue
                for path in write_missing(run, data):
                    if not quiet:
                        console.note(f"wrote {path}")
                accuracy, best = run.metrics["accuracy_validation"], run.metrics["best_epoch"]
                console.say(f"{run.id}\tvalidation accuracy {accuracy:.2%}\tbest epoch {best}")


def _resuming() -> str:
    """Return the command line that resumes what this one began."""
    arguments = [a for a in sys.argv[1:] if a not in ("--again", "--resume")]
    return shlex.join(["kwspot", *arguments, "--resume"])


@contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Collect SIGINT and SIGTERM instead of acting on them; yields a function that returns the last signal, or None."""
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: received[-1] if received else None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class EpochLines:
    """Shows training on stderr: a bar within the epoch on a terminal, and a line after each epoch everywhere."""

    def __init__(self, title: str, epochs: int, quiet: bool) -> None:
        self.title, self.epochs, self.quiet = title, epochs, quiet
        self.bar: Any = None
        self.speed = 0.0  # clips/s

    def __enter__(self) -> "EpochLines":
        if sys.stderr.isatty() and not self.quiet:
            from rich import progress as rp
            from rich.console import Console

            columns = (
                rp.TextColumn("{task.description}"),
                rp.BarColumn(bar_width=16),
                rp.TimeRemainingColumn(),
                "{task.fields[now]}",
            )
            self.bar = rp.Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.add_task(self.title, now="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def step(self, now: "Progress", n_steps: int) -> None:
        """Move the bar within the epoch."""
        self.speed = now.n_seen / now.seconds
        if self.bar:
            figures = f"loss {now.loss_sum / now.n_seen:.3f} acc {now.n_correct / now.n_seen:.1%}"
            description = f"{self.title} epoch {now.epoch}"
            figures = f"{figures} {self.speed:,.0f} clips/s"
            self.bar.update(0, completed=now.step, total=n_steps, description=description, now=figures)

    def epoch(self, record: "EpochRecord", timing: dict[str, Any]) -> None:
        """Print the line of a finished epoch."""
        if self.quiet:
            return
        seconds = timing["seconds_train"] + timing["seconds_validation"]
        left_s = (self.epochs - record.epoch) * seconds
        left = f"{left_s / 60:.0f} min" if left_s > 99 else f"{left_s:.0f} s"
        line = (
            f"{self.title}  epoch {record.epoch}/{self.epochs}"
            f"  train loss {record.loss_train:.3f} acc {record.accuracy_train:.1%}"
            f"  validation loss {record.loss_validation:.3f} acc {record.accuracy_validation:.1%}"
            f"  {seconds:.0f} s, {self.speed:,.0f} clips/s, at most {left} left"
        )
        (self.bar.console.print if self.bar else console.note)(line)
