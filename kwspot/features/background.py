"""Long recordings -> log-mel frames on disk, out of which training cuts windows of what is no keyword.

    DATA/.kwspot/background-<front end>/
        frames.f16       float16 (n_frames, n_mels), recording after recording, memory-mapped
        recordings.json  digest and name; of every recording name, source, speaker, split, first, n_frames, text, words

The frames are those that features.log_mel computes. Recordings pass through in blocks, so memory does not grow with
their length. There is one background for a front end; featurizing another one replaces it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import shutil
from typing import Any

import numpy as np
import torch

from kwspot.audio.blocks import file_blocks
from kwspot.audio.reading import AudioError
from kwspot.corpus.layout import STATE
from kwspot.corpus.recordings import Recording, Word, read_recordings
from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.log_mel import LogMel
from kwspot.files import PARTIAL, digest_of, read_json, sha256_of_file, write_json

FRAMES, INDEX = "frames.f16", "recordings.json"
SCHEMA = 1


@dataclass(frozen=True)
class Stretch:
    """The frames of one recording: `n_frames` from row `first` on."""

    recording: Recording
    first: int
    n_frames: int


@dataclass(frozen=True)
class Background:
    """Recordings as frames; `frames` (n_frames, n_mels) float16 stays on disk until its rows are read."""

    folder: Path
    name: str
    digest: str  # of the recordings and what is said in them
    frames: np.ndarray
    stretches: list[Stretch]

    def of(self, split: str) -> list[Stretch]:
        """Return the recordings of a split."""
        return [stretch for stretch in self.stretches if stretch.recording.split == split]


def background_folder(data: Path, front_end: FrontEnd) -> Path:
    """Name the folder of the background of a corpus with one front end."""
    return data / STATE / f"background-{front_end.digest[:16]}"


def open_background(data: Path, front_end: FrontEnd) -> Background:
    """Open what `write_background` wrote; MissingError if it was not, IntegrityError if it is damaged."""
    folder = background_folder(data, front_end)
    if not (folder / INDEX).is_file():
        raise MissingError(
            f"{data}: no background of this front end; 'kwspot featurize --background FOLDER' computes it from long "
            "recordings"
        )
    try:
        known = read_json(folder / INDEX)
        frames = np.memmap(folder / FRAMES, np.float16, "r").reshape(-1, front_end.n_mels)
        stretches = [_stretch(one) for one in known["recordings"]]
        fits = known["schema"] == SCHEMA and len(frames) == sum(stretch.n_frames for stretch in stretches)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{folder}: damaged ({error}); run 'kwspot featurize --background' again") from error
    if not fits:
        raise IntegrityError(f"{folder}: its files do not fit together; run 'kwspot featurize --background' again")
    return Background(folder, known["name"], known["digest"], frames, stretches)


def write_background(
    data: Path,
    recordings_folder: Path,
    front_end: FrontEnd,
    *,
    transcripts: Path | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Background, list[tuple[str, str]]]:
    """Compute the frames of a folder of recordings for the corpus in `data`; done already, they are only opened.

    Returns the background, and names and reasons of the recordings that are no usable audio.
    """
    recordings = read_recordings(recordings_folder, transcripts)
    folder = background_folder(data, front_end)
    digest = _digest(recordings_folder, recordings)
    if (folder / INDEX).is_file():
        there = open_background(data, front_end)
        if there.digest == digest:
            return there, []
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    skipped, index, first = [], [], 0
    with (partial / FRAMES).open("wb") as file:
        for i, recording in enumerate(recordings):
            report(i, len(recordings))
            n_frames = 0
            try:
                for frames in frames_of(recordings_folder / recording.name, front_end):
                    file.write(frames.astype(np.float16).tobytes())
                    n_frames += len(frames)
            except AudioError as error:
                skipped.append((recording.name, error.reason))
            index.append(_known(recording) | {"first": first, "n_frames": n_frames})
            first += n_frames
    known = {"schema": SCHEMA, "name": recordings_folder.name, "digest": digest, "recordings": index}
    write_json(partial / INDEX, known)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return open_background(data, front_end), skipped


def frames_of(path: Path, front_end: FrontEnd) -> Iterator[np.ndarray]:
    """Yield the frames of a recording of any length, block after block: (k, n_mels) float32 each."""
    log_mel, waiting = LogMel(front_end), np.zeros(0, np.float32)
    for block in file_blocks(path, front_end.sample_rate, block_s=10.0):
        waiting = np.concatenate([waiting, block])
        if len(waiting) >= front_end.win_length:
            n_frames = front_end.n_frames(len(waiting))
            with torch.no_grad():
                yield log_mel(torch.from_numpy(waiting)[None])[0].numpy()
            waiting = waiting[n_frames * front_end.hop_length :]


def _digest(folder: Path, recordings: Sequence[Recording]) -> str:
    return digest_of(
        [_known(recording) | {"sha256": sha256_of_file(folder / recording.name)} for recording in recordings]
    )


def _known(recording: Recording) -> dict[str, Any]:
    words = recording.words and [[word.word, word.start_s, word.end_s] for word in recording.words]
    return {
        "name": recording.name,
        "source": recording.source,
        "speaker": recording.speaker,
        "split": recording.split,
        "text": recording.text,
        "words": words,
    }


def _stretch(known: dict[str, Any]) -> Stretch:
    words = known["words"] and tuple(Word(*word) for word in known["words"])
    recording = Recording(known["name"], known["speaker"], known["text"], words)
    return Stretch(recording, known["first"], known["n_frames"])
