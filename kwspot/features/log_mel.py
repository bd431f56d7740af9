"""Waveform -> log-mel frames. The only module that imports torchaudio.

waveform  (batch, n_samples)         float32 in [-1, 1], mono, at the front end's sample rate
features  (batch, n_frames, n_mels)  float32, natural log of (mel power + log_offset)

    features[i, m] = log( sum_k fb[k, m] * |FFT(hann * waveform[i*hop : i*hop + win])[k]|^2 + log_offset )

30 ms windows every 10 ms over 40 HTK mel bands, as in Hello Edge (arXiv:1711.07128). Every window lies
wholly inside the clip, so one second has 98 frames: frame i covers samples [i * hop, i * hop + win).
"""

from collections.abc import Sequence
from functools import lru_cache
import math
import warnings

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import MelScale, Spectrogram

from kwspot.audio.reading import Waveform
from kwspot.errors import ConfigError
from kwspot.experiments.settings import FrontEnd


class LogMel(nn.Module):
    """The front end as a module without parameters: (batch, n_samples) -> (batch, n_frames, n_mels)."""

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        check_front_end(front_end)
        self.log_offset = front_end.log_offset
        # torch.stft puts a window shorter than n_fft into the middle of n_fft samples; zeros on both sides of
        # the clip move it back, so that the first window begins with the first sample.
        surplus = front_end.n_fft - front_end.win_length
        self.padding = (surplus // 2, surplus - surplus // 2)
        self.spectrogram = Spectrogram(
            n_fft=front_end.n_fft,
            win_length=front_end.win_length,
            hop_length=front_end.hop_length,
            window_fn=torch.hann_window,  # periodic
            power=None,  # complex: torchaudio would take a root and square it again, twice the time of all else
            center=False,
        )
        self.mel_scale = MelScale(
            n_mels=front_end.n_mels,
            sample_rate=front_end.sample_rate,
            f_min=front_end.f_min,
            f_max=front_end.f_max,
            n_stft=front_end.n_fft // 2 + 1,
            norm=None,
            mel_scale="htk",
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the frames; a waveform shorter than one window is an error, pad it first."""
        spectrum = self.spectrogram(pad(waveform, self.padding))  # (batch, n_fft // 2 + 1, n_frames), complex
        power = self.mel_scale(spectrum.real.square() + spectrum.imag.square())  # (batch, n_mels, n_frames)
        return (power + self.log_offset).log().transpose(-1, -2)


def mel_bands(front_end: FrontEnd) -> Tensor:
    """Return the mel filterbank (n_fft // 2 + 1, n_mels): the weight of every FFT bin in every band."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # check_front_end names it
        return melscale_fbanks(
            n_freqs=front_end.n_fft // 2 + 1,
            f_min=front_end.f_min,
            f_max=front_end.f_max,
            n_mels=front_end.n_mels,
            sample_rate=front_end.sample_rate,
            norm=None,
            mel_scale="htk",
        )


def check_front_end(front_end: FrontEnd) -> None:
    """Refuse a band that holds no FFT bin: ConfigError names it."""
    if empty := (mel_bands(front_end).amax(dim=0) == 0).nonzero().flatten().tolist():
        raise ConfigError(f"front_end.n_mels: band {empty[0]} holds no FFT bin; raise n_fft or lower n_mels")


@lru_cache(maxsize=8)
def _log_mel(front_end: FrontEnd) -> LogMel:
    return LogMel(front_end)


def log_mel_frames(waveforms: Sequence[Waveform], front_end: FrontEnd) -> NDArray[np.float32]:
    """Compute the frames of clips of any lengths up to a whole clip: (n_clips, max_frames, n_mels).

    Beyond the frames of a clip stands the value of silence. The zeros that make the clips equally long change
    no frame before, because every window lies wholly inside its clip.
    """
    batch = torch.zeros(len(waveforms), front_end.clip_length)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    with torch.no_grad():
        frames: NDArray[np.float32] = _log_mel(front_end)(batch).numpy()
    for clip_frames, waveform in zip(frames, waveforms, strict=True):
        clip_frames[front_end.n_frames(len(waveform)) :] = math.log(front_end.log_offset)
    return frames
