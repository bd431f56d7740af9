"""From a synthesiser's waveform to a recording: vocal tract, room, microphone, level, noise, place.

waveform (n_samples,) at any sample rate -> clip (clip_length,) int16 at 16 kHz, a second unless a phrase needs more

Everything is drawn from the random stream given. The distributions are fitted to what real clips of Speech
Commands look like (peak level, level above the noise, where in the second the word lies), by their quantiles.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kwspot.signal.level import active_level, quantized
from kwspot.signal.noise import SAMPLE_RATE, SLOPES, coloured_noise
from kwspot.signal.room import impulse_response, reverberation

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

CLIP_LENGTH = 16_000  # samples of a clip by default: one second
STEP = 4_000  # samples: of the lengths that a clip can have
TAIL = 6_000  # samples of reverberation kept behind a word
N_FFT = 24_576  # 2**13 * 3: a clip of a second and its tail without wrapping round; longer clips in proportion
AUDIBLE = 1e-4  # of the loudest power: what lies below it before and after a word is cut off
_COARSE_HZ = np.geomspace(20, SAMPLE_RATE / 2, 256)
_OCTAVES = np.log2(np.maximum(_COARSE_HZ, 50) / 1000)  # from 1 kHz
# Lengths an FFT is fast at, without a large prime factor: one within 1.1 % of any number.
_FAST = np.unique([2**a * 3**b * 5**c * 7**d for a in range(17) for b in range(9) for c in range(7) for d in range(4)])


@dataclass(frozen=True)
class Channel:
    """What lies between a mouth and a file."""

    microphone: Array  # gain over the frequencies of `fft_length`
    room: Spectrum  # the same of the room, with the phase
    peak_db: float  # of full scale; above 0 the recording is clipped
    snr_db: float  # active level of the word against the noise
    noise_slope: float  # the noise power goes with frequency to this power
    hum_db: float  # mains hum against the rest of the noise
    hum_hz: int


def fft_length(clip_length: int) -> int:
    """Return the samples of the transform that a clip goes through: `N_FFT` for a second."""
    if clip_length % STEP or clip_length < CLIP_LENGTH:
        raise ValueError(f"a clip has {CLIP_LENGTH:,} samples, or more in steps of {STEP:,}; got {clip_length:,}")
    return N_FFT * (clip_length // STEP) // (CLIP_LENGTH // STEP)


@lru_cache(maxsize=4)
def _hz(n_fft: int) -> Array:
    return np.asarray(np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE), np.float64)


def draw_channel(rng: np.random.Generator, n_fft: int = N_FFT) -> Channel:
    """Draw a microphone, a room, a distance and a noise, over the frequencies of `n_fft` samples."""
    return Channel(
        microphone=_microphone(rng, n_fft),
        room=_room(rng, n_fft),
        peak_db=min(3.0, -rng.gamma(1.2, 5.5) + rng.normal(0, 2.5)),
        snr_db=max(8.0, rng.normal(47, 16)),
        noise_slope=rng.uniform(*SLOPES),
        hum_db=rng.uniform(-15, 5) if rng.uniform() < 0.3 else -np.inf,
        hum_hz=int(rng.choice([50, 60])),
    )


def _microphone(rng: np.random.Generator, n_fft: int) -> Array:
    """Draw a frequency response: a tilt, four broad bumps, a high-pass and a low-pass."""
    gain_db = rng.normal(0, 2.5) * _OCTAVES
    for _ in range(4):
        centre, width = rng.uniform(-3.3, 3), rng.uniform(0.3, 1)
        gain_db += rng.normal(0, 4) * np.exp(-0.5 * ((_OCTAVES - centre) / width) ** 2)
    low_hz, high_hz = np.exp(rng.uniform(np.log([40, 3_000]), np.log([250, 12_000])))
    gain_db -= 10 * np.log10(1 + (low_hz / _COARSE_HZ) ** 4)
    gain_db -= 10 * np.log10(1 + (_COARSE_HZ / high_hz) ** 6)
    return np.interp(_hz(n_fft), _COARSE_HZ, 10 ** (gain_db / 20))


def _room(rng: np.random.Generator, n_fft: int) -> Spectrum:
    """Draw a room whose tail falls by 60 dB within 0.08 to 0.5 s."""
    tail = reverberation(rng, np.exp(rng.uniform(np.log(0.08), np.log(0.5))), TAIL)
    return np.asarray(np.fft.rfft(impulse_response(tail, rng.uniform(3, 25)), n_fft))


def trim(waveform: NDArray[np.floating], sample_rate: int) -> NDArray[np.floating]:
    """Cut off what is 40 dB below the loudest 10 ms at either end."""
    n = sample_rate // 100
    power = np.add.reduceat(waveform**2, np.arange(0, len(waveform), n)) if len(waveform) else np.zeros(0)
    audible = np.flatnonzero(power > AUDIBLE * power.max(initial=0))
    return waveform[audible[0] * n : (audible[-1] + 1) * n] if len(audible) else waveform[:0]


def transmit(
    waveform: NDArray[np.floating], sample_rate: int, vtlp: float, channel: Channel, clip_length: int = CLIP_LENGTH
) -> tuple[Array, int]:
    """Resample to 16 kHz through a channel; return the sound, peak 1, and how long it is without its tail.

    A `vtlp` above 1 is a shorter vocal tract: the waveform is played that much faster, so that formants, pitch
    and tempo go up together (by at most 1.1 % more or less, for the sake of the FFT).
    """
    n_out = fft_length(clip_length)
    wanted = n_out * sample_rate * vtlp / SAMPLE_RATE
    n_in = int(_FAST[np.argmin(np.abs(_FAST - wanted))])
    length = min(clip_length, round(len(waveform) * n_out / n_in))
    spectrum = np.zeros(n_out // 2 + 1, complex)
    dry = np.fft.rfft(waveform[: clip_length * n_in // n_out], n_in)[: len(spectrum)]
    spectrum[: len(dry)] = dry
    sound = np.fft.irfft(spectrum * channel.microphone * channel.room, n_out)[: length + TAIL]
    return sound / np.abs(sound).max(), length


def record(
    waveform: NDArray[np.floating],
    sample_rate: int,
    vtlp: float,
    rng: np.random.Generator,
    clip_length: int = CLIP_LENGTH,
) -> NDArray[np.int16]:
    """Record a word into a clip of `clip_length` samples; at times its edge cuts the word, as in real clips."""
    channel = draw_channel(rng, fft_length(clip_length))
    sound, length = transmit(trim(waveform, sample_rate), sample_rate, vtlp, channel, clip_length)
    sound *= 10 ** (channel.peak_db / 20)
    centre = SAMPLE_RATE * rng.normal(0.52, 0.15) + (clip_length - CLIP_LENGTH) / 2
    start = int(np.clip(centre - length / 2, -length / 8, clip_length - length * 7 / 8))  # an eighth is lost at most
    clip = coloured_noise(
        rng, clip_length, channel.noise_slope, np.sqrt(channel.microphone), channel.hum_hz, channel.hum_db
    )
    clip *= active_level(sound, SAMPLE_RATE) * 10 ** (-channel.snr_db / 20)
    part = sound[max(0, -start) : clip_length - start]
    clip[max(0, start) : max(0, start) + len(part)] += part
    return quantized(clip)
