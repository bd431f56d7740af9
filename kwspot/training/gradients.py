"""Where in a clip a model listens: the gradient that reaches each frame, and how far apart its states are.

    gradient      (n_frames,)  norm of the loss's gradient by one frame of the features, median over clips
    state_spread  (n_steps,)   standard deviation of a state over clips, mean over the last layer's units

Both on the same training clips, whole ones, without dropout and augmentation. A gradient that is nothing at a frame
says that the frame cannot teach; states without a spread say that they do not tell one clip from another.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
import torch.nn.functional as F

from kwspot.experiments.records import TraceShape
from kwspot.experiments.runs import read_lines, write_lines
from kwspot.features.dataset import Batch, Split
from kwspot.models.recurrent import RecurrentModel
from kwspot.training.streams import generator_for

N_CLIPS = 256


def trace(model: nn.Module, batch: Batch) -> dict[str, list[float]]:
    """Return `gradient` and, of a recurrent model, `state_spread`; the model's own gradients are left alone."""
    features, lengths, labels = batch
    was_training = model.training
    model.eval()
    features = features.clone().requires_grad_()
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN has gradients of recurrent layers in training mode only
        loss = F.cross_entropy(model(features, lengths), labels, reduction="sum")  # a clip's gradient is its own
        (gradient,) = torch.autograd.grad(loss, features)
    found = {"gradient": gradient.norm(dim=2).median(0).values.tolist()}
    if isinstance(model, RecurrentModel):
        with torch.no_grad():
            states, _ = model.states(features, lengths)
        found["state_spread"] = states.std(1).mean(1).tolist()
    model.train(was_training)
    return found


def tracer(split: Split, seed: int, device: torch.device, path: Path, done: int) -> Callable[[nn.Module, int], None]:
    """Return what writes a line of `path` after an epoch (0 before the first), keeping those of `done` epochs."""
    whole = (split.lengths == split.lengths.max()).nonzero()[0]
    order = torch.randperm(len(whole), generator=generator_for(seed, "trace"))[:N_CLIPS]
    features, lengths, labels = (tensor.to(device) for tensor in split.batch(whole[order.numpy()]))
    lines: list[dict[str, Any]] = [line for line in read_lines(path, TraceShape) if line["epoch"] <= done]

    def write(model: nn.Module, epoch: int) -> None:
        found = trace(model, (features, lengths, labels))
        lines[:] = [line for line in lines if line["epoch"] != epoch]  # of a run that ended before its first checkpoint
        lines.append({"epoch": epoch, **{key: [float(f"{v:.4g}") for v in values] for key, values in found.items()}})
        write_lines(path, lines)

    return write
