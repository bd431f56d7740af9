"""How training batches are varied: on recordings or on cached frames, then among other words, masked and mixed."""

from torch import Tensor
import torch.nn.functional as F

from kwspot.experiments.settings import Experiment
from kwspot.features.cache import FeatureCache
from kwspot.features.dataset import Batch, Split, recorded_noise
from kwspot.tasks import Task
from kwspot.training.augment_features import Streams, augment, in_context, mix
from kwspot.training.augment_waveforms import WaveformSplit, read_noise, vary_waveforms
from kwspot.training.trainer import Vary


def make_vary(experiment: Experiment, task: Task, train: Split, cache: FeatureCache) -> Vary | None:
    """Return what augments the training batches of an experiment; None if nothing does."""
    settings, front_end = experiment.augment, experiment.front_end
    if settings is None:
        return None
    sounds = read_noise(train) if isinstance(train, WaveformSplit) else None
    frames = recorded_noise(cache, front_end) if settings.noise_share and sounds is None else None
    rest = settings.model_copy(update={"shift_ms": 0.0, "speed": 0.0, "gain_db": 0.0, "noise_share": 0.0})

    def vary(features: Tensor, lengths: Tensor, labels: Tensor, n_clips: int, draw: Streams) -> Batch:
        device, on_frames = features.device, settings
        if sounds is not None:
            features, lengths = vary_waveforms(features.cpu(), lengths.cpu(), settings, front_end, sounds, draw)
            features, lengths, on_frames = features.to(device), lengths.to(device), rest
        if settings.neighbours is not None and task.rejects:
            features, lengths, labels = in_context(
                features, lengths, labels, settings.neighbours, front_end, task, n_clips, draw
            )
        features = augment(features, lengths, on_frames, front_end, draw, frames)
        if settings.mixup is None:
            return features, lengths, labels
        targets = F.one_hot(labels, len(task.classes)).to(features)
        return mix(features, lengths, targets, settings.mixup, draw("mixup"))

    return vary
