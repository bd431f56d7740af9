"""The recurrent spotter: input scaling -> stacking -> encoder -> pooling -> head.

    features  (batch, n_frames, n_mels)   log-mel, padded behind the clip
    lengths   (batch,)                    frames of each clip that are real
    logits    (batch, n_classes)

What lies behind a clip's last frame never reaches its logits: a backward direction starts at the clip's own end,
and every pooling looks at real frames only.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class InputScaling(nn.Module):
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


def stack_frames(features: Tensor, lengths: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Join `n` neighbouring frames into one step: (batch, n_frames, n_mels) -> (batch, n_frames // n, n * n_mels).

    Frames that do not fill a last step are left out; a clip keeps at least one step, filled up with zeros.
    """
    batch, n_frames, n_mels = features.shape
    features = features * real_frames(n_frames, lengths).t()[..., None]
    features = nn.functional.pad(features, (0, 0, 0, max(0, n - n_frames)))
    n_steps = features.shape[1] // n
    return features[:, : n_steps * n].reshape(batch, n_steps, n * n_mels), (lengths // n).clamp_min(1)


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
        self.hidden_size = hidden_size
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


class RecurrentModel(nn.Module):
    """A keyword spotter composed of the parts above; see ModelSettings for what can be chosen."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_mels: int,
        n_classes: int,
        frame_stack: int,
        pooling: str,
        attention_heads: int,
        head_norm: bool,
        scaling: InputScaling | None,
    ) -> None:
        super().__init__()
        self.n_mels, self.frame_stack, self.pooling = n_mels, frame_stack, pooling
        self.scaling = scaling
        self.encoder = encoder
        self.attention = nn.Linear(encoder.output_size, attention_heads) if pooling == "attention" else None
        pooled_size = encoder.output_size * (attention_heads if pooling == "attention" else 1)
        self.head_norm = nn.LayerNorm(pooled_size) if head_norm else None
        self.head = nn.Linear(pooled_size, n_classes)

    def states(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the encoder's states (n_steps, batch, size) and the real steps of each clip (batch,)."""
        if self.scaling is not None:
            features = self.scaling(features)
        if self.frame_stack > 1:
            features, lengths = stack_frames(features, lengths, self.frame_stack)
        return self.encoder(features.transpose(0, 1).contiguous(), lengths), lengths

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (batch, n_frames, n_mels) and lengths (batch,) to logits (batch, n_classes)."""
        states, lengths = self.states(features, lengths)
        pooled = self._pool(states, lengths)
        return self.head(pooled if self.head_norm is None else self.head_norm(pooled))

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
