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
from torchaudio.functional import melscale_fbanks

from kwspot.audio.reading import Waveform
from kwspot.errors import ConfigError
from kwspot.experiments.settings import FrontEnd


class LogMel(nn.Module):
    """The front end as a module without parameters: (batch, n_samples) -> (batch, n_frames, n_mels)."""

    hann: Tensor
    bands: Tensor

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        check_front_end(front_end)
        self.front_end = front_end
        bands = mel_bands(front_end)
        n_bins = int(bands.amax(dim=1).nonzero().max()) + 1  # those above f_max weigh nothing
        self.register_buffer("hann", torch.hann_window(front_end.win_length), persistent=False)  # periodic
        self.register_buffer("bands", bands[:n_bins], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the frames; a waveform shorter than one window is an error, pad it first."""
        windows = waveform.unfold(-1, self.front_end.win_length, self.front_end.hop_length)
        spectrum = torch.fft.rfft(windows * self.hann, self.front_end.n_fft)[..., : len(self.bands)]
        squares = torch.view_as_real(spectrum).square()  # a pass over memory less than squares of real and imag
        power = squares[..., 0] + squares[..., 1]  # (batch, n_frames, n_bins)
        return (power @ self.bands + self.front_end.log_offset).log()


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
    batch = np.zeros((len(waveforms), front_end.clip_length), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    with torch.no_grad():
        frames: NDArray[np.float32] = _log_mel(front_end)(torch.from_numpy(batch)).numpy()
    for clip_frames, waveform in zip(frames, waveforms, strict=True):
        clip_frames[front_end.n_frames(len(waveform)) :] = math.log(front_end.log_offset)
    return frames
