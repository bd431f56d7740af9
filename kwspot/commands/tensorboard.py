"""`kwspot tensorboard`."""

import subprocess
import sys
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, RunsDir
from kwspot.errors import KwspotError, MissingError


def tensorboard(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 6006,
    runs: RunsDir = RUNS,
) -> None:
    """Serve the runs in TensorBoard, on this machine only; stop with Ctrl-C.

    Examples:

      kwspot tensorboard

      kwspot tensorboard --runs runs --port 6007
    """
    if not any(runs.glob("*/events.out.tfevents.*")):
        raise MissingError(f"{runs}: no runs with events yet; 'kwspot train NAME' makes one")
    console.note(f"TensorBoard over {runs}: http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", str(port)]
    done = subprocess.run([*command, "--host", "127.0.0.1"], check=False, stderr=sys.stderr.fileno())
    if done.returncode:
        raise KwspotError(f"TensorBoard ended with {done.returncode}; is port {port} taken? --port chooses another")
