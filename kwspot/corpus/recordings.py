"""Long recordings in a folder, and what is said in them.

    FOLDER/<source>/…/<recording>.wav    any depth; a source is what lies in one folder, or in one folder of a folder
    a transcript table, one of           text.tsv    a heading with path, text and perhaps speaker
                                         text.csv    the same, comma-separated
                                         text        Kaldi's: an utterance's name, then its words; utt2spk beside it
                                         *.trans.txt LibriSpeech's, the same in every folder
    words.ctm beside the table           when each word sounds: recording, channel, start, seconds, word (NIST's CTM)

Three fifths of the speakers are for training, a fifth each to choose by and to report: a hash of the speaker decides,
of the recording where nobody is named.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any
import unicodedata

from kwspot.audio.reading import SUFFIXES
from kwspot.corpus.layout import TEST, TRAIN, VALIDATION, hash_per_cent
from kwspot.errors import IntegrityError, MissingError
from kwspot.files import read_text

TABLES, KALDI, LIBRISPEECH, TIMES, SPEAKERS = ("text.tsv", "text.csv"), "text", "*.trans.txt", "words.ctm", "utt2spk"
FORMS: dict[str, dict[str, Any]] = {".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE}, ".csv": {"delimiter": ","}}
ENCODING = "utf-8-sig"  # spreadsheets write a byte order mark
SHARE = 20.0  # per cent of the speakers, for each of validation and test


@dataclass(frozen=True)
class Word:
    """A word of a sentence, from when to when it sounds, in seconds."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Recording:
    """A long recording: `name` is its path below the folder, with forward slashes.

    `text` is None where there is no transcript, `words` where no times are known.
    """

    name: str
    speaker: str
    text: str | None = None
    words: tuple[Word, ...] | None = None

    @property
    def source(self) -> str:
        """Where it comes from: its folder, two levels deep at most."""
        return "/".join(Path(self.name).parts[:-1][:2]) or "recordings"

    @property
    def split(self) -> str:
        """The split of its speaker."""
        per_cent = hash_per_cent(self.speaker)
        return VALIDATION if per_cent < SHARE else TEST if per_cent < 2 * SHARE else TRAIN

    @property
    def said(self) -> list[str]:
        """The words of the transcript, in lower case."""
        return words_of(self.text or "")

    def keywords_said(self, keywords: Collection[str]) -> list[str]:
        """Return the keywords of the transcript, in order."""
        return [keyword for keyword, _, _ in _found(self.said, keywords)]

    def keywords_sounding(self, keywords: Collection[str]) -> list[Word]:
        """Return the keywords whose times are known, in order."""
        parts = [(part, word) for word in self.words or () for part in words_of(word.word)]
        found = _found([part for part, _ in parts], keywords)
        return [Word(keyword, parts[at][1].start_s, parts[end - 1][1].end_s) for keyword, at, end in found]


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", unicodedata.normalize("NFC", text).lower().replace("’", "'"))


def _found(words: Sequence[str], keywords: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each keyword among words, from which to before which it stands: "Lights_on" as "lights", "on".

    Where several begin, it is the longest; they do not overlap.
    """
    spelt: dict[tuple[str, ...], str] = {}
    for keyword in keywords:
        spelt.setdefault(tuple(words_of(keyword)), keyword)
    lengths = sorted({len(parts) for parts in spelt} - {0}, reverse=True)
    at = 0
    while at < len(words):
        ends = (at + n for n in lengths if at + n <= len(words))
        end = next((end for end in ends if tuple(words[at:end]) in spelt), None)
        if end is not None:
            yield spelt[tuple(words[at:end])], at, end
        at = end or at + 1


def read_recordings(folder: Path, transcripts: Path | None = None) -> list[Recording]:
    """List the recordings below a folder with what is said in them, sorted by name; MissingError if there is none.

    IntegrityError for transcripts that name none of them, or several alike.
    Without `transcripts` (a table, or a folder that has one) the table in the folder itself is read, if there is one.
    """
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES)
    )
    if not names:
        raise MissingError(f"{folder}: no recordings; name a folder that holds some")
    found = _transcripts(transcripts or folder)
    if transcripts and not found:
        raise MissingError(
            f"{transcripts}: no transcripts; needs {', '.join(TABLES)}, Kaldi's '{KALDI}' or LibriSpeech's *.trans.txt"
        )
    times = _times(
        (transcripts if transcripts and transcripts.is_dir() else (transcripts or folder / "-").parent) / TIMES
    )
    recordings, there, folders = [], set(names), defaultdict[str, set[Path]](set)
    for name in names:
        file = Path(name).name
        by_file = () if file in there else (file,)  # then it is the name of the one that lies in the folder itself
        keys = (name, (folder / name).as_posix(), *by_file, Path(name).stem)
        named = next((key for key in keys if key in found), "")
        text, speaker = found.get(named, (None, None))
        if text is not None and named in keys[2:]:
            folders[named].add(Path(name).parent)
        words = next((times[key] for key in keys if key in times), None)
        recordings.append(Recording(name, speaker or name, text, words))
    if shared := next((key for key, places in folders.items() if len(places) > 1), None):
        places = ", ".join(sorted(str(place) for place in folders[shared])[:3])
        raise IntegrityError(
            f"{transcripts or folder}: '{shared}' is what recordings in {len(folders[shared])} folders are called "
            f"({places}); its transcripts must name them by their paths below {folder}"
        )
    if found and all(recording.text is None for recording in recordings):
        raise IntegrityError(
            f"{transcripts or folder}: its transcripts name no recording of {folder}; a path below it or a file name "
            "is needed, in a .tsv or .csv below a heading"
        )
    return recordings


def _transcripts(place: Path) -> dict[str, tuple[str, str | None]]:
    """Return text and speaker by the path or the name of a recording."""
    if place.is_dir():
        tables = [path for name in (*TABLES, KALDI) if (path := place / name).is_file()] or sorted(
            place.rglob(LIBRISPEECH)
        )
    else:
        tables = [place]
    found: dict[str, tuple[str, str | None]] = {}
    for path in tables:
        if not path.is_file():
            raise MissingError(f"{path}: no such file")
        try:
            found.update(_table(path) if path.suffix.lower() in FORMS else _utterances(path))
        except (UnicodeDecodeError, csv.Error) as error:
            raise IntegrityError(f"{path}: no table in UTF-8 ({error}); save it as text in UTF-8") from error
    return found


def _table(path: Path) -> Iterator[tuple[str, tuple[str, str | None]]]:
    form = FORMS[path.suffix.lower()]
    with path.open(encoding=ENCODING, newline="") as file:
        lines = csv.DictReader(file, **form)
        if missing := [column for column in ("path", "text") if column not in (lines.fieldnames or ())]:
            separator = "comma" if form["delimiter"] == "," else "tab"
            raise IntegrityError(
                f"{path}: no column {', '.join(missing)}; the heading must name path and text, {separator}-separated"
            )
        for line in lines:
            yield Path(line["path"] or "").as_posix(), (line["text"] or "", line.get("speaker") or None)


def _utterances(path: Path) -> Iterator[tuple[str, tuple[str, str | None]]]:
    beside = path.with_name(SPEAKERS)
    speakers = dict(_first_and_rest(beside)) if beside.is_file() else {}
    librispeech = path.match(LIBRISPEECH)
    for name, text in _first_and_rest(path):
        yield name, (text, speakers.get(name) or (name.partition("-")[0] if librispeech else None))


def _first_and_rest(path: Path) -> Iterator[tuple[str, str]]:
    for line in read_text(path, ENCODING).splitlines():
        if line.strip():
            first, *rest = line.split(maxsplit=1)
            yield first, rest[0].strip() if rest else ""


def _times(path: Path) -> Mapping[str, tuple[Word, ...]]:
    words: dict[str, list[Word]] = defaultdict(list)
    for name, rest in _first_and_rest(path) if path.is_file() else ():
        try:
            _, start, seconds, word, *_ = rest.split()
            words[name].append(Word(word.lower(), float(start), float(start) + float(seconds)))
        except ValueError as error:
            raise IntegrityError(f"{path}: '{name} {rest}'; needs recording, channel, start, seconds, word") from error
    return {name: tuple(found) for name, found in words.items()}
