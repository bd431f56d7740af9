"""Cached log-mel frames -> what the same word could have sounded like; drawn per clip and per epoch.

    features (batch, n_frames, n_mels), lengths (batch,) -> features of the same shape

    speed, shift, vtlp   X'[t, m] = X[src(t), src(m)], between neighbours linearly; beyond the ends the end frames
    gain                  X + gain_db * ln(10) / 10
    noise                 ln(e^X + g e^N): power adds; N is a recording of noise, coloured noise, or babble of other
                          clips of the batch
    neighbours            the clip is a window of long sound, moved, with other words before and after it
    masks                 SpecAugment (Park et al., arXiv:1904.08779): spans of frames and of bands take the mean
    mixup                 lambda X_i + (1 - lambda) X_j with targets mixed alike (Zhang et al., arXiv:1710.09412)

All of it acts on frames that were computed once, so an epoch reads no sound. Every purpose draws from a stream of its
own: switching one on does not move the others. Validation and test are never augmented.
"""

from collections.abc import Callable
import math

import torch
from torch import Generator, Tensor
import torch.nn.functional as F

from kwspot.experiments.settings import AugmentSettings, FrontEnd, NeighbourSettings
from kwspot.signal.level import HANGOVER_S, MARGIN_DB
from kwspot.signal.noise import SLOPES
from kwspot.tasks import SILENCE, UNKNOWN, Task
from kwspot.training.streams import rng_from

Streams = Callable[[str], Generator]  # by purpose

DB = math.log(10) / 10  # nats of power in a decibel
BABBLE_SHARE = 0.3  # of the noisy clips
RECORDED_SHARE = 0.5  # of those without babble, where the corpus has recordings of noise; the others are coloured
BABBLERS = 3
ACTIVE_DB = 25.0  # below its loudest frame a clip is active


def augment(
    features: Tensor,
    lengths: Tensor,
    settings: AugmentSettings,
    front_end: FrontEnd,
    draw: Streams,
    noise: Tensor | None = None,
) -> Tensor:
    """Apply what the settings ask for; `draw` gives the random stream of a purpose.

    `noise` (n_clips, max_frames, n_mels) are the features of recordings of noise, if there are any.
    """
    if settings.shift_ms or settings.speed or settings.vtlp:
        features = warp(features, lengths, settings, front_end, draw)
    if settings.noise_share:
        features = add_noise(features, settings, front_end, draw, noise)
    if settings.gain_db:
        features = features + uniform(len(features), settings.gain_db, draw("gain"), features)[:, None, None] * DB
    if settings.time_masks or settings.freq_masks:
        features = mask(features, lengths, settings, front_end, draw)
    return features


def in_context(
    features: Tensor,
    lengths: Tensor,
    labels: Tensor,
    settings: NeighbourSettings,
    front_end: FrontEnd,
    task: Task,
    n_clips: int,
    draw: Streams,
) -> tuple[Tensor, Tensor, Tensor]:
    """Let a share of the first `n_clips` be windows of long sound: moved, with words that are no keywords around them.

    A keyword stays whole, or little of it is left and it becomes `unknown`; of other words any piece may be left.
    Nothing changes in a batch without other words. Returns features, lengths and labels.
    """
    n, n_frames, _ = features.shape
    unknown, silence = task.classes.index(UNKNOWN), task.classes.index(SILENCE) if SILENCE in task.classes else -1
    own = labels.cpu()
    others = torch.nonzero(own == unknown).flatten()
    if not len(others):
        return features, lengths, labels
    stream, hop_ms = draw("neighbours"), front_end.hop_ms
    chosen = (torch.rand(n, generator=stream) < settings.share) & (torch.arange(n) < n_clips)
    keyword = (own != unknown) & (own != silence)
    cut = keyword & (torch.rand(n, generator=stream) < settings.cut_share)
    least = torch.where(cut, settings.cut_shift_ms[0], 0.0)
    most = torch.where(
        cut, settings.cut_shift_ms[1], torch.where(own == unknown, settings.unknown_shift_ms, settings.shift_ms)
    )
    shift = least + (most - least) * torch.rand(n, generator=stream)
    side = 2 * torch.randint(2, (n,), generator=stream) - 1
    nearer = settings.overlap_ms * torch.rand(n, 2, generator=stream) / hop_ms
    before, after = others[torch.randint(len(others), (2, n), generator=stream)].to(features.device)
    place = (
        torch.arange(n_frames) + (shift * side / hop_ms).round()[:, None]
    )  # in the clip, of each frame of the window

    def frames(clips: Tensor, places: Tensor) -> Tensor:
        within = places.round().long().clamp(0, n_frames - 1).to(features.device)
        return clips.gather(1, within[..., None].expand_as(clips))

    first, last = closed_in(features, settings.closeness or 0.0, draw)
    early, late = place < first[:, None], place >= last[:, None]
    window = frames(features, place)
    window = _where_frames(early, frames(features[before], n_frames + place - first[:, None] - nearer[:, :1]), window)
    window = _where_frames(late, frames(features[after], place - last[:, None] + nearer[:, 1:]), window)
    chosen_here = chosen.to(features.device)
    return (
        torch.where(chosen_here[:, None, None], window, features),
        torch.where(chosen_here, n_frames, lengths),
        torch.where((chosen & cut).to(labels.device), unknown, labels),
    )


def closed_in(features: Tensor, closeness: float, draw: Streams) -> tuple[Tensor, Tensor]:
    """Draw where each clip begins and ends among its neighbours: frames (n,) from 0 on, and up to the last.

    At most a share `closeness` of the quiet before and after what is active in it belongs to the neighbours.
    """
    n, n_frames, _ = features.shape
    if not closeness:
        return torch.zeros(n), torch.full((n,), n_frames)
    level = features.exp().mean(2).log().cpu()
    active = level >= level.amax(1, keepdim=True) - ACTIVE_DB * DB
    onset = active.float().argmax(1)
    offset = n_frames - active.flip(1).float().argmax(1)
    shares = closeness * torch.rand(2, n, generator=draw("closeness"))
    return (shares[0] * onset).floor(), (n_frames - shares[1] * (n_frames - offset)).ceil()


def _where_frames(places: Tensor, these: Tensor, others: Tensor) -> Tensor:
    return torch.where(places.to(these.device)[..., None], these, others)


def warp(features: Tensor, lengths: Tensor, settings: AugmentSettings, front_end: FrontEnd, draw: Streams) -> Tensor:
    """Move, stretch and transpose clips: time shift, tempo, and the length of the vocal tract."""
    n, n_frames, n_mels = features.shape
    shift = uniform(n, settings.shift_ms / front_end.hop_ms, draw("shift"), features)[:, None]
    speed = 1 + uniform(n, settings.speed, draw("speed"), features)[:, None]
    vtlp = 1 + uniform(n, settings.vtlp, draw("vtlp"), features)[:, None]
    last = (lengths[:, None] - 1).to(features.dtype)
    frame = torch.arange(n_frames, device=features.device)
    source_frame = ((frame - last / 2 - shift) * speed + last / 2).clamp_min(0).minimum(last)
    source_frame = torch.where(frame <= last, source_frame, frame)  # what lies behind a clip stays
    bands = mel_of(band_centres(front_end).to(features) * vtlp)
    low, high = (mel_of(torch.tensor(hz)).item() for hz in (front_end.f_min, front_end.f_max))
    source_band = ((bands - low) / ((high - low) / (n_mels + 1)) - 1).clamp(0, n_mels - 1)
    # grid_sample has places from -1 to 1, the last axis first.
    x = 2 * source_band / (n_mels - 1) - 1
    y = 2 * source_frame / max(1, n_frames - 1) - 1
    grid = torch.stack([x[:, None].expand(n, n_frames, n_mels), y[..., None].expand(n, n_frames, n_mels)], dim=-1)
    return F.grid_sample(features[:, None], grid, align_corners=True, padding_mode="border")[:, 0]


def add_noise(
    features: Tensor, settings: AugmentSettings, front_end: FrontEnd, draw: Streams, recorded: Tensor | None = None
) -> Tensor:
    """Add noise or babble to a share of the clips, at a signal-to-noise ratio drawn for each (signal.level)."""
    n = len(features)
    stream = draw("noise")
    noisy = torch.rand(n, generator=stream) < settings.noise_share
    babble = torch.rand(n, generator=stream) < BABBLE_SHARE
    low, high = settings.snr_db
    snr_db = (low + (high - low) * torch.rand(n, generator=stream)).to(features)
    power = features.exp()
    noise = coloured(features, front_end, stream)
    if recorded is not None:
        chosen = torch.rand(n, generator=stream) < RECORDED_SHARE
        pieces = recorded[torch.randint(len(recorded), (n,), generator=stream).to(recorded.device)]
        noise = _where(chosen, pieces[:, : features.shape[1]].to(features).exp(), noise)
    noise = _where(babble, _babble(power, stream), noise)
    wanted = active_power(power.mean(2), front_end.hop_ms) * torch.exp(-snr_db * DB)
    gain = (wanted / noise.mean((1, 2)).clamp_min(1e-20)) * noisy.to(features)
    return (power + gain[:, None, None] * noise).log()


def active_power(power: Tensor, hop_ms: float) -> Tensor:
    """Return the mean power of the active frames of clips: (n, n_frames) -> (n,), as signal.level.active_level has it.

    On 1,498 recordings of Speech Commands it is the level of the waveform to within 1 dB in eight of ten.
    """
    hangover = round(1000 * HANGOVER_S / hop_ms)
    reached = F.max_pool1d(F.pad(power[:, None], (hangover, 0)), hangover + 1, 1)[:, 0]
    thresholds = reached.sort(dim=1, descending=True).values
    n_active = torch.arange(1, power.shape[1] + 1, device=power.device)
    levels = power.sum(1, keepdim=True) / n_active
    fits = levels <= thresholds * 10 ** (MARGIN_DB / 10)
    return levels.gather(1, (fits * n_active).amax(1, keepdim=True).clamp_min(1) - 1)[:, 0]


def _where(clips: Tensor, these: Tensor, others: Tensor) -> Tensor:
    return torch.where(clips.to(these.device)[:, None, None], these, others)


def coloured(features: Tensor, front_end: FrontEnd, stream: Generator) -> Tensor:
    """Draw mel power of noise, as many clips as there are features: f^slope, steadier where a band has more bins."""
    n, n_frames, n_mels = features.shape
    centres = band_centres(front_end).to(features)
    slope = (SLOPES[0] + (SLOPES[1] - SLOPES[0]) * torch.rand(n, 1, generator=stream)).to(features)
    colour = (centres.clamp_min(40.0) / 1000) ** slope  # (n, n_mels)
    bins = front_end.n_fft * (front_end.f_max - front_end.f_min) / front_end.sample_rate / n_mels
    spread = 1 / math.sqrt(max(1.0, bins))  # of the logarithm, about
    flutter = torch.randn(n, n_frames, n_mels, generator=stream).to(features) * spread
    return colour[:, None] * flutter.exp()


def _babble(power: Tensor, stream: Generator) -> Tensor:
    """Sum the power of other clips of the batch."""
    n = len(power)
    others = torch.randint(1, max(2, n), (BABBLERS,), generator=stream).tolist()
    return torch.stack([power.roll(other, 0) for other in others]).sum(0)


def mask(features: Tensor, lengths: Tensor, settings: AugmentSettings, front_end: FrontEnd, draw: Streams) -> Tensor:
    """Cover spans of frames and of bands with the clip's mean, each of a width from 0 to the most allowed."""
    n, n_frames, n_mels = features.shape
    covered = torch.zeros(n, n_frames, n_mels, dtype=torch.bool)
    frames, bands = torch.arange(n_frames), torch.arange(n_mels)
    most = settings.time_mask_ms / front_end.hop_ms
    stream = draw("masks")
    for _ in range(settings.time_masks):
        covered |= _span(n, frames, most, lengths.cpu(), stream)[:, :, None]
    for _ in range(settings.freq_masks):
        covered |= _span(n, bands, settings.freq_mask_width, torch.full((n,), n_mels), stream)[:, None, :]
    return torch.where(covered.to(features.device), features.mean((1, 2), keepdim=True), features)


def _span(n: int, places: Tensor, most: float, ends: Tensor, stream: Generator) -> Tensor:
    """Mark a random span within each clip: (n, len(places)) bool."""
    width = torch.rand(n, 1, generator=stream) * most
    start = torch.rand(n, 1, generator=stream) * (ends[:, None] - width).clamp_min(0)
    return (places >= start) & (places < start + width)


def mix(
    features: Tensor, lengths: Tensor, targets: Tensor, alpha: float, stream: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix every clip with another of the batch; targets (batch, n_classes). `alpha` of the Beta distribution."""
    share = _beta(len(features), alpha, stream).to(features)
    order = torch.randperm(len(features), generator=stream).to(features.device)
    mixed = share[:, None, None] * features + (1 - share[:, None, None]) * features[order]
    return (
        mixed,
        torch.maximum(lengths, lengths[order]),
        share[:, None] * targets + (1 - share[:, None]) * targets[order],
    )


def _beta(n: int, alpha: float, stream: Generator) -> Tensor:
    """Draw from Beta(alpha, alpha), the larger share first; by NumPy, as torch's takes no generator."""
    shares = torch.from_numpy(rng_from(stream).beta(alpha, alpha, n)).float()
    return torch.maximum(shares, 1 - shares)


def band_centres(front_end: FrontEnd) -> Tensor:
    """Return the centre of every mel band in Hz: (n_mels,)."""
    low, high = (mel_of(torch.tensor(float(hz))) for hz in (front_end.f_min, front_end.f_max))
    mels = low + (high - low) * torch.arange(1, front_end.n_mels + 1) / (front_end.n_mels + 1)
    return 700 * (10 ** (mels / 2595) - 1)


def mel_of(hz: Tensor) -> Tensor:
    """Return the HTK mel of a frequency."""
    return 2595 * torch.log10(1 + hz / 700)


def uniform(n: int, most: float, stream: Generator, like: Tensor) -> Tensor:
    """Draw from -most to +most: (n,)."""
    return ((2 * torch.rand(n, generator=stream) - 1) * most).to(like)
