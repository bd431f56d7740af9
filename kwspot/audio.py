"""Audio file -> waveform, by soundfile: WAV, FLAC, OGG, MP3, AIFF and what else libsndfile reads.

waveform  (n_samples,)  float32 in [-1, 1], mono, at the file's own sample rate

What a file needs to become that is done and named (`downmixed from 2 channels`); what is not audio, or not
whole, is refused with the reason. torchaudio's own reader needs ffmpeg since 2.9, so it is not used.
"""

from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np
from numpy.typing import NDArray
import soundfile

from kwspot.errors import IntegrityError, MissingError

Waveform = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; a header beyond them is damaged
LOUDEST = 10.0  # times full scale; floats beyond it are integers that nobody scaled
STREAMED = 0x7FFF_0000  # a length written by programs that could not know it; not a promise
WHOLE = 0.99  # of the promised samples must be there


class AudioError(IntegrityError):
    """A file is not audio that can be used; `reason` says why, the message also which."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Decoded:
    """A waveform, its sample rate in Hz, and what was done to the file's content to get it."""

    waveform: Waveform
    sample_rate: int
    conversions: tuple[str, ...] = ()


def read_waveform(path: Path, longest_s: float | None = None, start_s: float | None = None) -> Decoded:
    """Read a file at its own sample rate; of one longer than `longest_s` seconds only that much.

    The part read lies in the centre, or begins at `start_s`. A missing file: MissingError; a file that is no
    usable audio: AudioError.
    """
    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, n_samples = file.samplerate, file.frames
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise AudioError(path, f"damaged: a sample rate of {rate} Hz")
            _check_whole(path, file.extra_info)
            wanted = n_samples if longest_s is None else min(n_samples, round(longest_s * rate))
            last_start = n_samples - wanted
            start = last_start // 2 if start_s is None else min(round(start_s * rate), last_start)
            if start:
                file.seek(start)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, MemoryError, ValueError) as error:
        text = str(getattr(error, "error_string", error)).strip().rstrip(".") or "unknown error"
        raise AudioError(path, f"no readable audio ({text})") from error
    if len(samples) < WHOLE * wanted:
        raise AudioError(path, f"cut off: {len(samples):,} of {wanted:,} samples")
    if not len(samples):
        raise AudioError(path, "holds no samples")
    return _mono(path, samples, rate)


def duration_s(path: Path) -> float:
    """Return the length of a file in seconds, from its header."""
    _check_readable(path)
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise AudioError(path, "no readable audio") from error
    return float(info.frames / info.samplerate)


def fit_length(waveform: Waveform, clip_length: int, win_length: int) -> tuple[Waveform, tuple[str, ...]]:
    """Crop a longer waveform to its centre, pad one shorter than a window with zeros behind; say which."""
    n_samples = len(waveform)
    if n_samples > clip_length:
        start = (n_samples - clip_length) // 2
        return waveform[start : start + clip_length], ("cropped to the centre",)
    if n_samples < win_length:
        return np.pad(waveform, (0, win_length - n_samples)), ("padded to one window",)
    return waveform, ()


def _check_readable(path: Path) -> None:
    """Turn away what the decoder would call only a `system error`."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(path, "empty file")
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})") from error


def _check_whole(path: Path, header_log: str) -> None:
    """Compare the size a WAV header promises with what follows it, as libsndfile logged them."""
    if found := re.search(r"^\s*data\s*:\s*(\d+) \(should be (\d+)\)", header_log, re.MULTILINE):
        promised, there = int(found[1]), int(found[2])
        if promised < STREAMED and there < WHOLE * promised:
            raise AudioError(path, f"cut off: {there:,} of {promised:,} bytes of sound")


def _mono(path: Path, samples: NDArray[np.float32], rate: int) -> Decoded:
    """Mix (n_samples, n_channels) down to a waveform in [-1, 1]."""
    conversions = []
    n_channels = samples.shape[1]
    waveform = samples[:, 0]
    if n_channels > 1:
        waveform = samples.mean(axis=1)
        conversions.append(f"downmixed from {n_channels} channels")
    peak = float(np.abs(waveform).max())
    if not np.isfinite(peak):
        raise AudioError(path, "holds samples that are not finite numbers")
    if peak > LOUDEST:
        raise AudioError(path, f"float samples up to {peak:.3g}; scale them to [-1, 1]")
    if peak > 1:
        waveform = waveform.clip(-1, 1)
        conversions.append("clipped at full scale")
    return Decoded(np.ascontiguousarray(waveform), rate, tuple(conversions))
