"""One experiment from its name to its run record: the one place where settings, corpus, model and training meet."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments import runs
from kwspot.experiments.settings import Experiment
from kwspot.features.dataset import band_statistics, recorded_noise
from kwspot.files import remove_partials, write_json, written_whole
from kwspot.models.device import choose_device
from kwspot.models.loading import build_for, load_model, read_weights
from kwspot.seeding import seed_for
from kwspot.training.augment import make_vary
from kwspot.training.augment_waveforms import as_waveforms
from kwspot.training.background import BackgroundWindows
from kwspot.training.distributed import ProcessGroup
from kwspot.training.gradients import tracer
from kwspot.training.objectives import make_objective
from kwspot.training.plan import Plan, plan_run
from kwspot.training.trainer import ALONE, EpochRecord, Progress, Trainer


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

    With `trace`, what gradients.py measures after every epoch is kept beside the history. Of a process group, the main
    process writes the record; the others' copies are thrown away.

    A finished run is returned as it is unless `again`; an unfinished one needs `resume` or `again`. KwspotError if
    another process is training it.
    """
    callbacks = callbacks or Callbacks()
    plan = plan_run(experiment, seed, data, runs_dir, callbacks.note)
    folder = runs_dir / plan.run_id
    if all((folder / file).is_file() for file in (runs.RUN, runs.METRICS)) and not again:
        if trace and not (folder / runs.TRACE).is_file():
            callbacks.note(f"{folder}: finished without a trace; --again trains it anew with one")
        return runs.read_run(folder)
    with runs.held(folder) if group.is_main else nullcontext():
        if group.is_main:
            if again and runs.is_run(folder):
                runs.discard(folder)
            remove_partials(folder)
        group.wait()
        return _trained(plan, folder, data, choose_device(device), resume, trace, group, callbacks)


def _trained(
    plan: Plan,
    folder: Path,
    data: Path,
    target: torch.device,
    resume: bool,
    trace: bool,
    group: ProcessGroup,
    callbacks: Callbacks,
) -> runs.Run:
    """Train the run of a folder that is held, from its checkpoint if there is one."""
    checkpoint = folder / runs.CHECKPOINT
    if runs.is_run(folder) and not (folder / runs.RUN).is_file():
        raise ConfigError(f"{folder}: what is left of a run, without {runs.RUN}; start over with --again")
    if (folder / runs.METRICS).is_file():
        return runs.read_run(folder)
    if checkpoint.is_file() and not resume:
        raise ConfigError(f"{folder}: an unfinished run; continue it with --resume or start over with --again")
    trainer = make_trainer(plan, data, target, group)
    if checkpoint.is_file():
        state = read_weights(checkpoint, target)
        try:
            trainer.restore(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise IntegrityError(f"{checkpoint}: not of this run; start over with --again") from error
    with nullcontext(folder) if group.is_main else TemporaryDirectory() as place:
        kept = Path(place)
        write_json(kept / runs.RUN, plan.record(trainer.model, target))
        n_epochs = len(trainer.history)
        after_epoch = tracer(plan.train_split, plan.seed, target, kept / runs.TRACE, n_epochs) if trace else None
        _train(trainer, kept, callbacks, after_epoch)
        return runs.read_run(kept)


def make_trainer(plan: Plan, data: Path, device: torch.device, group: ProcessGroup) -> Trainer:
    """Build the model of a plan, its weights drawn from the seed, and what trains it on a device."""
    experiment, frames, validation = plan.experiment, plan.train_split, plan.validation_split
    n_taught = None if frames.targets is None else frames.targets.shape[1]
    objective = make_objective(experiment, plan.task.classes, n_taught)
    settings = experiment.train.background
    if group.size > 1 and (objective or settings or experiment.train.class_weights):
        raise ConfigError(
            f"{experiment.name}: train.objective, train.background and train.class_weights look at a whole batch: "
            "train it in one process"
        )
    torch.manual_seed(seed_for(plan.seed, "weights"))
    model = build_for(experiment, plan.task.classes, plan.merged_words)
    if model.feature_norm is not None:
        model.feature_norm.fit(*band_statistics(frames))
    if plan.start:
        _take_over(model, load_model(plan.start, torch.device("cpu"))[0], whole=plan.keeps_head)
    if device.type == "cuda":
        frames, validation = frames.held_by(device), validation.held_by(device)
    windows = None
    if settings and plan.background:
        noise = recorded_noise(plan.cache, experiment.front_end)
        windows = BackgroundWindows(plan.background, settings, plan.training_task, experiment.front_end, noise)
    on_waveforms = experiment.augment is not None and experiment.augment.route == "waveform"
    train = as_waveforms(frames, plan.cache, data, experiment.front_end) if on_waveforms else frames
    return Trainer(
        model.to(device),
        experiment.train,
        train.labelled(plan.training_task),
        validation,
        seed=plan.seed,
        device=device,
        vary=make_vary(experiment, plan.training_task, train, plan.cache),
        teachers=[load_model(run, device)[0] for run in plan.teachers],
        group=group,
        objective=objective,
        background=windows,
    )


def _take_over(model: nn.Module, start: nn.Module, *, whole: bool) -> None:
    """Give a model the weights of another of the same settings; but for `whole`, its head stays as it was drawn."""
    weights = {name: weight for name, weight in start.state_dict().items() if whole or not name.startswith("head.")}
    model.load_state_dict(model.state_dict() | weights)


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
    with written_whole(path) as partial, partial.open("wb") as file:
        torch.save(value, file)  # given a path, torch would write its random name into the file
