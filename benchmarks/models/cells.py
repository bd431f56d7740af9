"""A training step of kwspot's recurrent layers against torch.nn.RNN of the same size.

    python benchmarks/models/cells.py [--batch 256] [--steps 10] [--rounds 5] [--threads 1]

Two layers of 128 over 98 frames of 40 bands, forward and backward. The layers take turns, round by round; read the
ratio, not the milliseconds.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
import time

import torch
from torch import Tensor, nn

from kwspot.models.factory import CELLS
from kwspot.models.recurrent import Encoder

N_FRAMES, N_MELS, HIDDEN = 98, 40, 128


def encode(encoder: Encoder, x: Tensor) -> Tensor:
    """Run an encoder over whole clips."""
    return encoder(x, torch.full((x.shape[1],), N_FRAMES))


def seconds_a_step(run: Callable[[Tensor], Tensor], x: Tensor, n_steps: int) -> float:
    """Time forward and backward."""
    began = time.perf_counter()
    for _ in range(n_steps):
        run(x)[-1].sum().backward()
    return (time.perf_counter() - began) / n_steps


def main() -> None:
    """Print a line a cell: median milliseconds and median ratio to torch.nn.RNN."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 256), ("steps", 10), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    x = torch.randn(N_FRAMES, options.batch, N_MELS)
    theirs = nn.RNN(N_MELS, HIDDEN, 2)
    runs: dict[str, Callable[[Tensor], Tensor]] = {"torch.nn.RNN": lambda x: theirs(x)[0]}
    for name, cell in CELLS.items():
        encoder = Encoder(cell, N_MELS, HIDDEN, num_layers=2, bidirectional=False, dropout=0.0)
        runs[name] = partial(encode, encoder)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        seconds_a_step(run, x, 1)
    for _ in range(options.rounds):
        for name, run in runs.items():
            times[name].append(seconds_a_step(run, x, options.steps))
    print(f"batch {options.batch}, {options.threads} threads, {options.rounds} rounds of {options.steps} steps")
    for name, seconds in times.items():
        ratio = median(s / base for s, base in zip(seconds, times["torch.nn.RNN"], strict=True))
        print(f"{name:14} {1000 * median(seconds):8.1f} ms a step   {ratio:.2f} times torch.nn.RNN")


if __name__ == "__main__":
    main()
