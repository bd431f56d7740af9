"""What does a training step of the recurrent layers cost beside torch.nn.RNN, and beside the arithmetic alone?

    python -m benchmarks.models.cells [--batch 256] [--steps 4] [--rounds 5] [--threads 1]

Two layers of 128 over 98 frames of 40 bands, forward and backward. `LSTM` and `GRU` are torch's own layers, time first;
the others are kwspot's. The arithmetic alone is as many multiplications as products of matrices of 1,024 x 1,024, in
float32: what this processor can do at best. Mixed precision is bfloat16 as `train.mixed_precision` has it.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.beside import Took, cpu_s, here, in_turns, machine, ratio, table, write_page
from kwspot.models.factory import CELLS
from kwspot.models.recurrent import Encoder

N_FRAMES, N_MELS, HIDDEN, N_LAYERS = 98, 40, 128, 2
SIDE = 1024  # of a square matrix
THEIRS, MIXED = "torch.nn.RNN", ", mixed"

PAGE = """# A training step of the recurrent layers

Written by `{program}`; its first lines say what is measured. Batches of {batch}, {threads} thread, {rounds} rounds of
{steps} step(s) in turns on {machine}.

{table}

The last column is the time that the arithmetic alone would take, in float32, as a share of the step's.

{findings}"""
FINDINGS = """\
Time comes first, the inputs of all steps are projected in one product, and the gates of a step are one product: what
is left to move a step is bfloat16, where the processor multiplies it.
"""


def step_of(run: Callable[[Tensor], Tensor], x: Tensor, n_steps: int, mixed: bool) -> Callable[[], None]:
    """Return forward and backward of some steps."""

    def steps() -> None:
        for _ in range(n_steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                states = run(x)
            states[-1].float().sum().backward()

    return steps


def n_products(layers: nn.Module, batch: int) -> int:
    """Count the multiplications of forward and backward: a product forward is two of its size backward."""
    return 3 * batch * N_FRAMES * sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 256), ("steps", 4), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    x = torch.randn(N_FRAMES, options.batch, N_MELS)
    theirs, square = nn.RNN(N_MELS, HIDDEN, N_LAYERS), torch.randn(SIDE, SIDE)
    lengths = torch.full((options.batch,), N_FRAMES)
    layers: dict[str, nn.Module] = {THEIRS: theirs}
    sides = {THEIRS: step_of(lambda x: theirs(x)[0], x, options.steps, False)}
    for name, cell in CELLS.items():
        encoder = Encoder(cell, N_MELS, HIDDEN, num_layers=N_LAYERS, bidirectional=False, dropout=0.0)
        layers[name] = encoder
        for mixed in (False, True):

            def run(x: Tensor, encoder: Encoder = encoder) -> Tensor:
                return encoder(x, lengths)

            sides[name + MIXED * mixed] = step_of(run, x, options.steps, mixed)

    def measured(side: Callable[[], None]) -> Callable[[], Took]:
        return lambda: here(side)

    alone = measured(lambda: [square @ square for _ in range(4)])
    times = in_turns(options.rounds, {name: measured(side) for name, side in sides.items()} | {"arithmetic": alone})
    per_product = cpu_s(times, "arithmetic") / (4 * SIDE**3)
    rows = []
    for name in sides:
        seconds = cpu_s(times, name) / options.steps
        plain = name.removesuffix(MIXED)
        gain = f"{1 / ratio(times, name, plain):.2f}" if name != plain else ""
        share = n_products(layers[plain], options.batch) * per_product / seconds
        rows.append(
            [f"`{name}`", f"{1000 * seconds:.0f}", f"{ratio(times, name, THEIRS):.2f}", gain, f"{100 * share:.0f} %"]
        )
    heading = ["layers", "CPU ms a step", f"x {THEIRS}", "mixed, times as fast", "arithmetic"]
    write_page(__file__, PAGE, **vars(options), machine=machine("torch"), table=table(heading, rows), findings=FINDINGS)


if __name__ == "__main__":
    main()
