"""The parts of a trained model as ONNX operators: front end, convolutions, recurrent layers.

A layer is one RNN, LSTM or GRU operator, or a Loop for the cells that ONNX has no operator for.
"""

from collections.abc import Sequence
import math
from typing import cast

import numpy as np
from spox import Var
import spox.opset.ai.onnx.v17 as op
import torch
from torch import Tensor, nn

from kwspot.experiments.settings import FrontEnd
from kwspot.features.log_mel import mel_bands
from kwspot.models.cells import GRU, LN_EPS, LSTM, RNN, FastRNN, MinGRU
from kwspot.models.recurrent import ConvNorm, ConvStem, FeatureNorm, RecurrentModel

Looped = RNN | FastRNN | MinGRU  # cells that ONNX has no operator for

# The gates of one layer's weight matrices, in the order ONNX wants of the order torch has.
ONNX_GATES = {LSTM: (0, 3, 1, 2), GRU: (1, 0, 2)}  # i o f c of i f c o;  z r n of r z n


def log_mel(waveform: Var, front_end: FrontEnd) -> Var:
    """Compute log-mel frames, as features.LogMel does: (batch, n_samples) -> (batch, n_frames, n_mels).

    The Fourier transform is a convolution with windowed cosines and sines, of the bins that a mel band uses. They
    are written as formulas and computed once, when the file is loaded: a table would be half a megabyte.
    """
    bins, bands = used_bands(front_end)
    window = torch.hann_window(front_end.win_length).numpy()
    # Whole numbers below 2^24 are exact in float32; the remainder keeps the angle within one turn.
    turns = op.mod(
        op.mul(const(bins[:, None].astype(np.int64)), const(np.arange(front_end.win_length, dtype=np.int64)[None])),
        const(np.array(front_end.n_fft, dtype=np.int64)),
    )
    angle = op.mul(op.cast(turns, to=np.float32), const(np.float32(2 * math.pi / front_end.n_fft)))
    waves = op.mul(op.concat([op.cos(angle), op.sin(angle)], axis=0), const(window))
    spectrum = op.conv(
        op.unsqueeze(waveform, ints([1])), op.unsqueeze(waves, ints([1])), strides=(front_end.hop_length,)
    )  # (batch, 2 * n_bins, n_frames)
    real, imaginary = op.split(op.mul(spectrum, spectrum), outputs_count=2, axis=1)
    power = op.transpose(op.add(real, imaginary), perm=(0, 2, 1))
    mel = op.matmul(power, const(bands))
    return op.log(op.add(mel, const(np.float32(front_end.log_offset))))


def used_bands(front_end: FrontEnd) -> tuple[np.ndarray, np.ndarray]:
    """Return the bins that a mel band uses (n_bins,), and their weights in every band (n_bins, n_mels)."""
    bands = mel_bands(front_end).numpy()  # (n_fft // 2 + 1, n_mels)
    bins = np.flatnonzero(bands.any(axis=1))
    return bins, bands[bins]


def scaled(features: Var, scaling: FeatureNorm | None) -> Var:
    """Scale every band as FeatureNorm does."""
    if scaling is None:
        return features
    return op.div(op.sub(features, weight_of(scaling.mean)), weight_of(scaling.std))


def convolved(features: Var, stem: ConvStem | None) -> Var:
    """Run the convolutions, each with its BatchNorm in its weights."""
    if stem is None:
        return features
    x = op.transpose(features, perm=(0, 2, 1)) if stem.join is None else op.unsqueeze(features, ints([1]))
    for layer in cast(Sequence[ConvNorm], stem.layers):
        x = _convolution(x, layer)
    if stem.join is not None:
        n_values = stem.join.convolution.in_channels
        x = _convolution(op.reshape(op.transpose(x, perm=(0, 1, 3, 2)), ints([0, n_values, -1])), stem.join)
    return op.transpose(x, perm=(0, 2, 1))


def _convolution(x: Var, layer: ConvNorm) -> Var:
    weight, bias = layer.folded()
    padding = [int(n) for n in layer.convolution.padding]
    return op.relu(
        op.conv(x, weight_of(weight), weight_of(bias), strides=layer.convolution.stride, pads=[*padding, *padding])
    )


def stacked(features: Var, n: int, size: int) -> Var:
    """Join neighbouring frames into steps; frames that do not fill a last step are left out.

    `size` is that of a step.
    """
    if n == 1:
        return features
    n_frames = op.shape(features, start=1, end=2)
    whole = op.slice(features, ints([0]), op.sub(n_frames, op.mod(n_frames, ints([n]))), ints([1]))
    return op.reshape(whole, ints([0, -1, size]))


def filled_up(features: Var, n: int) -> Var:
    """Put frames of zeros behind a clip of fewer than `n` frames."""
    if n == 1:
        return features
    missing = op.max([op.sub(ints([n]), op.shape(features, start=1, end=2)), ints([0])])
    return op.pad(features, op.concat([ints([0, 0, 0, 0]), missing, ints([0])], axis=0), const(np.float32(0)))


def encoded(x: Var, model: RecurrentModel, states: list[Var] | None) -> tuple[Var, list[Var]]:
    """Run all layers over (n_steps, batch, input_size); `states` in and out are (batch, hidden_size), by layer."""
    encoder, ends = model.encoder, []
    left = list(states or ())
    for i, layer in enumerate(encoder.forward_layers):
        cells = [layer, encoder.backward_layers[i]] if encoder.backward_layers else [layer]
        n_states = 2 if isinstance(layer, LSTM) else 1
        start, left = left[:n_states], left[n_states:]
        x, end = _layer(x, cells, encoder.hidden_size, start)
        ends += end
    return x, ends


def _layer(x: Var, cells: Sequence[nn.Module], hidden_size: int, start: list[Var]) -> tuple[Var, list[Var]]:
    """Run the directions of one layer: states (n_steps, batch, n_directions * hidden_size), and where they end."""
    cell = cells[0]
    if isinstance(cell, FastRNN | MinGRU) or (isinstance(cell, RNN) and cell.g is not None):
        return _looped(x, cast(Sequence[Looped], cells), hidden_size, start)
    w, r, b = (np.stack(parts) for parts in zip(*(_onnx_weights(c) for c in cells), strict=True))
    direction = "bidirectional" if len(cells) == 2 else "forward"
    first = [op.unsqueeze(s, ints([0])) for s in start]  # (n_directions, batch, hidden_size)
    weights = (x, const(w), const(r), const(b))
    initial_h = first[0] if first else None
    if isinstance(cell, LSTM):
        y, *ends = op.lstm(
            *weights, initial_h=initial_h, initial_c=first[1] if first else None,
            hidden_size=hidden_size, direction=direction,
        )  # fmt: skip
    elif isinstance(cell, GRU):
        y, *ends = op.gru(
            *weights, initial_h=initial_h, hidden_size=hidden_size, direction=direction, linear_before_reset=1
        )
    else:
        activations = ["Tanh"] * len(cells)
        y, *ends = op.rnn(
            *weights, initial_h=initial_h, hidden_size=hidden_size, direction=direction, activations=activations
        )
    # (n_steps, n_directions, batch, hidden_size)
    joined = op.reshape(op.transpose(y, perm=(0, 2, 1, 3)), ints([0, 0, len(cells) * hidden_size]))
    return joined, [op.squeeze(end, ints([0])) for end in ends] if len(cells) == 1 else []


def _onnx_weights(cell: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W (gates * hidden, input), R (gates * hidden, hidden) and both biases in one, as ONNX orders them."""
    if isinstance(cell, RNN):
        b = cell.b.detach().numpy()
        return cell.w.detach().numpy(), cell.u.detach().numpy(), np.concatenate([b, np.zeros_like(b)])
    order = ONNX_GATES[type(cell)]

    def arranged(name: str) -> np.ndarray:
        gates = getattr(cell.layer, f"{name}_l0").detach().numpy()
        return np.concatenate([np.split(gates, len(order))[gate] for gate in order])

    return arranged("weight_ih"), arranged("weight_hh"), np.concatenate([arranged("bias_ih"), arranged("bias_hh")])


def _looped(x: Var, cells: Sequence[Looped], hidden_size: int, start: list[Var]) -> tuple[Var, list[Var]]:
    """Run the steps of a cell in a Loop, one a direction."""
    batch = op.shape(x, start=1, end=2)
    zeros = op.expand(const(np.zeros((1, hidden_size), np.float32)), op.concat([batch, ints([1])], axis=0))
    outputs, ends = [], []
    for direction, cell in zip((1, -1), cells, strict=False):
        end, states = _loop(_reversed(x, direction), cell, start[0] if start else zeros)
        outputs.append(_reversed(states, direction))
        ends.append(end)
    return (outputs[0] if len(cells) == 1 else op.concat(outputs, axis=2)), ends


def _loop(x: Var, cell: Looped, start: Var) -> Sequence[Var]:
    n_steps = op.squeeze(op.shape(x, start=0, end=1))

    def at(sequence: Var, t: Var) -> Var:
        return op.gather(sequence, op.reshape(t, ints([])), axis=0)  # spox takes the scalar t for (1,)

    if isinstance(cell, MinGRU):
        gates, candidates = op.sigmoid(linear(x, cell.gate)), linear(x, cell.candidate)

        def mixed(t: Var, go_on: Var, h: Var) -> list[Var]:
            h = op.add(h, op.mul(at(gates, t), op.sub(at(candidates, t), h)))
            return [go_on, h, h]

        return op.loop(n_steps, v_initial=[start], body=mixed)

    u_t, bias = weight_of(cell.u.t()), weight_of(cell.b)
    projected = op.matmul(x, weight_of(cell.w.t()))

    def step(t: Var, go_on: Var, h: Var) -> list[Var]:
        a = op.add(at(projected, t), op.matmul(h, u_t))
        if isinstance(cell, FastRNN):
            alpha, beta = weight_of(cell.alpha.sigmoid()), weight_of(cell.beta.sigmoid())
            h = op.add(op.mul(alpha, op.tanh(op.add(a, bias))), op.mul(beta, h))
        else:
            normed, _, _ = op.layer_normalization(a, weight_of(cell.g), bias, axis=-1, epsilon=LN_EPS)
            h = op.tanh(normed)
        return [go_on, h, h]

    return op.loop(n_steps, v_initial=[start], body=step)


def _reversed(x: Var, direction: int) -> Var:
    """Turn the first axis round where the direction is -1."""
    if direction == 1:
        return x
    return op.slice(x, ints([-1]), ints([np.iinfo(np.int64).min]), ints([0]), ints([-1]))


def linear(x: Var, layer: nn.Linear) -> Var:
    """Lay a linear layer on the last axis."""
    return op.add(op.matmul(x, weight_of(layer.weight.t())), weight_of(layer.bias))


def last_of(x: Var, n: int, axis: int) -> Var:
    """Take the last `n` along an axis; none at all for 0."""
    size = op.shape(x, start=axis, end=axis + 1)
    return op.slice(x, op.sub(size, ints([n])), size, ints([axis]))


def const(value: np.ndarray | np.generic) -> Var:
    """Make a constant."""
    return op.const(np.array(value, order="C"))


def weight_of(value: Tensor) -> Var:
    """Make a constant of a weight."""
    return const(value.detach().numpy())


def ints(values: Sequence[int]) -> Var:
    """Make a constant of whole numbers."""
    return const(np.array(values, dtype=np.int64))
