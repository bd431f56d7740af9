"""The training loop. It yields what happened; it writes no file and prints nothing.

Everything random is drawn from (seed, purpose, epoch), and the state holds all that the next step depends on, so
training that is stopped after any step and continued from its state ends with the same bits (on a CPU, with the
same number of threads).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
import math
import time
from typing import Any, cast

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from kwspot.errors import IntegrityError, KwspotError
from kwspot.evaluation.evaluate import EVAL_BATCH, logits_of, loss_and_accuracy
from kwspot.experiments.settings import TrainSettings
from kwspot.features.dataset import Batch, Split
from kwspot.models.device import has_bfloat16
from kwspot.models.recurrent import RecurrentModel
from kwspot.seeding import seed_for
from kwspot.training.augment_features import Streams
from kwspot.training.background import BackgroundWindows
from kwspot.training.distributed import ProcessGroup
from kwspot.training.objectives import Objective, grouped_order
from kwspot.training.optim import distilled, make_average, make_optimizer, rate_at
from kwspot.training.streams import generator_for

ALONE = ProcessGroup()

# Changes the clips of a batch (features, lengths, labels), of which so many are clips and the rest are windows of
# background; the last argument gives the random stream of a purpose.
Vary = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int, Streams], Batch]


class DivergedError(KwspotError):
    """The loss is no number any more; no later step can bring it back."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to. Training figures are running means over its steps, dropout and augmentation on.

    Losses are nats a clip: of validation the cross-entropy; of training what was optimised, with label smoothing, class
    weights, teachers and objectives, where there are any.
    """

    epoch: int  # from 1
    loss_train: float
    accuracy_train: float  # fraction
    loss_validation: float
    accuracy_validation: float
    lr: float
    grad_norm: float  # mean over steps, before clipping


@dataclass
class Progress:
    """How far the current epoch is."""

    epoch: int
    step: int = 0  # steps done
    n_seen: int = 0  # clips
    loss_sum: float = 0.0
    n_correct: int = 0
    grad_norm_sum: float = 0.0
    seconds: float = 0.0  # of training, over all parts of an interrupted epoch


class Trainer:
    """Trains one model on one task; `run` yields a record after each epoch."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        train: Split,
        validation: Split,
        *,
        seed: int,
        device: torch.device,
        vary: Vary | None = None,
        teachers: Sequence[nn.Module] = (),
        group: ProcessGroup = ALONE,
        objective: Objective | None = None,
        background: BackgroundWindows | None = None,
    ) -> None:
        self.model, self.settings = model, settings
        self.train_split, self.validation_split = train, validation
        self.seed, self.device, self.vary, self.teachers = seed, device, vary, teachers
        self.objective, self.background = objective, background
        self.group, self.joined = group, group.joined(model)
        self.mixed = bool(settings.mixed_precision) and has_bfloat16(device)
        self.optimizer = make_optimizer(model.parameters(), settings)
        self.average = make_average(model, settings)
        self.class_weights = _class_weights(train).to(device) if settings.class_weights else None
        self.history: list[EpochRecord] = []
        self.timing: list[dict[str, Any]] = []
        self.progress = Progress(epoch=1)

    @property
    def evaluated(self) -> nn.Module:
        """The model that validation sees and that is kept: the average of the weights, if there is one."""
        return self.model if self.average is None or not self.average.n_averaged else self.average.module

    @property
    def best(self) -> EpochRecord | None:
        """The epoch that is kept: the one with the best validation accuracy, the first of equals, or the last."""
        if self.settings.keep_last and self.history:
            return self.history[-1]
        return max(self.history, key=lambda record: record.accuracy_validation, default=None)

    @property
    def finished(self) -> str | None:
        """Why training is over: `patience` or `epochs`; None while it is not."""
        patience = self.settings.patience
        if self.best and patience and len(self.history) - self.best.epoch >= patience:
            return "patience"
        return "epochs" if len(self.history) >= self.settings.epochs else None

    def run(self, should_stop: Callable[[], bool], report: Callable[[Progress, int], None]) -> Iterator[EpochRecord]:
        """Train to the end, yielding each epoch's record; return after the step in which `should_stop` turns true."""
        while not self.finished:
            stopped = self._train_epoch(should_stop, report)
            if stopped:
                return
            yield self._end_epoch()

    def _train_epoch(self, should_stop: Callable[[], bool], report: Callable[[Progress, int], None]) -> bool:
        """Take the steps that the epoch still lacks; say whether it was stopped before its end."""
        now, batch_size = self.progress, self.settings.batch_size
        order = self._order(generator_for(self.seed, "order", now.epoch))
        n_steps = self.train_split.n_batches(batch_size)
        if now.step == 0:
            torch.manual_seed(
                seed_for(self.seed, "dropout", now.epoch, *([self.group.rank] if self.group.rank else []))
            )
        self.model.train()
        started, before = time.perf_counter(), now.seconds
        for features, lengths, labels in self.train_split.batches(batch_size, order.numpy(), now.step):
            self._set_rate(n_steps)
            taught = None
            if self.objective is not None and self.objective.settings.teacher is not None:
                first = now.step * batch_size
                taught = self.train_split.taught(order[first : first + batch_size].numpy())
            self._step(features.to(self.device), lengths.to(self.device), labels.to(self.device), taught)
            now.seconds = before + time.perf_counter() - started
            report(now, n_steps)
            if self.group.sums(should_stop()) != [0]:  # all stop after the same step
                return True
        return False

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        together = self.settings.objective.clips_per_word if self.settings.objective else None
        if together is None:
            return torch.randperm(len(self.train_split), generator=generator)
        return grouped_order(self.train_split.labels, together, generator)

    def _set_rate(self, n_steps: int) -> None:
        rate = rate_at(self.settings, (self.progress.epoch - 1) * n_steps + self.progress.step, n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(
        self, features: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor | None
    ) -> None:
        self.optimizer.zero_grad()
        now = self.progress

        def draw(purpose: str) -> torch.Generator:
            return generator_for(self.seed, purpose, now.epoch, now.step)

        windows, n_clips = None, len(labels)
        if self.background is not None:
            (features, lengths, labels), windows = self.background.joined(features, lengths, labels, draw)
        targets = labels
        if self.vary is not None:
            features, lengths, targets = self.vary(features, lengths, labels, n_clips, draw)
            labels = targets if targets.ndim == 1 else targets.argmax(1)  # a keyword that was cut is none any more
        n, share = len(labels), self.group.share
        features, lengths, labels, targets = share(features), share(lengths), share(labels), share(targets)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            if self.objective is None:
                logits, beside = self.joined(features, lengths).float(), None
            else:
                taught = None if taught is None else taught.to(self.device)
                logits, beside = self.objective(cast(RecurrentModel, self.model), features, lengths, labels, taught)
            with torch.no_grad():  # of the clips as the student gets them (Beyer et al., arXiv:2106.05237)
                said = [teacher(features, lengths).float() for teacher in self.teachers]
        smoothing = self.settings.label_smoothing or 0.0
        loss = F.cross_entropy(logits, targets, weight=self.class_weights, label_smoothing=smoothing)
        if self.settings.distill is not None:
            loss = distilled(logits, said, loss, self.settings.distill)
        if beside is not None:
            loss = loss + beside
        n_own = self.group.count(n)
        (loss * (n_own * self.group.size / n)).backward()
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        if self.average is not None and self.settings.ema_decay is not None:
            self.average.update_parameters(self.model)
        if self.background is not None and windows is not None:
            self.background.learn(windows, logits[len(logits) - len(windows) :])
        now.step += 1
        n_correct = int((logits.detach().argmax(1) == labels)[:n_own].sum())
        loss_sum, n_correct_of_all = self.group.sums(loss.item() * n_own, n_correct)
        self._require_finite(loss_sum, [features])
        now.n_seen += n
        now.loss_sum += loss_sum
        now.n_correct += int(n_correct_of_all)
        now.grad_norm_sum += grad_norm.item()

    def _require_finite(self, loss: float, features: Iterable[torch.Tensor]) -> None:
        """Raise DivergedError if a loss is not finite, or IntegrityError if the features are not."""
        if math.isfinite(loss):
            return
        if not all(batch.isfinite().all() for batch in features):
            raise IntegrityError(
                "frames that are not finite: the feature cache is damaged; remove its folder (.kwspot/features-* of "
                "the corpus) and run 'kwspot featurize' again"
            )
        now, clips = self.progress, "" if self.settings.clip_norm else ", or clip the gradient with train.clip_norm"
        raise DivergedError(
            f"diverged in epoch {now.epoch} at step {now.step}: the loss is {loss}; lower train.learning_rate{clips}"
        )

    def _end_epoch(self) -> EpochRecord:
        now, started = self.progress, time.perf_counter()
        if self.average is not None and now.epoch > self.settings.epochs - (self.settings.swa_epochs or 0):
            self.average.update_parameters(self.model)
        logits = logits_of(self.evaluated, self.validation_split, self.device)
        loss, accuracy = loss_and_accuracy(logits, self.validation_split.labels)
        self._require_finite(loss, (batch for batch, _, _ in self.validation_split.batches(EVAL_BATCH)))
        record = EpochRecord(
            epoch=now.epoch,
            loss_train=now.loss_sum / now.n_seen,
            accuracy_train=now.n_correct / now.n_seen,
            loss_validation=loss,
            accuracy_validation=accuracy,
            lr=self.optimizer.param_groups[0]["lr"],
            grad_norm=now.grad_norm_sum / now.step,
        )
        validation_seconds = time.perf_counter() - started
        self.history.append(record)
        self.timing.append(
            {
                "epoch": now.epoch,
                "seconds_train": round(now.seconds, 3),
                "seconds_validation": round(validation_seconds, 3),
            }
        )
        self.progress = Progress(epoch=now.epoch + 1)
        return record

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on."""
        cuda = self.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
            "difficulty": None if self.background is None else self.background.difficulty,
            "progress": asdict(self.progress),
            "history": [asdict(record) for record in self.history],
            "timing": self.timing,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        if self.background is not None:
            self.background.difficulty = state["difficulty"].cpu()
        self.progress = Progress(**state["progress"])
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.timing = state["timing"]


def _class_weights(split: Split) -> torch.Tensor:
    """Weigh classes by the inverse of their count, with a mean of 1 over the clips: (n_classes,)."""
    counts = np.bincount(split.labels)
    return torch.tensor(len(split) / (len(counts) * counts), dtype=torch.float32)
