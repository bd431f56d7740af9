"""A model over a split: its logits, and from them what metrics.py measures."""

from typing import Any

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from kwspot.batches import Split
from kwspot.metrics import measure

EVAL_BATCH = 256


@torch.no_grad()
def logits_of(model: nn.Module, split: Split, device: torch.device, batch_size: int = EVAL_BATCH) -> np.ndarray:
    """Return the logits of every clip of a split in order: (n, n_classes) float32."""
    model.eval()
    pieces = [
        model(features.to(device), lengths.to(device)).cpu() for features, lengths, _ in split.batches(batch_size)
    ]
    return torch.cat(pieces).numpy()


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the mean cross-entropy in nats and the fraction of clips that are right."""
    loss = F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()
    return loss, float(np.mean(logits.argmax(1) == labels))


def evaluate(model: nn.Module, split: Split, classes: tuple[str, ...], device: torch.device) -> dict[str, Any]:
    """Measure a model on a split; see metrics.measure for what comes back."""
    logits = logits_of(model, split, device)
    return measure(split.labels, logits, [clip.speaker for clip in split.clips], classes)
