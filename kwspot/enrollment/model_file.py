"""Encoder and head -> one model file that everything takes; and what such a file says of its enrollment.

RUNS/enrolled/<name>.onnx: waveform (batch, n_samples) -> logits, posteriors (batch, n_classes)

Beside the weights it holds the embeddings it was fitted on, as the tensor `enrolled`, which no operator reads: so words
can be added without the clips of the others.
"""

from dataclasses import fields
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot import __version__
from kwspot.enrollment.examples import Examples, Source
from kwspot.enrollment.head import Head
from kwspot.errors import IntegrityError
from kwspot.inference.spotter import Spotter

ENROLLED = "enrolled"


def build(encoder: Path, head: Head, enrolled: NDArray[np.float32], metadata: dict[str, Any]) -> bytes:
    """Lay a head on an encoder: the bytes of a model file."""
    import onnx
    from onnx.helper import make_node, make_tensor_value_info, set_model_props
    from onnx.numpy_helper import from_array

    model = onnx.load(encoder)
    graph = model.graph
    weights = {"head_mean": head.mean, "head_weight": head.weight, "head_bias": head.bias}
    graph.initializer.extend(from_array(value.astype(np.float32), name) for name, value in weights.items())
    graph.initializer.append(from_array(enrolled.astype(np.float16), ENROLLED))
    graph.node.extend(
        [
            make_node("LpNormalization", ["embedding"], ["head_direction"], axis=-1, p=2),
            make_node("Sub", ["head_direction", "head_mean"], ["head_centred"]),
            make_node("MatMul", ["head_centred", "head_weight"], ["head_weighted"]),
            make_node("Add", ["head_weighted", "head_bias"], ["logits"]),
            make_node("Softmax", ["logits"], ["posteriors"], axis=-1),
        ]
    )
    del graph.output[:]
    shape: list[str | int | None] = ["batch", len(head.labels)]
    graph.output.extend(make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in ("logits", "posteriors"))
    del model.metadata_props[:]
    set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    model.producer_name, model.producer_version = "kwspot", __version__
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def read_examples(path: Path) -> tuple[Examples, dict[str, Any]]:
    """Return what a model was fitted on, and its metadata.

    MissingError without the file, IntegrityError if it was not enrolled, or is damaged.
    """
    import onnx
    from onnx.numpy_helper import to_array

    metadata = Spotter(path, threads=1).metadata
    enrolled = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name == ENROLLED]
    if not enrolled or "enrollment" not in metadata:
        raise IntegrityError(f"{path}: not made by 'kwspot enroll', so no words can be added to it")
    known = [each.name for each in fields(Source)]  # later versions may write more
    sources = tuple(
        Source(**{key: source[key] for key in known if key in source}) for source in metadata["enrollment"]["sources"]
    )
    embeddings = np.asarray(to_array(enrolled[0]), np.float32)
    if embeddings.ndim != 2 or len(embeddings) != sum(source.n_rows for source in sources):
        raise IntegrityError(f"{path}: not the embeddings of its sources; enroll all words anew, with --again")
    return Examples(sources, embeddings, int(metadata["clip_length"])), metadata
