"""What libsndfile cannot decode, ffmpeg may, where it is installed: m4a, AAC, WebM, AMR, and some FLAC files.

    file -> ffmpeg -> WAV, 32-bit floats, as bytes or as a pipe

A file is only read as what its name says, and never leads ffmpeg to another file or address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import subprocess
from typing import IO

from kwspot.errors import IntegrityError
from kwspot.files import read_bounded

SUFFIXES = (".m4a", ".aac", ".wma", ".webm", ".amr", ".mp4", ".flac")
MOST_BYTES = 2**28  # of a clip, decoded: a quarter of an hour in stereo
HINT = "; with ffmpeg installed, kwspot may read it"


class DamagedError(IntegrityError):
    """A file that ffmpeg decodes in part."""


def is_for_ffmpeg(path: Path) -> bool:
    """Say whether a file that libsndfile refused is of a kind that ffmpeg decodes."""
    return path.suffix.lower() in SUFFIXES


def is_installed() -> bool:
    """Say whether there is an ffmpeg on the path."""
    return shutil.which("ffmpeg") is not None


def decoded(path: Path) -> bytes:
    """Return a file as the bytes of a WAV file, b"" if ffmpeg cannot decode it.

    IntegrityError if that is too long, or ends before the sound does.
    """
    content = b""
    try:
        with decoding(path) as stream:
            content = read_bounded(stream, MOST_BYTES)
    except DamagedError:
        if content:
            raise
    return content


@contextmanager
def decoding(path: Path) -> Iterator[IO[bytes]]:
    """Yield a pipe that a file comes through as WAV; nothing comes if ffmpeg cannot decode it.

    DamagedError, once all was read, if ffmpeg stopped before the sound did.
    """
    where = f"file:{path}"
    command = [
        "ffmpeg", "-nostdin", "-v", "quiet", "-xerror", "-protocol_whitelist", "file,pipe",
        "-i", where, "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
            if not process.stdout.read(1) and process.wait():
                raise DamagedError("damaged: ffmpeg stops within it")
        finally:
            process.kill()  # it waits for a reader if not all was read
