"""What training on the whole of Speech Commands takes, from some steps of it: hours and memory, in either precision.

    python -m benchmarks.training.full_size [gru_full ...] [--clips 84843] [--steps 8] [--rounds 5] \
      [--threads 1] [--device cpu]

Random frames, the real batches, augmentation, model and optimiser. float32 and mixed precision take turns, round by
round; the hours are those of the median step times all steps of the experiment. Validation adds a few per cent.
"""

import argparse
from functools import partial
import math
import resource
from statistics import median
import time

import numpy as np
import torch

from kwspot.experiments.registry import load_experiment
from kwspot.experiments.settings import Experiment
from kwspot.features.dataset import Split
from kwspot.models.device import choose_device, has_bfloat16
from kwspot.models.factory import build_model
from kwspot.tasks import TASKS
from kwspot.training.augment_features import augment
from kwspot.training.trainer import Progress, Trainer


def make_trainer(experiment: Experiment, n_steps: int, device: torch.device) -> Trainer:
    """Make a trainer whose epoch has `n_steps` batches of random frames."""
    front_end, task = experiment.front_end, TASKS[str(experiment.task)]
    n = n_steps * experiment.train.batch_size
    frames = np.random.default_rng(0).normal(-8, 3, (n, front_end.max_frames, front_end.n_mels)).astype(np.float16)
    labels = np.arange(n) % len(task.classes)
    split = Split(frames, np.arange(n), np.full(n, front_end.max_frames), labels, [])
    few = Split(frames[:32], np.arange(32), np.full(32, front_end.max_frames), labels[:32], [])
    if device.type == "cuda":
        split, few = split.held_by(device), few.held_by(device)

    def vary(features, lengths, labels, draw):  # type: ignore[no-untyped-def]
        return augment(features, lengths, experiment.augment, front_end, draw), lengths, labels

    model = build_model(experiment.model, front_end.n_mels, len(task.classes)).to(device)
    settings = experiment.train.model_copy(update={"epochs": 1000, "patience": None, "distill": None})
    return Trainer(model, settings, split, few, seed=1, device=device, vary=vary if experiment.augment else None)


def seconds_a_step(trainer: Trainer) -> float:
    """Time one epoch of the trainer; the median of its steps."""
    times = [time.perf_counter()]

    def step(_progress: Progress, _n_steps: int) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        times.append(time.perf_counter())

    next(trainer.run(lambda: False, step))
    return median(np.diff(times[1:]))


def main() -> None:
    """Print a line an experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["rnn_full", "gru_stream_full", "gru_full"])
    for name, default in (("clips", 84_843), ("steps", 8), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    print(f"{device}, {options.threads} thread(s), bfloat16 {'yes' if has_bfloat16(device) else 'no'}")
    for name in options.names:
        times: dict[bool, list[float]] = {False: [], True: []}
        make = partial(load_experiment, name, None)
        trainers = {
            mixed: make_trainer(make([f"train.mixed_precision={str(mixed).lower()}"]), options.steps, device)
            for mixed in times
        }
        for _ in range(1 + options.rounds):
            for mixed, trainer in trainers.items():
                times[mixed].append(seconds_a_step(trainer))
        experiment, (plain, mixed_s) = make(), (median(t[1:]) for t in times.values())
        n_steps = experiment.train.epochs * math.ceil(options.clips / experiment.train.batch_size)
        ratio = median(a / b for a, b in zip(times[False][1:], times[True][1:], strict=True))
        hours = [n_steps * seconds / 3600 for seconds in (plain, mixed_s)]
        print(
            f"{name:16} {experiment.train.epochs} epochs of {options.clips:,} clips: float32 {hours[0]:.2f} h "
            f"({experiment.train.batch_size / plain:,.0f} clips/s), mixed {hours[1]:.2f} h "
            f"({experiment.train.batch_size / mixed_s:,.0f} clips/s), {ratio:.2f} times as fast",
            flush=True,
        )
    if device.type == "cuda":
        print(f"at most {torch.cuda.max_memory_allocated(device) / 1e9:.2f} GB of GPU memory beside the frames")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB of memory")


if __name__ == "__main__":
    main()
