"""Trained model -> ONNX graphs, built from the model's parts with standard operators.

    front end   waveform (batch, n_samples)         -> features (batch, n_frames, n_mels)
    network     features (batch, n_frames, n_mels)  -> logits, posteriors (batch, n_classes)
    encoder     features (batch, n_frames, n_mels)  -> embedding (batch, n_features), and at every step the embedding
                                of the second before it (frames) and log posteriors of phonemes
    clip        waveform (batch, n_samples)         -> logits, posteriors (batch, n_classes)
    stream      samples (batch, k * step), state (batch, state_size)
                                -> posteriors (batch, k, n_classes), state (batch, state_size)

All sizes but the model's own are dynamic, and the file does not grow with the number of steps. Every clip of a batch
has the same length; nothing is padded.
"""

import numpy as np
import onnx
import spox
from spox import Var
import spox.opset.ai.onnx.v17 as op
import torch

from kwspot.experiments.settings import FrontEnd
from kwspot.export.onnx_ops import (
    const,
    convolved,
    encoded,
    filled_up,
    ints,
    last_of,
    linear,
    log_mel,
    scaled,
    stacked,
    weight_of,
)
from kwspot.models.cells import LSTM
from kwspot.models.recurrent import CosineHead, RecurrentModel

LOWEST = np.finfo(np.float32).min


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
    logits = _head(_pooled(_states(features, model), model), model)
    return spox.build({"features": features}, {"logits": logits, "posteriors": op.softmax(logits, axis=-1)})


def encoder_graph(model: RecurrentModel, front_end: FrontEnd) -> onnx.ModelProto:
    """Build the way from log-mel frames to embeddings, without the words of the training.

    embedding (batch, n_features) of the whole clip; frames (batch, n_steps, n_features), at each step that of the
    steps that are within a clip's length before it; phonemes (batch, n_steps, 1 + n_phonemes), where the model has
    learned them: log posteriors, the first of CTC's blank.
    """
    if model.encoder.backward_layers or model.pooling == "last":
        raise ValueError("an encoder that is exported reads in one direction and pools its states")
    features = spox.argument(spox.Tensor(np.float32, ("batch", "n_frames", model.n_mels)))
    states = _states(features, model)
    batch = op.shape(states, start=1, end=2)
    window = _n_pooled(model, front_end)

    def zeros(n: int) -> Var:
        return op.expand(const(np.zeros((1, n), np.float32)), op.concat([batch, ints([n])], axis=0))

    before = zeros((window - 1) * model.encoder.hidden_size)
    windows, _, _ = _pooled_stream(states, zeros(1), before, window, model)
    results = {"embedding": _embedding(_pooled(states, model), model), "frames": _embedding(windows, model)}
    if model.phonemes is not None:
        results["phonemes"] = op.transpose(op.log_softmax(linear(states, model.phonemes), axis=-1), perm=(1, 0, 2))
    return spox.build({"features": features}, results)


def stream_graph(model: RecurrentModel, front_end: FrontEnd) -> onnx.ModelProto:
    """Build the graph that takes any whole number of steps and hands its state on.

    A step is `step_frames` hops. The state holds, in this order: the samples before them that the step sees as well
    (of a window longer than its hop, and of a stem that overlaps), the cells' states, and for pooling other than
    `last` the number of steps so far and the states of the steps that are still within a clip's length. The state of
    a stream begins with its first samples, as many as a state holds, then zeros.
    """
    if model.encoder.backward_layers:
        raise ValueError("a bidirectional model needs the end of the clip first: it cannot stream")
    parts = state_parts(model, front_end)
    names = list(parts)
    samples = spox.argument(spox.Tensor(np.float32, ("batch", "n_samples")))
    state = spox.argument(spox.Tensor(np.float32, ("batch", sum(parts.values()))))
    split = op.split(state, ints(list(parts.values())), outputs_count=len(parts), axis=1)
    before = dict(zip(names, split, strict=True))
    after: dict[str, Var] = {}

    sound = op.concat([before["sound"], samples], axis=1)
    after["sound"] = last_of(sound, parts["sound"], axis=1)
    features = convolved(scaled(log_mel(sound, front_end), model.feature_norm), model.stem)
    x = op.transpose(op.reshape(features, ints([0, -1, model.encoder.input_size])), perm=(1, 0, 2))
    cells = {name: before[name] for name in names if name.startswith("cell")}
    states, ends = encoded(x, model, list(cells.values()))
    after |= dict(zip(cells, ends, strict=True))
    if model.pooling == "last":
        pooled = op.transpose(states, perm=(1, 0, 2))
    else:
        window = _n_pooled(model, front_end)
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
    overlap = (model.reach - model.step_frames) * front_end.hop_length
    parts = {"sound": front_end.win_length - front_end.hop_length + overlap}
    for i, layer in enumerate(model.encoder.forward_layers):
        for j in range(2 if isinstance(layer, LSTM) else 1):
            parts[f"cell{i}.{j}"] = hidden
    if model.pooling != "last":
        parts |= {"n_steps": 1, "steps": (_n_pooled(model, front_end) - 1) * hidden}
    return parts


def _n_pooled(model: RecurrentModel, front_end: FrontEnd) -> int:
    """Count the steps of a whole clip."""
    return int(model.n_steps(torch.tensor(front_end.max_frames)))


def _states(features: Var, model: RecurrentModel) -> Var:
    """Run the encoder over whole clips: (batch, n_frames, n_mels) -> (n_steps, batch, size)."""
    filled = filled_up(scaled(features, model.feature_norm), model.reach)
    x = stacked(convolved(filled, model.stem), model.frame_stack, model.encoder.input_size)
    return encoded(op.transpose(x, perm=(1, 0, 2)), model, None)[0]


def _pooled(states: Var, model: RecurrentModel) -> Var:
    """Pool (n_steps, batch, size) over a whole clip: (batch, size)."""
    if model.pooling == "mean":
        return op.reduce_mean(states, axes=[0], keepdims=0)
    if model.pooling == "max":
        return op.reduce_max(states, axes=[0], keepdims=0)
    if model.attention is not None:
        weights = op.softmax(_scores(states, model), axis=0)
        return op.reshape(op.einsum([weights, states], equation="tbh,tbs->bhs"), ints([0, -1]))
    end = op.gather(states, const(np.array(-1, dtype=np.int64)), axis=0)
    if model.encoder.n_directions == 1:
        return end
    start = op.gather(states, const(np.array(0, dtype=np.int64)), axis=0)
    hidden = model.encoder.hidden_size
    forwards = op.slice(end, ints([0]), ints([hidden]), ints([1]))
    return op.concat([forwards, op.slice(start, ints([hidden]), ints([2 * hidden]), ints([1]))], axis=1)


def _pooled_stream(states: Var, n_steps: Var, steps: Var, window: int, model: RecurrentModel) -> tuple[Var, Var, Var]:
    """Pool the last `window` steps after every new step: (batch, k, size); and the new state of the pool.

    Steps from before the stream began do not count: they are known by `n_steps` (batch, 1), the steps so far.
    """
    hidden = model.encoder.hidden_size
    before = op.transpose(op.reshape(steps, ints([0, -1, hidden])), perm=(0, 2, 1))
    seen = op.concat([before, op.transpose(states, perm=(1, 2, 0))], axis=2)  # (batch, hidden, window - 1 + k)
    position = op.range(const(np.int64(0)), op.squeeze(op.shape(seen, start=2, end=3)), const(np.int64(1)))
    first_real = op.sub(const(np.float32(window - 1)), n_steps)  # (batch, 1)
    real = op.unsqueeze(op.greater_or_equal(op.cast(position, to=np.float32), first_real), ints([1]))
    if model.pooling == "mean":
        pooled = _weighted_mean(seen, op.cast(real, to=np.float32), window)
    elif model.attention is not None:
        # The largest score of all stands in for that of each window: the softmax is the same.
        scores = op.where(
            real,
            op.transpose(_scores(op.transpose(seen, perm=(2, 0, 1)), model), perm=(1, 2, 0)),
            const(np.float32(-1e4)),
        )
        weight = op.exp(op.sub(scores, op.reduce_max(scores, axes=[2], keepdims=1)))
        heads = op.split(weight, outputs_count=model.attention.out_features, axis=1)
        pooled = op.concat([_weighted_mean(seen, head, window) for head in heads], axis=1)
    else:
        pooled, _ = op.max_pool(op.where(real, seen, const(LOWEST)), kernel_shape=(window,))
    k = op.cast(op.shape(states, start=0, end=1), to=np.float32)
    counted = op.min([op.add(n_steps, k), const(np.float32(window))])
    kept = op.transpose(last_of(seen, window - 1, axis=2), perm=(0, 2, 1))
    return op.transpose(pooled, perm=(0, 2, 1)), counted, op.reshape(kept, ints([0, -1]))


def _scores(states: Var, model: RecurrentModel) -> Var:
    """Score every step for every attention head: (n_steps, batch, size) -> (n_steps, batch, heads)."""
    assert model.attention is not None
    return linear(states, model.attention)


def _weighted_mean(x: Var, weight: Var, window: int) -> Var:
    """Average x (batch, size, n) with weights (batch, 1, n) over every `window` neighbours."""
    total = op.average_pool(op.mul(x, weight), kernel_shape=(window,))
    return op.div(total, op.average_pool(weight, kernel_shape=(window,)))


def _embedding(pooled: Var, model: RecurrentModel) -> Var:
    """Compute what the head looks at."""
    if model.head_norm is not None:
        norm = model.head_norm
        pooled, _, _ = op.layer_normalization(
            pooled, weight_of(norm.weight), weight_of(norm.bias), axis=-1, epsilon=norm.eps
        )
    return pooled if model.embedding is None else linear(pooled, model.embedding)


def _head(pooled: Var, model: RecurrentModel) -> Var:
    if isinstance(model.head, CosineHead):
        raise ValueError("an encoder has no words; export it with encoder_graph")
    logits = linear(_embedding(pooled, model), model.head)
    if model.merge is None:
        return logits
    n_words, n_logits = model.merge.n_words, model.head.out_features
    sizes = [model.merge.at, n_words, n_logits - model.merge.at - n_words]
    before, words, after = op.split(logits, ints(sizes), outputs_count=3, axis=-1)
    return op.concat([before, op.reduce_max(words, axes=[-1]), after], axis=-1)
