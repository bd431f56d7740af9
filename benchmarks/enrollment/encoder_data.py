"""Clips of words -> FRAMES.npy and INDEX.tsv, what encoders are trained on, and a teacher's TARGETS.npy.

    python -m benchmarks.enrollment.encoder_data OUT --frames FRAMES.npy INDEX.tsv --corpus FOLDER[:N] …
        --without yes --without no … [--whisper MODEL]
    kwspot featurize encoder_bands_taught --from-frames OUT/frames.npy OUT/index.tsv --noise … --data OUT
        [--targets OUT/targets.npy]

A CORPUS has the official layout (Speech Commands, `kwspot vocabulary`, `kwspot cut`); if N is given, so many clips of
each word are taken. FRAMES are clips that somebody else made frames of, without sound; ln(mel power) = 0.1 * value -
14.64.

The teacher is the encoder of Whisper base (Radford et al., arXiv:2212.04356; MIT), run by faster-whisper, which is to
be installed beside. Its states (50 a second, 512 numbers) are not alike for one word by many people; so attention over
them, and a linear layer to N_FEATURES numbers, learn to classify the words of the corpora, as `encoder` does. What
these make of a clip is its target. Words of --without, and words that sound like them, are in none of it.
"""

import argparse
from collections.abc import Iterator, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from kwspot.audio.reading import read_clip
from kwspot.corpus.layout import TEST, TRAIN, read_corpus
from kwspot.experiments.registry import load_experiment
from kwspot.experiments.settings import FrontEnd
from kwspot.features.log_mel import log_mel_frames
from kwspot.models.recurrent import CosineHead
from kwspot.synthesis.vocabulary import needed_lexicon
from kwspot.tasks import SILENCE, UNKNOWN

RATE = 16_000  # Hz
N_STATES, STATE_SIZE = 50, 512  # of Whisper base, a second
WINDOW_S, SLOT_S, LEAD_S = 30.0, 1.4, 0.2  # Whisper's window holds 21 clips with silence between them
N_FEATURES, N_HEADS = 192, 4
PIECE = 256  # clips whose frames are computed at once
EPOCHS, BATCH, LEARNING_RATE, LEAST = 10, 128, 2e-3, 3  # of the linear layer; clips that a word needs

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """Clips of one folder."""

    name: str
    paths: list[Path]
    words: list[str]
    speakers: list[str]
    splits: list[str]


def sounds_like(words: Sequence[str]) -> set[str]:
    """Return the words, and those of the dictionary that are pronounced like one of them."""
    lexicon = needed_lexicon()
    said = {way for word in words for way in lexicon.of(word)}
    return {*words, *(word for word in lexicon.common if set(lexicon.of(word)) & said)}


def of_corpus(folder: Path, n_each: int | None, without: set[str]) -> Source:
    """Take the clips of a corpus that are not for testing."""
    drawn = random.Random(0)
    by_word: dict[str, list[Any]] = {}
    for clip in sorted(read_corpus(folder).clips, key=lambda clip: (clip.word, clip.name)):
        by_word.setdefault(clip.word, []).append(clip)
    chosen = [c for those in by_word.values() for c in drawn.sample(those, min(n_each or len(those), len(those)))]
    chosen = [c for c in chosen if c.split != TEST and c.word not in (*without, UNKNOWN, SILENCE)]
    speakers = [f"{folder.name}-{clip.speaker}" for clip in chosen]
    words, splits = [clip.word for clip in chosen], [clip.split for clip in chosen]
    return Source(folder.name, [folder / clip.name for clip in chosen], words, speakers, splits)


def whisper_states(source: Source, front_end: FrontEnd, model: Path, out: Path) -> NDArray[np.float16]:
    """Run Whisper's encoder over the clips, once: (n, N_STATES, STATE_SIZE)."""
    done = out / f"states_{source.name}.npy"
    if done.is_file():
        return np.load(done, mmap_mode="r")
    from faster_whisper import WhisperModel  # type: ignore[import-not-found]  # installed beside

    whisper = WhisperModel(str(model), compute_type="int8", local_files_only=True, cpu_threads=1, device="cpu")
    shape = (len(source.paths), N_STATES, STATE_SIZE)
    partial = done.with_suffix(".partial")
    states = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
    per_window = int((WINDOW_S - LEAD_S) / SLOT_S)
    starts = [LEAD_S + i * SLOT_S for i in range(per_window)]
    for first in range(0, len(source.paths), per_window):
        window = np.zeros(int(WINDOW_S * RATE), np.float32)
        paths = source.paths[first : first + per_window]
        for path, start in zip(paths, starts, strict=False):
            clip = read_clip(path, front_end).waveform
            window[int(start * RATE) :][: len(clip)] = clip
        found = np.array(whisper.encode(whisper.feature_extractor(window)[:, : int(100 * WINDOW_S)]))
        found = found.reshape(-1, STATE_SIZE)
        for i, start in enumerate(starts[: len(paths)]):
            at = round(start * N_STATES)
            states[first + i] = found[at : at + N_STATES]
    states.flush()
    partial.replace(done)
    return states


class Projection(nn.Module):
    """Attention over a teacher's states, and a linear layer: (batch, n_steps, STATE_SIZE) -> (batch, N_FEATURES)."""

    def __init__(self, mean: Tensor, std: Tensor, n_words: int) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.attention = nn.Linear(STATE_SIZE, N_HEADS)
        self.norm = nn.LayerNorm(N_HEADS * STATE_SIZE)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(N_HEADS * STATE_SIZE, N_FEATURES)
        self.head = CosineHead(N_FEATURES, n_words)

    def forward(self, states: Tensor) -> Tensor:
        """Embed."""
        states = (states - self.mean) / self.std
        pooled = torch.einsum("bth,bts->bhs", self.attention(states).softmax(1), states).flatten(1)
        return self.linear(self.dropout(self.norm(pooled)))


def fit_projection(states: list[NDArray[np.float16]], words: list[str]) -> Projection:
    """Learn to classify the words from a teacher's states."""
    torch.manual_seed(1)
    classes, labels = np.unique(words, return_inverse=True)
    counts = np.bincount(labels)
    rows = [(i, j) for i, part in enumerate(states) for j in range(len(part))]
    used = np.flatnonzero(counts[labels] >= LEAST)
    some = torch.from_numpy(np.concatenate([part[:: max(1, len(part) // 300)] for part in states])).float()
    model = Projection(some.mean((0, 1)), some.std((0, 1)), len(classes))
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.02)
    n_steps = len(used) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, n_steps * EPOCHS)
    targets = torch.from_numpy(labels)
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in used[torch.randperm(len(used)).numpy()][: n_steps * BATCH].reshape(n_steps, BATCH):
            batch = np.stack([states[i][j] for i, j in (rows[k] for k in chosen)])
            logits = model.head(model(torch.from_numpy(batch).float()))
            loss = F.cross_entropy(logits, targets[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"teacher, epoch {epoch + 1}: loss {total / n_steps:.3f}", flush=True)
    return model.eval()


def embedded(model: Projection, states: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
    """Yield the targets of clips, of length 1, in pieces."""
    with torch.no_grad():
        for first in range(0, len(states), BATCH):
            found = F.normalize(model(torch.from_numpy(np.asarray(states[first : first + BATCH])).float()), dim=-1)
            yield found.numpy().astype(np.float16)


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=Path, nargs=2)
    parser.add_argument("--corpus", action="append", default=[])
    parser.add_argument("--whisper", type=Path)
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    without = sounds_like(options.without)
    sources = []
    for name in options.corpus:
        folder, _, n_each = name.partition(":")
        sources.append(of_corpus(Path(folder), int(n_each) if n_each else None, without))
    front_end = load_experiment("encoder").front_end
    rows: list[tuple[str, str, str, str, int]] = []
    frames: list[NDArray[Any]] = []
    for source in sources:
        names = ["/".join(path.parts[-3:]) for path in source.paths]
        n_frames = []
        for first in range(0, len(source.paths), PIECE):
            clips = [read_clip(path, front_end).waveform for path in source.paths[first : first + PIECE]]
            frames.append(log_mel_frames(clips, front_end).astype(np.float16))
            n_frames += [front_end.n_frames(len(clip)) for clip in clips]
        rows += zip(source.words, names, source.speakers, source.splits, n_frames, strict=True)
        print(f"{source.name}: {len(names):,} clips of {len(set(source.words)):,} words", flush=True)
    if options.frames:
        _add_frames(*options.frames, without, rows, frames)
    targets = _targets(sources, front_end, options.whisper, out, len(rows)) if options.whisper else None
    _write(out, rows, np.concatenate(frames), targets)


def _targets(
    sources: Sequence[Source], front_end: FrontEnd, whisper: Path, out: Path, n_rows: int
) -> NDArray[np.float16]:
    """Ask the teacher: (n_rows, N_FEATURES), not finite behind the clips of the sources."""
    states = [whisper_states(source, front_end, whisper, out) for source in sources]
    model = fit_projection(states, [word for source in sources for word in source.words])
    targets = np.full((n_rows, N_FEATURES), np.nan, np.float16)
    known = np.concatenate([piece for part in states for piece in embedded(model, part)])
    targets[: len(known)] = known
    return targets


def _add_frames(values: Path, index: Path, without: set[str], rows: list[Any], frames: list[NDArray[Any]]) -> None:
    """Add clips of which there are frames only, none that is there as sound."""
    known = {name.rpartition("/")[2].removesuffix(".wav") + word for word, name, *_ in rows}
    with index.open(encoding="utf-8", newline="") as file:
        clips = list(csv.DictReader(file, delimiter="\t"))
    splits = {"training": TRAIN, "validation": "validation"}
    chosen = [
        (i, clip)
        for i, clip in enumerate(clips)
        if clip["split"] in splits
        and clip["word"] not in without
        and clip["name"].rpartition("/")[2].removesuffix(".wav") + clip["word"] not in known
    ]
    picked = np.load(values, mmap_mode="r")[[i for i, _ in chosen]].astype(np.float32)
    frames.append(np.logaddexp(picked * 0.1 - 14.64, np.float32(np.log(1e-6))).astype(np.float16))
    for _, clip in chosen:
        rows.append((clip["word"], f"frames/{clip['name']}", clip["speaker"], splits[clip["split"]], picked.shape[1]))


def _write(out: Path, rows: list[Any], frames: NDArray[Any], targets: NDArray[Any] | None) -> None:
    """Write what has a word that is there in training."""
    trained = {word for word, _, _, split, _ in rows if split == TRAIN}
    kept = [i for i, row in enumerate(rows) if row[0] in trained]
    np.save(out / "frames.npy", frames[kept])
    if targets is not None:
        np.save(out / "targets.npy", targets[kept])
    lines = ["\t".join(map(str, rows[i])) for i in kept]
    heading = "word\tname\tspeaker\tsplit\tn_frames"
    (out / "index.tsv").write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    print(f"{out}: {len(kept):,} clips of {len(trained):,} words")


if __name__ == "__main__":
    main()
