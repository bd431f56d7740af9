"""Recordings of a split -> hours of sound with keywords at known times, other words and noise between them.

    Assembly.blocks() -> waveforms (n,) float32, one an utterance with its pause; Assembly.spoken: what lies where

Every utterance is one clip. Between two of them lie 0.5 to 5.5 s; a third of them are keywords. There is noise all the
time, another kind every two minutes: the part of the corpus's noise recordings that training never uses, and babble of
eight talkers saying other words. The signal-to-noise ratio is the active level of each clip to the level of the noise.
Nothing is kept: the blocks are made as they are asked for, the same for the same seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.audio.reading import Waveform, duration_s, read_clip
from kwspot.corpus.layout import read_corpus
from kwspot.corpus.noise import NOISE_SPANS, UNHEARD_SPAN, read_noises
from kwspot.errors import MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip
from kwspot.seeding import rng_for
from kwspot.signal.level import active_level, rms
from kwspot.signal.noise import babble, coloured_noise
from kwspot.tasks import UNKNOWN

PAUSE_S = (0.5, 5.5)  # shortest and longest
KEYWORD_SHARE = 1 / 3  # of the utterances
SCENE_S = 120.0  # of one kind of noise at one level
LEVEL_DB = (-35.0, -20.0)  # active level of the speech below full scale
AUDIBLE_DB = 25.0  # below its loudest 10 ms, of a clip
TALKERS = 8
BABBLE_S = 20
N_SAID = TALKERS * BABBLE_S  # clips in the babble


@dataclass(frozen=True)
class Spoken:
    """A clip in the assembled sound: what was said, and from when to when its file lies there."""

    word: str
    clip: str  # name of the file
    speaker: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Assembly:
    """A long sound, planned: `spoken` in order of time."""

    data: Path
    front_end: FrontEnd
    spoken: tuple[Spoken, ...]
    noises: Mapping[str, Waveform]  # at the front end's rate, RMS 1
    snr_db: float
    seed: int

    @property
    def seconds(self) -> float:
        """Length of the sound: it ends with the last utterance."""
        return self.spoken[-1].end_s

    def sounding(self, said: Spoken) -> tuple[float, float]:
        """Return from when to when a word sounds: where its clip is at most 25 dB below its loudest 10 ms."""
        clip, rate = read_clip(self.data / said.clip, self.front_end).waveform, self.front_end.sample_rate
        start_s = round(said.end_s * rate) / rate - len(clip) / rate
        first_s, last_s = sounding(clip, rate)
        return start_s + first_s, start_s + last_s

    def blocks(self) -> Iterator[Waveform]:
        """Yield the sound, utterance by utterance."""
        rate, at = self.front_end.sample_rate, 0
        scenes = rng_for(self.seed, "long audio", "scenes")
        scene, noise, start, level = -1, np.zeros(1, np.float32), 0, 0.0
        for said in self.spoken:
            if (now := int(said.start_s / SCENE_S)) != scene:
                scene, noise = now, list(self.noises.values())[now % len(self.noises)]
                start, level = int(scenes.integers(len(noise))), 10 ** (scenes.uniform(*LEVEL_DB) / 20)
            end = round(said.end_s * rate)
            block = level * 10 ** (-self.snr_db / 20) * np.take(noise, start + np.arange(at, end), mode="wrap")
            clip = read_clip(self.data / said.clip, self.front_end).waveform
            if loudness := active_level(clip, rate):
                block[len(block) - len(clip) :] += level / loudness * clip
            yield block.clip(-1, 1).astype(np.float32)
            at = end


def sounding(clip: Waveform, rate: int) -> tuple[float, float]:
    """Return from when to when a word sounds in a clip, in s: at most AUDIBLE_DB below its loudest 10 ms."""
    hop = rate // 100
    levels = np.square(clip[: len(clip) // hop * hop].reshape(-1, hop)).mean(1)
    (loud,) = np.nonzero(levels >= levels.max() * 10 ** (-AUDIBLE_DB / 10))
    return float(loud[0] * hop / rate), float((loud[-1] + 1) * hop / rate)


def assemble(
    clips: Sequence[CachedClip],
    keywords: Sequence[str],
    *,
    data: Path,
    front_end: FrontEnd,
    split: str,
    hours: float,
    snr_db: float,
    seed: int,
) -> Assembly:
    """Plan a sound of at least `hours` from the recordings of a split; every clip comes before one comes again.

    MissingError if the split has no recordings of keywords, or none of other words.
    """
    there = [clip for clip in clips if clip.split == split and (data / clip.name).is_file()]
    ours, others = ([clip for clip in there if (clip.word in keywords) is wanted] for wanted in (True, False))
    for kind, found in (("keywords", ours), ("other words", others)):
        if not found:
            raise MissingError(
                f"{data}: no {split} recordings of {kind}, of which long audio is made; name a corpus with recordings, "
                f"or add a folder '{UNKNOWN}'"
            )
    random = rng_for(seed, "long audio", "spoken")
    next_keyword, next_other = _in_turn(ours, random), _in_turn(others, random)
    spoken: list[Spoken] = []
    at = 0.0
    while at < hours * 3600:
        clip = next(next_keyword if random.uniform() < KEYWORD_SHARE else next_other)
        start = at + random.uniform(*PAUSE_S)
        at = start + min(duration_s(data / clip.name), front_end.clip_ms / 1000)
        spoken.append(Spoken(clip.word, clip.name, clip.speaker, start, at))
    noises = _noises(data, front_end, split, others, seed)
    return Assembly(data, front_end, tuple(spoken), noises, snr_db, seed)


def _in_turn(clips: Sequence[CachedClip], random: np.random.Generator) -> Iterator[CachedClip]:
    """Yield clips without end, each once before any comes again."""
    while True:
        yield from (clips[i] for i in random.permutation(len(clips)))


def _noises(
    data: Path, front_end: FrontEnd, split: str, others: Sequence[CachedClip], seed: int
) -> dict[str, Waveform]:
    """Return the noises by name: recordings (coloured noise where there are none) and babble."""
    rate = front_end.sample_rate
    recorded = read_noises(data, read_corpus(data).noise, NOISE_SPANS.get(split, UNHEARD_SPAN), rate)
    found: dict[str, Any] = {Path(name).stem: noise for name, noise in recorded.items()}
    rng = rng_for(seed, "long audio", "noises")
    if not found:
        found = {"pink noise": coloured_noise(rng, rate * BABBLE_S, slope=-1)}
    said = [read_clip(data / others[int(i)].name, front_end).waveform for i in rng.integers(len(others), size=N_SAID)]
    talks = [np.concatenate(said[i::TALKERS]) for i in range(TALKERS)]
    if any(talk.any() for talk in talks):
        found["babble"] = babble(rng, talks, rate * BABBLE_S, rate)
    return {name: (x / rms(x)).astype(np.float32) for name, x in found.items()}
