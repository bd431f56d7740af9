"""The recurrent spotter: feature normalisation -> stem -> stacking -> encoder -> pooling -> head.

    features  (batch, n_frames, n_mels)   log-mel, padded behind the clip
    lengths   (batch,)                    frames of each clip that are real
    logits    (batch, n_classes)

What lies behind a clip's last frame never reaches its logits: a backward direction starts at the clip's own end,
and every pooling looks at real frames only.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from kwspot.experiments.settings import StemSettings


class FeatureNorm(nn.Module):
    """Shift and scale every mel band to zero mean and unit variance, with statistics of the training split."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics, both (n_mels,)."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """Scale (batch, n_frames, n_mels)."""
        return (features - self.mean) / self.std


def real_frames(n_steps: int, lengths: Tensor) -> Tensor:
    """Mark the real steps of each clip: (batch,) -> bool (n_steps, batch)."""
    return torch.arange(n_steps, device=lengths.device)[:, None] < lengths


def fill_up(features: Tensor, lengths: Tensor, n: int) -> Tensor:
    """Set what lies behind each clip to zero, and lengthen a batch of fewer than `n` frames by zeros."""
    n_frames = features.shape[1]
    features = features * real_frames(n_frames, lengths).t()[..., None]
    return nn.functional.pad(features, (0, 0, 0, max(0, n - n_frames)))


def stack_frames(x: Tensor, n: int) -> Tensor:
    """Join `n` neighbours into one step: (batch, n_frames, size) -> (batch, n_frames // n, n * size).

    Frames that do not fill a last step are left out.
    """
    batch, n_frames, size = x.shape
    n_steps = n_frames // n
    return x[:, : n_steps * n].reshape(batch, n_steps, n * size)


class ConvNorm(nn.Module):
    """Convolution, BatchNorm (Ioffe & Szegedy, arXiv:1502.03167), ReLU.

    Over time, x (batch, n_in, n_frames) -> (batch, n_out, 1 + (n_frames - kernel) // stride); over bands as well,
    x (batch, n_in, n_frames, n_bands), with bands of zeros, the mean of training, on either side of the bands.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, bands: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.convolution: nn.Conv1d | nn.Conv2d
        self.norm: nn.BatchNorm1d | nn.BatchNorm2d
        if bands is None:
            self.convolution = nn.Conv1d(n_in, n_out, kernel, stride, bias=False)
            self.norm = nn.BatchNorm1d(n_out)
        else:  # kernel and stride over bands
            sizes, strides = (kernel, bands[0]), (stride, bands[1])
            self.convolution = nn.Conv2d(n_in, n_out, sizes, strides, padding=(0, bands[0] // 2), bias=False)
            self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, cut off below zero."""
        return self.norm(self.convolution(x)).relu()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the one convolution that a trained layer comes to before its ReLU."""
        mean, var = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight / torch.sqrt(var + self.norm.eps)
        weight = self.convolution.weight
        return weight * scale.view(-1, *[1] * (weight.ndim - 1)), self.norm.bias - mean * scale


class ConvStem(nn.Module):
    """Convolutions over time before the recurrence, so that it has fewer and richer steps.

    features (batch, n_frames, n_mels) -> (batch, n_steps, output_size)

    Nothing is padded over time: step t sees the `reach` frames from frame t * stride on, so a stream can compute it as
    soon as they are there. With `bands` the convolutions move over bands as well, and `join` makes a step of what they
    leave of them; without, every band is a channel of the first.
    """

    def __init__(self, n_mels: int, settings: StemSettings) -> None:
        super().__init__()
        channels, bands = settings.channels, settings.bands
        sizes = [n_mels if bands is None else 1, *channels]
        over_bands = None if bands is None else (bands.kernel, bands.stride)
        self.layers = nn.ModuleList(
            ConvNorm(before, after, settings.kernel, settings.stride, over_bands) for before, after in pairwise(sizes)
        )
        self.join: ConvNorm | None = None
        if bands is not None:
            left = n_mels
            for _ in channels:
                left = 1 + (left + 2 * (bands.kernel // 2) - bands.kernel) // bands.stride
            self.join = ConvNorm(left * channels[-1], bands.joined, 1, 1)
        self.output_size = channels[-1] if bands is None else bands.joined
        self.stride = settings.stride ** len(channels)  # frames from a step to the next
        self.reach = 1 + sum((settings.kernel - 1) * settings.stride**i for i in range(len(channels)))

    def forward(self, features: Tensor) -> Tensor:
        """Map frames to steps."""
        x = features.transpose(1, 2) if self.join is None else features[:, None]
        for layer in self.layers:
            x = layer(x)
        if self.join is not None:  # (batch, channels, n_steps, n_bands)
            x = self.join(x.transpose(2, 3).flatten(1, 2))
        return x.transpose(1, 2)


def reverse_clips(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each clip within its own length, leaving what lies behind: (n_steps, batch, size) -> the same."""
    step = torch.arange(len(x), device=x.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)
    return x.gather(0, source[..., None].expand_as(x))


class Encoder(nn.Module):
    """Layers of one cell, in one direction or both, with dropout between them.

    x (n_steps, batch, input_size), lengths (batch,) -> states (n_steps, batch, n_directions * hidden_size);
    the forward direction comes first.
    """

    def __init__(
        self,
        cell: Callable[[int, int], nn.Module],
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.n_directions = 2 if bidirectional else 1
        self.output_size = self.n_directions * hidden_size
        sizes = [input_size, *[self.output_size] * (num_layers - 1)]
        self.forward_layers = nn.ModuleList(cell(size, hidden_size) for size in sizes)
        self.backward_layers = nn.ModuleList(cell(size, hidden_size) for size in sizes if bidirectional)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map inputs to the states of the last layer."""
        for i, layer in enumerate(self.forward_layers):
            x = self.dropout(x) if i else x
            states = layer(x)
            if self.backward_layers:
                backward = reverse_clips(self.backward_layers[i](reverse_clips(x, lengths)), lengths)
                states = torch.cat([states, backward], dim=-1)
            x = states
        return x

    def last_state(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return where each direction ends, the last frame forwards and the first backwards: (batch, output_size)."""
        end = states[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
        if self.n_directions == 1:
            return end
        return torch.cat([end[:, : self.hidden_size], states[0, :, self.hidden_size :]], dim=-1)


class MergeClasses(nn.Module):
    """Words that are classes of their own in training and one class after it: its logit is that of the likeliest.

    logits (batch, n_classes - 1 + n_words) -> in training the same, after it (batch, n_classes)

    The class is number `at`. Not the sum of their posteriors, to which label smoothing gives a share by their number.
    """

    def __init__(self, at: int, n_words: int) -> None:
        super().__init__()
        self.at, self.n_words = at, n_words

    def forward(self, logits: Tensor) -> Tensor:
        """Join the words, or leave them apart in training."""
        if self.training:
            return logits
        before, words, after = logits.tensor_split((self.at, self.at + self.n_words), dim=-1)
        return torch.cat([before, words.amax(-1, keepdim=True), after], dim=-1)


class CosineHead(nn.Module):
    """Compare an embedding with a direction for every class: logits = scale * cos(embedding, weight).

    embedding (batch, n_features) -> logits (batch, n_classes); NormFace, arXiv:1704.06369. Length carries no
    meaning, so what is learned is the angle, by which words are compared that no class stands for.
    """

    SCALE = 30.0

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_classes, n_features) / n_features**0.5)

    def forward(self, embedding: Tensor) -> Tensor:
        """Compare."""
        normalize = nn.functional.normalize
        return self.SCALE * nn.functional.linear(normalize(embedding, dim=-1), normalize(self.weight, dim=-1))


class RecurrentModel(nn.Module):
    """A keyword spotter composed of the parts above; see ModelSettings for what can be chosen."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_mels: int,
        n_classes: int,  # in training
        stem: ConvStem | None,
        frame_stack: int,
        pooling: str,
        attention_heads: int,
        head_norm: bool,
        feature_norm: FeatureNorm | None,
        merge: MergeClasses | None,
        embedding_size: int | None = None,
        n_phonemes: int | None = None,
    ) -> None:
        super().__init__()
        self.n_mels, self.frame_stack, self.pooling = n_mels, frame_stack, pooling
        self.feature_norm = feature_norm
        self.stem = stem
        self.encoder = encoder
        self.attention = nn.Linear(encoder.output_size, attention_heads) if pooling == "attention" else None
        pooled_size = encoder.output_size * (attention_heads if pooling == "attention" else 1)
        self.head_norm = nn.LayerNorm(pooled_size) if head_norm else None
        self.embedding = nn.Linear(pooled_size, embedding_size) if embedding_size else None
        self.head = CosineHead(embedding_size, n_classes) if embedding_size else nn.Linear(pooled_size, n_classes)
        self.phonemes = nn.Linear(encoder.output_size, n_phonemes + 1) if n_phonemes else None  # 0 is CTC's blank
        self.merge = merge

    @property
    def step_frames(self) -> int:
        """Frames from one step of the encoder to the next."""
        return self.frame_stack * (1 if self.stem is None else self.stem.stride)

    @property
    def reach(self) -> int:
        """Frames that one step of the encoder sees; more than `step_frames` where a stem overlaps."""
        return self.frame_stack if self.stem is None else (self.frame_stack - 1) * self.stem.stride + self.stem.reach

    def n_steps(self, n_frames: Tensor) -> Tensor:
        """Count the steps of clips of `lengths` frames; a clip shorter than a step is filled up to one."""
        return 1 + (n_frames - self.reach).clamp_min(0) // self.step_frames

    def states(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the encoder's states (n_steps, batch, size) and the real steps of each clip (batch,)."""
        if self.feature_norm is not None:
            features = self.feature_norm(features)
        if self.reach > 1:
            features = fill_up(features, lengths, self.reach)
        if self.stem is not None:
            features = self.stem(features)
        lengths = self.n_steps(lengths)
        x = stack_frames(features, self.frame_stack).transpose(0, 1).contiguous()
        return self.encoder(x, lengths), lengths

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (batch, n_frames, n_mels) and lengths (batch,) to logits (batch, n_classes)."""
        logits = self.head(self.embed(*self.states(features, lengths)))
        return logits if self.merge is None else self.merge(logits)

    def embed(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Map states (n_steps, batch, size) and real steps (batch,) to what the head looks at (batch, n_features)."""
        pooled = self._pool(states, lengths)
        pooled = pooled if self.head_norm is None else self.head_norm(pooled)
        return pooled if self.embedding is None else self.embedding(pooled)

    def _pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        if self.pooling == "last":
            return self.encoder.last_state(states, lengths)
        real = real_frames(len(states), lengths)[..., None]
        if self.pooling == "mean":
            return (states * real).sum(0) / lengths[:, None]
        if self.attention is not None:  # each head weighs the steps by a softmax over time of its own
            weights = self.attention(states).masked_fill(~real, -torch.inf).softmax(0)  # (n_steps, batch, heads)
            return torch.einsum("tbh,tbs->bhs", weights, states).flatten(1)
        return states.masked_fill(~real, -torch.inf).amax(0)
