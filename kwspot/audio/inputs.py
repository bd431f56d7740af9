"""What was named on a command line -> the sounds it stands for, one after the other, never all at once.

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
from typing import BinaryIO

import numpy as np
import soundfile

from kwspot.audio.reading import STDIN, SUFFIXES, AudioError
from kwspot.errors import KwspotError, MissingError

STANDARD_INPUT = 0  # file descriptor; sys.stdin must not be read by a thread that may be left behind


@dataclass(frozen=True)
class Source:
    """A sound to be: its name as it is shown, and what reads it; or the reason why there is none."""

    name: str
    file: Path | BinaryIO | None = None
    error: KwspotError | None = None


def expand(names: Iterable[str], raw_rate: int | None = None) -> Iterator[Source]:
    """Yield the sources that names stand for, in their order.

    With `raw_rate` (Hz), standard input holds samples without a header: 16 bits, little-endian, mono.
    """
    for name in names:
        path = Path(name)
        if path == STDIN:
            yield _standard_input(raw_rate)
        elif name.startswith("@") and not path.exists():
            yield from _listed(name, raw_rate)
        elif path.is_dir():
            yield from _below(path)
        elif path.is_fifo():  # `<(sox …)`: it can be read once, and not sought in
            yield Source(name, BytesIO(path.read_bytes()))
        elif has_magic(name) and not path.exists():
            found = (Source(match, Path(match)) for match in sorted(iglob(name, recursive=True)))  # noqa: PTH207 - as written, absolute or not
            yield from _or_none(found, name, "no file matches")
        else:
            yield Source(name, path)


def _standard_input(raw_rate: int | None) -> Source:
    with open(STANDARD_INPUT, "rb", closefd=False) as stream:
        content = stream.read()
    if not content:
        return Source(str(STDIN), error=AudioError(STDIN, "nothing on standard input"))
    if raw_rate is None:
        return Source(str(STDIN), BytesIO(content))
    samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    framed = BytesIO()
    soundfile.write(framed, samples, raw_rate, format="WAV", subtype="PCM_16")
    framed.seek(0)
    return Source(str(STDIN), framed)


def _listed(name: str, raw_rate: int | None) -> Iterator[Source]:
    """Read a list line by line: a list on standard input may never end."""
    file = STANDARD_INPUT if name == "@-" else name[1:]
    try:
        with open(file, "rb", closefd=file != STANDARD_INPUT) as lines:
            for line in lines:
                if entry := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from expand([entry], raw_rate)
    except OSError as error:
        yield Source(name, error=MissingError(f"{name}: the list cannot be read ({error.strerror})"))


def _below(folder: Path) -> Iterator[Source]:
    def found() -> Iterator[Source]:
        for below, folders, files in os.walk(folder):
            folders.sort()
            yield from (Source(str(p), p) for f in sorted(files) if (p := Path(below, f)).suffix.lower() in SUFFIXES)

    yield from _or_none(found(), str(folder), "no audio files below")


def _or_none(found: Iterator[Source], name: str, reason: str) -> Iterator[Source]:
    first = next(found, None)
    if first is None:
        yield Source(name, error=MissingError(f"{name}: {reason}"))
    else:
        yield first
        yield from found
