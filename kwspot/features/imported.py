"""Log-mel frames computed elsewhere -> the feature cache, so that training sees no difference.

    FRAMES.npy   (n_clips, max_frames, n_mels), integers or floats; scale * value + offset = ln(mel power)
    INDEX.tsv    a heading, then a line a clip: word, name, speaker, split [, n_frames]
    TARGETS.npy  (n_clips, n_features), wanted only by `train.objective.teacher`: what a larger model makes of each
                 clip, NaN where it was not asked

The front end that made the frames is declared by an experiment of the registry; `check_frames` compares them with
features computed here from recordings of the same names. The class `silence` needs rows of its own: they are made of
noise recordings, as for a corpus of recordings.
"""

from collections import Counter
from collections.abc import Callable, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kwspot.audio.reading import read_clip
from kwspot.corpus.layout import IMPORTED, STATE, TEST, TEST12, TRAIN, VALIDATION, Clip, plan_silence
from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip, FeatureCache, cache_folder, opened_writer, read_cache
from kwspot.features.log_mel import LogMel, log_mel_frames
from kwspot.features.silence import silence_waveform
from kwspot.files import digest_of, sha256_of_file, write_json
from kwspot.names import escaped, is_printable

SPLITS = {"training": TRAIN, "testing": TEST, **{name: name for name in (TRAIN, VALIDATION, TEST, TEST12)}}
COLUMNS = ("word", "name", "speaker", "split")
MOST_CHECKED = 500  # clips, spread over the index
ALIKE = 0.9  # lowest median correlation of frames with features of the same clip


@dataclass(frozen=True)
class Frames:
    """Frames and their index as they were found; ln(mel power) = scale * values + offset."""

    values: np.ndarray  # (n_clips, max_frames, n_mels), memory-mapped
    clips: list[CachedClip]
    scale: float
    offset: float
    name: str
    digest: str  # of both files, scale, offset and noise
    noise: tuple[Path, ...] = ()  # recordings that `silence` is made of
    targets: np.ndarray | None = None  # (n_clips, n_features)

    def log_mel(self, rows: slice | np.ndarray | int, front_end: FrontEnd) -> np.ndarray:
        """Return ln(mel power + log_offset) of some rows, float32, as log_mel.py would compute it."""
        log_power = self.values[rows].astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)
        with np.errstate(invalid="ignore"):  # import_frames names the clips that are not finite
            return np.logaddexp(log_power, np.float32(np.log(front_end.log_offset)))


def read_frames(
    frames: Path,
    index: Path,
    front_end: FrontEnd,
    *,
    scale: float = 1.0,
    offset: float = 0.0,
    noise: Path | None = None,
    targets: Path | None = None,
) -> Frames:
    """Open frames and index and check that they fit each other and the declared front end.

    `noise` is a folder of recordings; with it, a tenth of every split is added as clips of `silence`. `targets` are a
    teacher's embeddings of the clips.
    """
    for path in (frames, index):
        if not path.is_file():
            raise MissingError(f"{path}: no such file; --from-frames needs FRAMES.npy and INDEX.tsv")
    values = _open_array(frames)
    declared = (front_end.max_frames, front_end.n_mels)
    if values.ndim != 3 or values.shape[1:] != declared or values.dtype.kind not in "uif":
        raise IntegrityError(
            f"{frames}: {values.dtype} {values.shape}, but the registry's front end makes numbers of shape "
            f"(n_clips, {declared[0]}, {declared[1]}); declare the front end that made them"
        )
    clips = _read_index(index, front_end.max_frames)
    if len(clips) != len(values):
        raise IntegrityError(f"{index}: {len(clips)} clips, but {frames} has frames of {len(values)}")
    taught = None if targets is None else _open_array(targets)
    if taught is not None and (taught.ndim != 2 or len(taught) != len(clips) or taught.dtype.kind != "f"):
        raise IntegrityError(f"{targets}: {taught.dtype} {taught.shape}; must be ({len(clips)}, n_features) numbers")
    recordings = tuple(sorted(noise.glob("*.wav"))) if noise else ()
    if noise and not recordings:
        raise MissingError(f"{noise}: no .wav files; --noise needs a folder of noise recordings")
    more = [*recordings, *([targets] if targets else [])]
    deciding = [sha256_of_file(frames), sha256_of_file(index), scale, offset, *map(sha256_of_file, more)]
    return Frames(values, clips, scale, offset, frames.stem, digest_of(deciding), recordings, taught)


def _open_array(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # of a damaged header NumPy raises many kinds
        raise IntegrityError(f"{path}: not a NumPy array file ({error})") from error


def _read_index(path: Path, max_frames: int) -> list[CachedClip]:
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", strict=True)
        if missing := [column for column in COLUMNS if column not in (table.fieldnames or ())]:
            raise IntegrityError(f"{path}: no column {', '.join(missing)}; the heading must name {', '.join(COLUMNS)}")
        clips = [_indexed(path, i, line, max_frames) for i, line in enumerate(table)]
    split_of: dict[str, str] = {}
    for clip in clips:
        if split_of.setdefault(clip.speaker, clip.split) != clip.split:
            both = f"{split_of[clip.speaker]} and {clip.split}"
            raise IntegrityError(f"{path}: speaker {clip.speaker} is in {both}; a speaker belongs to one split")
    return clips


def _indexed(path: Path, i: int, line: dict[str, Any], max_frames: int) -> CachedClip:
    where = f"{path}, line {i + 2}"
    if not all(line[column] for column in COLUMNS):
        raise IntegrityError(f"{where}: needs {', '.join(COLUMNS)}, got {list(line.values())}")
    if not is_printable(line["word"]):
        raise IntegrityError(f"{where}: word '{escaped(line['word'])}'; it holds characters that cannot be printed")
    if line["split"] not in SPLITS:
        raise IntegrityError(f"{where}: split '{line['split']}'; known: {', '.join(SPLITS)}")
    n_frames = line.get("n_frames") or str(max_frames)
    if not n_frames.isdecimal() or not 1 <= int(n_frames) <= max_frames:
        raise IntegrityError(f"{where}: n_frames '{n_frames}'; must be 1 to {max_frames}")
    return CachedClip(i, line["name"], line["word"], line["speaker"], SPLITS[line["split"]], int(n_frames))


def import_frames(
    frames: Frames,
    data: Path,
    front_end: FrontEnd,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> FeatureCache:
    """Write frames into the cache of `data`, a folder without recordings; done already, it is only opened."""
    folder = cache_folder(data, front_end, frames.digest)
    cache = read_cache(folder) if folder.is_dir() else _write_cache(frames, folder, front_end, report)
    write_json(data / STATE / IMPORTED, {"name": frames.name, "digest": frames.digest})
    return cache


def _write_cache(frames: Frames, folder: Path, front_end: FrontEnd, report: Callable[[int, int], None]) -> FeatureCache:
    silence = plan_silence(Counter(clip.split for clip in frames.clips)) if frames.noise else []
    n_imported, n_rows = len(frames.clips), len(frames.clips) + len(silence)
    with opened_writer(folder, front_end, n_rows) as writer:
        for shard in range(writer.n_shards):
            if not writer.shard_is_done(shard):
                rows = writer.rows_of(shard)
                values = frames.log_mel(slice(rows.start, rows.stop), front_end)
                _require_finite(values, frames.clips[rows.start : rows.stop])
                planned = silence[max(0, rows.start - n_imported) : max(0, rows.stop - n_imported)]
                if planned:
                    values = np.concatenate([values, _silence_frames(planned, frames.noise, front_end)])
                writer.finish_shard(shard, values)
            report(shard + 1, writer.n_shards)
        if frames.targets is not None:
            writer.write_targets(frames.targets)
        meta = {"source": "frames", "name": frames.name, "corpus_digest": frames.digest, "skipped": []}
        added = [
            CachedClip(n_imported + i, clip.name, clip.word, clip.speaker, clip.split, front_end.max_frames)
            for i, clip in enumerate(silence)
        ]
        return writer.finish([*frames.clips, *added], {**meta, "scale": frames.scale, "offset": frames.offset})


def _silence_frames(planned: Sequence[Clip], noise: Sequence[Path], front_end: FrontEnd) -> np.ndarray:
    recordings = [path.name for path in noise]
    waveforms = [silence_waveform(noise[0].parent, clip, recordings, front_end) for clip in planned]
    return log_mel_frames(waveforms, front_end)


@dataclass(frozen=True)
class Agreement:
    """How imported frames compare with features computed from the recordings of the same clips."""

    n_clips: int
    correlation: float  # median over clips
    difference: float  # median of |frame - feature|, nats
    fitted_scale: float  # what would fit best
    fitted_offset: float


def check_frames(frames: Frames, recordings: Path, front_end: FrontEnd) -> Agreement:
    """Compare frames with the features of recordings `<word>/<name>[.wav]` below a folder.

    No recording of any clip: MissingError. Features that are not alike: IntegrityError, the front end declared
    did not make these frames.
    """
    found = [(clip, path) for clip in frames.clips if (path := _recording(recordings, clip)) is not None]
    if not found:
        raise MissingError(f"{recordings}: no recording of any clip of the index; give a corpus that has some")
    log_mel, correlations, pairs = LogMel(front_end), [], []
    for clip, path in found[:: -(-len(found) // MOST_CHECKED)]:
        features = log_mel(torch.from_numpy(read_clip(path, front_end).waveform)[None])[0].numpy()
        imported = frames.log_mel(clip.row, front_end)[: len(features)]
        correlations.append(np.corrcoef(features.ravel(), imported.ravel())[0, 1])
        values = frames.values[clip.row, : len(features)].astype(np.float64)
        pairs.append((features.ravel(), imported.ravel(), values.ravel()))
    scale, offset = _fit([pair for pair, r in zip(pairs, correlations, strict=True) if r >= np.median(correlations)])
    agreement = Agreement(
        n_clips=len(correlations),
        correlation=float(np.median(correlations)),
        difference=float(np.median(np.concatenate([np.abs(ours - theirs) for ours, theirs, _ in pairs]))),
        fitted_scale=scale,
        fitted_offset=offset,
    )
    if not agreement.correlation >= ALIKE:
        raise IntegrityError(
            f"{recordings}: the frames do not look like features of these recordings (median correlation "
            f"{agreement.correlation:.2f} over {agreement.n_clips} clips); declare the front end that made them"
        )
    return agreement


def _fit(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Fit scale and offset from values to features, where neither stands at an end of its range.

    Of the clips only the better half is given: the others may have been shifted or have noise added.
    """
    ours, values = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[2] for pair in pairs])
    inside = (ours > ours.min() + 2) & (values > values.min()) & (values < values.max())
    scale, offset = np.polyfit(values[inside], ours[inside], 1)
    return float(scale), float(offset)


def _recording(folder: Path, clip: CachedClip) -> Path | None:
    """Find the recording of an imported clip: its name with or without the word and the ending."""
    name = clip.name.rpartition("/")[2]
    return next((path for ending in ("", ".wav") if (path := folder / clip.word / (name + ending)).is_file()), None)


def _require_finite(values: np.ndarray, clips: list[CachedClip]) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if len(bad):
        raise IntegrityError(f"frames of clip {clips[bad[0]].name}: not finite; correct scale, offset or the frames")
