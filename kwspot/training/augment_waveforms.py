"""Recordings varied per clip and per epoch, then their log-mel frames: the long route of augmentation.

    waveforms (batch, n_samples), lengths (batch,) in samples
    -> features (batch, n_frames, n_mels), lengths in frames

    speed   like a tape: tempo and pitch together
    shift   by samples; zeros come in from beyond the ends
    noise   recordings of noise, coloured noise where the corpus has none, or babble of other clips of the batch
    gain    a factor

augment_features.py moves cached frames instead, and draws the same amounts from the same streams. The vocal tract,
masks and mixup act on frames on either route.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Generator, Tensor

from kwspot.audio.reading import Waveform, read_clip
from kwspot.corpus.layout import SILENCE_FOLDER, TRAIN, Clip, read_corpus
from kwspot.corpus.noise import NOISE_SPANS, read_noises
from kwspot.errors import ConfigError
from kwspot.experiments.settings import AugmentSettings, FrontEnd
from kwspot.features.cache import FROM_WAVEFORMS, FeatureCache
from kwspot.features.dataset import Batch, Split
from kwspot.features.log_mel import log_mel_frames
from kwspot.features.silence import silence_waveform
from kwspot.signal.level import mix
from kwspot.signal.noise import babble, noise_crop
from kwspot.training.augment_features import BABBLE_SHARE, BABBLERS, Streams, uniform
from kwspot.training.streams import rng_from


@dataclass(frozen=True)
class WaveformSplit(Split):
    """The clips of a split as sound: `batch` reads their recordings, and its lengths are samples."""

    data: Path
    front_end: FrontEnd
    noise: Sequence[str]  # names of the corpus's noise recordings

    def batch(self, chosen: np.ndarray) -> Batch:
        """Read the clips at these positions of the split: waveforms (batch, n_samples), lengths, labels."""
        found = [self._read(int(i)) for i in chosen]
        waveforms = torch.zeros(len(found), max(map(len, found)))
        for row, waveform in zip(waveforms, found, strict=True):
            row[: len(waveform)] = torch.from_numpy(waveform)
        return waveforms, torch.tensor([len(w) for w in found]), torch.from_numpy(self.labels[chosen])

    def _read(self, position: int) -> Waveform:
        clip = self.clips[position]
        if clip.name.startswith(SILENCE_FOLDER):
            planned = Clip(clip.name, clip.word, clip.speaker, clip.split)
            return silence_waveform(self.data, planned, self.noise, self.front_end)
        return read_clip(self.data / clip.name, self.front_end).waveform


def as_waveforms(split: Split, cache: FeatureCache, data: Path, front_end: FrontEnd) -> WaveformSplit:
    """Return a split whose batches are the recordings in `data` that its frames were computed from.

    ConfigError if the frames were imported: there is no sound then.
    """
    if cache.meta["source"] != FROM_WAVEFORMS:
        raise ConfigError(
            f"augment.route: 'waveform' needs recordings, and {data} has imported frames only; "
            "leave it out to augment the frames"
        )
    noise = read_corpus(data).noise
    return WaveformSplit(split.frames, split.rows, split.lengths, split.labels, split.clips, data, front_end, noise)


def read_noise(split: WaveformSplit) -> list[Waveform]:
    """Read the part of every noise recording that training may use."""
    return list(read_noises(split.data, split.noise, NOISE_SPANS[TRAIN], split.front_end.sample_rate).values())


def vary_waveforms(
    waveforms: Tensor,
    lengths: Tensor,
    settings: AugmentSettings,
    front_end: FrontEnd,
    noise: Sequence[Waveform],
    draw: Streams,
) -> tuple[Tensor, Tensor]:
    """Play, move, mix with noise and scale the clips; return their features and lengths in frames."""
    sounds = play(waveforms, lengths, settings, front_end, draw)
    if settings.noise_share:
        sounds = add_noise(sounds, settings, front_end, noise, draw("noise"))
    if settings.gain_db:
        sounds = sounds * 10 ** (uniform(len(sounds), settings.gain_db, draw("gain"), sounds) / 20)[:, None]
    clips = [sound[:length].numpy() for sound, length in zip(sounds, lengths.tolist(), strict=True)]
    n_frames = torch.tensor([front_end.n_frames(len(clip)) for clip in clips])
    return torch.from_numpy(log_mel_frames(clips, front_end)), n_frames


def play(waveforms: Tensor, lengths: Tensor, settings: AugmentSettings, front_end: FrontEnd, draw: Streams) -> Tensor:
    """Play every clip at a speed of its own about its middle, and move it; its length stays."""
    n, rate = len(waveforms), front_end.sample_rate
    most = settings.shift_ms * rate / 1000
    shifts = uniform(n, most, draw("shift"), waveforms).round().int().tolist()
    speeds = (1 + uniform(n, settings.speed, draw("speed"), waveforms)).tolist()
    played = torch.zeros_like(waveforms)
    for row, waveform, length, shift, speed in zip(played, waveforms, lengths.tolist(), shifts, speeds, strict=True):
        sound = waveform[:length]
        if settings.speed:
            sound = torch.from_numpy(soxr.resample(sound.numpy(), rate * speed, rate))
        start = (length - len(sound)) // 2 + shift
        part = sound[max(0, -start) : max(0, length - start)]
        row[max(0, start) : max(0, start) + len(part)] = part
    return played


def add_noise(
    sounds: Tensor, settings: AugmentSettings, front_end: FrontEnd, recordings: Sequence[Waveform], stream: Generator
) -> Tensor:
    """Add noise or babble to a share of the clips, at a signal-to-noise ratio drawn for each (signal.level)."""
    n, n_samples, rate = *sounds.shape, front_end.sample_rate
    noisy = torch.rand(n, generator=stream) < settings.noise_share
    in_babble = torch.rand(n, generator=stream) < BABBLE_SHARE
    low, high = settings.snr_db
    snr_db = low + (high - low) * torch.rand(n, generator=stream)
    rng = rng_from(stream)
    others = torch.randint(1, max(2, n), (BABBLERS,), generator=stream).tolist()
    waveforms, mixed = sounds.numpy(), sounds.clone()
    for i in noisy.nonzero()[:, 0].tolist():
        if in_babble[i]:
            noise = babble(rng, [waveforms[(i - other) % n] for other in others], n_samples, rate)
        else:
            noise = noise_crop(rng, recordings, n_samples)
        mixed[i] = torch.from_numpy(mix(waveforms[i], noise, float(snr_db[i]), rate))
    return mixed
