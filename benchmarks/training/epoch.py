"""What does training cost beyond the arithmetic, and beside the script that everybody writes?

    python -m benchmarks.training.epoch [--experiment lstm] [--clips 1600] [--rounds 5]

Three sides train a model for an epoch, in batches of one size, with the same optimiser, from the same cached frames:

    bare     the steps alone, on tensors in memory, with nothing recorded
    usual    a Dataset of clips, a DataLoader, pad_sequence, pack_padded_sequence, torch's layers of the same size
    kwspot   an epoch as `kwspot train` runs it, from the memory-mapped cache
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

from benchmarks.beside import cpu_s, here, in_turns, machine, ratio, scratch, table, write_page
from kwspot.experiments.registry import load_experiment
from kwspot.features.cache import CachedClip
from kwspot.features.dataset import Split
from kwspot.models.factory import build_model
from kwspot.training.trainer import Trainer

N_CLASSES = 35
GOALS = {"bare": 1.05, "usual": 2.0}

PAGE = """# An epoch of training, beside its steps alone and the usual script

Written by `{program}`; its first lines say what the sides are. `{experiment}`, {clips:,} clips, {threads} thread(s),
{rounds} rounds in turns on {machine}.

{table}

Goals: at most {bare:g} times the bare steps, at least {usual:g} times as fast as the usual script.
"""


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


def train_bare(trainer: Trainer, batches: list[tuple[Tensor, ...]]) -> None:
    """Take the steps of an epoch."""
    model, optimizer = trainer.model.train(), trainer.optimizer
    for features, lengths, labels in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features, lengths), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


class Clips(Dataset):  # type: ignore[type-arg]
    """Clips one by one."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        frames = np.asarray(self.split.frames[self.split.rows[i], : self.split.lengths[i]])
        return torch.from_numpy(frames.astype(np.float32)), int(self.split.labels[i])


class Packed(nn.Module):
    """The usual classifier: packed sequences, the last state, a linear layer."""

    def __init__(self, n_mels: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.LSTM(n_mels, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.head = nn.Linear(hidden_size, N_CLASSES)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map padded clips to logits."""
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.layers(packed)[1][0][-1])


def train_as_usual(model: Packed, optimizer: torch.optim.Optimizer, loader: DataLoader) -> None:  # type: ignore[type-arg]
    """Take the steps of an epoch from a loader."""
    total = 0.0
    for features, lengths, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features, lengths), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()


def collated(clips: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Join clips into a batch."""
    features, labels = zip(*clips, strict=True)
    lengths = torch.tensor([len(clip) for clip in features])
    return pad_sequence(list(features), batch_first=True), lengths, torch.tensor(labels)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="lstm")
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    experiment = load_experiment(options.experiment, None, ["train.epochs=100", "train.patience=100"])
    front_end, settings = experiment.front_end, experiment.train
    with scratch() as folder:
        split = make_split(folder, options.clips, front_end.max_frames, front_end.n_mels)
        few = Split(split.frames, split.rows[:32], split.lengths[:32], split.labels[:32], split.clips[:32])
        model = build_model(experiment.model, front_end.n_mels, N_CLASSES)
        trainer = Trainer(model, settings, split, few, seed=1, device=torch.device("cpu"))
        batches = list(split.batches(settings.batch_size))
        shape = experiment.model
        usual = Packed(front_end.n_mels, shape.hidden_size, shape.num_layers, shape.dropout)
        optimizer = type(trainer.optimizer)(usual.parameters(), lr=settings.learning_rate)
        loader = DataLoader(Clips(split), settings.batch_size, shuffle=True, collate_fn=collated)
        sides = {
            "bare": lambda: here(lambda: train_bare(trainer, batches)),
            "usual": lambda: here(lambda: train_as_usual(usual, optimizer, loader)),
            "kwspot": lambda: here(lambda: trainer._train_epoch(lambda: False, lambda _progress, _n: None)),
        }

        def kwspot():  # type: ignore[no-untyped-def]
            took = sides["kwspot"]()
            trainer.progress.step = 0  # the same epoch again
            return took

        times = in_turns(options.rounds, {**sides, "kwspot": kwspot})
    rows = [
        [name, f"{options.clips / cpu_s(times, name):,.0f}", f"{ratio(times, name, 'kwspot'):.3f}"] for name in sides
    ]
    write_page(
        __file__, PAGE, **vars(options), machine=machine("torch"), **GOALS,
        table=table(["side", "clips a CPU second", "time, kwspot 1"], rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
