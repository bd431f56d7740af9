"""The conditions a spotter is measured under, and what a clip is mixed with for them.

    noise    the last tenth of every noise recording: training and validation use other parts of them, so the
             sound is new and its kind is not; coloured noise (white to brown) where the corpus has none
    babble   several other speakers of the split, saying other words than the clip, equally loud
    gain, telephone, reverberation, speed   see degrade.py

The noise of a clip is the same at every ratio, and its echo the same in rooms of one kind, so that a step along a
curve is the step alone. It is drawn from a stream of the clip and the kind: no other clip or condition moves it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.experiments.runs import BABBLE, CLEAN, GAIN, NOISE, REVERBERATION, SPEED, TELEPHONE
from kwspot.signal import degrade
from kwspot.signal.level import mix
from kwspot.signal.noise import babble, noise_crop
from kwspot.signal.room import impulse_response, reverberation

SNRS_DB = (20, 15, 10, 5, 0, -5)
GAINS_DB = (20, 10, -10, -20)
# Reverberation time (s) and direct sound against echo (dB): a living room and a hall where the two are alike (at the
# critical distance), and the hall from twice as far.
ROOMS = ((0.3, 0), (0.7, 0), (0.7, -6))
SPEEDS = (0.8, 0.9, 1.1, 1.25)


@dataclass(frozen=True)
class Source:
    """A clip as it was recorded, and what it can be mixed with; noise and rooms are drawn when first asked for."""

    waveform: Waveform
    sample_rate: int
    draw: Callable[[str], np.random.Generator]  # the stream of a kind
    recordings: Sequence[Waveform]  # of noise; none is all zeros
    talkers: Callable[[np.random.Generator], list[Waveform]]

    @cached_property
    def noise(self) -> Waveform:
        """A piece of a noise recording, as long as the clip."""
        return noise_crop(self.draw(NOISE), self.recordings, len(self.waveform))

    @cached_property
    def babble(self) -> Waveform:
        """Several talkers, each from a random offset, so that there is speech all the time."""
        rng = self.draw(BABBLE)
        return babble(rng, self.talkers(rng), len(self.waveform), self.sample_rate)

    def room(self, rt60_s: float, drr_db: float) -> NDArray[np.float64]:
        """Make the impulse response of a room."""
        tail = reverberation(self.draw(REVERBERATION), rt60_s, round(rt60_s * self.sample_rate), self.sample_rate)
        return impulse_response(tail, drr_db)


def _as_recorded(source: Source) -> Waveform:
    return source.waveform


def _in_noise(kind: str, snr_db: float, source: Source) -> Waveform:
    noise = source.noise if kind == NOISE else source.babble
    return mix(source.waveform, noise, snr_db, source.sample_rate)


def _at_gain(gain_db: float, source: Source) -> Waveform:
    return degrade.gain(source.waveform, gain_db)


def _by_telephone(source: Source) -> Waveform:
    return degrade.telephone(source.waveform, source.sample_rate)


def _in_room(rt60_s: float, drr_db: float, source: Source) -> Waveform:
    return degrade.reverberate(source.waveform, source.room(rt60_s, drr_db))


def _at_speed(speed: float, source: Source) -> Waveform:
    return degrade.play(source.waveform, source.sample_rate, speed)


@dataclass(frozen=True)
class Condition:
    """One way the sound gets worse; `amount` (dB, s or a factor) orders the conditions of a kind."""

    kind: str
    name: str
    change: Callable[[Source], Waveform]
    amount: float | None = None


CONDITIONS = (
    Condition(CLEAN, "as recorded", _as_recorded),
    *(
        Condition(kind, f"{kind}, {snr_db} dB SNR", partial(_in_noise, kind, snr_db), snr_db)
        for kind in (NOISE, BABBLE)
        for snr_db in SNRS_DB
    ),
    *(
        Condition(GAIN, f"{abs(db)} dB {'louder, clipped' if db > 0 else 'quieter'}", partial(_at_gain, db), db)
        for db in GAINS_DB
    ),
    Condition(TELEPHONE, "telephone band, 8 kHz", _by_telephone),
    *(
        Condition(
            REVERBERATION, f"reverberation {rt60_s} s, direct {drr_db} dB", partial(_in_room, rt60_s, drr_db), rt60_s
        )
        for rt60_s, drr_db in ROOMS
    ),
    *(Condition(SPEED, f"speed {speed}", partial(_at_speed, speed), speed) for speed in SPEEDS),
)
