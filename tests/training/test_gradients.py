"""The trace says where a model hears, and changes nothing."""

import pytest
import torch

from kwspot.experiments import runs
from kwspot.experiments.records import TraceShape
from kwspot.experiments.settings import ModelSettings
from kwspot.models.factory import build_model
from kwspot.training.gradients import trace
from kwspot.training.run import Callbacks, run_experiment
from tests.toy import FRONT_END, make_cache, toy_experiment

N_FRAMES, N_CLIPS = 30, 5


def batch_of(n_frames=N_FRAMES):
    torch.manual_seed(1)
    return torch.randn(N_CLIPS, n_frames, 40), torch.full((N_CLIPS,), n_frames), torch.arange(N_CLIPS) % 3


def test_gradient_is_that_of_a_small_change():
    torch.manual_seed(0)
    model = build_model(ModelSettings(hidden_size=8, pooling="mean"), 40, 3).double()
    features, lengths, labels = batch_of()
    features = features.double()
    found = trace(model, (features, lengths, labels))
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    model.eval()

    def loss(clip, frame, band, by):
        changed = features.clone()
        changed[clip, frame, band] += by
        return torch.nn.functional.cross_entropy(model(changed, lengths)[clip], labels[clip]).item()

    norms = [
        sum(((loss(clip, 7, band, 1e-5) - loss(clip, 7, band, -1e-5)) / 2e-5) ** 2 for band in range(40)) ** 0.5
        for clip in range(N_CLIPS)
    ]
    assert found["gradient"][7] == pytest.approx(sorted(norms)[N_CLIPS // 2], rel=1e-4)


def test_gradients_are_computed_without_cudnn_which_has_them_in_training_mode_only():
    class Asking(torch.nn.Module):
        def forward(self, features, lengths):
            asked.append(torch.backends.cudnn.enabled)
            return features.mean(1)

    asked = [torch.backends.cudnn.enabled]
    trace(Asking(), batch_of())
    assert [*asked, torch.backends.cudnn.enabled] == [True, False, True]


def test_a_forgetful_model_hears_the_end_only_and_the_mean_of_its_states_hears_all():
    ends = {}
    for pooling in ("last", "mean"):
        torch.manual_seed(0)
        model = build_model(ModelSettings(hidden_size=8, num_layers=1, pooling=pooling), 40, 3)
        with torch.no_grad():
            model.encoder.forward_layers[0].u.mul_(0.1)
        found = trace(model, batch_of())
        ends[pooling] = found["gradient"][0] / found["gradient"][-1]
        assert len(found["gradient"]) == len(found["state_spread"]) == N_FRAMES
        assert min(found["state_spread"]) > 0
    assert ends["last"] < 1e-12
    assert 0.01 < ends["mean"] < 100


def test_of_a_run_that_finished_without_a_trace_it_is_said(tmp_path):
    make_cache(tmp_path)
    said = []
    how = {"seed": 1, "data": tmp_path, "runs_dir": tmp_path / "runs", "device": "cpu", "trace": True}
    for more in ({"trace": False}, {}, {"again": True}, {}):
        run_experiment(toy_experiment("rnn", "train.epochs=1"), **how | more, callbacks=Callbacks(note=said.append))
    (told,) = said
    assert told.endswith(": finished without a trace; --again trains it anew with one")


def test_a_published_model_has_no_states_to_show():
    model = build_model(ModelSettings(published="bc_resnet_1"), 40, 3)
    assert list(trace(model, batch_of(98))) == ["gradient"]


def test_a_run_with_a_trace_is_the_run_without(tmp_path):
    make_cache(tmp_path)
    experiment = toy_experiment("rnn", "train.epochs=3", "model.dropout=0.5")

    def run(place, **more):
        return run_experiment(experiment, seed=1, data=tmp_path, runs_dir=tmp_path / place, device="cpu", **more)

    plain, traced = run("plain"), run("traced", trace=True)
    assert traced.history == plain.history
    assert not (plain.path / runs.TRACE).exists()
    lines = runs.read_lines(traced.path / runs.TRACE, TraceShape)
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert {len(line["gradient"]) for line in lines} == {FRONT_END.max_frames}

    def failing(*_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run("failed", trace=True, callbacks=Callbacks(step=failing))
    failed = run("failed", trace=True)
    assert runs.read_lines(failed.path / runs.TRACE, TraceShape) == lines  # epoch 0 once

    taken = []
    stopping = Callbacks(step=lambda *_: taken.append(1), should_stop=lambda: len(taken) == 8)
    run("parts", trace=True, callbacks=stopping)
    parts = run("parts", trace=True, resume=True)
    assert runs.read_lines(parts.path / runs.TRACE, TraceShape) == lines
    assert runs.copy_record(parts, tmp_path / "kept").joinpath(runs.TRACE).is_file()
