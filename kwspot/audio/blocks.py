"""A long sound, a block at a time: a file, a pipe, or raw samples -> waveforms (n,) float32 at the rate wanted.

Memory does not grow with the length. Channels are mixed down and other rates resampled (soxr, as a stream).
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile

from kwspot.audio import ffmpeg
from kwspot.audio.inputs import Pipe, expand, raw_samples
from kwspot.audio.reading import (
    STREAMED,
    WHOLE,
    AudioError,
    Waveform,
    check_readable,
    check_whole,
    decoder_name,
    mono,
    require_rate,
)
from kwspot.errors import KwspotError
from kwspot.prefetch import ahead

BLOCK_S = 1.0
SHORT_BLOCK_S = 0.1  # for sound that is processed while it comes
AHEAD = 4  # blocks
MOST_BYTES = 8  # of a sample


def long_sounds(
    names: Iterable[str], sample_rate: int, raw_rate: int | None = None
) -> Iterator[tuple[str, Iterator[Waveform] | KwspotError]]:
    """Yield the sounds that names stand for (inputs.py) with their blocks, or with the reason why there are none."""
    for source in expand(names, raw_rate):
        if isinstance(source.file, Pipe):
            yield source.name, pipe_blocks(source.file, sample_rate)
        elif source.file is not None:
            yield source.name, file_blocks(source.file, sample_rate)
        else:
            yield source.name, source.error or AudioError(Path(source.name), "no sound")


def file_blocks(path: Path, sample_rate: int, block_s: float = BLOCK_S) -> Iterator[Waveform]:
    """Yield the sound of a file at `sample_rate` Hz; MissingError without one, AudioError if it is no usable audio."""
    return resampled(_decoded(path, decoder_name(path), block_s), sample_rate)


def pipe_blocks(pipe: Pipe, sample_rate: int, block_s: float = BLOCK_S) -> Iterator[Waveform]:
    """Yield the sound of a pipe as it comes: WAV, OGG or MP3 with its header, or samples without one.

    It is read in a thread: Ctrl-C ends a wait for a silent pipe, during which the decoder would not notice it.
    """

    def decoded() -> Iterator[tuple[Waveform, int]]:
        with pipe.open() as stream:
            if pipe.raw_rate is None:
                yield from _decoded(pipe.path, stream.fileno(), block_s)
            else:
                n_bytes = max(1, round(pipe.raw_rate * block_s)) * 2
                while content := stream.read(n_bytes):
                    yield raw_samples(content), pipe.raw_rate

    with closing(ahead(resampled(decoded(), sample_rate), AHEAD)) as lists:
        for taken in lists:
            yield from taken


class Resampler:
    """Resamples blocks (n,) of one sound as they come, without a seam between them."""

    def __init__(self, rate: int, sample_rate: int) -> None:
        self._stream = None
        if rate != sample_rate:
            import soxr

            self._stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")

    def __call__(self, block: Waveform, last: bool = False) -> Waveform:
        """Return what can be said of the sound so far; after the last block, the rest."""
        if self._stream is None:
            return block
        return self._stream.resample_chunk(block, last).clip(-1, 1)  # the filter overshoots at full scale


def resampled(blocks: Iterable[tuple[Waveform, int]], sample_rate: int) -> Iterator[Waveform]:
    """Resample blocks, all of one rate, without a seam between them."""
    resample = None
    for block, rate in blocks:
        resample = resample or Resampler(rate, sample_rate)
        yield resample(block)
    if resample is not None and len(rest := resample(np.zeros(0, np.float32), last=True)):
        yield rest


class Forwards(soundfile.SoundFile):
    """A sound that is only read on: soundfile would seek after every read, which fails for an MP3 in a pipe."""

    def seekable(self) -> bool:
        """Say that it is not."""
        return False


def _decoded(path: Path, source: str | bytes | int, block_s: float) -> Iterator[tuple[Waveform, int]]:
    n_read = 0
    if isinstance(source, (str, bytes)):
        check_readable(path)
    try:
        with Forwards(source, closefd=False) as file:
            require_rate(path, file.samplerate)
            check_whole(path, file.extra_info)
            promised, n_channels = file.frames, file.channels
            size = max(1, round(file.samplerate * block_s))
            while len(samples := file.read(size, dtype="float32", always_2d=True)):
                n_read += len(samples)
                yield mono(path, samples, file.samplerate).waveform, file.samplerate
    except soundfile.SoundFileError as error:
        text = str(getattr(error, "error_string", error)).strip().rstrip(".")
        refused = AudioError(path, f"no readable audio ({text})")
        if isinstance(source, int):
            raise AudioError(path, f"{refused.reason}; through a pipe comes WAV, OGG or MP3, not FLAC") from error
        if n_read or not ffmpeg.is_for_ffmpeg(path):
            raise refused from error
        yield from _by_ffmpeg(path, refused, block_s)
        return
    if not n_read:
        raise AudioError(path, "holds no samples")
    if n_read < WHOLE * promised and promised * n_channels < STREAMED // MOST_BYTES:
        raise AudioError(path, f"cut off: {n_read:,} of {promised:,} samples")


def _by_ffmpeg(path: Path, refused: AudioError, block_s: float) -> Iterator[tuple[Waveform, int]]:
    """Decode what libsndfile refused; its own reason stands where ffmpeg refuses it too."""
    if not ffmpeg.is_installed():
        raise AudioError(path, refused.reason + ffmpeg.HINT)
    try:
        with ffmpeg.decoding(path) as stream:
            blocks = _decoded(path, stream.fileno(), block_s)
            try:
                first = next(blocks)
            except AudioError:
                raise refused from None
            yield first
            yield from blocks
    except ffmpeg.DamagedError as error:
        raise AudioError(path, str(error)) from error
