"""What does it cost to start: `kwspot predict` of one clip, and `kwspot --help`?

    python -m benchmarks.inference.start [--rounds 7]

A process each. `predict` beside the libraries that it cannot do without, beside these with a typer program of one
command that takes a file and an option and does nothing, and beside torch with the same model; `--help` beside the
imports of typer and rich, and beside the help of that program.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.beside import Times, cpu_s, in_turns, machine, process, ratio, scratch, table, write_page
from kwspot.experiments.registry import load_experiment
from kwspot.models.factory import build_model

IMPORTS = "import numpy, onnxruntime, soundfile"
TYPER = """
from pathlib import Path
import typer
app = typer.Typer(add_completion=False)
@app.command()
def main(paths: list[Path], top: int = 1) -> None:
    "Do nothing."
app()
"""
BY_TORCH = """
import sys
from pathlib import Path
import torch
from kwspot.audio.reading import read_clip
from kwspot.experiments.registry import load_experiment
from kwspot.features.log_mel import LogMel
from kwspot.models.factory import build_model
experiment = load_experiment("keywords10")
model = build_model(experiment.model, experiment.front_end.n_mels, 12).eval()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
waveform = read_clip(Path(sys.argv[2]), experiment.front_end).waveform
features = LogMel(experiment.front_end)(torch.from_numpy(waveform)[None])
with torch.no_grad():
    print(model(features, torch.tensor([features.shape[1]])).softmax(-1).argmax().item())
"""

PAGE = """# Starting: `kwspot predict` and `kwspot --help`

Written by `{program}`; its first lines say what the sides are. Medians of {rounds} rounds in turns on
{machine}.

## One clip

{predict}

Goal: at most 1.5 times the imports.

## Help

{help}

Goal: at most 1.5 times the imports.
"""


def rows_of(times: Times) -> str:
    """Write the sides, the first of which is that of the ratios."""
    base = next(iter(times))
    rows = [[name, f"{1000 * cpu_s(times, name):.0f}", f"{ratio(times, name, base):.2f}"] for name in times]
    return table(["process", "CPU ms", f"x {base}"], rows)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    experiment = load_experiment("keywords10")
    with scratch() as folder:
        clip, weights = str(folder / "clip.wav"), str(folder / "best.pt")
        soundfile.write(clip, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
        torch.save(build_model(experiment.model, experiment.front_end.n_mels, 12).state_dict(), Path(weights))
        times = in_turns(
            options.rounds,
            {
                "imports": lambda: process("-c", IMPORTS),
                "imports and typer": lambda: process("-c", f"{IMPORTS}\n{TYPER}", clip),
                "`kwspot predict`": lambda: process("-m", "kwspot", "predict", clip),
                "torch": lambda: process("-c", BY_TORCH, weights, clip),
                "typer, rich": lambda: process("-c", "import typer, rich"),
                "a typer program": lambda: process("-c", TYPER, "--help"),
                "`kwspot --help`": lambda: process("-m", "kwspot", "--help"),
            },
        )
    names = list(times)
    write_page(
        __file__, PAGE, rounds=options.rounds,
        machine=machine("numpy", "onnxruntime", "soundfile", "typer", "rich", "torch"),
        predict=rows_of({name: times[name] for name in names[:4]}),
        help=rows_of({name: times[name] for name in names[4:]}),
    )  # fmt: skip


if __name__ == "__main__":
    main()
