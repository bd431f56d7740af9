"""A folder of own words -> takes: which clip is of which word and by whom; what cannot be used is refused by name.

    FOLDER/<word>/*.wav, FOLDER/<word>/<speaker>/*.wav     any number, any file names, any script
    FOLDER/unknown/, FOLDER/_background_noise_/            optional: what is no word to spot

A take is mono at the encoder's rate; of a word, from where the sound stands out to where it ends (endpoints.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
import os
from pathlib import Path
import re
from typing import Any
import unicodedata

import numpy as np

from kwspot.audio.reading import (
    SUFFIXES,
    AudioError,
    Waveform,
    as_waveform,
    check_readable,
    promised_s,
    read_waveform,
    require_hz,
    resample,
)
from kwspot.corpus.layout import NOISE_FOLDER
from kwspot.enrollment.endpoints import endpoints, is_silent
from kwspot.errors import ConfigError, IntegrityError, KwspotError, MissingError
from kwspot.names import is_printable
from kwspot.tasks import SILENCE, UNKNOWN

LONGEST_S = 4.0  # of a word or phrase
LONGEST_CLIP_S = 30.0  # that a word is looked for in
SHORTEST_S = 0.1
N_NAMED = 5  # problems in one message
SAME = 0.99  # correlation from which two clips are one recording; no two takes of a voice are as alike
BACKGROUND = {UNKNOWN: UNKNOWN, f"_{UNKNOWN}_": UNKNOWN, NOISE_FOLDER: SILENCE, SILENCE: SILENCE}  # folders
_SPEAKER = re.compile(r"(?:speaker|spk)[\W_]*[^\W_]+", re.IGNORECASE)
_NUMBERS = re.compile(r"(?:[\W_]*\d+)+$")
# What recorders call their files, whoever speaks.
_ANYBODY = {
    "audio", "clip", "file", "memo", "my", "new", "note", "rec", "record", "recorded", "recording", "sample", "sound",
    "take", "track", "untitled", "voice", "aufnahme", "neue", "enregistrement", "nouvel", "grabación", "nueva",
    "запись", "новая",
}  # fmt: skip


@dataclass(frozen=True)
class Take:
    """One clip: `waveform` (n_samples,) at the encoder's rate, and the file or the place it came from.

    `speaker` is None where no name says it: such takes of a word count as one voice. The label of what is no word to
    spot is UNKNOWN or SILENCE. `spoken` by a synthesiser.
    """

    word: str
    speaker: str | None
    name: str
    waveform: Waveform
    spoken: bool = False

    @cached_property
    def digest(self) -> str:
        """What the samples are told apart by: 16 hex digits."""
        return sha256(np.round(self.waveform * 2**15).astype("<i2").tobytes()).hexdigest()[:16]

    @property
    def is_keyword(self) -> bool:
        """Whether it is of a word to spot."""
        return self.word not in (UNKNOWN, SILENCE)


def read_takes(folder: Path, sample_rate: int) -> list[Take]:
    """Read the clips of a folder of words at a rate; MissingError without any.

    A clip that is no audio, or no word of at most 4 s, is refused: the error names the first five and counts the rest.
    """
    files = _files(folder)
    speakers = speakers_of([(word, name) for word, name, _ in files])
    takes, problems = [], []
    for (word, _, path), speaker in zip(files, speakers, strict=True):
        try:
            takes.append(_read(word, speaker, path, sample_rate))
        except KwspotError as error:
            problems.append(error)
    if problems:
        raise _together(problems)
    return takes


def takes_of(words: Mapping[str, Iterable[Any]], sample_rate: int | None, model_rate: int) -> list[Take]:
    """Make takes of paths, and of waveforms (n_samples,) at `sample_rate` Hz; only paths tell the speakers."""
    given = []
    for word, clips in words.items():
        if not isinstance(word, str):
            raise ConfigError(f"{word!r:.40}: a word is a string")
        if isinstance(clips, str | os.PathLike | np.ndarray):
            raise ConfigError(f"{word}: a list of clips is needed, even of one: [clip]")
        of_word = [(word, clip) for clip in clips]
        if not of_word:
            raise ConfigError(f"{word}: no clips; give some, or leave the word out")
        given += of_word
    paths = [(word, Path(clip)) for word, clip in given if isinstance(clip, str | os.PathLike)]
    speakers = iter(speakers_of([(word, path.name) for word, path in paths]))
    if unfit := [word for word in words if not (word and is_printable(word))]:
        raise ConfigError(f"{unfit[0]!r}: no word: empty, or of characters that cannot be printed")
    takes, rate = [], model_rate if sample_rate is None else require_hz(sample_rate)
    for i, (word, clip) in enumerate(given):
        label = _label(word)
        if isinstance(clip, str | os.PathLike):
            takes.append(_read(label, next(speakers), Path(clip), model_rate))
        else:
            waveform = resample(as_waveform(clip), rate, model_rate)
            takes.append(_checked(label, None, f"{word}, clip {i + 1}", waveform, model_rate))
    return takes


def _label(name: str) -> str:
    """Return the word that a folder is named after, or the class of what is none."""
    word = unicodedata.normalize("NFC", name)
    return BACKGROUND.get(word.casefold(), word)


def speakers_of(names: Sequence[tuple[str, str]]) -> list[str | None]:
    """Say who speaks each clip, from its word and its name below the word's folder; None where the name does not.

    A subfolder; what stands before `_nohash_`; `speaker_3`; or what stands before the number of the take, if other
    words have clips of that name too, or some takes of the only word have the same name and others another.
    """
    told = [_told(word, name) for word, name in names]
    words: dict[str, set[str]] = {}
    for (word, _), (speaker, _) in zip(names, told, strict=True):
        words.setdefault(speaker, set()).add(word)
    takes = Counter(speaker for speaker, _ in told if speaker)
    # Of one word only: a name that is there twice, beside another, is no word and no recorder's.
    alone = len({word for word, _ in names}) == 1 and 1 < len(takes) < takes.total()
    return [speaker if speaker and (sure or alone or len(words[speaker]) > 1) else None for speaker, sure in told]


def _told(word: str, name: str) -> tuple[str, bool]:
    """Return what may be the speaker's name, and whether that is sure."""
    folder, _, file = name.rpartition("/")
    if folder:
        return folder, True
    stem = file.rpartition(".")[0]
    speaker, mark, _ = stem.partition("_nohash_")
    if mark and speaker:
        return speaker, True
    said = re.escape(word)
    rest = re.sub(rf"^{said}(?:[\W_]+|$)", "", stem, flags=re.IGNORECASE)
    if found := _SPEAKER.search(rest):
        return found[0], True
    rest = re.sub(rf"[\W_]+{said}$", "", _NUMBERS.sub("", rest), flags=re.IGNORECASE)
    is_anybody = set(re.findall(r"[^\W\d_]+", rest.casefold())) <= _ANYBODY
    return ("" if rest == stem or is_anybody else rest, False)


def _files(folder: Path) -> list[tuple[str, str, Path]]:
    """List the clips in order: label, name below the word's folder, path; OSError for a folder that is closed."""
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; clips of each word go into a folder of its name below it")
    found: list[tuple[str, str, Path]] = []
    without: list[tuple[Path, str]] = []
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = _files_below(below)
        clips = [path for path in files if path.suffix.lower() in SUFFIXES]
        found += [(_label(below.name), path.relative_to(below).as_posix(), path) for path in clips]
        if not clips:
            kinds = ", ".join(sorted({path.suffix.lower() or path.name for path in files}))
            without.append((below, f"no clips among its files ({kinds})" if files else "no clips in it"))
    loose = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES)
    if found and loose:
        raise ConfigError(f"{loose[0]}: in no folder of a word; move it into the folder of its word, or away")
    if unfit := [word for word, _, _ in found if not is_printable(word)]:
        raise ConfigError(f"{folder}: '{unfit[0]}' holds characters that cannot be printed; rename the folder")
    if not any(word not in (UNKNOWN, SILENCE) for word, _, _ in found):
        hint = "its clips lie in no folder of a word; name the folder above it" if loose else "no clips"
        raise MissingError(f"{folder}: {hint}; expected {folder}/<word>/*.wav")
    if without:
        path, what = without[0]
        raise MissingError(f"{path}: {what}; add clips of the word, as WAV, FLAC, OGG or MP3, or move the folder away")
    return found


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=refuse)
    files = (Path(at, name) for at, _, names in walked for name in names if not name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _read(word: str, speaker: str | None, path: Path, sample_rate: int) -> Take:
    check_readable(path)
    decoded, seconds = None, promised_s(path)
    if seconds is None:  # what ffmpeg decodes says it no sooner
        decoded = read_waveform(path)
        seconds = len(decoded.waveform) / decoded.sample_rate
    if word not in (UNKNOWN, SILENCE) and seconds > LONGEST_CLIP_S:
        raise AudioError(path, f"{seconds:.1f} s long; a clip holds one word, of {LONGEST_S:g} s at most")
    decoded = decoded or read_waveform(path)
    waveform = resample(decoded.waveform, decoded.sample_rate, sample_rate)
    return _checked(word, speaker, str(path), waveform, sample_rate)


def _checked(word: str, speaker: str | None, name: str, waveform: Waveform, sample_rate: int) -> Take:
    """Trim a clip of a word, and refuse what cannot be one."""
    if word in (UNKNOWN, SILENCE):
        return Take(word, speaker, name, waveform)
    where = Path(name)
    if is_silent(waveform):
        raise AudioError(where, "silent; record it again, louder or nearer")
    start, end = endpoints(waveform, sample_rate)
    seconds = (end - start) / sample_rate
    if seconds > LONGEST_S:
        raise AudioError(where, f"{seconds:.1f} s of sound; a word or phrase is {LONGEST_S:g} s long at most")
    if seconds < SHORTEST_S:
        raise AudioError(where, f"{1000 * seconds:.0f} ms of sound; no word is as short; record it again")
    return Take(word, speaker, name, waveform[start:end])


def require_distinct(takes: Sequence[Take], known: Mapping[str, str]) -> None:
    """Refuse the same clip twice, or at another level; `known` are names of clips by digest that came before.

    ConfigError. Of clips that came before only the digest is known: those at another level are not.
    """
    seen = dict(known)
    for take in takes:
        if take.digest in seen:
            raise ConfigError(f"{take.name}: the same clip as {seen[take.digest]}; leave one of them out")
        seen[take.digest] = take.name
    if pair := _copy_at_another_level([take for take in takes if take.is_keyword and not take.spoken]):
        first, copy = pair
        raise ConfigError(f"{copy.name}: the same clip as {first.name} at another level; leave one of them out")


def _copy_at_another_level(takes: Sequence[Take]) -> tuple[Take, Take] | None:
    """Find two takes of one recording: equally long, as a level moves no endpoint, and the same but for a factor."""
    of_length: dict[int, list[Take]] = {}
    for take in takes:
        of_length.setdefault(len(take.waveform), []).append(take)
    for alike in of_length.values():
        centred = [take.waveform - take.waveform.mean() for take in alike]  # two offsets are no likeness
        units = np.stack([waveform / max(float(np.linalg.norm(waveform)), 1e-9) for waveform in centred])
        if len(same := np.argwhere(np.triu(np.abs(units @ units.T), 1) >= SAME)):
            first, copy = same[0]
            return alike[first], alike[copy]
    return None


def _together(problems: Sequence[KwspotError]) -> KwspotError:
    """Say several problems in one line, with the exit code of the first."""
    shown = "; ".join(str(problem) for problem in problems[:N_NAMED])
    rest = f"; and {len(problems) - N_NAMED} more" if len(problems) > N_NAMED else ""
    kind = IntegrityError if isinstance(problems[0], IntegrityError) else type(problems[0])
    return kind(shown + rest)
