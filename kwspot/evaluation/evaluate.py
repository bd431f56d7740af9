"""A model over a split: its logits, and from them what metrics.py measures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from kwspot.evaluation.metrics import measure
from kwspot.experiments.runs import Run
from kwspot.features.cache import open_cache
from kwspot.features.dataset import Split, resolve_task, select_measured
from kwspot.files import write_json
from kwspot.models.device import choose_device
from kwspot.models.loading import load_model

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


def evaluate_run(run: Run, *, split: str, data: Path, device: str = "auto") -> dict[str, Any]:
    """Measure a run's best epoch on a split and write `eval-<split>.json` beside it.

    On another corpus than the run was trained on, the corpus's name is added: `eval-<split>-<corpus>.json`.
    """
    target = choose_device(device)
    model, experiment = load_model(run, target)
    cache = open_cache(data, experiment.front_end)
    task = resolve_task(experiment.task, cache, classes=run.record["classes"])
    result = {
        "split": split,
        "corpus": {"name": cache.meta["name"], "digest": cache.meta["corpus_digest"]},
        **evaluate(model, select_measured(cache, task, split, experiment.train.held_out), task.classes, target),
    }
    own = cache.meta["corpus_digest"] == run.record["corpus"]["digest"]
    name = split if own else f"{split}-{cache.meta['name']}"
    write_json(run.path / f"eval-{name}.json", result)
    return result
