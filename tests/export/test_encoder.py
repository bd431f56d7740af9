"""The file of an encoder: what torch computes, for sound of any length, and no word of the training."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments.runs import ENCODER, MODEL
from kwspot.export import encoder as exported
from kwspot.export.encoder import fit_whitening, torch_embeddings, write_encoder
from kwspot.export.export import is_encoder, write_models
from kwspot.features.cache import open_cache
from kwspot.features.dataset import resolve_task, select
from kwspot.models.loading import load_model
from kwspot.training.run import run_experiment
from tests.toy import make_cache, toy_experiment

STEM = "model.stem={channels: [8, 8]}"
OBJECTIVE = "train.objective={margin: 0.1, prototypical: 0.5, clips_per_word: 2}"


def trained(folder, cell="lstm", *overrides):
    data = folder / "data"
    make_cache(data)
    settings = [f"model.cell={cell}", "model.embedding_size=12", "model.pooling=attention", STEM, OBJECTIVE]
    experiment = toy_experiment("lstm", "train.epochs=2", *settings, *overrides)
    return run_experiment(experiment, seed=1, data=data, runs_dir=folder / "runs", device="cpu"), data


@pytest.fixture(scope="module")
def run_and_data(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("encoder"))


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_file_computes_what_torch_does_for_any_length(tmp_path, cell):
    run, data = trained(tmp_path, cell)
    file = session(write_encoder(run, data))
    model, experiment = load_model(run, torch.device("cpu"))
    cache = open_cache(data, experiment.front_end)
    whitening = fit_whitening(model, select(cache, resolve_task(experiment.task, cache), "train"))
    for n_samples in (480, 3680, 9000, 30_000):
        clips = np.random.default_rng(n_samples).normal(0, 0.1, (3, n_samples)).astype(np.float32)
        embedding, frames = file.run(["embedding", "frames"], {"waveform": clips})
        expected = whitening(torch_embeddings(model, experiment, clips))
        assert ((unit(embedding) * unit(expected)).sum(-1) > 0.99).all()
        assert frames.shape[::2] == embedding.shape
        if n_samples <= 3680:  # the frames look back over a clip's length, here 0.23 s
            np.testing.assert_allclose(frames[:, -1], embedding, atol=1e-4)


def test_whitened_takes_differ_alike_in_all_directions(run_and_data):
    run, data = run_and_data
    model, experiment = load_model(run, torch.device("cpu"))
    cache = open_cache(data, experiment.front_end)
    split = select(cache, resolve_task(experiment.task, cache), "train")
    plain = np.concatenate([model.embed(*model.states(x, n)).detach().numpy() for x, n, _ in split.batches(64)])
    white = fit_whitening(model, split)(plain)

    def unevenness(embeddings):
        about = np.concatenate([e - e.mean(0) for e in (embeddings[split.labels == w] for w in range(3))])
        values = np.linalg.eigvalsh(about.T @ about)
        return values[-1] / values.mean()

    assert unevenness(white) < 0.6 * unevenness(unit(plain))


def test_features_of_another_corpus_are_refused(run_and_data, tmp_path):
    run, _ = run_and_data
    make_cache(tmp_path, seed=5)
    with pytest.raises(ConfigError, match="not the features that"):
        write_encoder(run, tmp_path, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_clip_in_a_batch_is_the_clip_alone(run_and_data):
    run, data = run_and_data
    file = session(write_encoder(run, data))
    clips = np.random.default_rng(0).normal(0, 0.1, (4, 3680)).astype(np.float32)
    together = file.run(["embedding"], {"waveform": clips})[0]
    alone = np.concatenate([file.run(["embedding"], {"waveform": clip[None]})[0] for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_metadata_says_what_it_is_and_leaves_the_words_behind(run_and_data):
    run, data = run_and_data
    path = write_encoder(run, data)
    known = {k: json.loads(v) for k, v in session(path).get_modelmeta().custom_metadata_map.items()}
    assert (known["kind"], known["labels"], known["run"]) == ("encoder", [], run.id)
    assert known["n_features"] == 12
    model, _ = load_model(run, torch.device("cpu"))
    assert known["n_parameters"] == sum(p.numel() for p in model.parameters()) - model.head.weight.numel()
    assert known["n_words"] == 3


def test_encoder_has_no_file_for_clips_and_a_spotter_none_for_embeddings(run_and_data, tmp_path):
    run, data = run_and_data
    assert is_encoder(run)
    assert write_models(run, data) == []
    assert not (run.path / MODEL).is_file()
    make_cache(tmp_path)
    spotter = run_experiment(
        toy_experiment("lstm", "train.epochs=1"), seed=1, data=tmp_path, runs_dir=tmp_path / "runs", device="cpu"
    )
    with pytest.raises(ConfigError, match="no encoder"):
        write_encoder(spotter, tmp_path)
    assert not (spotter.path / ENCODER).is_file()


def test_command_exports_an_encoder(run_and_data, tmp_path):
    run, data = run_and_data
    told = ["export", run.id, "--runs", str(run.path.parent), "--data", str(data)]
    done = CliRunner().invoke(app, [*told, "--out", str(tmp_path / "x.onnx")])
    assert done.exit_code == 0, done.output
    assert session(tmp_path / "x.onnx").get_outputs()[0].name == "embedding"
    refused = CliRunner().invoke(app, [*told, "--int8", "--out", str(tmp_path / "y.onnx")])
    assert refused.exit_code == ConfigError.exit_code
    assert "leave out --stream, --int8 and --card" in " ".join(refused.output.split())
    assert not (tmp_path / "y.onnx").exists()


def test_file_that_would_compute_something_else_is_not_written(run_and_data, tmp_path, monkeypatch):
    run, data = run_and_data
    monkeypatch.setattr(exported, "torch_embeddings", lambda model, experiment, clips: np.ones((len(clips), 12)))
    with pytest.raises(IntegrityError, match="not the trained one"):
        write_encoder(run, data, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
