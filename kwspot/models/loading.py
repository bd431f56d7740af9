"""A run's weights -> the model they belong to. Weights and checkpoints hold tensors and plain values, never code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kwspot.errors import IntegrityError, MissingError
from kwspot.experiments import runs
from kwspot.experiments.runs import load_settings
from kwspot.experiments.settings import Experiment
from kwspot.models.factory import build_model
from kwspot.models.published import PublishedModel
from kwspot.models.recurrent import MergeClasses, RecurrentModel
from kwspot.tasks import UNKNOWN


def build_for(
    experiment: Experiment, classes: Sequence[str], merged_words: Sequence[str]
) -> RecurrentModel | PublishedModel:
    """Build the model of an experiment, its weights drawn anew; training tells `merged_words` of `unknown` apart."""
    merge = MergeClasses(classes.index(UNKNOWN), len(merged_words)) if merged_words else None
    return build_model(experiment.model, experiment.front_end.n_mels, len(classes), merge)


def read_weights(path: Path, device: torch.device) -> Any:
    """Read weights or a checkpoint; nothing but tensors and plain values is ever unpickled."""
    with path.open("rb") as file:  # what the system refuses is no damage
        try:
            return torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # torch raises many kinds here, with a page of advice
            raise IntegrityError(f"{path}: damaged; train the run again with --again") from error


def load_model(run: runs.Run, device: torch.device) -> tuple[RecurrentModel | PublishedModel, Experiment]:
    """Build the model of a run with the weights of its best epoch."""
    weights = run.path / runs.BEST
    if not weights.is_file():
        raise MissingError(f"{weights}: the run has no weights; train it again with --again")
    experiment = load_settings(run)
    model = build_for(experiment, run.record["classes"], run.record.get("merged_words", []))
    state = read_weights(weights, device)
    try:
        model.load_state_dict(state)
    except (AttributeError, RuntimeError, TypeError) as error:  # RuntimeError: other names or shapes
        raise IntegrityError(f"{weights}: not the weights of this run; train it again with --again") from error
    return model.to(device).eval(), experiment
