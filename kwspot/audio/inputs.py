"""What was named on a command line -> the sounds it stands for, one after the other, never all in memory.

x.wav        a file                          clips/       every audio file below, sorted
'a*/*.wav'   a pattern, `**` for any depth   @list.txt    a file that lists any of these, one a line
-            a sound on standard input       @-           a list on standard input
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic, iglob
from io import BytesIO
import os
from pathlib import Path
import re
from typing import BinaryIO

import numpy as np

from kwspot.audio.reading import LONGEST_S, STDIN, SUFFIXES, AudioError, Decoded, Waveform, read_waveform
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.files import read_bounded

DEEPEST = 8  # lists in lists
MOST_LISTS = 10_000  # opened, each as often as it is named: lists of lists can name each other without end
LONGEST_LINE = 2**16  # bytes
MOST_BYTES = 2**27  # of a clip through a pipe: twelve minutes of a CD
NOTHING = "nothing on standard input; lead a sound into it, as in 'kwspot predict - < a.wav'"
STANDARD_INPUT = 0  # file descriptor; sys.stdin must not be read by a thread that may be left behind


@dataclass(frozen=True)
class Pipe:
    """Sound that can be read once, and only forwards: standard input, or a pipe with a name.

    With `raw_rate` (Hz), it is samples without a header: 16 bits, little-endian, mono.
    """

    path: Path
    raw_rate: int | None = None

    def open(self) -> BinaryIO:
        """Open it to be read."""
        return open(STANDARD_INPUT, "rb", closefd=False) if self.path == STDIN else self.path.open("rb")

    def read(self) -> Decoded:
        """Read it to its end; AudioError if that is no usable audio, or too long. The centre of a long one is kept."""
        with self.open() as stream:
            try:
                content = read_bounded(stream, MOST_BYTES)
            except IntegrityError as error:
                raise AudioError(
                    self.path, f"{error}, too long for a clip; 'kwspot spot' searches long sound"
                ) from error
        if not content:
            raise AudioError(self.path, NOTHING if self.path == STDIN else "empty pipe")
        if self.raw_rate is not None:
            return Decoded(raw_samples(content), self.raw_rate)
        return read_waveform(BytesIO(content), longest_s=LONGEST_S)


def raw_samples(content: bytes) -> Waveform:
    """Return samples that come without a header as a waveform; half a sample at the end is dropped."""
    return np.frombuffer(content[: len(content) // 2 * 2], "<i2") / np.float32(2**15)


@dataclass(frozen=True)
class Source:
    """A sound to be: its name as it is shown, and where it is read; or the reason why there is none."""

    name: str
    file: Path | Pipe | None = None
    error: KwspotError | None = None


def expand(names: Iterable[str], raw_rate: int | None = None) -> Iterator[Source]:
    """Yield the sources that names stand for, in their order; of a name that can be none, the reason.

    With `raw_rate` (Hz), standard input holds samples without a header. IntegrityError if lists lead to too many lists.
    """
    yield from _expanded(names, _Asked(raw_rate), ())


@dataclass
class _Asked:
    """What holds for all names, and how many lists they have led to so far."""

    raw_rate: int | None
    n_lists: int = 0


def _expanded(names: Iterable[str], asked: _Asked, lists: tuple[str, ...]) -> Iterator[Source]:
    for name in names:
        try:
            yield from _sources(name, asked, lists)
        except (OSError, ValueError) as error:  # too long a name, one with a zero byte
            yield Source(name, error=MissingError(f"{name}: no such file ({getattr(error, 'strerror', error)})"))


def _sources(name: str, asked: _Asked, lists: tuple[str, ...]) -> Iterator[Source]:
    path = Path(name)
    if path == STDIN:
        yield Source(str(STDIN), Pipe(STDIN, asked.raw_rate))
    elif name.startswith("@") and not path.exists():
        yield from _listed(name, asked, lists)
    elif path.is_dir():
        yield from _below(path)
    elif path.is_fifo():  # `<(sox …)`
        yield Source(name, Pipe(path))
    elif has_magic(name) and not path.exists():
        found = (Source(match, Path(match)) for match in _matches(name))
        yield from _or_none(found, name, "no file matches")
    else:
        yield Source(name, path)


def _listed(name: str, asked: _Asked, lists: tuple[str, ...]) -> Iterator[Source]:
    """Read a list line by line: a list on standard input may never end. `lists` are those that led here."""
    asked.n_lists += 1
    if asked.n_lists > MOST_LISTS:
        raise IntegrityError(
            f"{name}: the lists name other lists more than {MOST_LISTS:,} times; list the sounds themselves"
        )
    file = STANDARD_INPUT if name == "@-" else name[1:]
    here = os.path.realpath(name[1:])
    if here in lists or len(lists) == DEEPEST:
        yield Source(name, error=MissingError(f"{name}: a list that leads back to itself, or lies too deep in others"))
        return
    try:
        with open(file, "rb", closefd=file != STANDARD_INPUT) as lines:
            for line in iter(lambda: lines.readline(LONGEST_LINE), b""):
                if entry := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from _expanded([entry], asked, (*lists, here))
    except OSError as error:
        yield Source(name, error=MissingError(f"{name}: the list cannot be read ({error.strerror})"))


def _matches(pattern: str) -> list[str]:
    """Return what a pattern matches, sorted, each once: `**/**` finds all again below every folder."""
    once = re.sub(r"(?<![^/])(?:\*\*/+)+(?=\*\*(?:/|$))", "", pattern)
    return sorted(set(iglob(once, recursive=True)))  # noqa: PTH207 - as written, absolute or not


def _below(folder: Path) -> Iterator[Source]:
    def found() -> Iterator[Source]:
        closed: list[OSError] = []
        for below, folders, files in os.walk(folder, onerror=closed.append):
            folders.sort()
            yield from (Source(str(p), p) for f in sorted(files) if (p := Path(below, f)).suffix.lower() in SUFFIXES)
        for error in closed:
            name = os.fsdecode(error.filename)
            yield Source(name, error=MissingError(f"{name}: the folder cannot be read ({error.strerror})"))

    yield from _or_none(found(), str(folder), "no audio files below")


def _or_none(found: Iterator[Source], name: str, reason: str) -> Iterator[Source]:
    first = next(found, None)
    if first is None:
        yield Source(name, error=MissingError(f"{name}: {reason}"))
    else:
        yield first
        yield from found
