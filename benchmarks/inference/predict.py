"""What a prediction costs: a cold command, and a warm batch, beside torch with the same model.

    python benchmarks/inference/predict.py [--rounds 7] [--clips 500]

Cold, a process each: `import numpy, onnxruntime, soundfile` (what nobody can do without), `kwspot predict x.wav`, and
torch doing the same from the run's weights. Warm, in one process: files a second. All take turns, round by round;
read the ratios. kwspot uses the bundled model, torch the same architecture with the weights it starts from.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
import torch

from kwspot import Spotter
from kwspot.audio.inputs import Source
from kwspot.audio.reading import read_clip
from kwspot.experiments.registry import load_experiment
from kwspot.features.log_mel import LogMel
from kwspot.inference.batch import BATCH, predict_all
from kwspot.models.factory import build_model

N_CLASSES = 12
IMPORTS = "import numpy, onnxruntime, soundfile"
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
features = LogMel(experiment.front_end)(torch.from_numpy(read_clip(Path(sys.argv[2]), experiment.front_end).waveform)[None])
with torch.no_grad():
    print(model(features, torch.tensor([features.shape[1]])).softmax(-1).argmax().item())
"""  # noqa: E501 - a program, not a line


def seconds_of(work: Callable[[], object]) -> float:
    """Time a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(rounds: int, works: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Call each once unmeasured, then all in turns; return the seconds of each."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds_of(work))
    return times


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=500)
    options = parser.parse_args()
    experiment = load_experiment("keywords10")
    model = build_model(experiment.model, experiment.front_end.n_mels, N_CLASSES).eval()
    log_mel = LogMel(experiment.front_end)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(0)
        paths = [folder / f"{i}.wav" for i in range(options.clips)]
        for path in paths:
            soundfile.write(path, random.normal(0, 0.1, 16_000), 16_000)
        torch.save(model.state_dict(), folder / "best.pt")

        def run(*arguments: str) -> None:
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

        cold = in_turns(
            options.rounds,
            {
                "imports": lambda: run("-c", IMPORTS),
                "kwspot predict": lambda: run("-m", "kwspot", "predict", str(paths[0])),
                "torch": lambda: run("-c", BY_TORCH, str(folder / "best.pt"), str(paths[0])),
            },
        )
        print(f"cold, one clip, a process each; medians of {options.rounds} rounds in turns")
        for label, times in cold.items():
            ratio = median(a / b for a, b in zip(times, cold["imports"], strict=True))
            print(f"  {label:16} {median(times):6.2f} s   {ratio:5.2f} x imports")

        spotter = Spotter.load("keywords10")

        def by_torch() -> None:
            with torch.no_grad():
                for first in range(0, len(paths), BATCH):
                    clips = [read_clip(path, experiment.front_end).waveform for path in paths[first : first + BATCH]]
                    features = log_mel(torch.from_numpy(np.stack(clips)))
                    model(features, torch.full((len(clips),), features.shape[1])).softmax(-1)

        warm = in_turns(
            options.rounds,
            {
                "kwspot predict": lambda: list(predict_all(spotter, (Source(str(path), path) for path in paths))),
                "torch": by_torch,
            },
        )
        print(f"warm, {len(paths)} files of a second; medians of {options.rounds} rounds in turns")
        for label, times in warm.items():
            ratio = median(b / a for a, b in zip(times, warm["torch"], strict=True))
            print(f"  {label:16} {len(paths) / median(times):6.0f} files/s   {ratio:5.2f} x torch")


if __name__ == "__main__":
    main()
