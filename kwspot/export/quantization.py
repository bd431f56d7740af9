"""Weights of 8 bits: the same graph in a file of a quarter of the size.

    w ~ q * s,   q = round(w / s) of 8 bits,   s = max |w| / 127 over what one output of a layer sums

Symmetric, a scale for each output (Krishnamoorthi 2018, arXiv:1806.08342, section 3.1). onnxruntime multiplies the
weights out when it opens the file and computes in single precision, so nothing else is rounded, every kind of cell can
have them, and the file runs as fast as the one with weights of 32 bits.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

LARGEST = 127
SUMMED = {"Conv": (1, 2), "RNN": (2,), "LSTM": (2,), "GRU": (2,), "MatMul": (0,)}  # axes of a layer's weights


def quantised(model: onnx.ModelProto, spared: Sequence[np.ndarray] = ()) -> onnx.ModelProto:
    """Return the model with the weights of its layers in 8 bits; biases, normalisations and what is spared stay."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    _quantise(changed.graph, spared)
    return changed


def rounded(weights: np.ndarray, summed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return weights in 8 bits, and the scales that they are multiplied by, one for all that stand on `summed` axes."""
    scales = np.maximum(np.abs(weights).max(summed, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


def _quantise(graph: onnx.GraphProto, spared: Sequence[np.ndarray]) -> None:
    layers = {name: node.op_type for node in graph.node if node.op_type in SUMMED for name in node.input}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:  # the body of a loop
                _quantise(attribute.g, spared)
        summed = SUMMED[layers[node.output[0]]] if node.op_type == "Constant" and node.output[0] in layers else None
        if summed and len(node.attribute[0].t.dims) > max(summed) and not _is_in(node, spared):  # else a bias
            graph.node.extend(_multiplied_out(node, summed))
        else:
            graph.node.append(node)


def _is_in(constant: onnx.NodeProto, spared: Sequence[np.ndarray]) -> bool:
    return any(np.array_equal(to_array(constant.attribute[0].t), weights) for weights in spared)


def _multiplied_out(constant: onnx.NodeProto, summed: tuple[int, ...]) -> list[onnx.NodeProto]:
    name, weights = constant.output[0], to_array(constant.attribute[0].t)
    whole, scales = rounded(weights, summed)
    return [
        make_node("Constant", [], [f"{name}_int8"], value=from_array(whole)),
        make_node("Constant", [], [f"{name}_scales"], value=from_array(scales)),
        make_node("Cast", [f"{name}_int8"], [f"{name}_whole"], to=onnx.TensorProto.FLOAT),
        make_node("Mul", [f"{name}_whole", f"{name}_scales"], [name]),
    ]
