"""What training costs beyond the arithmetic: an epoch from the cache against bare steps on tensors in memory.

    python benchmarks/training/epoch.py [--experiment lstm] [--clips 3200] [--rounds 5]

Both do forward, backward, clipping and the optimiser's step for the same batches of the same model. They take turns,
round by round, so that a machine whose speed drifts moves both; read the ratio, not the seconds.
"""

import argparse
from pathlib import Path
from statistics import median
import tempfile
import time

import numpy as np
import torch
from torch import nn

from kwspot.experiments.registry import load_experiment
from kwspot.features.cache import CachedClip
from kwspot.features.dataset import Split
from kwspot.models.factory import build_model
from kwspot.training.trainer import Trainer

N_CLASSES = 35


def make_split(folder: Path, n_clips: int, n_frames: int, n_mels: int) -> Split:
    """Write random frames where a cache would have them, memory-mapped."""
    frames = np.lib.format.open_memmap(
        folder / "frames.npy", mode="w+", dtype=np.float16, shape=(n_clips, n_frames, n_mels)
    )
    generator = np.random.default_rng(0)
    for row in range(n_clips):
        frames[row] = generator.normal(-8, 3, (n_frames, n_mels))
    clips = [CachedClip(i, str(i), "word", "speaker", "train", n_frames) for i in range(n_clips)]
    lengths = np.full(n_clips, n_frames)
    return Split(frames, np.arange(n_clips), lengths, generator.integers(N_CLASSES, size=n_clips), clips)


def seconds_of_training(trainer: Trainer) -> float:
    """Time the training part of one epoch as `kwspot train` runs it."""
    next(trainer.run(lambda: False, lambda _progress, _n_steps: None))
    return float(trainer.timing[-1]["seconds_train"])


def seconds_of_bare_steps(trainer: Trainer, batches: list[tuple[torch.Tensor, ...]]) -> float:
    """Time the same steps on tensors in memory, with nothing recorded."""
    model, optimizer = trainer.model.train(), trainer.optimizer
    began = time.perf_counter()
    for features, lengths, labels in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features, lengths), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began


def main() -> None:
    """Print a line a round and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="lstm")
    parser.add_argument("--clips", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    experiment = load_experiment(options.experiment, None, ["train.epochs=100", "train.patience=100"])
    front_end = experiment.front_end
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        split = make_split(Path(folder), options.clips, front_end.max_frames, front_end.n_mels)
        few = Split(split.frames, split.rows[:32], split.lengths[:32], split.labels[:32], split.clips[:32])
        model = build_model(experiment.model, front_end.n_mels, N_CLASSES)
        trainer = Trainer(model, experiment.train, split, few, seed=1, device=torch.device("cpu"))
        batches = list(split.batches(experiment.train.batch_size))
        seconds_of_bare_steps(trainer, batches[:10])
        ratios = []
        for number in range(options.rounds):
            ours, bare = seconds_of_training(trainer), seconds_of_bare_steps(trainer, batches)
            ratios.append(ours / bare)
            print(f"round {number + 1}: kwspot {ours:.1f} s, bare {bare:.1f} s, ratio {ratios[-1]:.3f}")
    threads = torch.get_num_threads()
    print(f"{options.experiment}, {options.clips} clips, {threads} threads: median ratio {median(ratios):.3f}")


if __name__ == "__main__":
    main()
