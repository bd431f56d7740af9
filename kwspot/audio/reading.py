"""Audio file -> waveform -> clip: soundfile reads (WAV, FLAC, OGG, MP3, AIFF, …) or ffmpeg, soxr resamples.

waveform  (n_samples,)  float32 in [-1, 1], mono; as read at the file's own sample rate, as a clip at the model's

What a file needs to become that is done and named (`downmixed from 2 channels`); what is not audio, or not
whole, is refused with the reason. Training and spotting read with these functions, and neither needs torch for it:
torchaudio's reader needs ffmpeg since 2.9, and its resampler is torch.
"""

from dataclasses import dataclass, replace
from io import BytesIO
from numbers import Real
import os
from pathlib import Path
import re
import stat
import struct
from typing import Any, BinaryIO, Protocol
import wave

import numpy as np
from numpy.typing import NDArray
import soundfile

from kwspot.audio import ffmpeg
from kwspot.errors import IntegrityError, MissingError

Waveform = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; a header beyond them is damaged
BYTES, FULL_SCALE = 2, 2.0**15  # of a sample of 16 bits
WIDEST = 4  # bytes of an integer whose full scale is known: 64 bits are what counting gives
LOUDEST = 10.0  # times full scale; floats beyond it are integers that nobody scaled
STREAMED = 0x7FFF_0000  # a length written by programs that could not know it; not a promise
WHOLE = 0.99  # of the promised samples must be there
LONGEST_S = 60.0  # of a file that a clip is looked for in; of a longer one the centre
AS_LOUD = 0.99  # of the energy of the loudest part: where a short word may lie is a matter of choice

STDIN = Path("-")  # stands for a stream in messages


class AudioError(IntegrityError):
    """A file is not audio that can be used; `reason` says why, the message also which.

    `undecoded`: libsndfile cannot decode it, which another decoder may.
    """

    def __init__(self, path: Path, reason: str, *, undecoded: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason, self.undecoded = reason, undecoded


@dataclass(frozen=True)
class Decoded:
    """A waveform, its sample rate in Hz, and what was done to the file's content to get it."""

    waveform: Waveform
    sample_rate: int
    conversions: tuple[str, ...] = ()


class ClipFormat(Protocol):
    """What a model takes for a clip: FrontEnd and Spotter have it."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def clip_length(self) -> int:
        """Samples of a whole clip."""

    @property
    def win_length(self) -> int:
        """Samples of one window, the least there can be."""


def read_waveform(source: Path | BinaryIO, longest_s: float | None = None, start_s: float | None = None) -> Decoded:
    """Read a file, or a stream that can seek, at its own sample rate; of a longer one only `longest_s` seconds.

    The part read lies in the centre, or begins at `start_s`. A missing file: MissingError; a file that is no
    usable audio: AudioError.
    """
    path = source if isinstance(source, Path) else STDIN
    if isinstance(source, Path):
        check_readable(source)
        if decoded := _plain_wav(source, longest_s, start_s):
            return decoded
    try:
        return _read(decoder_name(source) if isinstance(source, Path) else source, path, longest_s, start_s)
    except AudioError as error:
        if not (isinstance(source, Path) and error.undecoded and ffmpeg.is_for_ffmpeg(path)):
            raise
        if not ffmpeg.is_installed():
            raise AudioError(path, error.reason + ffmpeg.HINT) from error
        return _by_ffmpeg(path, error, longest_s, start_s)


def _plain_wav(path: Path, longest_s: float | None, start_s: float | None) -> Decoded | None:
    """Read a whole WAV file of one channel and 16 bits, as most corpora have them, in a third of libsndfile's time.

    None for anything else, and for anything that is not as it should be: libsndfile has the last word on it.
    """
    try:
        with path.open("rb") as file, wave.open(file) as sound:
            rate, n_samples = sound.getframerate(), sound.getnframes()
            is_plain = (sound.getnchannels(), sound.getsampwidth()) == (
                1,
                BYTES,
            ) and LOWEST_RATE <= rate <= HIGHEST_RATE
            there = os.fstat(file.fileno()).st_size - file.tell()  # bytes of sound: it stands where they begin
            if not (is_plain and 0 < n_samples * BYTES <= there):
                return None
            start, wanted = _part(n_samples, rate, longest_s, start_s)
            sound.setpos(start)
            samples = np.frombuffer(sound.readframes(wanted), np.int16)
    except (wave.Error, struct.error, EOFError, OSError, RuntimeError, ValueError):  # of damaged headers
        return None
    return Decoded(samples.astype(np.float32) / FULL_SCALE, rate) if len(samples) == wanted else None


def _part(n_samples: int, rate: int, longest_s: float | None, start_s: float | None) -> tuple[int, int]:
    """Return the first sample of the part to read, and its number of samples."""
    wanted = n_samples if longest_s is None else min(n_samples, round(longest_s * rate))
    last_start = n_samples - wanted
    return last_start // 2 if start_s is None else min(round(start_s * rate), last_start), wanted


def _by_ffmpeg(path: Path, refused: AudioError, longest_s: float | None, start_s: float | None) -> Decoded:
    """Read what libsndfile refused; its own reason stands where ffmpeg refuses it too."""
    try:
        content = ffmpeg.decoded(path)
    except ffmpeg.DamagedError as error:
        raise AudioError(path, str(error)) from error
    except IntegrityError as error:
        raise AudioError(path, f"{error}, decoded by ffmpeg; cut it into shorter files") from error
    if not content:
        raise refused
    found = _read(BytesIO(content), path, longest_s, start_s)
    return replace(found, conversions=("decoded by ffmpeg", *found.conversions))


def _read(source: str | bytes | BinaryIO, path: Path, longest_s: float | None, start_s: float | None) -> Decoded:
    try:
        with soundfile.SoundFile(source) as file:
            rate, n_samples = file.samplerate, file.frames
            require_rate(path, rate)
            check_whole(path, file.extra_info)
            start, wanted = _part(n_samples, rate, longest_s, start_s)
            if start:
                file.seek(start)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, MemoryError, ValueError) as error:
        text = str(getattr(error, "error_string", error)).strip().rstrip(".") or "unknown error"
        raise AudioError(path, f"no readable audio ({text})", undecoded=True) from error
    if len(samples) < WHOLE * wanted:
        raise AudioError(path, f"cut off: {len(samples):,} of {wanted:,} samples")
    if not len(samples):
        raise AudioError(path, "holds no samples")
    return mono(path, samples, rate)


def as_wav(decoded: Decoded) -> bytes:
    """Write a waveform as a WAV file of 16 bits."""
    content = BytesIO()
    soundfile.write(content, decoded.waveform, decoded.sample_rate, "PCM_16", format="WAV")
    return content.getvalue()


def write_wav(path: Path, waveform: NDArray[Any], sample_rate: int) -> None:
    """Write a waveform, or samples of 16 bits, as a WAV file of 16 bits; OSError if the system refuses."""
    path.write_bytes(as_wav(Decoded(waveform, sample_rate)))  # libsndfile's own error of a full disk is no OSError


def as_waveform(samples: Any) -> Waveform:
    """Return samples (n_samples,), floats in [-1, 1] or integers of full scale, as a waveform; ValueError if not."""
    array = np.asarray(samples)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"a waveform (n_samples,) of one channel is needed, got shape {array.shape}")
    if array.dtype.kind not in "if":
        raise ValueError(f"a waveform of floats or signed integers is needed, got {array.dtype}")
    if array.dtype.kind == "i":
        if array.dtype.itemsize > WIDEST:
            raise ValueError(f"integers of 8, 16 or 32 bits of full scale are needed, or floats, got {array.dtype}")
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    peak = float(np.abs(array).max())
    if not np.isfinite(peak):
        raise ValueError("a waveform of finite numbers is needed, got NaN or infinity")
    if peak > LOUDEST:
        raise ValueError(f"a waveform in [-1, 1] is needed, got samples up to {peak:.3g}")
    return array.astype(np.float32).clip(-1, 1)


def require_hz(rate: float) -> int:
    """Return a sample rate as whole Hz; ValueError if no sound has it."""
    if not isinstance(rate, Real):
        raise ValueError(f"a sample rate is a number of Hz, got {rate!r:.40}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):
        raise ValueError(f"a sample rate of {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz is needed, got {rate}")
    return int(rate)


def duration_s(path: Path) -> float:
    """Return the length of a file in seconds, from its header if that says it."""
    check_readable(path)
    if (promised := promised_s(path)) is not None:
        return promised
    decoded = read_waveform(path)  # by ffmpeg, if by anything
    return len(decoded.waveform) / decoded.sample_rate


def promised_s(path: Path) -> float | None:
    """Return the length in seconds that the header of a file promises; None without a header that libsndfile reads."""
    try:
        info = soundfile.info(decoder_name(path))
    except soundfile.SoundFileError:
        return None
    return float(info.frames / info.samplerate)


def resample(waveform: Waveform, old_rate: int, new_rate: int) -> Waveform:
    """Change the sample rate of a waveform (n_samples,), band-limited; equal rates return it as it is."""
    if old_rate == new_rate:
        return waveform
    import soxr

    resampled: Waveform = soxr.resample(waveform, old_rate, new_rate)
    return resampled.clip(-1, 1)  # the filter overshoots at full scale


def read_clip(source: Path | BinaryIO, clip: ClipFormat) -> Decoded:
    """Read a file as a clip: mono, at the clip's rate, cropped to its loudest part, one window at least."""
    decoded = read_waveform(source, longest_s=max(LONGEST_S, clip.clip_length / clip.sample_rate))
    return fit_clip(decoded, clip)


def fit_clip(decoded: Decoded, clip: ClipFormat) -> Decoded:
    """Bring a waveform to the rate and the length of a clip; what was done is added to its conversions."""
    conversions = list(decoded.conversions)
    waveform = decoded.waveform
    if decoded.sample_rate != clip.sample_rate:
        waveform = resample(waveform, decoded.sample_rate, clip.sample_rate)
        conversions.append(f"resampled from {decoded.sample_rate} Hz")
    waveform, fitted = fit_length(waveform, clip.clip_length, clip.win_length)
    return Decoded(waveform, clip.sample_rate, (*conversions, *fitted))


def fit_length(waveform: Waveform, clip_length: int, win_length: int) -> tuple[Waveform, tuple[str, ...]]:
    """Crop a longer waveform to its loudest part, pad one shorter than a window with zeros behind; say which."""
    n_samples = len(waveform)
    if n_samples > clip_length:
        start = loudest(waveform, clip_length)
        return waveform[start : start + clip_length], ("cropped to the loudest part",)
    if n_samples < win_length:
        return np.pad(waveform, (0, win_length - n_samples)), ("padded to one window",)
    return waveform, ()


def loudest(waveform: Waveform, n_samples: int) -> int:
    """Return where the `n_samples` with the most energy begin; 0 if there are no more than that.

    Of neighbouring places with as much to within a hundredth the middle one, so that a short word lies in the middle.
    """
    if len(waveform) <= n_samples:
        return 0
    sums = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    energy = sums[n_samples:] - sums[:-n_samples]
    best = int(energy.argmax())
    less = np.flatnonzero(energy < AS_LOUD * energy[best])
    at = int(np.searchsorted(less, best))
    first = int(less[at - 1]) + 1 if at else 0
    last = int(less[at]) - 1 if at < len(less) else len(energy) - 1
    return (first + last) // 2


def decoder_name(path: Path) -> str | bytes:
    """Name a file for libsndfile, as bytes where names are: they need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def check_readable(path: Path) -> None:
    """Turn away what the decoder would call only a `system error`, and what it would wait for: a pipe, a device."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise AudioError(path, "cannot be read (a folder, a pipe or a device)")
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(path, "empty file")
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise AudioError(path, f"cannot be read ({getattr(error, 'strerror', error)})") from error


def require_rate(path: Path, rate: int) -> None:
    """Refuse a rate that only a damaged header has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(path, f"damaged: a sample rate of {rate} Hz")


def check_whole(path: Path, header_log: str) -> None:
    """Compare the size a WAV header promises with what follows it, as libsndfile logged them."""
    if found := re.search(r"^\s*data\s*:\s*(\d+) \(should be (\d+)\)", header_log, re.MULTILINE):
        promised, there = int(found[1]), int(found[2])
        if promised < STREAMED and there < WHOLE * promised:
            raise AudioError(path, f"cut off: {there:,} of {promised:,} bytes of sound")


def mono(path: Path, samples: NDArray[np.float32], rate: int) -> Decoded:
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


# Taken for clips. libsndfile cannot read the last row, and ffmpeg may not be there: better reported than passed over.
SUFFIXES = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf",
    ".m4a", ".aac", ".wma", ".webm", ".amr", ".mp4",
)  # fmt: skip
