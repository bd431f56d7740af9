"""Weights of 8 bits: what is rounded, by how much, and what is not."""

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array
import onnxruntime
import pytest
import torch

from kwspot.experiments.settings import ModelSettings, StemSettings
from kwspot.export.onnx_graph import network_graph
from kwspot.export.quantization import quantised
from kwspot.models.factory import CELLS, build_model

N_MELS, N_CLASSES = 12, 5
STEM = StemSettings(channels=[16, 24], kernel=4, stride=2)


def graph_of(cell, bidirectional=True):
    torch.manual_seed(0)
    settings = ModelSettings(cell=cell, hidden_size=64, bidirectional=bidirectional, pooling="attention", stem=STEM)
    return network_graph(build_model(settings, N_MELS, N_CLASSES).eval())


def constants(graph):
    """All constants by name, those in the bodies of loops as well."""
    found = {}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= constants(attribute.g)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = to_array(node.attribute[0].t)
    return found


def logits_of(graph):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    features = np.random.default_rng(0).normal(0, 1, (8, 30, N_MELS)).astype(np.float32)
    return session.run(["logits"], {"features": features})[0]


@pytest.mark.parametrize("cell", CELLS)
def test_no_weight_is_off_by_more_than_half_a_step_of_its_output(cell):
    graph = graph_of(cell)
    before, after = constants(graph.graph), constants(quantised(graph).graph)
    rounded = [name for name in before if name not in after]
    assert len(rounded) >= 4  # two layers of the stem, the cells, the readout
    for name in rounded:
        whole, scales = after[f"{name}_int8"], after[f"{name}_scales"]
        assert whole.dtype == np.int8
        assert np.abs(whole).max() == 127
        assert (np.abs(whole * scales - before[name]) <= 0.5001 * scales).all()
    assert all((before[name] == after[name]).all() for name in before if name in after)
    assert max(constant.size for constant in after.values() if constant.dtype == np.float32) <= 2 * 8 * 64  # of biases


@pytest.mark.parametrize("cell", CELLS)
def test_what_comes_out_is_nearly_the_same(cell):
    graph = graph_of(cell)
    before, after = logits_of(graph), logits_of(quantised(graph))
    assert 0 < np.abs(after - before).max() < 0.05 * np.abs(before).max()


def test_an_output_without_weights_stays_at_zero():
    node = onnx.helper.make_node("Constant", [], ["w"], value=from_array(np.zeros((3, 2), np.float32)))
    matmul = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy")
    model = onnx.helper.make_model(onnx.helper.make_graph([node, matmul], "g", [x], [y]))
    after = constants(quantised(model).graph)
    assert (after["w_int8"] * after["w_scales"] == np.zeros((3, 2))).all()
