"""The feature cache: log-mel frames of a corpus on disk, memory-mapped, keyed by corpus and front end.

    DATA/.kwspot/features-<key>/   key: 16 hex digits of the digest of front end and corpus fingerprint
        frames.npy   float16 (n_rows, max_frames, n_mels); beyond n_frames the value of digital silence
        targets.npy  float16 (n_rows, n_features), only where a teacher's embeddings were imported with the frames
        index.tsv    row, name, word, speaker, split, n_frames: a line a clip; rows not named are unused
        meta.json    schema, source, corpus_digest, front_end, n_clips by split, skipped, ...

A changed corpus or setting has another key, so old features can never be read as the new ones. The cache is
written shard by shard into `features-<key>.partial` and renamed when whole; a finished shard is never redone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
import math
import os
from pathlib import Path
import shutil
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kwspot.corpus.layout import STATE, corpus_fingerprint
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.experiments.records import Label, Shape, problems_with
from kwspot.experiments.settings import FrontEnd
from kwspot.files import PARTIAL, digest_of, locked, read_json, size_text, write_json, write_text

SCHEMA = 2  # raise it when the format, or any value computed into it, changes
FRAMES, TARGETS, INDEX, META = "frames.npy", "targets.npy", "index.tsv", "meta.json"
FROM_WAVEFORMS = "waveforms"  # `source` of features computed from recordings
PLAN = "plan.json"  # there only while the cache is written
LOCK = ".lock"
SHARD_SIZE = 500  # rows: 4 MB of frames, half a second of work


@dataclass(frozen=True)
class CachedClip:
    """One clip of the index."""

    row: int
    name: str  # path below the corpus folder, or the name of an imported frame
    word: str
    speaker: str
    split: str
    n_frames: int


class Meta(Shape):
    """meta.json: what other modules read of it; imported frames have more."""

    version: Annotated[int, Field(alias="schema")]
    source: Label
    name: Label
    corpus_digest: Label
    front_end: FrontEnd
    n_clips: dict[Label, int]
    skipped: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    fingerprint: str | None = None
    conversions: dict[str, int] = Field(default_factory=dict)
    n_unnamed: int = 0


class Words(Shape):
    """The words of index.tsv, which become classes of a run."""

    words: list[Label]


@dataclass(frozen=True)
class FeatureCache:
    """An opened cache; `frames` stays on disk until its rows are read."""

    folder: Path
    meta: dict[str, Any]
    frames: np.memmap  # float16 (n_rows, max_frames, n_mels)
    clips: list[CachedClip]
    targets: np.ndarray | None = None  # float16 (n_rows, n_features), not finite where there is none


def silence_value(front_end: FrontEnd) -> float:
    """Return the feature value of digital silence: log(0 + log_offset)."""
    return math.log(front_end.log_offset)


def cache_folder(data: Path, front_end: FrontEnd, corpus_fingerprint: str) -> Path:
    """Name the folder of the features of one front end over one state of a corpus."""
    deciding = {"schema": SCHEMA, "front_end": front_end.model_dump(), "corpus": corpus_fingerprint}
    return data / STATE / f"features-{digest_of(deciding)[:16]}"


def open_cache(data: Path, front_end: FrontEnd) -> FeatureCache:
    """Open the features of the corpus as it now is; MissingError if they were not computed."""
    folder = cache_folder(data, front_end, corpus_fingerprint(data))
    if (folder / META).is_file():
        return read_cache(folder)
    others = [path for path in caches_of(data) if path != folder]
    why = "those there are of other settings or of the corpus before it changed; " if others else ""
    raise MissingError(
        f"{data}: no features of this front end over this corpus; {why}run 'kwspot featurize --data {data}'"
    )


def caches_of(data: Path) -> list[Path]:
    """List the finished caches of a corpus folder, whatever they were made of."""
    found = (path.parent for path in (data / STATE).glob(f"features-*/{META}"))
    return sorted(folder for folder in found if folder.suffix != PARTIAL)


def read_cache(folder: Path) -> FeatureCache:
    """Read one cache folder; IntegrityError if its files do not fit together."""
    try:
        meta = read_json(folder / META)
        if problems := problems_with(Meta, meta):
            raise ValueError(f"{META}: {problems[0]}")
        front_end = FrontEnd(**meta["front_end"])
        frames = _mapped(folder / FRAMES)
        targets = _mapped(folder / TARGETS) if (folder / TARGETS).is_file() else None
        clips = _read_index(folder / INDEX)
        if problems := problems_with(Words, {"words": sorted({clip.word for clip in clips})}):
            raise ValueError(f"{INDEX}: {problems[0]}")
        shape = (front_end.max_frames, front_end.n_mels)
        fits = (
            meta["schema"] == SCHEMA
            and frames.dtype == np.float16
            and frames.shape[1:] == shape
            and (targets is None or (targets.ndim == 2 and len(targets) == len(frames)))
            and meta["n_clips"] == _count_splits(clips)
            and len({clip.row for clip in clips}) == len(clips)
            and all(0 <= clip.row < len(frames) and 1 <= clip.n_frames <= shape[0] for clip in clips)
        )
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{folder}: damaged ({error}); run 'kwspot featurize' again") from error
    if not fits:
        raise IntegrityError(f"{folder}: its files do not fit together; run 'kwspot featurize' again")
    return FeatureCache(folder, meta, frames, clips, targets)


def _require_file(path: Path) -> None:
    if path.exists() and not path.is_file():  # to open it could wait for ever
        raise ValueError(f"{path.name}: a folder, pipe or device; a file is needed")


def _mapped(path: Path) -> np.memmap:
    _require_file(path)
    try:
        frames: np.memmap = np.load(path, mmap_mode="r")
    except Exception as error:  # of a damaged header NumPy raises many kinds
        raise ValueError(f"{path.name}: {error}") from error
    return frames


def _read_index(path: Path) -> list[CachedClip]:
    _require_file(path)
    with path.open(encoding="utf-8", newline="\n") as lines:
        next(lines, "")
        parts = (line.rstrip("\n").split("\t") for line in lines)
        return [
            CachedClip(int(row), name, word, speaker, split, int(n_frames))
            for row, name, word, speaker, split, n_frames in parts
        ]


def _json_or_none(path: Path) -> Any:
    try:
        return read_json(path)
    except (ValueError, IntegrityError):
        return None


def _count_splits(clips: Sequence[CachedClip]) -> dict[str, int]:
    return dict(sorted(Counter(clip.split for clip in clips).items()))


@dataclass(frozen=True)
class CacheWriter:
    """Fills a cache shard by shard. Holds no open file, so that a worker process can be handed one."""

    folder: Path  # where the finished cache will be
    front_end: FrontEnd
    n_rows: int
    shard_size: int = SHARD_SIZE

    @property
    def partial(self) -> Path:
        """The folder written to until the cache is whole."""
        return self.folder.with_name(self.folder.name + PARTIAL)

    @property
    def n_shards(self) -> int:
        """Number of shards; the last may be short."""
        return -(-self.n_rows // self.shard_size)

    def rows_of(self, shard: int) -> range:
        """Return the rows of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.n_rows))

    def prepare(self) -> None:
        """Make the empty frames, or keep what an interrupted run with the same plan has finished."""
        plan = {"schema": SCHEMA, "n_rows": self.n_rows, "shard_size": self.shard_size}
        path = self.partial / PLAN
        if path.is_file() and _json_or_none(path) == plan:
            return
        for old in self.partial.iterdir():
            old.unlink()
        shape = (self.n_rows, self.front_end.max_frames, self.front_end.n_mels)
        n_bytes, free = 2 * math.prod(shape), shutil.disk_usage(self.partial).free
        if n_bytes > free:
            raise KwspotError(f"{self.folder}: needs {size_text(n_bytes)}, {size_text(free)} are free")
        # Made full size at once: holes take no space. Rows are then written with file.write, which reports
        # a full disk, where writing into a memory map would die of SIGBUS.
        np.lib.format.open_memmap(self.partial / FRAMES, mode="w+", dtype=np.float16, shape=shape)
        write_json(path, plan)

    def _record(self, shard: int) -> Path:
        return self.partial / f"shard-{shard:06d}.json"

    def shard_is_done(self, shard: int) -> bool:
        """Say whether a shard was finished, by this run or an interrupted one."""
        path = self._record(shard)
        return path.is_file() and path.stat().st_size > 0  # a lost power supply can leave a name without content

    def finish_shard(self, shard: int, frames: NDArray[Any], record: Any = None) -> None:
        """Write a shard's frames (its rows, max_frames, n_mels), then a JSON record that marks it done."""
        rows = self.rows_of(shard)
        expected = (len(rows), self.front_end.max_frames, self.front_end.n_mels)
        if frames.shape != expected:
            raise ValueError(f"shard {shard}: frames {frames.shape}, expected {expected}")
        whole = np.load(self.partial / FRAMES, mmap_mode="r")
        with (self.partial / FRAMES).open("r+b") as file:
            file.seek(whole.offset + rows.start * whole.strides[0])
            file.write(np.ascontiguousarray(frames, dtype=whole.dtype).data)
            file.flush()
            os.fsync(file.fileno())
        write_json(self._record(shard), record)

    def write_targets(self, targets: NDArray[Any]) -> None:
        """Write a teacher's embeddings (n, n_features) of the first rows; the others have none."""
        rest = np.full((self.n_rows - len(targets), targets.shape[1]), np.nan, np.float16)
        np.save(self.partial / TARGETS, np.concatenate([targets.astype(np.float16), rest]))

    def shard_record(self, shard: int) -> Any:
        """Return the record that `finish_shard` was given."""
        return read_json(self._record(shard))

    def finish(self, clips: Sequence[CachedClip], meta: Mapping[str, Any]) -> FeatureCache:
        """Write index and meta, move the partial folder into place and open it.

        `meta` brings source, corpus_digest, skipped and the like; schema, front_end and n_clips are added.
        """
        columns = [field.name for field in fields(CachedClip)]
        lines = ["\t".join(str(getattr(clip, column)) for column in columns) for clip in clips]
        write_text(self.partial / INDEX, "\n".join(["\t".join(columns), *lines]) + "\n")
        front_end = self.front_end.model_dump()
        ours = {"schema": SCHEMA, "front_end": front_end, "n_clips": _count_splits(clips)}
        write_json(self.partial / META, {**ours, **meta})
        for path in (*self.partial.glob("shard-*.json"), self.partial / PLAN):
            path.unlink(missing_ok=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)  # damaged: a good one is not written again
        self.partial.replace(self.folder)
        return read_cache(self.folder)


@contextmanager
def opened_writer(
    folder: Path, front_end: FrontEnd, n_rows: int, shard_size: int = SHARD_SIZE
) -> Iterator[CacheWriter]:
    """Prepare a writer, and keep other processes from the same cache until the block ends."""
    writer = CacheWriter(folder, front_end, n_rows, shard_size)
    try:
        writer.partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KwspotError(f"{error.filename}: features cannot be written ({error.strerror})") from error
    with locked(folder.with_name(folder.name + LOCK), f"{folder}: another process is writing it; wait for that one"):
        try:
            writer.prepare()
        except OSError as error:
            raise KwspotError(f"{folder}: features cannot be written ({error.strerror})") from error
        yield writer
