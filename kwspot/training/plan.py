"""What decides a run: an experiment and a seed, resolved against a corpus and the runs it learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kwspot.corpus.layout import TRAIN, VALIDATION
from kwspot.errors import ConfigError, IntegrityError
from kwspot.experiments import runs
from kwspot.experiments.settings import Experiment
from kwspot.features.background import Background, open_background
from kwspot.features.cache import FeatureCache, open_cache
from kwspot.features.dataset import Split, resolve_task, select, select_measured
from kwspot.models.cost import count_macs, count_parameters
from kwspot.models.device import environment
from kwspot.tasks import SILENCE, UNKNOWN, Task


@dataclass(frozen=True)
class Plan:
    """An experiment with a seed, its feature cache, task, teachers and background, and the run that it starts from."""

    experiment: Experiment
    seed: int
    cache: FeatureCache
    task: Task
    teachers: list[runs.Run]
    start: runs.Run | None = None
    background: Background | None = None

    @property
    def deciding(self) -> dict[str, Any]:
        """All that decides the result but the seed."""
        corpus = self.cache.meta["corpus_digest"]
        deciding = {**self.experiment.deciding(), "classes": self.task.classes, "corpus": corpus}
        if self.teachers:
            deciding["teachers"] = [run.id for run in self.teachers]
        if self.start:
            deciding["start"] = self.start.id
        if self.background:
            deciding["background"] = self.background.digest
        return deciding

    @property
    def run_id(self) -> str:
        """The name of the run: it follows from all that decides the result."""
        return runs.run_id(self.experiment.name, self.seed, self.deciding)

    @cached_property
    def train_split(self) -> Split:
        """The clips to train on, as frames."""
        train = self.experiment.train
        return select(self.cache, self.task, "train", train.unknown_share, train.held_out or ())

    @cached_property
    def validation_split(self) -> Split:
        """The clips that choose the best epoch."""
        return self._measured(VALIDATION)

    def _measured(self, split: str) -> Split:
        return select_measured(self.cache, self.task, split, self.experiment.train.held_out)

    @cached_property
    def merged_words(self) -> list[str]:
        """The words of `unknown` that training tells apart; none unless the experiment says so."""
        if not self.experiment.train.merge_unknown:
            return []
        if not self.task.rejects:
            raise ConfigError(
                f"{self.experiment.name}: train.merge_unknown: task '{self.task.name}' has no class 'unknown'; leave "
                "the setting out"
            )
        return sorted({clip.word for clip in self.train_split.clips} - {*self.task.keywords, SILENCE})

    @property
    def training_task(self) -> Task:
        """The task that training knows: the run's own, or one that tells the words of `unknown` apart."""
        return self.task.apart(self.merged_words) if self.merged_words else self.task

    @property
    def keeps_head(self) -> bool:
        """Whether the run that it starts from was trained to tell apart the same words."""
        if self.start is None:
            return False
        before = self.start.record
        return (before["classes"], before.get("merged_words", [])) == (list(self.task.classes), self.merged_words)

    def record(self, model: nn.Module, device: torch.device) -> dict[str, Any]:
        """Return what run.json holds."""
        meta, front_end = self.cache.meta, self.experiment.front_end
        n_clips = {split: len(self._measured(split)) for split in meta["n_clips"]}
        record: dict[str, Any] = {
            "schema": runs.SCHEMA,
            "run": self.run_id,
            "experiment": self.experiment.name,
            "why": self.experiment.why,
            "seed": self.seed,
            "settings": self.experiment.deciding(),
            "classes": list(self.task.classes),
            "corpus": {
                "name": meta["name"],
                "digest": meta["corpus_digest"],
                "source": meta["source"],
                "n_clips": n_clips | {"train": len(self.train_split)},
            },
            "n_parameters": count_parameters(model),
            "macs": count_macs(model, front_end.max_frames, front_end.n_mels),
            "environment": environment(device),
        }
        if self.merged_words:
            record["merged_words"] = self.merged_words
        if self.teachers:
            record["teachers"] = [run.id for run in self.teachers]
        if self.start:
            record["start"] = self.start.id
        if self.background:
            hours = sum(stretch.n_frames for stretch in self.background.of(TRAIN)) * front_end.hop_ms / 3.6e6
            record["background"] = {
                "name": self.background.name, "digest": self.background.digest, "hours": round(hours, 2)
            }  # fmt: skip
        return record


def plan_run(experiment: Experiment, seed: int, data: Path, runs_dir: Path, note: Callable[[str], None]) -> Plan:
    """Resolve an experiment against what there is.

    MissingError without features, words, teachers or background, IntegrityError for an unfit teacher, ConfigError for
    words held out that are not there.
    """
    cache = open_cache(data, experiment.front_end)
    task = resolve_task(experiment.task, cache, note)
    if strange := sorted(set(experiment.train.held_out or ()) - {clip.word for clip in cache.clips}):
        raise ConfigError(f"{experiment.name}: train.held_out: {cache.folder} has no clips of {', '.join(strange)}")
    background = open_background(data, experiment.front_end) if experiment.train.background else None
    teachers = find_teachers(experiment, runs_dir, task.classes)
    plan = Plan(experiment, seed, cache, task, teachers, find_start(experiment, runs_dir), background)
    if plan.start and not plan.keeps_head:
        note(f"starts from {plan.start.id}, all but its head, which told apart other classes, or in another order")
    return plan


def find_teachers(experiment: Experiment, runs_dir: Path, classes: tuple[str, ...]) -> list[runs.Run]:
    """Find the finished runs that an experiment learns from; IntegrityError if one has other frames or classes."""
    distill = experiment.train.distill
    found = [run for name in distill.teachers for run in runs.finished_runs(runs_dir, name)] if distill else []
    for run in found:
        if run.record["classes"] != list(classes) or runs.load_settings(run).front_end != experiment.front_end:
            raise IntegrityError(
                f"{run.path}: cannot teach {experiment.name}: it has other classes or another front end; "
                "name a teacher that was trained on the same task"
            )
    return found


def find_start(experiment: Experiment, runs_dir: Path) -> runs.Run | None:
    """Find the run whose weights an experiment starts from; IntegrityError if it has another model.

    ConfigError if it was trained on words that the experiment holds out. Of a run with other classes everything but the
    head can be taken.
    """
    train = experiment.train
    if train.start_from is None:
        return None
    run = runs.best_run(runs_dir, train.start_from)
    before = runs.load_settings(run)
    if (before.front_end, before.model) != (experiment.front_end, experiment.model):
        raise IntegrityError(
            f"{run.path}: {experiment.name} cannot start from it: it has another model or another front end; name a "
            "run that has the same"
        )
    held_out = set(train.held_out or ()) - set(before.train.held_out or ())
    if heard := sorted(word for word in held_out if {word, UNKNOWN} & set(run.record["classes"])):
        raise ConfigError(
            f"{experiment.name}: train.held_out: {run.id}, where it starts, was trained on {', '.join(heard)}; "
            "start from a run that held them out as well"
        )
    return run
