"""The exported graphs say what the torch model says: every cell, direction, pooling and stacking, at any length."""

import numpy as np
import onnxruntime
import pytest
import torch

from kwspot.experiments.settings import BandSettings, FrontEnd, ModelSettings, StemSettings
from kwspot.export.onnx_graph import clip_graph, network_graph, state_parts, stream_graph
from kwspot.features.log_mel import LogMel
from kwspot.models.cost import count_parameters
from kwspot.models.factory import CELLS, build_model
from kwspot.models.recurrent import ConvNorm, MergeClasses

FRONT_END = FrontEnd(clip_ms=330.0)
N_CLASSES = 5
STEM = StemSettings(channels=[7, 9], kernel=4, stride=2)
OVER_BANDS = StemSettings(channels=[3, 5], kernel=4, bands=BandSettings(joined=9, kernel=3, stride=2))
VARIANTS = [
    {"cell": cell, "bidirectional": bidirectional, "pooling": pooling, "frame_stack": frame_stack, **more}
    for cell in CELLS
    for bidirectional in (False, True)
    for pooling, frame_stack, more in (
        ("last", 1, {}),
        ("mean", 4, {"head_norm": True, "feature_norm": "standard"}),
        ("max", 3, {"num_layers": 1}),
        ("attention", 2, {"attention_heads": 2}),
        ("mean", 1, {"stem": STEM, "feature_norm": "standard"}),
        ("attention", 1, {"stem": OVER_BANDS, "feature_norm": "standard"}),
        ("last", 1, {"merge": MergeClasses(at=3, n_words=4)}),
        ("max", 1, {"merge": MergeClasses(at=N_CLASSES - 1, n_words=2)}),
    )
]
STREAMING = [variant for variant in VARIANTS if not variant["bidirectional"]]


def model_of(merge=None, **settings):
    torch.manual_seed(0)
    model = build_model(ModelSettings(hidden_size=16, **settings), FRONT_END.n_mels, N_CLASSES, merge).eval()
    if model.feature_norm is not None:
        model.feature_norm.fit(torch.randn(FRONT_END.n_mels) - 8, torch.rand(FRONT_END.n_mels) + 1)
    if model.stem is not None:
        for layer in (module for module in model.stem.modules() if isinstance(module, ConvNorm)):
            for statistic in (layer.norm.running_mean, layer.norm.running_var, layer.norm.weight.data):
                statistic.uniform_(0.5, 1.5)
    return model


def sounds(batch, n_samples):
    random = np.random.default_rng(n_samples)
    return (random.normal(0, 0.1, (batch, n_samples)) * random.uniform(size=(batch, 1))).astype(np.float32)


def by_torch(model, waveforms):
    with torch.no_grad():
        features = LogMel(FRONT_END)(torch.from_numpy(waveforms))
        return model(features, torch.full((len(features),), features.shape[1])).numpy()


def session_of(graph):
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_clip_graph_equals_torch(settings):
    model = model_of(**settings)
    session = session_of(clip_graph(model, FRONT_END))
    for batch, n_samples in ((1, FRONT_END.clip_length), (3, FRONT_END.clip_length // 2 + 7), (2, 480)):
        waveforms = sounds(batch, n_samples)
        logits, posteriors = session.run(None, {"waveform": waveforms})
        expected = by_torch(model, waveforms)
        np.testing.assert_allclose(logits, expected, atol=2e-5)
        np.testing.assert_allclose(posteriors, torch.from_numpy(expected).softmax(-1), atol=1e-5)


@pytest.mark.parametrize("settings", STREAMING, ids=str)
def test_stream_after_every_step_equals_the_clip_so_far(settings):
    model = model_of(**settings)
    session, parts = session_of(stream_graph(model, FRONT_END)), state_parts(model, FRONT_END)
    step, lead = model.step_frames * FRONT_END.hop_length, parts["sound"]
    n_steps = (FRONT_END.clip_length - lead) // step
    waveforms = sounds(2, lead + n_steps * step)
    state = np.zeros((2, sum(parts.values())), np.float32)
    state[:, :lead] = waveforms[:, :lead]
    found, at = [], 0
    for k in (1, 2, n_steps - 3):  # steps taken at once
        samples = waveforms[:, lead + at * step : lead + (at + k) * step]
        posteriors, state = session.run(None, {"samples": samples, "state": state})
        assert posteriors.shape == (2, k, N_CLASSES)
        found.append(posteriors)
        at += k
    found = np.concatenate(found, axis=1)  # type: ignore[assignment]
    for i in range(n_steps):
        so_far = by_torch(model, waveforms[:, : lead + (i + 1) * step])
        np.testing.assert_allclose(found[:, i], torch.from_numpy(so_far).softmax(-1), atol=1e-5)  # type: ignore[call-overload]


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_stream_pools_over_a_clip_length_and_no_further(pooling):
    """What was heard before, a loud second, does not reach the pool: only the states of the last clip length do."""
    model = model_of(cell="rnn", pooling=pooling, frame_stack=2)
    session, parts = session_of(stream_graph(model, FRONT_END)), state_parts(model, FRONT_END)
    step, lead = 2 * FRONT_END.hop_length, parts["sound"]
    window = FRONT_END.max_frames // 2
    waveform = sounds(1, lead + 3 * window * step)
    state = np.zeros((1, sum(parts.values())), np.float32)
    state[:, :lead] = waveform[:, :lead]
    posteriors, _ = session.run(None, {"samples": waveform[:, lead:], "state": state})
    with torch.no_grad():
        features = LogMel(FRONT_END)(torch.from_numpy(waveform))
        states, _ = model.states(features, torch.tensor([features.shape[1]]))
        pooled = model._pool(states[-window:], torch.tensor([window]))
        expected = model.head(pooled).softmax(-1).numpy()
    np.testing.assert_allclose(posteriors[:, -1], expected, atol=1e-5)


def test_a_bidirectional_model_cannot_stream():
    with pytest.raises(ValueError, match="cannot stream"):
        stream_graph(model_of(cell="lstm", bidirectional=True), FRONT_END)


@pytest.mark.parametrize("cell", CELLS)
def test_graph_is_small_and_does_not_unroll(cell):
    model = model_of(cell=cell, bidirectional=True)
    graph = clip_graph(model, FRONT_END)
    assert len(graph.graph.node) < 120
    assert len(graph.SerializeToString()) < 1.2 * 4 * count_parameters(model) + 200_000
    assert not [node for node in graph.graph.node if node.op_type == "If"]
    longer = clip_graph(model, FrontEnd(clip_ms=1000.0))
    assert abs(len(longer.SerializeToString()) - len(graph.SerializeToString())) < 100


def test_network_takes_features_of_any_length():
    model = model_of(cell="gru", frame_stack=4)
    session = session_of(network_graph(model))
    for n_frames in (1, 3, 4, 31):
        features = np.random.default_rng(0).normal(size=(2, n_frames, FRONT_END.n_mels)).astype(np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(features), torch.full((2,), n_frames)).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"features": features})[0], expected, atol=1e-5)
