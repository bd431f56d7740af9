"""What moves the weights: optimiser, learning rate by step, teachers, and the average that is evaluated.

The rate is a formula of the step, not a state, so a resumed run continues exactly where it was.
"""

from collections.abc import Iterable, Sequence
import math

import torch
from torch import Tensor, nn
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kwspot.experiments.settings import DistillSettings, TrainSettings

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
    """Make the average of weights and buffers that the settings ask for, if any.

    With `ema_decay` an exponential moving average over steps (Polyak), with `swa_epochs` the mean of the last
    epochs' ends (Izmailov et al., arXiv:1803.05407).
    """
    if settings.ema_decay is not None:
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)
    return None if settings.swa_epochs is None else AveragedModel(model, use_buffers=True)


def distilled(logits: Tensor, teachers: Sequence[Tensor], loss: Tensor, settings: DistillSettings) -> Tensor:
    """Add what the teachers say to the loss of the labels (Hinton et al., arXiv:1503.02531): a scalar.

        (1 - w) loss + w T^2 KL(mean_k softmax(teacher_k / T) || softmax(logits / T))

    logits and each of the teachers' (batch, n_classes).
    """
    t = settings.temperature
    said = torch.stack([(one / t).softmax(1) for one in teachers]).mean(0)
    divergence = F.kl_div((logits / t).log_softmax(1), said, reduction="batchmean")
    return (1 - settings.weight) * loss + settings.weight * t * t * divergence
