"""A finished run -> model files: written only when they say what the trained model says.

model.onnx          a clip's waveform in, logits and posteriors out (onnx_graph.clip_graph)
model.stream.onnx   a step's samples and a state in, posteriors and the state out (onnx_graph.stream_graph)

Both hold the front end, the weights, and as metadata what a program has to know; inference reads them. The check
runs 200 clips through the file and through torch: posteriors within 1e-4, or within a few times what torch itself
rounds, and every decision the same.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime
import torch

from kwspot import __version__
from kwspot.audio.reading import AudioError, Decoded, Waveform, fit_clip, read_clip
from kwspot.corpus.layout import TEST, VALIDATION, read_corpus
from kwspot.errors import ConfigError, IntegrityError, KwspotError, MissingError
from kwspot.evaluation.evaluate import logits_of
from kwspot.evaluation.metrics import operating_thresholds
from kwspot.experiments.runs import ENCODER, INT8, INT8_STREAM, MODEL, STREAM, STREAMED, WINDOWS, Run
from kwspot.experiments.settings import Experiment, FrontEnd
from kwspot.export.onnx_graph import clip_graph, network_graph, state_parts, stream_graph, with_front_end
from kwspot.export.onnx_ops import used_bands
from kwspot.export.quantization import quantised
from kwspot.features.cache import open_cache
from kwspot.features.dataset import Split, resolve_task, select, select_measured
from kwspot.features.log_mel import LogMel
from kwspot.files import written_whole
from kwspot.inference.spotter import SCHEMA
from kwspot.models.loading import load_model
from kwspot.models.recurrent import RecurrentModel
from kwspot.signal import channel

N_CHECKED = 200  # clips
TOLERANCE = 1e-4  # of a posterior
ROUNDINGS = 4  # times what single precision differs from double in torch, where that is more
CPU = torch.device("cpu")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """The best epoch of a run, and what every file made of it needs."""

    run: Run
    model: RecurrentModel
    experiment: Experiment
    split: Split | None  # validation, where the features that chose the best epoch are at hand
    tested: Split | None  # test, where they are and the run has been measured on it
    checked: list[Floats]  # (batch, n_samples) each

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What a model file tells about itself; values are written as JSON, null where nothing was measured."""
        run, split, front_end = self.run, self.split, self.experiment.front_end
        thresholds = operating_thresholds(logits_of(self.model, split, CPU), split.labels) if split else None
        return {
            "schema": SCHEMA,
            "labels": run.record["classes"],
            "sample_rate": front_end.sample_rate,  # Hz
            "clip_length": front_end.clip_length,  # samples
            "win_length": front_end.win_length,  # samples, the least a clip can have
            "front_end": front_end.model_dump(),
            **origin(run),
            "n_parameters": run.record["n_parameters"],
            "macs": run.record["macs"],
            "accuracy_validation": run.metrics["accuracy_validation"] if run.metrics else None,
            "accuracy_test": run.evaluations[TEST]["accuracy"] if TEST in run.evaluations else None,
            "thresholds": thresholds,
            "spotting": spotting_of(run, WINDOWS),
        }


def origin(run: Run) -> dict[str, Any]:
    """Return what the metadata of a file say about where it comes from."""
    return {
        "experiment": run.experiment,
        "run": run.id,
        "seed": run.seed,
        "corpus": run.record["corpus"]["name"],
        "corpus_digest": run.record["corpus"]["digest"],
        "kwspot": __version__,
    }


def prepare(run: Run, data: Path) -> Trained:
    """Load a run's best epoch, and from the corpus folder the clips it is checked with.

    Without recordings there the clips are generated sounds; without the run's own features the file will have no
    operating thresholds and cannot have weights of 8 bits.
    """
    model, experiment = load_model(run, CPU)
    if not isinstance(model, RecurrentModel):
        raise ConfigError(f"{run.id}: {experiment.model.published} is there to compare with; it has no model file")
    split = tested = None
    try:
        cache = open_cache(data, experiment.front_end)
        if cache.meta["corpus_digest"] == run.record["corpus"]["digest"]:
            task = resolve_task(experiment.task, cache, classes=run.record["classes"])
            split = select_measured(cache, task, VALIDATION, experiment.train.held_out)
            tested = select(cache, task, TEST) if TEST in run.evaluations else None
    except MissingError:
        pass  # no features there
    return Trained(run, model, experiment, split, tested, list(checked_clips(data, experiment.front_end)))


def write_models(run: Run, data: Path) -> list[Path]:
    """Write a finished run's model.onnx, and model.stream.onnx if it reads in one direction; return the paths.

    A published model, there to compare with, has no model file, and an encoder one of another kind
    (export.encoder).
    """
    if is_published(run) or is_encoder(run):
        return []
    trained = prepare(run, data)
    paths = [write_clip_model(trained)]
    return [*paths, write_stream_model(trained)] if can_stream(run) else paths


def models_of(run: Run) -> list[str]:
    """Name the model files that a finished run has."""
    if is_published(run):
        return []
    if is_encoder(run):
        return [ENCODER]
    return [MODEL, STREAM] if can_stream(run) else [MODEL]


def can_stream(run: Run) -> bool:
    """Say whether the run's model reads in one direction only."""
    return not is_published(run) and not run.record["settings"]["model"]["bidirectional"]


def require_stream(run: Run) -> None:
    """Raise ConfigError if the run's model reads both ways."""
    if not can_stream(run):
        raise ConfigError(f"{run.id}: bidirectional, so it needs the end of a clip first and cannot stream")


def is_published(run: Run) -> bool:
    """Say whether the run's model is one of models/published.py."""
    return "published" in run.record["settings"]["model"]


def is_encoder(run: Run) -> bool:
    """Say whether the run trained an encoder: a model whose words were only its school."""
    return "embedding_size" in run.record["settings"]["model"]


def write_clip_model(trained: Trained, path: Path | None = None) -> Path:
    """Write the file for whole clips; IntegrityError, and no file, if it says something else than the model."""
    front_end = trained.experiment.front_end
    graph = clip_graph(trained.model, front_end)
    for clips in trained.checked:
        _require_same(trained, _outputs(graph, waveform=clips)[1], clips)
    return write_graph(graph, trained.metadata, path or trained.run.path / MODEL)


def write_stream_model(trained: Trained, path: Path | None = None, *, int8: bool = False) -> Path:
    """Write the file for sound as it comes, on demand with weights of 8 bits; ConfigError if the model reads both ways.

    Its lengths are in samples.
    """
    run, model, front_end = trained.run, trained.model, trained.experiment.front_end
    require_stream(run)
    graph, parts = stream_graph(model, front_end), state_parts(model, front_end)
    step, lead = model.step_frames * front_end.hop_length, parts["sound"]
    for clips in trained.checked:
        n_samples = (clips.shape[1] - lead) // step * step
        if n_samples:  # a clip shorter than a step has no say
            state = np.zeros((len(clips), sum(parts.values())), np.float32)
            state[:, :lead] = clips[:, :lead]
            posteriors = _outputs(graph, samples=clips[:, lead : lead + n_samples], state=state)[0]
            _require_same(trained, posteriors[:, -1], clips)
    known = trained.metadata | {"step_length": step, "lead_length": lead, "spotting": spotting_of(run, STREAMED)}
    if not int8:
        return write_graph(graph, known, path or run.path / STREAM)
    # All that differs are the weights, which are those of the file for clips; how good they are was not measured here.
    small = quantised(graph, spared=[used_bands(front_end)[1]])
    known |= {"weights": "int8", "accuracy_validation": None, "accuracy_test": None}
    return write_graph(small, known, path or run.path / INT8_STREAM)


def write_int8_model(trained: Trained, most_lost: float, path: Path | None = None) -> tuple[Path, float, float]:
    """Write the file with weights of 8 bits; return its path and the validation accuracy before and after.

    KwspotError, and no file, if more than `most_lost` (a fraction of the clips) is lost.
    """
    run, split = trained.run, trained.split
    if split is None:
        raise MissingError(f"{run.id}: its features are needed to measure the loss; name its corpus with --data")
    network = network_graph(trained.model)
    small = quantised(network)
    before, after = (_accuracy(graph, split) for graph in (network, small))
    if before - after > most_lost:
        raise KwspotError(
            f"{run.id}: 8 bits take the validation accuracy from {before:.2%} to {after:.2%}, more than "
            f"--most-lost {most_lost:.2%} allows; nothing written"
        )
    on_test = _accuracy(small, trained.tested) if trained.tested else None
    known = trained.metadata | {"weights": "int8", "accuracy_validation": after, "accuracy_test": on_test}
    graph = with_front_end(small, trained.experiment.front_end)
    return write_graph(graph, known, path or run.path / INT8), before, after


def refresh_metadata(run: Run) -> None:
    """Write what was measured later into the run's model files: test accuracy, and how to detect in long audio.

    Files with weights of 8 bits have accuracies of their own and keep them.
    """
    accuracy = run.evaluations[TEST]["accuracy"] if TEST in run.evaluations else None
    for name, mode in ((MODEL, WINDOWS), (STREAM, STREAMED), (INT8, WINDOWS), (INT8_STREAM, STREAMED)):
        path = run.path / name
        if path.is_file():
            graph = onnx.load(path)
            known = {entry.key: json.loads(entry.value) for entry in graph.metadata_props}
            measured: dict[str, Any] = {"spotting": spotting_of(run, mode)}
            if name in (MODEL, STREAM):
                measured["accuracy_test"] = accuracy
            if measured != {key: known.get(key) for key in measured}:
                write_graph(graph, known | measured, path)


def spotting_of(run: Run, mode: str) -> dict[str, Any] | None:
    """Return what a model file says of long audio: the settings chosen on validation, and what they were chosen from.

    Real recordings decide, assembled sound where none were measured; only that knows what events lack at their ends.
    `curve` holds [threshold, false alarms per hour, FRR as a fraction]. None if nothing was measured.
    """
    measured = run.false_alarms.get(VALIDATION, {})
    if real := run.recordings.get(VALIDATION, {}).get(mode):
        known = {"hours": real["speech"]["hours"], "target_per_hour": real["target_per_hour"]}
        assembled = measured.get(mode, {}).get("settings", {})
        margins = {name: assembled[name] for name in ("before_ms", "after_ms") if name in assembled}
        return {**real["settings"], **margins, **known, "curve": real["curve"]}
    if mode not in measured:
        return None
    known = {key: measured[key] for key in ("hours", "snr_db", "target_per_hour")}
    return {**measured[mode]["settings"], **known, "curve": [point[:3] for point in measured[mode]["curve"]]}


def checked_clips(data: Path, front_end: FrontEnd) -> Iterator[Floats]:
    """Yield 200 clips, (batch, n_samples) of one length each: recordings of validation, else generated sounds."""
    waveforms = _recordings(data, front_end) or _murmurs(front_end)
    for _, alike in groupby(sorted(waveforms, key=len), key=len):
        yield np.stack(list(alike))


def _recordings(data: Path, front_end: FrontEnd) -> list[Waveform]:
    try:
        clips = [clip for clip in read_corpus(data).clips if clip.split == VALIDATION]
    except MissingError:
        return []
    waveforms = []
    for i in np.random.default_rng(0).permutation(len(clips)):
        try:
            waveforms.append(read_clip(data / clips[i].name, front_end).waveform)
        except AudioError:
            continue  # featurize names it
        if len(waveforms) == N_CHECKED:
            break
    return waveforms


@lru_cache(maxsize=1)
def _murmurs(front_end: FrontEnd) -> list[Waveform]:
    """Make sounds like vowels that change, each in a room of its own: a voice's harmonics under a moving formant."""
    rng = np.random.default_rng(0)
    time_s = np.arange(front_end.clip_length) / front_end.sample_rate
    waveforms = []
    for _ in range(N_CHECKED):
        pitch_hz, (start_hz, end_hz) = rng.uniform(80, 300), rng.uniform(300, 3000, 2)
        formant_hz = np.linspace(start_hz, end_hz, len(time_s))
        harmonics = np.arange(1, 1 + int(3500 / pitch_hz))[:, None] * pitch_hz
        loudness = np.exp(-(((harmonics - formant_hz) / 400) ** 2))
        sound = (loudness * np.sin(2 * np.pi * harmonics * time_s)).sum(0) * np.hanning(len(time_s))
        clip = channel.record(sound, front_end.sample_rate, 1.0, rng)
        decoded = Decoded((clip / 2**15).astype(np.float32), channel.SAMPLE_RATE)
        waveforms.append(fit_clip(decoded, front_end).waveform)
    return waveforms


def _outputs(graph: onnx.ModelProto, **inputs: Floats) -> list[Floats]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Floats] = session.run(None, inputs)
    return results


def _require_same(trained: Trained, found: Floats, clips: Floats) -> None:
    """Compare posteriors of clips (batch, n_samples) with the trained model's."""
    expected = _posteriors(trained, clips, torch.float32)
    difference = float(np.abs(found - expected).max())
    n_other = int((found.argmax(-1) != expected.argmax(-1)).sum())
    allowed = TOLERANCE
    if difference > allowed:  # some models make much of rounding, in torch as well
        rounding = float(np.abs(_posteriors(trained, clips, torch.float64) - expected).max())
        allowed = max(TOLERANCE, ROUNDINGS * rounding)
    if not difference <= allowed or n_other:
        raise IntegrityError(
            f"{trained.run.id}: the exported model is not the trained one (posteriors differ by up to "
            f"{difference:.1e}, {n_other} of {len(clips)} decisions differ); nothing written; please report it"
        )


@torch.no_grad()
def _posteriors(trained: Trained, clips: Floats, dtype: torch.dtype) -> NDArray[np.floating[Any]]:
    """Compute what torch says of clips (batch, n_samples), in one precision all through: (batch, n_classes)."""
    features = LogMel(trained.experiment.front_end).to(dtype)(torch.from_numpy(clips).to(dtype))
    lengths = torch.full((len(clips),), features.shape[1])
    posteriors: NDArray[np.floating[Any]] = deepcopy(trained.model).to(dtype)(features, lengths).softmax(-1).numpy()
    return posteriors


def _accuracy(network: onnx.ModelProto, split: Split) -> float:
    """Return the fraction of a split that a network graph gets right; clips of one length go through together."""
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    n_right = 0
    order = np.argsort(split.lengths, kind="stable")
    for _, alike in groupby(order, key=lambda i: split.lengths[i]):
        features, _, labels = split.batch(np.array(list(alike)))
        logits = session.run(["logits"], {"features": features.numpy()})[0]
        n_right += int((logits.argmax(-1) == labels.numpy()).sum())
    return n_right / len(split)


def write_graph(graph: onnx.ModelProto, known: dict[str, Any], path: Path) -> Path:
    """Write a graph and what is known of it, each value as JSON, the whole file or none; return the path."""
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {key: json.dumps(value) for key, value in known.items()})
    graph.producer_name, graph.producer_version = "kwspot", __version__
    with written_whole(path) as partial:
        partial.write_bytes(graph.SerializeToString())
    return path
