"""One experiment from its name to its run record: the one place where settings, corpus, model and training meet."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments import runs
from kwspot.experiments.runs import load_settings
from kwspot.experiments.settings import Experiment
from kwspot.features.cache import FeatureCache, open_cache
from kwspot.features.dataset import Batch, Split, recorded_noise, resolve_task, select
from kwspot.files import write_json, written_whole
from kwspot.models.cost import count_macs, count_parameters
from kwspot.models.device import choose_device, environment
from kwspot.models.loading import build_for, load_model, read_weights
from kwspot.models.published import PublishedModel
from kwspot.models.recurrent import RecurrentModel
from kwspot.seeding import seed_for
from kwspot.tasks import SILENCE, Task
from kwspot.training.augment_features import Streams, augment, in_context, mix
from kwspot.training.augment_waveforms import WaveformSplit, as_waveforms, read_noise, vary_waveforms
from kwspot.training.distributed import ProcessGroup
from kwspot.training.gradients import tracer
from kwspot.training.trainer import ALONE, EpochRecord, Progress, Trainer, Vary


@dataclass(frozen=True)
class Callbacks:
    """Hears how a run goes. Every part does nothing unless given."""

    note: Callable[[str], None] = lambda _: None
    step: Callable[[Progress, int], None] = lambda _progress, _n_steps: None
    epoch: Callable[[EpochRecord, dict[str, Any]], None] = lambda _record, _timing: None
    should_stop: Callable[[], bool] = lambda: False


def run_experiment(
    experiment: Experiment,
    *,
    seed: int,
    data: Path,
    runs_dir: Path,
    device: str = "auto",
    resume: bool = False,
    again: bool = False,
    trace: bool = False,
    group: ProcessGroup = ALONE,
    callbacks: Callbacks | None = None,
) -> runs.Run:
    """Train an experiment with one seed and return its run; not finished if the callbacks stopped it.

    With `trace`, what gradients.py measures after every epoch is kept beside the history. Of a group, the process that
    leads writes the record; the others' copies are thrown away.

    A finished run is returned as it is unless `again`; an unfinished one needs `resume` or `again`.
    """
    callbacks = callbacks or Callbacks()
    cache = open_cache(data, experiment.front_end)
    task = resolve_task(experiment.task, cache, callbacks.note)
    teachers = find_teachers(experiment, runs_dir, task.classes)
    deciding = {**experiment.deciding(), "classes": task.classes, "corpus": cache.meta["corpus_digest"]}
    if teachers:
        deciding["teachers"] = [run.id for run in teachers]
    folder = runs_dir / runs.run_id(experiment.name, seed, deciding)
    checkpoint = folder / runs.CHECKPOINT
    if again and group.is_main and (folder / runs.RUN).is_file():
        runs.remove_run(runs.read_run(folder))
    group.wait()
    if (folder / runs.METRICS).is_file():
        return runs.read_run(folder)
    if checkpoint.is_file() and not resume:
        raise ConfigError(f"{folder}: an unfinished run; go on with --resume or start over with --again")

    target = choose_device(device)
    frames, validation = (
        _train_split(cache, task, experiment),
        select(cache, task, "validation", without=experiment.train.held_out or ()),
    )
    merged_words = _merged_words(experiment, task, frames)
    told = task.apart(merged_words) if merged_words else task
    torch.manual_seed(seed_for(seed, "weights"))
    model = build_for(experiment, task.classes, merged_words)
    if model.feature_norm is not None:
        model.feature_norm.fit(*band_statistics(frames))
    if target.type == "cuda":
        frames, validation = frames.held_by(target), validation.held_by(target)
    on_waveforms = experiment.augment is not None and experiment.augment.route == "waveform"
    train = as_waveforms(frames, cache, data, experiment.front_end) if on_waveforms else frames
    trainer = Trainer(
        model.to(target),
        experiment.train,
        train.labelled(told),
        validation,
        seed=seed,
        device=target,
        vary=_vary(experiment, told, train, cache),
        teachers=[load_model(run, target)[0] for run in teachers],
        group=group,
    )
    if checkpoint.is_file():
        trainer.restore(read_weights(checkpoint, target))
    record = _record(experiment, seed, task, cache, model, target, folder.name)
    record |= {"merged_words": merged_words} if merged_words else {}
    with nullcontext(folder) if group.is_main else TemporaryDirectory() as place:
        kept = Path(place)
        write_json(kept / runs.RUN, record | {"teachers": [run.id for run in teachers]} if teachers else record)
        after_epoch = tracer(frames, seed, target, kept / runs.TRACE, len(trainer.history)) if trace else None
        _train(trainer, kept, callbacks, after_epoch)
        return runs.read_run(kept)


def find_teachers(experiment: Experiment, runs_dir: Path, classes: tuple[str, ...]) -> list[runs.Run]:
    """Find the finished runs that an experiment learns from; IntegrityError if one hears other frames or words."""
    distill = experiment.train.distill
    found = [run for name in distill.teachers for run in runs.finished_runs(runs_dir, name)] if distill else []
    for run in found:
        if run.record["classes"] != list(classes) or load_settings(run).front_end != experiment.front_end:
            raise IntegrityError(
                f"{run.path}: cannot teach {experiment.name}: it has other classes or another front end; "
                "name a teacher that was trained on the same task"
            )
    return found


def _train_split(cache: FeatureCache, task: Task, experiment: Experiment) -> Split:
    return select(cache, task, "train", experiment.train.unknown_share, experiment.train.held_out or ())


def _merged_words(experiment: Experiment, task: Task, train: Split) -> list[str]:
    """Return the words of `unknown` that training tells apart; none unless the experiment says so."""
    if not experiment.train.merge_unknown:
        return []
    where = f"{experiment.name}: train.merge_unknown"
    if not task.rejects:
        raise ConfigError(f"{where}: task '{task.name}' has no class 'unknown'; leave the setting out")
    return sorted({clip.word for clip in train.clips} - {*task.keywords, SILENCE})


def _vary(experiment: Experiment, task: Task, train: Split, cache: FeatureCache) -> Vary | None:
    """Say how training batches are augmented; None if they are not."""
    settings, front_end = experiment.augment, experiment.front_end
    if settings is None:
        return None
    sounds = read_noise(train) if isinstance(train, WaveformSplit) else None
    frames = recorded_noise(cache, front_end) if settings.noise_share and sounds is None else None
    rest = settings.model_copy(update={"shift_ms": 0.0, "speed": 0.0, "gain_db": 0.0, "noise_share": 0.0})

    def vary(features: Tensor, lengths: Tensor, labels: Tensor, draw: Streams) -> Batch:
        device, on_frames = features.device, settings
        if sounds is not None:
            features, lengths = vary_waveforms(features.cpu(), lengths.cpu(), settings, front_end, sounds, draw)
            features, lengths, on_frames = features.to(device), lengths.to(device), rest
        if settings.neighbours is not None and task.rejects:
            features, lengths, labels = in_context(
                features, lengths, labels, settings.neighbours, front_end, task, draw
            )
        features = augment(features, lengths, on_frames, front_end, draw, frames)
        if settings.mixup is None:
            return features, lengths, labels
        targets = F.one_hot(labels, len(task.classes)).to(features)
        return mix(features, lengths, targets, settings.mixup, draw("mixup"))

    return vary


def _train(
    trainer: Trainer, folder: Path, callbacks: Callbacks, after_epoch: Callable[[nn.Module, int], None] | None
) -> None:
    """Train to the end or until stopped, keeping the record up to date after every epoch."""
    # The gradients of a vanilla RNN fall below 1e-38 within a clip, where the CPU computes ten times slower.
    torch.set_flush_denormal(True)
    _write_history(trainer, folder)
    if after_epoch and not trainer.history and not trainer.progress.step:
        after_epoch(trainer.model, 0)
    with SummaryWriter(str(folder), purge_step=len(trainer.history) + 1) as events:
        for record in trainer.run(callbacks.should_stop, callbacks.step):
            if trainer.best is record:
                _save(trainer.evaluated.state_dict(), folder / runs.BEST)
            # The weights first, then the checkpoint that counts the epoch as done: killed between the two,
            # a resumed run computes the epoch again and writes the same weights.
            _save(trainer.state(), folder / runs.CHECKPOINT)
            _write_history(trainer, folder)
            if after_epoch:
                after_epoch(trainer.model, record.epoch)
            for name, value in _scalars(record).items():
                events.add_scalar(name, value, record.epoch)
            callbacks.epoch(record, trainer.timing[-1])
    if not trainer.finished:
        _save(trainer.state(), folder / runs.CHECKPOINT)
        return
    best = trainer.best
    assert best is not None  # finished means at least one epoch
    figures = asdict(best)
    write_json(
        folder / runs.METRICS,
        {
            "best_epoch": figures.pop("epoch"),
            "epochs": len(trainer.history),
            "stopped": trainer.finished,
            **{name: figures[name] for name in figures if name.startswith(("loss", "accuracy"))},
            "seconds": round(sum(t["seconds_train"] + t["seconds_validation"] for t in trainer.timing), 1),
        },
    )


def _scalars(record: EpochRecord) -> dict[str, float]:
    """Name an epoch's figures as TensorBoard groups them: loss/train, accuracy/validation, …"""
    figures = asdict(record)
    del figures["epoch"]
    return {name if name in ("lr", "grad_norm") else name.replace("_", "/"): v for name, v in figures.items()}


def _write_history(trainer: Trainer, folder: Path) -> None:
    runs.write_lines(folder / runs.HISTORY, [asdict(record) for record in trainer.history])
    runs.write_lines(folder / runs.TIMING, trainer.timing)


def _save(value: Any, path: Path) -> None:
    with written_whole(path) as partial:
        torch.save(value, partial)


def _record(
    experiment: Experiment,
    seed: int,
    task: Task,
    cache: FeatureCache,
    model: RecurrentModel | PublishedModel,
    device: torch.device,
    run_id: str,
) -> dict[str, Any]:
    return {
        "schema": runs.SCHEMA,
        "run": run_id,
        "experiment": experiment.name,
        "why": experiment.why,
        "seed": seed,
        "settings": experiment.deciding(),
        "classes": list(task.classes),
        "corpus": {
            "name": cache.meta["name"],
            "digest": cache.meta["corpus_digest"],
            "source": cache.meta["source"],
            "n_clips": {split: len(select(cache, task, split)) for split in cache.meta["n_clips"]}
            | {"train": len(_train_split(cache, task, experiment))},
        },
        "n_parameters": count_parameters(model),
        "macs": count_macs(model, experiment.front_end.max_frames, experiment.front_end.n_mels),
        "environment": environment(device),
    }


def band_statistics(split: Split, piece: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each mel band over the real frames of a split: two (n_mels,)."""
    n, total, squares = 0, np.zeros(split.frames.shape[-1]), np.zeros(split.frames.shape[-1])
    for features, lengths, _ in split.batches(piece):
        real = features.numpy()[np.arange(features.shape[1]) < lengths.numpy()[:, None]].astype(np.float64)
        n, total, squares = n + len(real), total + real.sum(0), squares + (real**2).sum(0)
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()
