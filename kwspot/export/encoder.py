"""A finished encoder run -> encoder.onnx: a clip's waveform in, its embedding out, weights of 8 bits.

    waveform (batch, n_samples) -> embedding (batch, n_features), frames (batch, n_steps, n_features),
                                   phonemes (batch, n_steps, 1 + n_phonemes)

The words of the training stay behind: what is left tells apart words that it never heard. Embeddings are whitened by
the covariance within words of the training (WCCN: Hatch et al., Interspeech 2006), so that directions in which takes of
any word differ count for less in a cosine. Two checks before the file is written: in single precision the graph says
what torch says, and 8 bits hardly turn an embedding.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx.helper import make_node
from onnx.numpy_helper import from_array
import onnxruntime
import torch

from kwspot.corpus.layout import TRAIN
from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments.runs import ENCODER, Run
from kwspot.experiments.settings import Experiment
from kwspot.export.export import checked_clips, is_encoder, models_of, origin, write_graph, write_models
from kwspot.export.onnx_graph import encoder_graph, with_front_end
from kwspot.export.quantization import quantised
from kwspot.features.cache import open_cache
from kwspot.features.dataset import Split, resolve_task, select
from kwspot.features.log_mel import LogMel
from kwspot.inference.spotter import SCHEMA
from kwspot.models.cost import count_macs, count_parameters
from kwspot.models.loading import load_model
from kwspot.models.recurrent import RecurrentModel
from kwspot.synthesis.negatives import PHONEMES

KIND = "encoder"  # in the metadata: no words of its own
TOLERANCE = 1e-4  # of a value, against embeddings of length 1
N_WHITENED, LEAST_TAKES = 15_000, 3  # training clips, and of a word, to learn how takes of one word differ
BATCH = 256
LEAST_COSINE = 0.99  # of an embedding in 8 bits with the same in 32, the mean over the clips

CPU = torch.device("cpu")
Floats = NDArray[np.float32]


def write_encoder(run: Run, data: Path, path: Path | None = None) -> Path:
    """Write a finished run's encoder; IntegrityError, and no file, if it computes something else than the model."""
    model, experiment = load_model(run, CPU)
    if not isinstance(model, RecurrentModel) or model.embedding is None:
        raise ConfigError(f"{run.id}: no encoder; one has model.embedding_size")
    whitening = fit_whitening(model, _training_clips(run, experiment, data))
    network = encoder_graph(model, experiment.front_end)
    whole, small = (
        whitening.behind(with_front_end(graph, experiment.front_end)) for graph in (network, quantised(network))
    )
    cosines = []
    for clips in checked_clips(data, experiment.front_end):
        expected = whitening(torch_embeddings(model, experiment, clips))
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


def write_missing(run: Run, data: Path) -> list[Path]:
    """Write the model files of a finished run, an encoder's or a spotter's, unless all are there; return the paths."""
    if all((run.path / name).is_file() for name in models_of(run)):
        return []
    return [write_encoder(run, data)] if is_encoder(run) else write_models(run, data)


@dataclass(frozen=True)
class Whitening:
    """e (…, n_features) -> (e / |e| - mean) @ matrix; mean (n_features,), matrix (n_features, n_features)."""

    mean: Floats
    matrix: Floats

    def __call__(self, embeddings: Floats) -> Floats:
        """Whiten."""
        return np.asarray((_unit(embeddings) - self.mean) @ self.matrix, np.float32)

    def behind(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Let a graph whiten its embeddings."""
        weights = {"within_mean": self.mean, "within_matrix": self.matrix}
        graph.graph.initializer.extend(from_array(value, name) for name, value in weights.items())
        for name in ("embedding", "frames"):
            (source,) = (node for node in graph.graph.node if name in node.output)
            source.output[list(source.output).index(name)] = f"{name}_plain"
            graph.graph.node.extend(
                [
                    make_node("LpNormalization", [f"{name}_plain"], [f"{name}_direction"], axis=-1, p=2),
                    make_node("Sub", [f"{name}_direction", "within_mean"], [f"{name}_centred"]),
                    make_node("MatMul", [f"{name}_centred", "within_matrix"], [name]),
                ]
            )
        return graph


@torch.no_grad()
def fit_whitening(model: RecurrentModel, split: Split) -> Whitening:
    """Learn from training clips how takes of one word differ; the covariance is softened by its mean."""
    chosen = np.random.default_rng(1).permutation(len(split))[:N_WHITENED]
    found = [model.embed(*model.states(x, lengths)).numpy() for x, lengths, _ in split.batches(BATCH, chosen)]
    embeddings, labels = _unit(np.concatenate(found)), split.labels[chosen]
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    deviations = (embeddings - sums[labels] / counts[labels, None])[counts[labels] >= LEAST_TAKES]
    if not len(deviations):
        raise ConfigError(f"no word has {LEAST_TAKES} training clips: nothing to learn how takes of one word differ")
    values, directions = np.linalg.eigh(deviations.T @ deviations / len(deviations))
    matrix = directions / np.sqrt(np.maximum(values, 0) + values.mean())
    return Whitening(embeddings.mean(0).astype(np.float32), matrix.astype(np.float32))


def _training_clips(run: Run, experiment: Experiment, data: Path) -> Split:
    cache = open_cache(data, experiment.front_end)
    if cache.meta["corpus_digest"] != run.record["corpus"]["digest"]:
        raise ConfigError(f"{data}: not the features that {run.id} was trained on; name their corpus with --data")
    return select(cache, resolve_task(experiment.task, cache, classes=run.record["classes"]), TRAIN)


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
