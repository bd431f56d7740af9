"""Cached frames -> batches: which rows a task takes from a split, and in which order they come.

    features  (batch, n_frames, n_mels) float32, as long as the longest clip of the batch
    lengths   (batch,) int64            real frames
    labels    (batch,) int64

Rows are read from the memory-mapped cache as they are needed: no worker processes, no copy of the corpus. On a GPU the
frames of a split are copied there once, 325 MB for 41,473 clips of a second.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwspot.corpus.layout import TEST12, TRAIN, VALIDATION
from kwspot.errors import MissingError
from kwspot.experiments.settings import FOLDER_TASK, FrontEnd
from kwspot.features.cache import CachedClip, FeatureCache, silence_value
from kwspot.tasks import SILENCE, TASKS, UNKNOWN, Task, words_task

REJECT_SHARE = 0.10  # `unknown` and `silence` clips for every keyword clip, TensorFlow's protocol
REJECT_SEED = 59185  # TensorFlow's RANDOM_SEED
MOST_NAMED = 30  # words in a message
AUDIBLE = 2.0  # nats above digital silence, on average: a clip whose noise is not lost in `log_offset`

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """The clips of one split as a task sees them: row `rows[i]` of `frames` has class `labels[i]`."""

    frames: np.ndarray | Tensor  # (n_rows, max_frames, n_mels) float16, memory-mapped, or held by a device
    rows: np.ndarray  # (n,) int64
    lengths: np.ndarray  # (n,) int64
    labels: np.ndarray  # (n,) int64
    clips: list[CachedClip]
    # (n_rows, n_features) a teacher's embeddings, not finite where it has none
    targets: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: np.ndarray) -> Batch:
        """Gather the clips at these positions of the split."""
        lengths, rows = self.lengths[chosen], self.rows[chosen]
        longest = int(lengths.max())
        if isinstance(self.frames, Tensor):
            features = self.frames[torch.from_numpy(rows).to(self.frames.device), :longest].float()
        else:
            features = torch.from_numpy(self.frames[rows, :longest].astype(np.float32))
        return features, torch.from_numpy(lengths), torch.from_numpy(self.labels[chosen])

    def taught(self, chosen: np.ndarray) -> Tensor | None:
        """Gather the teacher's embeddings of the clips at these positions, (n, n_features) float32."""
        if self.targets is None:
            return None
        return torch.from_numpy(self.targets[self.rows[chosen]].astype(np.float32))

    def held_by(self, device: torch.device) -> "Split":
        """Return the split with its frames in the memory of a device, so that a batch never crosses to it."""
        own = torch.from_numpy(np.asarray(self.frames)[self.rows]).to(device)
        targets = None if self.targets is None else self.targets[self.rows]
        return replace(self, frames=own, rows=np.arange(len(self)), targets=targets)

    def labelled(self, task: Task) -> "Split":
        """Return the split with the classes of another task, which knows all its words."""
        return replace(self, labels=_labels(self.clips, task))

    def batches(self, batch_size: int, order: np.ndarray | None = None, start: int = 0) -> Iterator[Batch]:
        """Yield all batches from number `start` on, in the order given or as stored; the last may be smaller."""
        order = np.arange(len(self)) if order is None else order
        for first in range(start * batch_size, len(order), batch_size):
            yield self.batch(order[first : first + batch_size])

    def n_batches(self, batch_size: int) -> int:
        """Count the batches of an epoch."""
        return math.ceil(len(self) / batch_size)


def resolve_task(
    task: str | Sequence[str],
    cache: FeatureCache,
    note: Callable[[str], None] = lambda _: None,
    classes: Sequence[str] | None = None,
) -> Task:
    """Turn a task setting into classes, checked against the words of the corpus.

    A folder's words are its word folders; one called `unknown` brings the classes `unknown` and, where noise was
    recorded, `silence`. A run knows such a task by its `classes`, and asks them of any corpus.

    Words of the task that the corpus lacks are a MissingError that names them; words of the corpus that the task
    leaves out are named through `note`.
    """
    words = {clip.word for clip in cache.clips if clip.split != TEST12}
    found = {clip.word for clip in cache.clips} - {SILENCE, UNKNOWN}
    if task == FOLDER_TASK and classes is None:
        rejected = [word for word in (UNKNOWN, SILENCE) if word in words] if UNKNOWN in words else []
        return Task(FOLDER_TASK, (*sorted(found), *rejected), rejects=bool(rejected))
    if task == FOLDER_TASK:
        resolved = Task(FOLDER_TASK, tuple(classes or ()), rejects=UNKNOWN in (classes or ()))
    else:
        resolved = TASKS[task] if isinstance(task, str) else words_task(task)
    if missing := [word for word in resolved.keywords if word not in found]:
        own = task == FOLDER_TASK
        needs = "the run was trained on" if own else f"task '{resolved.name}' needs"
        instead = "name another with --data" if own else f"use 'task: {FOLDER_TASK}' or a list of its words"
        raise MissingError(
            f"{cache.folder}: no clips of {', '.join(missing)}, which {needs}; the corpus has "
            f"{', '.join(sorted(found)) or 'no words'}; {instead}"
        )
    if left_out := sorted(found - set(resolved.classes)):
        where = "count as unknown" if resolved.rejects else "are left out"
        named = ", ".join(left_out[:MOST_NAMED]) + (", …" if len(left_out) > MOST_NAMED else "")
        note(f"{len(left_out)} words of the corpus {where}: {named}")
    return resolved


def select(
    cache: FeatureCache,
    task: Task,
    split: str,
    unknown_share: float | None = None,
    without: Sequence[str] = (),
) -> Split:
    """Take the clips of a split that belong to a task; MissingError if a class has none in training.

    Words of `without` are left out. Of the words that are no keywords, `unknown_share` clips for every keyword clip
    are taken, by default a tenth. Of a folder that has no words beyond its own task, all clips are taken by default:
    `unknown` was made on purpose.
    """
    clips = [clip for clip in cache.clips if clip.split == split and task.class_of(clip.word) is not None]
    clips = [clip for clip in clips if clip.word not in without]
    balanced = split == TEST12 or (
        task.name == FOLDER_TASK and unknown_share is None and all(clip.word in task.classes for clip in clips)
    )
    if task.rejects and not balanced:
        clips = _balance_rejects(clips, task, unknown_share or REJECT_SHARE)
    if not clips:
        raise MissingError(_nothing_in(cache, task, split))
    labels = _labels(clips, task)
    if split == "train" and (absent := [c for i, c in enumerate(task.classes) if i not in set(labels.tolist())]):
        raise MissingError(f"{cache.folder}: no training clips of {', '.join(absent)} for task '{task.name}'")
    return Split(
        frames=cache.frames,
        rows=np.array([clip.row for clip in clips], dtype=np.int64),
        lengths=np.array([clip.n_frames for clip in clips], dtype=np.int64),
        labels=labels,
        clips=clips,
        targets=cache.targets,
    )


def select_measured(cache: FeatureCache, task: Task, split: str, held_out: Sequence[str] | None) -> Split:
    """Take the clips of a split that a model is measured on: of validation without the words that training held out."""
    return select(cache, task, split, without=(held_out or ()) if split == VALIDATION else ())


def recorded_clips(split: Split, data: Path, purpose: str) -> list[tuple[CachedClip, int]]:
    """List the clips of a split that are there as sound, with their labels; MissingError if none is.

    `purpose` needs the sound and says so in the error. `silence` that was made for the split has no recording.
    """
    found = [(clip, int(label)) for clip, label in zip(split.clips, split.labels, strict=True)]
    found = [(clip, label) for clip, label in found if (data / clip.name).is_file()]
    if not found:
        raise MissingError(f"{data}: frames without recordings; {purpose} needs sound, name its corpus with --data")
    return found


def _nothing_in(cache: FeatureCache, task: Task, split: str) -> str:
    """Say why a split has no clips and what to do."""
    there = sum(task.class_of(clip.word) is not None for clip in cache.clips)
    if not there:
        return f"{cache.folder}: no clips for task '{task.name}' in split '{split}'; run 'kwspot featurize'"
    return (
        f"{cache.folder}: none of the {there:,} clips of task '{task.name}' is in split '{split}', which a hash of the "
        "speaker decides, or of the file name where that names nobody; add clips, or list some in validation_list.txt "
        "and testing_list.txt as <word>/<file>"
    )


def recorded_noise(cache: FeatureCache, front_end: FrontEnd) -> Tensor | None:
    """Return the features of the training clips of `silence` in which noise is audible, to add to others.

    Shape (n_clips, max_frames, n_mels) float16; None if there are none.
    """
    rows = np.array([c.row for c in cache.clips if c.word == SILENCE and c.split == TRAIN], dtype=np.int64)
    frames = cache.frames[rows]
    audible = frames.mean((1, 2), dtype=np.float32) > silence_value(front_end) + AUDIBLE
    return torch.from_numpy(frames[audible]) if audible.any() else None


def _labels(clips: list[CachedClip], task: Task) -> np.ndarray:
    """Return the class of every clip: (n,) int64."""
    return np.array([task.class_of(clip.word) for clip in clips], dtype=np.int64)


def _balance_rejects(clips: list[CachedClip], task: Task, unknown_share: float) -> list[CachedClip]:
    """Keep every keyword clip, and a share of that count of `unknown` and `silence`; a larger share adds clips."""
    keywords = [clip for clip in clips if clip.word in task.keywords]
    silence = [clip for clip in clips if clip.word == SILENCE][: math.ceil(REJECT_SHARE * len(keywords))]
    others = [clip for clip in clips if clip.word not in (*task.keywords, SILENCE)]
    drawn = np.random.default_rng(REJECT_SEED).permutation(len(others))[: math.ceil(unknown_share * len(keywords))]
    return keywords + [others[i] for i in sorted(drawn)] + silence


def band_statistics(split: Split, piece: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each mel band over the real frames of a split: two (n_mels,)."""
    n, total, squares = 0, np.zeros(split.frames.shape[-1]), np.zeros(split.frames.shape[-1])
    for features, lengths, _ in split.batches(piece):
        real = features.numpy()[np.arange(features.shape[1]) < lengths.numpy()[:, None]].astype(np.float64)
        n, total, squares = n + len(real), total + real.sum(0), squares + (real**2).sum(0)
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()
