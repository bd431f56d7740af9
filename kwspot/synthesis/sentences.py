"""Words cut out of recorded sentences: many words by real people, from any recordings whose words have times.

    TIMES.tsv  a heading, then a line a word: path, speaker, word, start_s, end_s
    RECORDINGS/<path> -> the piece -> room, microphone, level, noise -> DEST/<word>/<speaker>_nohash_<n>.wav

Where the times come from is no matter of this module: a forced aligner, a recogniser that gives word times, a corpus
that has them. A piece goes through a channel as what a synthesiser says does (signal.channel): alone in a second, as
people record single words, and not as the neat sound of a book that is read.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
import csv
from dataclasses import astuple, dataclass
from hashlib import sha1
import io
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.audio.reading import Waveform, read_waveform, resample, write_wav
from kwspot.corpus.install import CORPUS, claimed, place
from kwspot.errors import IntegrityError, MissingError
from kwspot.files import digest_of, read_text
from kwspot.names import escaped, is_printable
from kwspot.seeding import rng_for
from kwspot.signal import channel
from kwspot.signal.channel import SAMPLE_RATE
from kwspot.tasks import SILENCE, UNKNOWN

COLUMNS = ("path", "speaker", "word", "start_s", "end_s")
SHORTEST_S, LONGEST_S = 0.1, 1.0  # of a word; what is shorter was swallowed, what is longer is no single word
MARGIN_S = 0.03  # kept at either side: times are no finer
LEAST = 8  # examples that make a word of the corpus


@dataclass(frozen=True)
class SpokenWord:
    """A word of a recording."""

    path: str  # below the folder of recordings
    speaker: str
    word: str
    start_s: float
    end_s: float


def read_times(table: Path) -> list[SpokenWord]:
    """Read a table of word times; MissingError without it, IntegrityError names a line that is none."""
    if not table.is_file():
        raise MissingError(f"{table}: no such table of word times; it needs the columns {', '.join(COLUMNS)}")
    rows = csv.DictReader(io.StringIO(read_text(table)), delimiter="\t")
    try:
        if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
            raise IntegrityError(f"{table}: no column {', '.join(missing)}; the heading must name {', '.join(COLUMNS)}")
        return [_spoken(row, f"{table}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise IntegrityError(f"{table}, line {rows.line_num + 1}: {error}; correct the line") from error


def _spoken(row: Mapping[str, str | None], where: str) -> SpokenWord:
    path, speaker, word, start, end = (row[column] for column in COLUMNS)
    if path is None or speaker is None or word is None or start is None or end is None:
        raise IntegrityError(f"{where}: too few cells; {len(COLUMNS)} are needed, separated by tabs")
    try:
        start_s, end_s = float(start), float(end)
    except ValueError:
        raise IntegrityError(f"{where}: start_s and end_s must be seconds") from None
    if not word[:1].isalnum() or "/" in word or not is_printable(word):
        raise IntegrityError(f"{where}: '{escaped(word)}' is no word")
    return SpokenWord(path, speaker, word.lower(), start_s, end_s)


def usable(words: Iterable[SpokenWord], least: int = LEAST, without: Iterable[str] = ()) -> list[SpokenWord]:
    """Keep words of a length that can be one, said `least` times at least, none of `without` and no name of a class."""
    left_out = {*without, UNKNOWN, SILENCE}  # as folders of a corpus these mean rejection and noise
    kept = [w for w in words if SHORTEST_S <= w.end_s - w.start_s <= LONGEST_S and w.word not in left_out]
    counts = Counter(w.word for w in kept)
    return [w for w in kept if counts[w.word] >= least]


def cut_words(
    words: Sequence[SpokenWord],
    recordings: Path,
    dest: Path,
    *,
    seed: int = 1,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Cut the words out of their recordings into `dest`, a corpus in the official layout; return its marker.

    The official split is a hash of the speaker, so nobody is heard in two. IntegrityError if a recording is missing,
    ConfigError if `dest` holds other words.
    """
    by_path: dict[str, list[SpokenWord]] = defaultdict(list)
    for word in words:
        by_path[word.path].append(word)
    takes: Counter[tuple[str, str]] = Counter()

    def fill(folder: Path) -> None:
        done = 0
        for path, said in sorted(by_path.items()):
            decoded = read_waveform(recordings / path)
            sound = resample(decoded.waveform, decoded.sample_rate, SAMPLE_RATE)
            for word in said:
                speaker = sha1(word.speaker.encode()).hexdigest()[:8]
                take = takes[word.word, speaker]
                takes[word.word, speaker] += 1
                clip = _recorded(sound, word, rng_for(seed, "cut", path, str(word.start_s)))
                (folder / word.word).mkdir(exist_ok=True)
                write_wav(folder / word.word / f"{speaker}_nohash_{take}.wav", clip, SAMPLE_RATE)
            done += len(said)
            report(done, len(words), path)

    if missing := [path for path in by_path if not (recordings / path).is_file()]:
        raise IntegrityError(f"{recordings}: no {missing[0]}, nor {len(missing) - 1} more recordings of the table")
    identity = {
        "n_words": len(words),
        "words": digest_of([astuple(word) for _, said in sorted(by_path.items()) for word in said]),
        "seed": seed,
    }
    with claimed(dest, CORPUS):
        return place(dest, CORPUS, fill, name="sentences", source="cut", sha256=None, **identity)


def _recorded(sound: Waveform, word: SpokenWord, rng: np.random.Generator) -> np.ndarray:
    """Cut a word and record it through a channel: (16000,) int16; what cannot be heard becomes the channel's noise."""
    start, end = round((word.start_s - MARGIN_S) * SAMPLE_RATE), round((word.end_s + MARGIN_S) * SAMPLE_RATE)
    piece = np.array(sound[max(0, start) : max(1, end)])
    fade = min(len(piece) // 2, SAMPLE_RATE // 100)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=piece.dtype)
        piece[:fade] *= ramp
        piece[-fade:] *= ramp[::-1]
    if not piece.any():
        return np.zeros(SAMPLE_RATE, np.int16)
    return channel.record(piece, SAMPLE_RATE, 1.0, rng)
