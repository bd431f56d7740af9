"""A finished encoder run -> encoder.onnx: a clip's waveform in, its embedding out, weights of 8 bits.

    waveform (batch, n_samples) -> embedding (batch, n_features), frames (batch, n_steps, n_features),
                                   phonemes (batch, n_steps, 1 + n_phonemes)

The words of the training stay behind: what is left tells apart words that it never heard. Two checks before the file is
written: in single precision the graph says what torch says, and 8 bits hardly turn an embedding.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnxruntime
import torch

from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments.runs import ENCODER, Run
from kwspot.experiments.settings import Experiment
from kwspot.export.export import checked_clips, origin, write_graph
from kwspot.export.onnx_graph import encoder_graph, with_front_end
from kwspot.export.quantization import quantised
from kwspot.features.log_mel import LogMel
from kwspot.inference.spotter import SCHEMA
from kwspot.models.cost import count_macs, count_parameters
from kwspot.models.loading import load_model
from kwspot.models.recurrent import RecurrentModel
from kwspot.synthesis.negatives import PHONEMES

KIND = "encoder"  # in the metadata: no words of its own
TOLERANCE = 1e-4  # of a value, against embeddings of length 1
LEAST_COSINE = 0.99  # of an embedding in 8 bits with the same in 32, the mean over the clips

CPU = torch.device("cpu")
Floats = NDArray[np.float32]


def write_encoder(run: Run, data: Path, path: Path | None = None) -> Path:
    """Write a finished run's encoder; IntegrityError, and no file, if it computes something else than the model."""
    model, experiment = load_model(run, CPU)
    if not isinstance(model, RecurrentModel) or model.embedding is None:
        raise ConfigError(f"{run.id}: no encoder; one has model.embedding_size")
    network = encoder_graph(model, experiment.front_end)
    whole, small = (with_front_end(graph, experiment.front_end) for graph in (network, quantised(network)))
    cosines = []
    for clips in checked_clips(data, experiment.front_end):
        expected = torch_embeddings(model, experiment, clips)
        difference = float(np.abs(_unit(_embeddings(whole, clips)) - _unit(expected)).max())
        if not difference <= TOLERANCE:
            raise IntegrityError(
                f"{run.id}: the exported encoder is not the trained one (embeddings of length 1 differ by up to "
                f"{difference:.1e}); nothing written; please report it"
            )
        cosines.append((_unit(_embeddings(small, clips)) * _unit(expected)).sum(-1))
    cosine = float(np.concatenate(cosines).mean())
    if cosine < LEAST_COSINE:
        raise IntegrityError(f"{run.id}: 8 bits turn the embeddings to a cosine of {cosine:.3f}; nothing written")
    return write_graph(small, _metadata(run, model, experiment) | {"cosine_int8": cosine}, path or run.path / ENCODER)


def _metadata(run: Run, model: RecurrentModel, experiment: Experiment) -> dict[str, Any]:
    front_end, left_behind = experiment.front_end, count_parameters(model.head)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "labels": [],
        "n_features": experiment.model.embedding_size,
        "phonemes": PHONEMES if model.phonemes is not None else None,  # behind the blank
        "sample_rate": front_end.sample_rate,  # Hz
        "clip_length": front_end.clip_length,  # samples, of the training; any other will do
        "win_length": front_end.win_length,  # samples, the least a clip can have
        "step_length": model.step_frames * front_end.hop_length,  # samples from one of `frames` to the next
        "front_end": front_end.model_dump(),
        **origin(run),
        "n_words": len(run.record["classes"]),  # of the training
        "n_parameters": count_parameters(model) - left_behind,
        "macs": count_macs(model, front_end.max_frames, front_end.n_mels) - left_behind,
        "weights": "int8",
    }


@torch.no_grad()
def torch_embeddings(model: RecurrentModel, experiment: Experiment, clips: Floats) -> Floats:
    """Compute embeddings (batch, n_features) of clips (batch, n_samples) with the trained model."""
    features = LogMel(experiment.front_end)(torch.from_numpy(clips))
    lengths = torch.full((len(clips),), features.shape[1])
    embeddings: Floats = model.embed(*model.states(features, lengths)).numpy()
    return embeddings


def _embeddings(graph: Any, clips: Floats) -> Floats:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Floats = session.run(["embedding"], {"waveform": clips})[0]
    return result


def _unit(embeddings: Floats) -> Floats:
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
