"""A corpus on disk: which files are clips, of which word, by whom, and in which official split.

    DATA/<word>/<speaker>_nohash_<take>.wav     words are the folders not starting with "_" or "."
    DATA/validation_list.txt, testing_list.txt  optional: names as "<word>/<file>"
    DATA/_background_noise_/                    optional: long noise files, the source of `silence`
    DATA/_test12_/<word>/                       optional: the separate 12-class test set, split `test12`
    DATA/.kwspot/                               what kwspot writes about the corpus

The official split is a hash of the speaker (Warden, arXiv:1804.03209; `which_set` of TensorFlow's
input_data.py), so that no speaker is in two splits.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1, sha256
import math
import os
from pathlib import Path
from random import choice

from kwspot.audio.reading import SUFFIXES
from kwspot.corpus.install import FOLDERS, KEPT, TEST12, read_marker, unsettled
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.files import read_json
from kwspot.names import is_printable
from kwspot.tasks import SILENCE, UNKNOWN

STATE = KEPT
IMPORTED = "imported.json"  # in STATE: the digest of frames imported in place of recordings
NOISE_FOLDER = "_background_noise_"
SILENCE_FOLDER = "_silence_"  # not a folder: the names of clips made from noise or of zeros begin so
TEST12_FOLDER = FOLDERS[TEST12].rstrip("/")
TRAIN, VALIDATION, TEST = "train", "validation", "test"  # and TEST12
LISTS = {"validation_list.txt": VALIDATION, "testing_list.txt": TEST}


@dataclass(frozen=True)
class Clip:
    """One recording: `name` is its path below the corpus folder, with forward slashes."""

    name: str
    word: str
    speaker: str
    split: str


@dataclass(frozen=True)
class Corpus:
    """The clips of a folder, sorted by name."""

    folder: Path
    clips: list[Clip]
    noise: list[str]  # names of the noise files
    fingerprint: str  # see corpus_fingerprint
    refused: list[tuple[str, str]] = field(default_factory=list)  # names no index can hold, and why
    n_unnamed: int = 0  # clips whose name names no speaker

    @property
    def words(self) -> list[str]:
        """The words recorded, sorted; without those of the separate test set."""
        return sorted({clip.word for clip in self.clips if clip.split != TEST12})


def hash_per_cent(speaker: str) -> float:
    """Return where a speaker lies between 0 and 100: SHA-1, mod 2^27, scaled."""
    most_clips = 2**27 - 1  # TensorFlow's MAX_NUM_WAVS_PER_CLASS
    return (int(sha1(speaker.encode()).hexdigest(), 16) % (most_clips + 1)) * (100.0 / most_clips)


def which_split(speaker: str) -> str:
    """Return the official split of a speaker."""
    per_cent = hash_per_cent(speaker)
    return VALIDATION if per_cent < 10 else TEST if per_cent < 20 else TRAIN


def speaker_of(name: str) -> tuple[str, bool]:
    """Return the speaker of a clip and whether its name says so: the part before `_nohash_`, else a hash."""
    file_name = name.rpartition("/")[2]
    speaker, mark, _ = file_name.partition("_nohash_")
    return (speaker, True) if mark and speaker else (sha1(file_name.encode()).hexdigest()[:8], False)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)


def _audio(folder: str | Path, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the audio files of one folder, symbolic links too, as (name below the corpus, entry)."""
    for entry in _entries(folder):
        is_audio = entry.name.lower().endswith(SUFFIXES)
        if is_audio and (entry.is_file() or (entry.is_symlink() and not entry.is_dir())):
            yield f"{below}/{entry.name}", entry


def _scan(data: Path) -> tuple[dict[str, os.DirEntry[str]], dict[str, os.DirEntry[str]]]:
    """Find the clips (by name, in no order) and what else decides the features: lists and noise."""
    if not data.is_dir():
        raise MissingError(f"{data}: no such folder; 'kwspot download' makes it, --data names another")
    if unsettled(data):
        raise MissingError(f"{data}: only part of the corpus is in place yet; run 'kwspot download' to finish it")
    clips: dict[str, os.DirEntry[str]] = {}
    others: dict[str, os.DirEntry[str]] = {}
    try:
        for entry in _entries(data):
            if entry.name in LISTS:
                others[entry.name] = entry
            elif not entry.is_dir():
                continue
            elif entry.name == NOISE_FOLDER:
                others.update(_audio(entry.path, entry.name))
            elif entry.name == TEST12_FOLDER:
                for word in _entries(entry.path):
                    if word.is_dir():
                        clips.update(_audio(word.path, f"{entry.name}/{word.name}"))
            elif not entry.name.startswith("_"):
                clips.update(_audio(entry.path, entry.name))
    except OSError as error:
        raise MissingError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return clips, others


def _no_clips(data: Path) -> MissingError:
    return MissingError(
        f"{data}: no clips; 'kwspot download' fetches a corpus; your own goes there as <word>/<clip>.wav"
    )


def imported_digest(data: Path) -> str | None:
    """Return the digest of the frames imported into a corpus folder, or None if there are none."""
    path = data / STATE / IMPORTED
    if not path.is_file():
        return None
    try:
        return str(read_json(path)["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: not readable; import the frames again with --from-frames") from error


def corpus_fingerprint(data: Path) -> str:
    """Digest the corpus as it now is, without reading it: 64 hex digits.

    Recordings: name, size and time of change of every clip, noise file and list. A folder without
    recordings into which frames were imported: the digest of those frames. Neither: MissingError.
    """
    clips, others = _scan(data)
    if not clips:
        imported = imported_digest(data)
        if imported is None:
            raise _no_clips(data)
        return imported
    return _fingerprint(clips | others)


def _fingerprint(entries: Mapping[str, os.DirEntry[str]]) -> str:
    digest = sha256()
    for name, entry in sorted(entries.items()):
        try:
            status = entry.stat()
        except OSError:  # a link that points nowhere
            status = entry.stat(follow_symlinks=False)
        digest.update(os.fsencode(name) + b"\0%d\0%d\n" % (status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def corpus_name(data: Path) -> str:
    """Name a corpus: what its marker says, else the name of its folder."""
    try:
        marker = read_marker(data)
    except IntegrityError:
        marker = None
    return marker["name"] if marker else data.resolve().name


def _read_lists(data: Path) -> dict[str, str] | None:
    """Read the split of every listed name; None if there are no lists."""
    listed: dict[str, str] = {}
    found = [file for file in LISTS if (data / file).is_file()]
    for file in found:
        for name in (data / file).read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
            if (name := name.strip()) and listed.setdefault(name, LISTS[file]) != LISTS[file]:
                raise IntegrityError(f"{data / file}: {name} is in both lists; a clip has one split")
    return listed if found else None


def _split_of(name: str, speaker: str, named: bool, lists: Mapping[str, str] | None, data: Path) -> str:
    """Return the hash's split, which no list may contradict; of a clip that names no speaker, the list's."""
    by_hash = which_split(speaker)
    if lists is None:
        return by_hash
    if not named:
        return lists.get(name, TRAIN)
    if lists.get(name, by_hash) != by_hash:
        file = next(file for file, split in LISTS.items() if split == lists[name])
        raise IntegrityError(
            f"{data / file}: lists {name}, but the official hash puts speaker '{speaker}' into {by_hash}; "
            "put the corpus's own lists back, or remove them"
        )
    return by_hash


def read_corpus(data: Path) -> Corpus:
    """List the clips of a corpus folder with word, speaker and split; MissingError if it has none."""
    found, others = _scan(data)
    if not found:
        raise _no_clips(data)
    lists = _read_lists(data)
    clips, refused, n_unnamed = [], [], 0
    for name in sorted(found):
        if not is_printable(name):
            refused.append((ascii(name)[1:-1], "its name holds characters that no index can hold; rename it"))
            continue
        speaker, named = speaker_of(name)
        n_unnamed += not named
        word = name.split("/")[-2]
        if name.startswith(TEST12_FOLDER):
            word = {f"_{SILENCE}_": SILENCE, f"_{UNKNOWN}_": UNKNOWN}.get(word, word)
            split = TEST12
        else:
            split = _split_of(name, speaker, named, lists, data)
        clips.append(Clip(name, word, speaker, split))
    noise = sorted(name for name in others if name not in LISTS and is_printable(name))
    return Corpus(data, clips, noise, _fingerprint(found | others), refused, n_unnamed)


def silence_clips(corpus: Corpus) -> list[Clip]:
    """Plan the `silence` of a corpus with noise files; without any there is none."""
    return plan_silence(Counter(clip.split for clip in corpus.clips)) if corpus.noise else []


def plan_silence(n_clips: Mapping[str, int]) -> list[Clip]:
    """Name the clips of `silence`: in each split a tenth of its clips, as TensorFlow has it."""
    return [
        Clip(f"{SILENCE_FOLDER}/{split}-{i}", SILENCE, SILENCE, split)
        for split in (TRAIN, VALIDATION, TEST)
        for i in range(math.ceil(n_clips.get(split, 0) / 10))
    ]


def has_test_clips(data: Path) -> bool:
    """Say whether a folder holds a corpus with test recordings; no error of the corpus is raised."""
    try:
        found, _ = _scan(data)
        lists = _read_lists(data)
        clips = (name for name in found if is_printable(name) and not name.startswith(TEST12_FOLDER))
        return any(_split_of(name, *speaker_of(name), lists, data) == TEST for name in clips)
    except (KwspotError, OSError):
        return False


def random_test_clip(data: Path, labels: Sequence[str]) -> tuple[Path, str]:
    """Choose a test recording of a corpus whose word the model can name; return its path and its word."""
    clips = [clip for clip in read_corpus(data).clips if clip.split == TEST]
    clips = [clip for clip in clips if clip.word in labels or UNKNOWN in labels]
    if not clips:
        raise MissingError(f"{data}: no test recordings of words that the model knows; name a corpus with --data")
    chosen = choice(clips)
    return data / chosen.name, chosen.word
