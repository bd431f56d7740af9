"""The C of a model: compiled here, it decides as the model file does, whatever the model is made of."""

import subprocess

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from kwspot import Spotter, Stream
from kwspot.cli import app
from kwspot.errors import ConfigError, IntegrityError, MissingError
from kwspot.experiments.runs import INT8
from kwspot.experiments.settings import BandSettings, FrontEnd, ModelSettings, StemSettings
from kwspot.export import c_check
from kwspot.export.c_check import Compiled, compiler, write_checked
from kwspot.export.c_network import read_network
from kwspot.export.c_source import CODE, MODEL, WEIGHTS, write_c
from kwspot.export.export import checked_clips, write_graph, write_models
from kwspot.export.onnx_graph import network_graph, stream_graph, with_front_end
from kwspot.export.quantization import quantised
from kwspot.inference.model_zoo import find_model
from kwspot.models.factory import build_model
from kwspot.models.recurrent import MergeClasses, RecurrentModel
from kwspot.training.run import run_experiment
from tests.toy import make_cache, toy_experiment

try:
    compiler()
except MissingError as absent:
    pytest.skip(str(absent), allow_module_level=True)

LABELS = ["left", "right", "up", "unknown", "silence"]
SHORT = FrontEnd(clip_ms=500.0, win_ms=25.0, n_mels=20)  # a window of no whole number of hops
STEM = StemSettings(channels=[12, 8], kernel=4, stride=2)
MODELS = {
    "gru": {"cell": "gru", "pooling": "attention", "attention_heads": 2, "stem": STEM, "head_norm": True},
    "lstm": {"cell": "lstm", "pooling": "mean", "frame_stack": 3, "feature_norm": "standard"},
    "rnn": {"cell": "rnn", "pooling": "last", "num_layers": 1},
    "max": {"cell": "gru", "pooling": "max", "stem": STEM, "frame_stack": 2, "num_layers": 3},
}
METADATA = {"schema": 1, "sample_rate": 16_000, "clip_length": SHORT.clip_length, "win_length": SHORT.win_length,
            "front_end": SHORT.model_dump(), "weights": "int8"}  # fmt: skip


def model_of(settings, labels=LABELS):
    torch.manual_seed(0)
    model = build_model(ModelSettings(hidden_size=16, **settings), SHORT.n_mels, len(labels)).eval()
    assert isinstance(model, RecurrentModel)
    if model.feature_norm is not None:
        model.feature_norm.fit(torch.linspace(-9, -5, SHORT.n_mels), torch.linspace(1, 3, SHORT.n_mels))
    with torch.no_grad():  # posteriors that differ from clip to clip
        model.head.weight.mul_(4)
    return model


def model_file(model, folder, labels=LABELS):
    graph = with_front_end(quantised(network_graph(model)), SHORT)
    return write_graph(graph, METADATA | {"labels": labels}, folder / "model.onnx")


def noises(n=12, n_samples=SHORT.clip_length, seed=0):
    """Tones in noise, each of its own pitch and level: (n, n_samples) of 16 bits."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / 16_000
    tones = np.sin(2 * np.pi * rng.uniform(100, 3500, (n, 1)) * time_s * (1 + rng.uniform(-0.5, 0.5, (n, 1)) * time_s))
    sound = tones * 10 ** rng.uniform(-3, -0.3, (n, 1)) + rng.normal(0, 1e-3, (n, n_samples))
    return (sound * 2**15).astype(np.int16)


@pytest.mark.parametrize("name", MODELS)
def test_after_a_clip_its_posteriors_are_those_of_the_model_file(name, tmp_path):
    path = model_file(model_of(MODELS[name]), tmp_path)
    write_c(path, tmp_path)
    clips = noises()
    compiled = Compiled(tmp_path, Spotter(path), tmp_path)
    expected = Spotter(path).posteriors(clips.astype(np.float32) / 2**15)
    assert expected.std(0).max() > 0.005
    assert np.abs(np.stack([compiled.rows(clip)[-1] for clip in clips]) - expected).max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_long_sound_are_those_of_the_stream(name, tmp_path):
    model = model_of(MODELS[name])
    write_c(path := model_file(model, tmp_path), tmp_path)
    step = model.step_frames * SHORT.hop_length
    lead = (model.reach - model.step_frames) * SHORT.hop_length + SHORT.win_length - SHORT.hop_length
    known = METADATA | {"labels": LABELS, "step_length": step, "lead_length": lead}
    stream = Stream(write_graph(quantised(stream_graph(model, SHORT)), known, tmp_path / "model.stream.onnx"))
    (sound,) = noises(1, 5 * SHORT.clip_length)
    expected, rows = stream.feed(sound), Compiled(tmp_path, Spotter(path), tmp_path).rows(sound)
    assert len(rows) > 2 * SHORT.clip_length // step
    assert abs(len(rows) - len(expected)) <= 1  # a hop that is not full at the end
    n = min(len(rows), len(expected))
    assert np.abs(rows[:n] - expected[:n]).max() < 0.02  # the stream's file has 8 bits in its mel bands as well


def test_classes_that_are_one_after_training_are_one_in_c(tmp_path):
    model = model_of(MODELS["lstm"], [*LABELS, "a", "b"])
    model.merge = MergeClasses(3, 3)
    write_c(path := model_file(model, tmp_path), tmp_path)
    compiled, clips = Compiled(tmp_path, Spotter(path), tmp_path), noises()
    expected = Spotter(path).posteriors(clips.astype(np.float32) / 2**15)
    assert np.abs(np.stack([compiled.rows(clip)[-1] for clip in clips]) - expected).max() < 1e-4


def test_compilers_find_nothing_to_warn_of(tmp_path):
    write_c(find_model("keywords10_nano").path, tmp_path)
    warnings = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror"]
    kwspot, spot = ([*compiler(), *warnings, "-c", str(tmp_path / name)] for name in ("kwspot.c", "spot.c"))
    subprocess.run(kwspot, cwd=tmp_path, check=True)
    subprocess.run([flag for flag in spot if flag != "-Wdouble-promotion"], cwd=tmp_path, check=True)


def test_the_program_prints_a_word_once(tmp_path):
    """A model that takes loud tones for one word and all else for silence."""
    model = model_of({"cell": "rnn", "pooling": "mean", "num_layers": 1}, ["tone", "silence"])
    with torch.no_grad():
        layer = model.encoder.forward_layers[0]
        for weights in layer.w, layer.u, layer.b, model.head.weight, model.head.bias:
            weights.zero_()
        layer.w[0] = 0.05  # of log-mel values around -13.8 in silence
        layer.b[0] = 8.0
        model.head.weight[0, 0] = 20.0
    write_c(model_file(model, tmp_path, ["tone", "silence"]), tmp_path)
    subprocess.run([*compiler(), "-O2", "spot.c", "kwspot.c", "-lm", "-o", "spot"], cwd=tmp_path, check=True)
    quiet = np.zeros(16_000, np.int16)
    loud = (2**12 * np.random.default_rng(0).normal(0, 1, 16_000)).astype(np.int16)
    sound = np.concatenate([quiet, loud, quiet, loud, quiet])
    done = subprocess.run([tmp_path / "spot", "0.9"], input=sound.tobytes(), capture_output=True, check=True)
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [word for _, word, _ in lines] == ["tone", "tone"]
    assert 1.0 < float(lines[0][0]) < 2.0 and 3.0 < float(lines[1][0]) < 4.0


def test_the_bundled_model_is_written_by_the_command(tmp_path):
    arguments = ["export", "keywords10_nano", "--for", "c", "--out", str(tmp_path), "--data", str(tmp_path / "none")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {*CODE, MODEL, WEIGHTS}


def test_the_folder_of_c_is_named_by_the_whole_name(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("kwspot.commands.export._write_c", lambda name, folder, *_: written.append(str(folder)))
    for name in ("keywords10_nano", "gru_v1.5-s1-3f9a2c1b", "models/house.onnx"):
        done = CliRunner().invoke(app, ["export", name, "--for", "c", "--runs", str(tmp_path)])
        assert done.exit_code == 0
    assert written == ["keywords10_nano-c", "gru_v1.5-s1-3f9a2c1b-c", "house-c"]


def test_of_a_bundled_model_every_other_form_is_refused_with_its_file(tmp_path):
    done = CliRunner().invoke(app, ["export", "keywords10_nano", "--int8", "--runs", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: keywords10_nano: comes with kwspot, a finished model file: ")
    assert str(Spotter.load("keywords10_nano").path) in done.stderr
    assert "give --for c" in done.stderr


def test_weights_of_8_bits_stay_as_they_are(tmp_path):
    network = read_network(model_file(model_of(MODELS["gru"]), tmp_path))
    for layer in network.layers:
        scales = np.abs(layer.states).max(1, keepdims=True) / 127
        assert np.allclose(layer.states / scales, np.rint(layer.states / scales), atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "mingru"},
        {"cell": "rnn_ln"},
        {"cell": "gru", "bidirectional": True},
        {"cell": "gru", "stem": StemSettings(channels=[3], bands=BandSettings(joined=5))},
        {"cell": "gru", "stem": StemSettings(channels=[3], kernel=2, stride=3)},
    ],
)
def test_what_the_c_cannot_do_is_refused(settings, tmp_path):
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/\S+: .*\bC\b"):
        write_c(model_file(model_of(settings), tmp_path), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_of_a_run_that_reads_both_ways_no_file_of_8_bits_is_left(tmp_path):
    make_cache(tmp_path)
    runs = tmp_path / "runs"
    experiment = toy_experiment("bilstm", "train.epochs=1")
    run = run_experiment(experiment, seed=1, data=tmp_path, runs_dir=runs, device="cpu")
    write_models(run, tmp_path)
    command = ["export", run.id, "--for", "c", "--runs", runs, "--data", tmp_path, "--out", tmp_path / "c"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 2
    assert f"error: {run.id}: bidirectional" in done.stderr
    assert not (run.path / INT8).exists()


def test_c_that_decides_otherwise_is_not_written(tmp_path, monkeypatch):
    path = model_file(model_of(MODELS["rnn"]), tmp_path)
    monkeypatch.setattr(c_check, "TOLERANCE", 0.0)
    with pytest.raises(IntegrityError, match="nothing written"):
        write_checked(path, tmp_path / "c", checked_clips(tmp_path / "none", SHORT))
    assert not (tmp_path / "c").exists()


def test_without_a_compiler_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingError, match="C compiler"):
        write_checked(model_file(model_of(MODELS["rnn"]), tmp_path), tmp_path / "c", [])
    assert not (tmp_path / "c").exists()
