"""Trained model -> ONNX graphs, built from the model's parts with standard operators.

    front end   waveform (batch, n_samples)         -> features (batch, n_frames, n_mels)
    network     features (batch, n_frames, n_mels)  -> logits, posteriors (batch, n_classes)
    clip        waveform (batch, n_samples)         -> logits, posteriors (batch, n_classes)
    stream      samples (batch, k * step), state (batch, state_size)
                                -> posteriors (batch, k, n_classes), state (batch, state_size)

All sizes but the model's own are dynamic. A layer is one RNN, LSTM or GRU operator (or a Loop around LayerNorm), so
the file does not grow with the number of steps. Every clip of a batch has the same length; nothing is padded.
"""

from collections.abc import Sequence
import math
from typing import cast

import numpy as np
import onnx
import spox
from spox import Var
import spox.opset.ai.onnx.v17 as op
import torch
from torch import Tensor, nn

from kwspot.config import FrontEnd
from kwspot.features import mel_bands
from kwspot.models.cells import GRU, LN_EPS, LSTM, RNN, FastRNN
from kwspot.models.recurrent import InputScaling, RecurrentModel

# The gates of one layer's weight matrices, in the order ONNX wants of the order torch has.
ONNX_GATES = {LSTM: (0, 3, 1, 2), GRU: (1, 0, 2)}  # i o f c of i f c o;  z r n of r z n


def clip_graph(model: RecurrentModel, front_end: FrontEnd) -> onnx.ModelProto:
    """Build the whole way from a clip's waveform to its posteriors."""
    return with_front_end(network_graph(model), front_end)


def with_front_end(network: onnx.ModelProto, front_end: FrontEnd) -> onnx.ModelProto:
    """Put the front end before a network graph."""
    waveform = spox.argument(spox.Tensor(np.float32, ("batch", "n_samples")))
    results = spox.inline(network)(features=log_mel(waveform, front_end))
    return spox.build({"waveform": waveform}, results)


def network_graph(model: RecurrentModel) -> onnx.ModelProto:
    """Build the way from log-mel frames to posteriors."""
    features = spox.argument(spox.Tensor(np.float32, ("batch", "n_frames", model.n_mels)))
    x = _stacked(_scaled(features, model.scaling), model)
    states, _ = _encoder(op.transpose(x, perm=(1, 0, 2)), model, None)
    logits = _head(_pooled(states, model), model)
    return spox.build({"features": features}, {"logits": logits, "posteriors": op.softmax(logits, axis=-1)})


def stream_graph(model: RecurrentModel, front_end: FrontEnd) -> onnx.ModelProto:
    """Build the graph that takes any whole number of steps and hands its state on.

    A step is `frame_stack` hops. The state holds, in this order: the win - hop samples before the next hop, the
    cells' states, and for pooling other than `last` the number of steps so far and the states of the steps that
    are still within a clip's length. The state of a stream begins with its first win - hop samples, then zeros.
    """
    if model.encoder.backward_layers:
        raise ValueError("a bidirectional model needs the end of the clip first: it cannot stream")
    parts = state_parts(model, front_end)
    names = list(parts)
    samples = spox.argument(spox.Tensor(np.float32, ("batch", "n_samples")))
    state = spox.argument(spox.Tensor(np.float32, ("batch", sum(parts.values()))))
    split = op.split(state, _ints(list(parts.values())), outputs_count=len(parts), axis=1)
    before = dict(zip(names, split, strict=True))
    after: dict[str, Var] = {}

    sound = op.concat([before["sound"], samples], axis=1)
    after["sound"] = _last(sound, parts["sound"], axis=1)
    features = _scaled(log_mel(sound, front_end), model.scaling)
    x = op.transpose(op.reshape(features, _ints([0, -1, model.frame_stack * model.n_mels])), perm=(1, 0, 2))
    cells = {name: before[name] for name in names if name.startswith("cell")}
    states, ends = _encoder(x, model, list(cells.values()))
    after |= dict(zip(cells, ends, strict=True))
    if model.pooling == "last":
        pooled = op.transpose(states, perm=(1, 0, 2))
    else:
        window = front_end.max_frames // model.frame_stack
        pooled, after["n_steps"], after["steps"] = _pooled_stream(
            states, before["n_steps"], before["steps"], window, model
        )
    posteriors = op.softmax(_head(pooled, model), axis=-1)
    state_out = op.concat([after[name] for name in names], axis=1)
    return spox.build(
        {"samples": samples, "state": state},
        {"posteriors": posteriors, "state_out": state_out},
    )


def state_parts(model: RecurrentModel, front_end: FrontEnd) -> dict[str, int]:
    """Return the parts of a stream's state in order, each with its number of values."""
    hidden = model.encoder.hidden_size
    parts = {"sound": front_end.win_length - front_end.hop_length}
    for i, layer in enumerate(model.encoder.forward_layers):
        for j in range(2 if isinstance(layer, LSTM) else 1):
            parts[f"cell{i}.{j}"] = hidden
    if model.pooling != "last":
        parts |= {"n_steps": 1, "steps": (front_end.max_frames // model.frame_stack - 1) * hidden}
    return parts


def log_mel(waveform: Var, front_end: FrontEnd) -> Var:
    """Compute log-mel frames, as features.LogMel does: (batch, n_samples) -> (batch, n_frames, n_mels).

    The Fourier transform is a convolution with windowed cosines and sines, of the bins that a mel band uses. They
    are written as formulas and computed once, when the file is loaded: a table would be half a megabyte.
    """
    bands = mel_bands(front_end).numpy()  # (n_fft // 2 + 1, n_mels)
    bins = np.flatnonzero(bands.any(axis=1))
    window = torch.hann_window(front_end.win_length).numpy()
    # Whole numbers below 2^24 are exact in float32; the remainder keeps the angle within one turn.
    turns = op.mod(
        op.mul(_const(bins[:, None].astype(np.int64)), _const(np.arange(front_end.win_length, dtype=np.int64)[None])),
        _const(np.array(front_end.n_fft, dtype=np.int64)),
    )
    angle = op.mul(op.cast(turns, to=np.float32), _const(np.float32(2 * math.pi / front_end.n_fft)))
    waves = op.mul(op.concat([op.cos(angle), op.sin(angle)], axis=0), _const(window))
    spectrum = op.conv(
        op.unsqueeze(waveform, _ints([1])), op.unsqueeze(waves, _ints([1])), strides=(front_end.hop_length,)
    )  # (batch, 2 * n_bins, n_frames)
    real, imaginary = op.split(op.mul(spectrum, spectrum), outputs_count=2, axis=1)
    power = op.transpose(op.add(real, imaginary), perm=(0, 2, 1))
    mel = op.matmul(power, _const(bands[bins]))
    return op.log(op.add(mel, _const(np.float32(front_end.log_offset))))


def _scaled(features: Var, scaling: InputScaling | None) -> Var:
    if scaling is None:
        return features
    return op.div(op.sub(features, _weight(scaling.mean)), _weight(scaling.std))


def _stacked(features: Var, model: RecurrentModel) -> Var:
    """Join neighbouring frames into steps; frames that do not fill a last step are left out, one step is kept."""
    n, n_mels = model.frame_stack, model.n_mels
    if n == 1:
        return features
    n_frames = op.shape(features, start=1, end=2)
    missing = op.max([op.sub(_ints([n]), n_frames), _ints([0])])
    padded = op.pad(features, op.concat([_ints([0, 0, 0, 0]), missing, _ints([0])], axis=0), _const(np.float32(0)))
    n_frames = op.add(n_frames, missing)
    whole = op.slice(padded, _ints([0]), op.sub(n_frames, op.mod(n_frames, _ints([n]))), _ints([1]))
    return op.reshape(whole, _ints([0, -1, n * n_mels]))


def _encoder(x: Var, model: RecurrentModel, states: list[Var] | None) -> tuple[Var, list[Var]]:
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
    if isinstance(cell, FastRNN) or (isinstance(cell, RNN) and cell.g is not None):
        return _looped(x, cast(Sequence[RNN | FastRNN], cells), hidden_size, start)
    w, r, b = (np.stack(parts) for parts in zip(*(_onnx_weights(c) for c in cells), strict=True))
    direction = "bidirectional" if len(cells) == 2 else "forward"
    first = [op.unsqueeze(s, _ints([0])) for s in start]  # (n_directions, batch, hidden_size)
    weights = (x, _const(w), _const(r), _const(b))
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
    joined = op.reshape(op.transpose(y, perm=(0, 2, 1, 3)), _ints([0, 0, len(cells) * hidden_size]))
    return joined, [op.squeeze(end, _ints([0])) for end in ends] if len(cells) == 1 else []


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


def _looped(x: Var, cells: Sequence[RNN | FastRNN], hidden_size: int, start: list[Var]) -> tuple[Var, list[Var]]:
    """Run a cell that ONNX has no operator for, one Loop a direction."""
    batch = op.shape(x, start=1, end=2)
    zeros = op.expand(_const(np.zeros((1, hidden_size), np.float32)), op.concat([batch, _ints([1])], axis=0))
    outputs, ends = [], []
    for direction, cell in zip((1, -1), cells, strict=False):
        end, states = _loop(_reversed(x, direction), cell, start[0] if start else zeros)
        outputs.append(_reversed(states, direction))
        ends.append(end)
    return (outputs[0] if len(cells) == 1 else op.concat(outputs, axis=2)), ends


def _loop(x: Var, cell: RNN | FastRNN, start: Var) -> Sequence[Var]:
    u_t, bias = _weight(cell.u.t()), _weight(cell.b)
    projected = op.matmul(x, _weight(cell.w.t()))

    def step(t: Var, go_on: Var, h: Var) -> list[Var]:
        now = op.gather(projected, op.reshape(t, _ints([])), axis=0)  # spox takes the scalar t for (1,)
        a = op.add(now, op.matmul(h, u_t))
        if isinstance(cell, FastRNN):
            alpha, beta = _weight(cell.alpha.sigmoid()), _weight(cell.beta.sigmoid())
            h = op.add(op.mul(alpha, op.tanh(op.add(a, bias))), op.mul(beta, h))
        else:
            normed, _, _ = op.layer_normalization(a, _weight(cell.g), bias, axis=-1, epsilon=LN_EPS)
            h = op.tanh(normed)
        return [go_on, h, h]

    return op.loop(op.squeeze(op.shape(x, start=0, end=1)), v_initial=[start], body=step)


def _reversed(x: Var, direction: int) -> Var:
    """Turn the first axis round where the direction is -1."""
    if direction == 1:
        return x
    return op.slice(x, _ints([-1]), _ints([np.iinfo(np.int64).min]), _ints([0]), _ints([-1]))


def _pooled(states: Var, model: RecurrentModel) -> Var:
    """Pool (n_steps, batch, size) over a whole clip: (batch, size)."""
    if model.pooling == "mean":
        return op.reduce_mean(states, axes=[0], keepdims=0)
    if model.pooling == "max":
        return op.reduce_max(states, axes=[0], keepdims=0)
    if model.attention is not None:
        weights = op.softmax(_scores(states, model), axis=0)
        return op.reshape(op.einsum([weights, states], equation="tbh,tbs->bhs"), _ints([0, -1]))
    end = op.gather(states, _const(np.array(-1, dtype=np.int64)), axis=0)
    if model.encoder.n_directions == 1:
        return end
    start = op.gather(states, _const(np.array(0, dtype=np.int64)), axis=0)
    hidden = model.encoder.hidden_size
    forwards = op.slice(end, _ints([0]), _ints([hidden]), _ints([1]))
    return op.concat([forwards, op.slice(start, _ints([hidden]), _ints([2 * hidden]), _ints([1]))], axis=1)


def _pooled_stream(states: Var, n_steps: Var, steps: Var, window: int, model: RecurrentModel) -> tuple[Var, Var, Var]:
    """Pool the last `window` steps after every new step: (batch, k, size); and the new state of the pool.

    Steps from before the stream began do not count: they are known by `n_steps` (batch, 1), the steps so far.
    """
    hidden = model.encoder.hidden_size
    before = op.transpose(op.reshape(steps, _ints([0, -1, hidden])), perm=(0, 2, 1))
    seen = op.concat([before, op.transpose(states, perm=(1, 2, 0))], axis=2)  # (batch, hidden, window - 1 + k)
    position = op.range(_const(np.int64(0)), op.squeeze(op.shape(seen, start=2, end=3)), _const(np.int64(1)))
    first_real = op.sub(_const(np.float32(window - 1)), n_steps)  # (batch, 1)
    real = op.unsqueeze(op.greater_or_equal(op.cast(position, to=np.float32), first_real), _ints([1]))
    if model.pooling == "mean":
        pooled = _weighted_mean(seen, op.cast(real, to=np.float32), window)
    elif model.attention is not None:
        # The largest score of all stands in for that of each window: the softmax is the same.
        scores = op.where(
            real,
            op.transpose(_scores(op.transpose(seen, perm=(2, 0, 1)), model), perm=(1, 2, 0)),
            _const(np.float32(-1e4)),
        )
        weight = op.exp(op.sub(scores, op.reduce_max(scores, axes=[2], keepdims=1)))
        heads = op.split(weight, outputs_count=model.attention.out_features, axis=1)
        pooled = op.concat([_weighted_mean(seen, head, window) for head in heads], axis=1)
    else:
        pooled, _ = op.max_pool(op.where(real, seen, _const(np.float32(-2))), kernel_shape=(window,))  # |state| < 1
    k = op.cast(op.shape(states, start=0, end=1), to=np.float32)
    counted = op.min([op.add(n_steps, k), _const(np.float32(window))])
    kept = op.transpose(_last(seen, window - 1, axis=2), perm=(0, 2, 1))
    return op.transpose(pooled, perm=(0, 2, 1)), counted, op.reshape(kept, _ints([0, -1]))


def _scores(states: Var, model: RecurrentModel) -> Var:
    """Score every step for every attention head: (n_steps, batch, size) -> (n_steps, batch, heads)."""
    assert model.attention is not None
    return op.add(op.matmul(states, _weight(model.attention.weight.t())), _weight(model.attention.bias))


def _weighted_mean(x: Var, weight: Var, window: int) -> Var:
    """Average x (batch, size, n) with weights (batch, 1, n) over every `window` neighbours."""
    total = op.average_pool(op.mul(x, weight), kernel_shape=(window,))
    return op.div(total, op.average_pool(weight, kernel_shape=(window,)))


def _head(pooled: Var, model: RecurrentModel) -> Var:
    if model.head_norm is not None:
        norm = model.head_norm
        pooled, _, _ = op.layer_normalization(
            pooled, _weight(norm.weight), _weight(norm.bias), axis=-1, epsilon=norm.eps
        )
    return op.add(op.matmul(pooled, _weight(model.head.weight.t())), _weight(model.head.bias))


def _last(x: Var, n: int, axis: int) -> Var:
    """Take the last `n` along an axis; none at all for 0."""
    size = op.shape(x, start=axis, end=axis + 1)
    return op.slice(x, op.sub(size, _ints([n])), size, _ints([axis]))


def _const(value: np.ndarray | np.generic) -> Var:
    return op.const(np.array(value, order="C"))


def _weight(value: Tensor) -> Var:
    return _const(value.detach().numpy())


def _ints(values: Sequence[int]) -> Var:
    return _const(np.array(values, dtype=np.int64))
