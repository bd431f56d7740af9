"""Learning rates as formulas, decay on matrices only, and the average of the weights."""

import pytest
import torch
from torch import nn

from kwspot.experiments.settings import DistillSettings, TrainSettings
from kwspot.training.optim import distilled, make_average, make_optimizer, rate_at

STEPS = 10  # an epoch


def rates(**settings):
    chosen = TrainSettings(epochs=20, learning_rate=0.5, **settings)
    return [rate_at(chosen, step, STEPS) for step in range(20 * STEPS)]


def test_without_a_schedule_the_rate_is_constant():
    assert set(rates()) == {0.5}


def test_one_cycle_is_torchs():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=20 * STEPS + 1, pct_start=0.3)
    ours = rates(schedule="one_cycle")
    for step, rate in enumerate(ours):
        assert rate == pytest.approx(theirs.get_last_lr()[0], abs=0.01), step
        optimizer.step()
        theirs.step()
    assert max(ours) == pytest.approx(0.5)
    assert ours[-1] < 1e-4


def test_warm_up_then_cosine():
    found = rates(schedule="cosine", warmup_epochs=2)
    assert found[0] == pytest.approx(0.5 / 20)
    assert found[19] == pytest.approx(0.5)
    assert found[20] == pytest.approx(0.5)
    assert found[110] == pytest.approx(0.25, abs=0.003)
    assert 0 < found[-1] < 1e-3
    assert found[20:] == sorted(found[20:], reverse=True)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_decay_spares_what_is_no_matrix(name):
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = make_optimizer(model.parameters(), TrainSettings(optimizer=name, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {p.ndim: decays[id(p)] for p in model.parameters()} == {2: 0.1, 1: 0.0}
    assert len(decays) == 4


def test_distilled_loss_is_its_formula():
    torch.manual_seed(0)
    logits, one, other = torch.randn(3, 2, 5, dtype=torch.double)
    settings = DistillSettings(teachers=["a", "b"], temperature=2.0, weight=0.75)
    said = ((one / 2).softmax(1) + (other / 2).softmax(1)) / 2
    divergence = (said * (said.log() - (logits / 2).log_softmax(1))).sum(1).mean()
    found = distilled(logits, [one, other], torch.tensor(1.5, dtype=torch.double), settings)
    torch.testing.assert_close(found, 0.25 * 1.5 + 0.75 * 4 * divergence)
    agreed = distilled(one, [one], torch.tensor(0.0, dtype=torch.double), settings)
    assert agreed.item() == pytest.approx(0, abs=1e-12)


def test_average_follows_the_weights_and_buffers():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = make_average(model, TrainSettings(ema_decay=0.9))
    expected = None
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            model[0].weight.fill_(value)
            model[1].running_mean.fill_(value)
        average.update_parameters(model)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert average.module[0].weight.item() == pytest.approx(expected)
    assert average.module[1].running_mean.item() == pytest.approx(expected)
    assert make_average(model, TrainSettings()) is None
