"""A model file -> the numbers of its network, read off its graph.

The graph is that of onnx_graph.clip_graph: its operators come in the order of the layers, so their weights are read off
in that order. Weights of 8 bits come multiplied out by their scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx.numpy_helper import to_array

from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments.settings import FrontEnd

CELLS = ("GRU", "LSTM", "RNN")  # operators; the other cells are a Loop
# Every operator that a model may have: what is not here is not in the code.
OPERATORS = {
    *CELLS, "Add", "Cast", "Concat", "Constant", "Conv", "Cos", "Div", "Einsum", "Gather", "Identity",
    "LayerNormalization", "Log", "MatMul", "Max", "Mod", "Mul", "Pad", "ReduceMax", "ReduceMean", "Relu", "Reshape",
    "Shape", "Sin", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
POOLINGS = {"Gather": "LAST", "ReduceMean": "MEAN", "ReduceMax": "MAX", "Einsum": "ATTENTION"}  # by their operator

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Convolution:
    """Weights (n_out, kernel, channels), which see a frame after the other."""

    weights: Floats
    bias: Floats
    stride: int


@dataclass(frozen=True)
class Layer:
    """A recurrent layer's matrices (gates * hidden, n_in) and (gates * hidden, hidden), and its biases, as in ONNX."""

    inputs: Floats
    states: Floats
    biases: Floats


@dataclass(frozen=True)
class Network:
    """What a model file's graph computes, as numbers."""

    labels: Sequence[str]
    front_end: FrontEnd
    mel: Floats  # (n_fft // 2 + 1, n_mels)
    mean: Floats  # (n_mels,), and the standard deviation: feature normalisation
    std: Floats
    convolutions: Sequence[Convolution]
    cell: str
    layers: Sequence[Layer]
    pooling: str
    attention: tuple[Floats, Floats] | None  # (hidden, heads) and its bias
    norm: tuple[Floats, Floats, float] | None  # scale, bias, epsilon
    head: tuple[Floats, Floats]  # (features, n_logits) and its bias
    merged: tuple[int, int]  # the first logit and the number of those that are one class

    @property
    def hidden_size(self) -> int:
        """Values of a state."""
        return int(self.layers[0].states.shape[1])

    @property
    def frame_stack(self) -> int:
        """Frames, or outputs of the convolutions, that are joined into one step."""
        channels = self.convolutions[-1].weights.shape[0] if self.convolutions else self.mel.shape[1]
        return int(self.layers[0].inputs.shape[1]) // channels

    @property
    def n_steps(self) -> int:
        """Steps of a whole clip."""
        n = self.front_end.max_frames
        for layer in self.convolutions:
            n = (n - layer.weights.shape[1]) // layer.stride + 1
        return n // self.frame_stack


def read_network(path: Path) -> Network:
    """Read a model file; ConfigError if it has parts that are not in the code."""
    model = onnx.load(path)
    known = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    graph = model.graph
    kinds = {node.op_type for node in graph.node}
    if other := sorted(kinds - OPERATORS):
        raise ConfigError(
            f"{path}: {', '.join(other)} in its graph, which the C has not; a model of gru, lstm or rnn cells, "
            "in one direction, can be written"
        )
    if "kind" in known or len(graph.input) != 1 or not known.get("labels"):
        raise ConfigError(f"{path}: not a model for clips; the C is made of one, and streams by itself")
    front_end = FrontEnd(**known["front_end"])
    if front_end.n_fft & (front_end.n_fft - 1):
        raise ConfigError(f"{path}: front_end.n_fft {front_end.n_fft}; the C transforms powers of 2 only")
    return _Reader(graph, path).network(known["labels"], front_end)


class _Reader:
    """The constants of a graph, by the operators that use them."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.path = path  # for errors
        self.nodes = list(graph.node)
        self.made_by = {name: node for node in self.nodes for name in node.output}
        self.used_by = {name: node for node in self.nodes for name in node.input}

    def network(self, labels: Sequence[str], front_end: FrontEnd) -> Network:
        """Read everything."""
        (cell,) = {node.op_type for node in self.nodes} & set(CELLS)
        mel, *matrices = [node for node in self.nodes if node.op_type == "MatMul"]
        linears = [(self.value(node.input[1]), self.bias_of(node)) for node in matrices]
        kinds = [node.op_type for node in self.nodes[self.nodes.index(self.of(cell)[-1]) :]]
        before_head = kinds[: len(kinds) - kinds[::-1].index("MatMul")]
        pooling = next(
            name
            for kind, name in {
                "Einsum": "ATTENTION",
                "ReduceMean": "MEAN",
                "ReduceMax": "MAX",
                "Gather": "LAST",
            }.items()
            if kind in before_head
        )
        n_merged = linears[-1][0].shape[1] - len(labels) + 1
        return Network(
            labels=labels,
            front_end=front_end,
            mel=self._mel(mel, front_end),
            **self._feature_norm(front_end.n_mels),
            convolutions=[self._convolution(node) for node in self.of("Conv")[1:]],  # the first one is Fourier's
            cell=cell,
            layers=[self._layer(node) for node in self.of(cell)],
            pooling=pooling,
            attention=linears[0] if pooling == "ATTENTION" else None,
            norm=self._norm(),
            head=linears[-1],
            merged=(self._merged_at() if n_merged > 1 else 0, n_merged),
        )

    def of(self, kind: str) -> list[onnx.NodeProto]:
        """Return the operators of a kind, in their order."""
        return [node for node in self.nodes if node.op_type == kind]

    def value(self, name: str) -> Floats:
        """Compute a constant: one written out, or 8 bits times their scales."""
        node = self.made_by[name]
        if node.op_type == "Constant":
            return np.asarray(to_array(node.attribute[0].t))
        if node.op_type == "Cast":
            return self.value(node.input[0]).astype(np.float32)
        if node.op_type == "Mul":
            return self.value(node.input[0]) * self.value(node.input[1])
        raise IntegrityError(
            f"{self.path}: {name}: {node.op_type} where a weight of 8 bits was expected; export the model again"
        )

    def bias_of(self, node: onnx.NodeProto) -> Floats:
        """Return what is added to a product."""
        return self.value(self.used_by[node.output[0]].input[1])

    def _mel(self, product: onnx.NodeProto, front_end: FrontEnd) -> Floats:
        weights = self.value(product.input[1])
        bins = self.value(self.of("Mul")[0].input[0])[:, 0]  # those that a band uses
        mel = np.zeros((front_end.n_fft // 2 + 1, front_end.n_mels), np.float32)
        mel[bins] = weights
        return mel

    def _feature_norm(self, n_mels: int) -> dict[str, Floats]:
        log = self.of("Log")[0].output[0]
        following = [node for node in self.nodes if log in node.input and node.op_type == "Sub"]
        if not following:
            return {"mean": np.zeros(n_mels), "std": np.ones(n_mels)}
        return {"mean": self.value(following[0].input[1]), "std": self.bias_of(following[0])}

    def _convolution(self, node: onnx.NodeProto) -> Convolution:
        stride = next(attribute.ints[0] for attribute in node.attribute if attribute.name == "strides")
        weights = self.value(node.input[1])
        if weights.ndim != 3:
            raise ConfigError(
                f"{self.path}: a stem that convolves over bands as well (model.stem.bands), which the C has not"
            )
        if stride > weights.shape[2]:
            raise ConfigError(
                f"{self.path}: a stem that passes over frames (model.stem.stride {stride} is more than "
                f"model.stem.kernel {weights.shape[2]}), which the C cannot"
            )
        return Convolution(weights.transpose(0, 2, 1), self.value(node.input[2]), stride)

    def _layer(self, node: onnx.NodeProto) -> Layer:
        w, r, b = (self.value(name) for name in node.input[1:4])
        if len(w) > 1:
            raise ConfigError(
                f"{self.path}: a model that reads in both directions needs the end of a clip first; the C cannot"
            )
        return Layer(w[0], r[0], b[0])

    def _norm(self) -> tuple[Floats, Floats, float] | None:
        if not (found := self.of("LayerNormalization")):
            return None
        epsilon = next(attribute.f for attribute in found[0].attribute if attribute.name == "epsilon")
        return self.value(found[0].input[1]), self.value(found[0].input[2]), epsilon

    def _merged_at(self) -> int:
        return int(self.value(self.of("Split")[-1].input[1])[0])
