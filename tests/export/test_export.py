"""Model files of runs: written when they agree, absent when they do not, and what they say of themselves."""

from dataclasses import replace
import json

import numpy as np
import onnx
import pytest
import torch

from kwspot import Spotter, Stream
from kwspot.errors import ConfigError, IntegrityError, KwspotError, MissingError
from kwspot.evaluation.evaluate import evaluate_run
from kwspot.evaluation.stream_parity import compare_streaming
from kwspot.experiments.registry import load_registry
from kwspot.experiments.runs import INT8, INT8_STREAM, MODEL, STREAM, STREAMED, WINDOWS, read_run
from kwspot.export import export
from kwspot.export.export import (
    Trained,
    checked_clips,
    prepare,
    refresh_metadata,
    write_clip_model,
    write_int8_model,
    write_models,
    write_stream_model,
)
from kwspot.features.extract import featurize
from kwspot.features.log_mel import LogMel
from kwspot.models.cost import count_parameters
from kwspot.models.factory import build_model
from kwspot.models.loading import load_model
from kwspot.training.run import run_experiment
from tests.sounds import make_corpus
from tests.toy import make_cache, toy_experiment

REGISTRY = load_registry()


def trained_run(folder, *overrides, name="lstm", data=None):
    if data is None:
        data = folder / "data"
        make_cache(data)
    experiment = toy_experiment(name, "train.epochs=3", *overrides)
    run = run_experiment(experiment, seed=1, data=data, runs_dir=folder / "runs", device="cpu")
    return run, data


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("lstm"), "model.frame_stack=2", "model.pooling=mean")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run from recordings of many speakers, so that every split has some."""
    folder = tmp_path_factory.mktemp("recorded")
    data = make_corpus(folder / "data", n_speakers=60, seconds=0.23)
    experiment = toy_experiment("lstm", "train.epochs=3")
    featurize(data, experiment.front_end)
    return trained_run(folder, data=data)


def test_both_files_say_what_the_run_says(lstm, tmp_path):
    run, data = lstm
    paths = write_models(run, data)
    assert paths == [run.path / MODEL, run.path / STREAM]
    model, experiment = load_model(run, torch.device("cpu"))
    spotter, stream = Spotter(paths[0]), Stream(paths[1])
    for seed in range(3):
        waveform = np.random.default_rng(seed).normal(0, 0.1, experiment.front_end.clip_length).astype(np.float32)
        with torch.no_grad():
            features = LogMel(experiment.front_end)(torch.from_numpy(waveform)[None])
            expected = model(features, torch.tensor([features.shape[1]])).softmax(-1).numpy()
        np.testing.assert_allclose(spotter.posteriors(waveform[None]), expected, atol=1e-5)
        for piece in (7, 160, len(waveform)):
            stream.reset()
            heard = np.concatenate([stream.feed(waveform[i : i + piece]) for i in range(0, len(waveform), piece)])
            assert len(heard) == (len(waveform) - 320) // stream.step_length
            np.testing.assert_allclose(heard[-1], expected[0], atol=1e-5)


def test_metadata_says_where_the_file_comes_from(lstm):
    run, data = lstm
    write_models(run, data)
    evaluate_run(run, split="test", data=data, device="cpu")
    again = read_run(run.path)
    assert Spotter(run.path / MODEL).metadata["accuracy_test"] is None
    refresh_metadata(again)
    for known in (Spotter(run.path / MODEL).metadata, Stream(run.path / STREAM).metadata):
        assert known["labels"] == run.record["classes"]
        assert known["run"] == run.id
        assert known["seed"] == 1
        assert known["experiment"] == "lstm"
        assert known["corpus_digest"] == run.record["corpus"]["digest"]
        assert known["accuracy_validation"] == run.metrics["accuracy_validation"]
        assert known["accuracy_test"] == again.evaluations["test"]["accuracy"]
        assert known["front_end"] == run.record["settings"]["front_end"]
        assert set(known["thresholds"]) == {"precision_0.95", "precision_0.99"}
        assert known["sample_rate"] == 16000
        assert known["clip_length"] == 3680
    assert onnx.load(run.path / MODEL).producer_name == "kwspot"
    assert list(run.path.glob("*.data")) == []  # no weights beside the file


def test_without_its_features_a_file_has_no_thresholds(lstm, tmp_path):
    run, _ = lstm
    path = write_clip_model(prepare(run, tmp_path), tmp_path / "x.onnx")
    assert Spotter(path).metadata["thresholds"] is None
    with pytest.raises(MissingError, match="name its corpus with --data"):
        write_int8_model(prepare(run, tmp_path), 1.0)


def test_a_model_that_makes_much_of_rounding_may_differ_by_it(lstm):
    """A head a thousand times as large: torch in single precision differs from torch in double."""
    run, data = lstm
    trained = prepare(run, data)
    with torch.no_grad():
        trained.model.head.weight *= 1000
    clips = trained.checked[0]
    single, double = (export._posteriors(trained, clips, dtype) for dtype in (torch.float32, torch.float64))
    allowed = export.ROUNDINGS * np.abs(double - single).max()
    assert allowed > export.TOLERANCE
    export._require_same(trained, single + 0.9 * allowed, clips)
    with pytest.raises(IntegrityError, match="is not the trained one"):
        export._require_same(trained, single + 1.1 * allowed, clips)


def test_a_file_that_says_something_else_is_not_written(lstm, tmp_path, monkeypatch):
    run, data = lstm
    trained, other = prepare(run, data), prepare(run, data)
    with torch.no_grad():
        other.model.head.bias[0] += 0.01
    for name in ("clip_graph", "stream_graph"):
        made = getattr(export, name)
        monkeypatch.setattr(export, name, lambda _, front_end, made=made: made(other.model, front_end))
    for write in (write_clip_model, write_stream_model):
        with pytest.raises(IntegrityError, match="is not the trained one"):
            write(trained, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["lstm", "rnn_ln", "bilstm"])
def test_eight_bits(name, tmp_path):
    run, data = trained_run(tmp_path, "model.hidden_size=48", name=name)
    path, before, after = write_int8_model(prepare(run, data), 0.2)
    assert path == run.path / INT8
    assert before == pytest.approx(run.metrics["accuracy_validation"])
    assert path.stat().st_size < write_clip_model(prepare(run, data), tmp_path / "x.onnx").stat().st_size
    known = Spotter(path).metadata
    assert (known["weights"], known["accuracy_validation"], known["accuracy_test"]) == ("int8", after, None)


def test_a_stream_of_eight_bits_says_what_the_clip_says(tmp_path):
    run, data = trained_run(tmp_path, "model.pooling=attention", name="lstm")
    trained = prepare(run, data)
    spotter, path = Spotter(write_int8_model(trained, 1.0)[0]), write_stream_model(trained, int8=True)
    assert path == run.path / INT8_STREAM
    assert path.stat().st_size < write_stream_model(trained).stat().st_size
    stream = Stream(path)
    waveform = np.random.default_rng(0).normal(0, 0.1, stream.clip_length).astype(np.float32)
    n_heard = stream.lead_length + (len(waveform) - stream.lead_length) // stream.step_length * stream.step_length
    posteriors = stream.feed(waveform)[-1]
    np.testing.assert_allclose(posteriors, spotter.posteriors(waveform[None, :n_heard])[0], atol=1e-5)


def test_files_of_eight_bits_get_the_operating_point_and_keep_their_accuracies(tmp_path):
    run, data = trained_run(tmp_path)
    evaluation = evaluate_run(run, split="test", data=data, device="cpu")
    trained = prepare(run, data)
    clip, stream = write_int8_model(trained, 1.0)[0], write_stream_model(trained, int8=True)
    chosen = {"settings": {"threshold": 0.7}, "curve": [[0.7, 1.0, 0.1, 0.0]]}
    shared = {"hours": 1.0, "snr_db": 10.0, "target_per_hour": 1.0}
    measured = {"validation": {**shared, WINDOWS: chosen, STREAMED: chosen}}
    refresh_metadata(replace(run, evaluations={"test": evaluation}, false_alarms=measured))
    for known in (Spotter(clip).metadata, Stream(stream).metadata):
        assert known["spotting"]["threshold"] == 0.7
        assert known["accuracy_test"] is None
    assert (Stream(stream).metadata["accuracy_validation"], Spotter(clip).metadata["weights"]) == (None, "int8")


def test_eight_bits_are_measured_on_test_where_the_run_was(tmp_path):
    run, data = trained_run(tmp_path)
    evaluation = evaluate_run(run, split="test", data=data, device="cpu")
    path, _, _ = write_int8_model(prepare(read_run(run.path), data), 1.0)
    clip_less = 1 / evaluation["n"]
    assert Spotter(path).metadata["accuracy_test"] == pytest.approx(evaluation["accuracy"], abs=1.1 * clip_less)


def test_eight_bits_that_cost_too_much_are_not_written(lstm, tmp_path, monkeypatch):
    run, data = lstm
    figures = iter([0.9, 0.8])
    monkeypatch.setattr(export, "_accuracy", lambda *_: next(figures))
    with pytest.raises(KwspotError, match=r"from 90\.00% to 80\.00%, more than --most-lost 1\.00% allows"):
        write_int8_model(prepare(run, data), 0.01, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_bidirectional_runs_have_no_stream(tmp_path):
    run, data = trained_run(tmp_path, name="bilstm")
    assert write_models(run, data) == [run.path / MODEL]
    with pytest.raises(ConfigError, match="bidirectional"):
        write_stream_model(prepare(run, data))
    with pytest.raises(MissingError, match=r"model\.stream\.onnx: not there"):
        compare_streaming(run, split="test", data=make_recordings(tmp_path, run))


def make_recordings(folder, run):
    data = make_corpus(folder / "recordings", ("left", "right", "up"), n_speakers=60, seconds=0.23)
    featurize(data, toy_experiment("bilstm").front_end)
    return data


def test_a_published_model_is_measured_and_has_no_model_file(tmp_path):
    make_cache(tmp_path)
    experiment = toy_experiment("bc_resnet_2", "train.epochs=1")
    run = run_experiment(experiment, seed=1, data=tmp_path, runs_dir=tmp_path / "runs", device="cpu")
    assert evaluate_run(run, split="test", data=tmp_path, device="cpu")["n"] == 18
    assert write_models(run, tmp_path) == []
    with pytest.raises(ConfigError, match="bc_resnet_2 is there to compare with; it has no model file"):
        prepare(run, tmp_path)


def spots(name):
    """Say whether an experiment trains a spotter with cells: neither a published model nor an encoder."""
    return REGISTRY[name].model.published is None and REGISTRY[name].model.embedding_size is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REGISTRY if spots(name)])
def test_every_experiment_exports_small(name, tmp_path):
    """With the weights it starts from, at its full size; the run is one that was never trained."""
    experiment = REGISTRY[name]
    torch.manual_seed(0)
    model = build_model(experiment.model, experiment.front_end.n_mels, 12).eval()
    clips = [np.concatenate(list(checked_clips(tmp_path, experiment.front_end)))[:20]]

    class Untrained:
        id = experiment = name
        path, seed, metrics, evaluations, false_alarms, recordings = tmp_path, 1, None, {}, {}, {}
        record = {  # noqa: RUF012
            "classes": [str(i) for i in range(12)],
            "corpus": {"name": "none", "digest": ""},
            "settings": REGISTRY[name].deciding(),
            "n_parameters": count_parameters(model),
            "macs": 0,
        }

    trained = Trained(Untrained(), model, experiment, None, None, clips)
    path = write_clip_model(trained)
    assert path.stat().st_size < 1.2 * 4 * count_parameters(model) + 200_000
    assert Spotter(path).predict(clips[0][0]).word in Untrained.record["classes"]
    if not experiment.model.bidirectional:
        assert Stream(write_stream_model(trained)).step_length == model.step_frames * 160


def test_recordings_are_what_a_file_is_checked_with(recorded):
    run, data = recorded
    checked = np.concatenate(prepare(run, data).checked)
    spectrum = np.abs(np.fft.rfft(checked, axis=1)).argmax(axis=1) * 16000 / checked.shape[1]
    assert len(checked) > 3
    assert all(min(abs(hz - 400), abs(hz - 800)) < 10 for hz in spectrum)  # the tones of the corpus


def test_streams_and_clips_side_by_side(recorded):
    run, data = recorded
    write_models(run, data)
    streamed = compare_streaming(run, split="train", data=data)
    evaluation = evaluate_run(run, split="train", data=data, device="cpu")
    assert streamed["n"] == streamed["n_same"] == evaluation["n"]
    assert streamed["accuracy_clip"] == streamed["accuracy_stream"] == pytest.approx(evaluation["accuracy"])


def test_streaming_needs_recordings(lstm):
    run, data = lstm
    write_models(run, data)
    with pytest.raises(MissingError, match="frames without recordings"):
        compare_streaming(run, split="test", data=data)


def test_metadata_is_json(lstm):
    run, data = lstm
    write_models(run, data)
    assert all(json.loads(entry.value) is not ... for entry in onnx.load(run.path / MODEL).metadata_props)
