"""A model file with weights of 8 bits -> C99 that runs it, for what is too small for onnxruntime.

    model.int8.onnx -> kwspot.c, kwspot.h      the same for every model, in c/
                       kwspot_model.h          sizes and labels
                       kwspot_weights.h        constants, to be kept in flash
                       spot.c                  a program around them

The code carries its state from hop to hop, and after a whole clip its posteriors are those of the file.
"""

from collections.abc import Iterable
from importlib.resources import files
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.export.c_network import CELLS, POOLINGS, Floats, Network, read_network
from kwspot.export.quantization import rounded
from kwspot.files import write_text

CODE = ("kwspot.h", "kwspot.c", "spot.c")
MODEL, WEIGHTS = "kwspot_model.h", "kwspot_weights.h"
PER_LINE = 16  # numbers


def write_c(path: Path, folder: Path) -> list[Path]:
    """Write the C of a model file into a folder; return the paths. ConfigError for a model that cannot be in C."""
    network = read_network(path)
    code = files("kwspot.export") / "c"
    written = {name: (code / name).read_text(encoding="utf-8") for name in CODE}
    written |= {MODEL: _sizes(network, path.name), WEIGHTS: _constants(network)}
    for name, text in written.items():
        write_text(folder / name, text)
    return [folder / name for name in written]


def _sizes(network: Network, name: str) -> str:
    front_end, hidden = network.front_end, network.hidden_size
    heads = network.attention[0].shape[1] if network.attention else 1
    inputs = [front_end.n_mels, *(len(layer.weights) for layer in network.convolutions)]
    stacked = network.frame_stack * inputs[-1]
    sizes = {
        "SAMPLE_RATE": front_end.sample_rate,
        "CLIP": front_end.clip_length,
        "HOP": front_end.hop_length,
        "STEP": network.frame_stack * math.prod(layer.stride for layer in network.convolutions),
        "N_CLASSES": len(network.labels),
        "N_LOGITS": len(network.head[1]),
        "MERGED": network.merged[1],
        "MERGED_AT": network.merged[0],
        "WINDOW_LENGTH": front_end.win_length,
        "N_FFT": front_end.n_fft,
        "N_MELS": front_end.n_mels,
        "LOG_OFFSET": _number(front_end.log_offset),
        "INPUTS": stacked + sum(layer.weights[0].size for layer in network.convolutions),
        "WIDEST": max(*inputs, stacked, hidden),
        "HIDDEN": hidden,
        "POOLED": network.n_steps,
        "HEADS": heads,
        "HEAD_NORM": int(network.norm is not None),
        **{cell: i for i, cell in enumerate(CELLS)},
        "CELL": f"KWSPOT_{network.cell}",
        **{pooling: i for i, pooling in enumerate(POOLINGS.values())},
        "POOLING": f"KWSPOT_{network.pooling}",
    }
    if network.norm:
        sizes["NORM_EPS"] = _number(network.norm[2])
    lines = [f"#define KWSPOT_{key} {value}" for key, value in sizes.items()]
    return "\n".join([f"/* Sizes of {name}; times in samples, a step in hops. */", *lines, ""])


def _constants(network: Network) -> str:
    front_end = network.front_end
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(front_end.win_length) / front_end.win_length)
    turn = np.cos(2 * np.pi * np.arange(3 * front_end.n_fft // 4) / front_end.n_fft)
    bins = [np.flatnonzero(band) for band in network.mel.T]
    ends = [(used[0], used[-1] + 1) for used in bins]
    mel = np.concatenate([network.mel[a:b, i] for i, (a, b) in enumerate(ends)])
    names = [json.dumps(label, ensure_ascii=False) for label in network.labels]
    parts = [
        f"const char *const kwspot_labels[] = {{{', '.join(names)}}};",
        _floats("window", window),
        _floats("cos", turn),
        f"static const int16_t kwspot_mel_bins[][2] = {{{', '.join(f'{{{a}, {b}}}' for a, b in ends)}}};",
        _floats("mel_weights", mel),
        _floats("mean", network.mean),
        _floats("std", network.std),
    ]
    convolutions = []
    for i, layer in enumerate(network.convolutions):
        n_out, kernel, channels = layer.weights.shape
        parts += [*_matrix(f"c{i}", layer.weights.reshape(n_out, -1)), _floats(f"c{i}_b", layer.bias)]
        convolutions.append(f"{{{_reference(f'c{i}', kernel * channels)}, kwspot_c{i}_b, {kernel}, {layer.stride}, "
                            f"{channels}, {n_out}}}")  # fmt: skip
    stack = network.frame_stack
    channels = network.layers[0].inputs.shape[1] // stack
    convolutions.append(f"{{{{0, 0, 0}}, 0, {stack}, {stack}, {channels}, 0}}")
    parts.append(f"static const kwspot_convolution kwspot_convolutions[] = {{\n    {_lines(convolutions)}}};")
    layers = []
    for i, cell in enumerate(network.layers):
        parts += [*_matrix(f"w{i}", cell.inputs), *_matrix(f"r{i}", cell.states), _floats(f"b{i}", cell.biases)]
        pair = [_reference(f"{name}{i}", m.shape[1]) for name, m in (("w", cell.inputs), ("r", cell.states))]
        layers.append(f"{{{', '.join(pair)}, kwspot_b{i}}}")
    parts.append(f"static const kwspot_layer kwspot_layers[] = {{\n    {_lines(layers)}}};")
    for name, linear in (("attention", network.attention), ("head", network.head)):
        if linear:
            parts += [*_matrix(f"{name}_w", linear[0].T), _floats(f"{name}_bias", linear[1])]
            parts.append(f"static const kwspot_matrix kwspot_{name} = {_reference(f'{name}_w', len(linear[0]))};")
    if network.norm:
        parts += [_floats("norm_scale", network.norm[0]), _floats("norm_bias", network.norm[1])]
    return "\n".join(["/* Included by kwspot.c. */", *parts, ""])


def _matrix(name: str, weights: Floats) -> list[str]:
    whole, scales = rounded(weights, (1,))
    return [
        f"static const int8_t kwspot_{name}[] = {{\n    {_lines(str(q) for q in whole.ravel())}}};",
        _floats(f"{name}_scales", scales.ravel()),
    ]


def _reference(name: str, n_in: int) -> str:
    return f"{{kwspot_{name}, kwspot_{name}_scales, {n_in}}}"


def _floats(name: str, values: Floats) -> str:
    return f"static const float kwspot_{name}[] = {{\n    {_lines(map(_number, values.ravel()))}}};"


def _number(value: float | np.floating[Any]) -> str:
    """Write a float32 so that it is read back with the same bits."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def _lines(values: Iterable[str]) -> str:
    texts = list(values)
    return ",\n    ".join(", ".join(texts[i : i + PER_LINE]) for i in range(0, len(texts), PER_LINE))
