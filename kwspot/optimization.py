"""What moves the weights: optimiser, learning rate by step, and the average of the weights that is evaluated.

The rate is a formula of the step, not a state, so a resumed run continues exactly where it was.
"""

from collections.abc import Iterable
import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kwspot.config import TrainSettings

MOMENTUM = 0.9  # of SGD, Nesterov's
START, END = 1 / 25, 1e-4  # of one cycle's peak, as torch.optim.lr_scheduler.OneCycleLR has them (END x START there)
RISE = 0.3  # of one cycle's steps


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make the optimiser; weight decay spares what is no matrix: biases, gains, normalisation."""
    decay = settings.weight_decay or 0.0
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else others).append(parameter)
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=MOMENTUM, nesterov=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate, fused=True)


def rate_at(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over all epochs."""
    n_steps = settings.epochs * steps_per_epoch
    peak, warmup = settings.learning_rate, (settings.warmup_epochs or 0) * steps_per_epoch
    if settings.schedule == "one_cycle":
        rise = RISE * n_steps
        if step < rise:
            return peak * _between(START, 1.0, step / rise)
        return peak * _between(1.0, START * END, (step - rise) / (n_steps - rise))
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.schedule == "cosine":
        return peak * _between(1.0, 0.0, (step - warmup) / (n_steps - warmup))
    return peak


def _between(start: float, end: float, share: float) -> float:
    """Go from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def make_average(model: nn.Module, settings: TrainSettings) -> AveragedModel | None:
    """Make the exponential moving average of weights and buffers (Polyak), if the settings ask for one."""
    if settings.ema_decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)
