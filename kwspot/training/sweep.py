"""A search over chosen settings of an experiment, by optuna; every trial is an ordinary run.

    train.learning_rate=1e-4..1e-2     a range of numbers, even in the logarithm where it spans a factor of ten
    model.hidden_size=64,128,160       a choice

The study is a journal beside the runs, RUNS/sweeps/<experiment>-<digest>.log, named by all that decides it. Trials that
fall behind the median of the others are stopped early (optuna's MedianPruner) and stay as unfinished runs.

Any number of processes share a study: each takes the next trial, and holds a lock file as long as it is at it, so that
a trial whose process is gone is taken again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
import json
from pathlib import Path
import time
from typing import TYPE_CHECKING, Any
import warnings

from kwspot.errors import ConfigError, IntegrityError, KwspotError
from kwspot.experiments.registry import load_experiment, read_yaml
from kwspot.experiments.runs import Run
from kwspot.experiments.settings import Experiment
from kwspot.files import digest_of, locked
from kwspot.training.plan import plan_run
from kwspot.training.run import Callbacks, run_experiment
from kwspot.training.trainer import DivergedError, EpochRecord

if TYPE_CHECKING:
    import optuna

FOLDER = "sweeps"
BUSY_S = 60.0  # that the others may take to take a trial
UNPRUNED = 4  # trials that go to their end before any is stopped early


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched over: the ends of a range, or what there is to choose from."""

    key: str
    values: tuple[Any, ...]
    is_range: bool

    def suggest(self, trial: "optuna.Trial") -> Any:
        """Ask the study for a value."""
        if not self.is_range:
            return trial.suggest_categorical(self.key, self.values)
        low, high = self.values
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(self.key, low, high)
        return trial.suggest_float(self.key, low, high, log=low > 0 and high / low >= 10)


def read_dimension(text: str) -> Dimension:
    """Read `section.key=low..high` or `section.key=one,two,three`."""
    key, _, given = text.partition("=")
    is_range = ".." in given
    parts = given.split("..") if is_range else [f"[{given}]"]  # a choice is a list, of lists too
    read = [read_yaml(part, f"--over {text}") for part in parts]
    values = tuple(read if is_range else read[0])
    if not all(key.split(".")) or len(values) < 2 or (is_range and len(values) > 2):
        raise ConfigError(f"--over {text}: write a range, {key}=1e-4..1e-2, or a choice, {key}=64,128")
    if is_range and not (all(isinstance(v, int | float) for v in values) and values[0] < values[-1]):
        raise ConfigError(f"--over {text}: a range goes from a number to a larger one")
    return Dimension(key, values, is_range)


@dataclass(frozen=True)
class Trial:
    """A finished trial: its run, what was chosen, and the validation accuracy of its best epoch."""

    run_id: str
    chosen: dict[str, Any]
    accuracy_validation: float


class Judge:
    """Tells the study of every epoch of a trial, and stops the trial once it has fallen behind."""

    def __init__(self, given: Callbacks, trial: "optuna.Trial") -> None:
        self.given, self.trial, self.prune = given, trial, False
        self.callbacks = replace(given, epoch=self.epoch, should_stop=lambda: self.prune or given.should_stop())

    def epoch(self, record: EpochRecord, timing: dict[str, Any]) -> None:
        """Pass the epoch on and judge it."""
        self.given.epoch(record, timing)
        self.trial.report(record.accuracy_validation, record.epoch)
        self.prune = self.trial.should_prune()


def search(
    name: str,
    dimensions: Sequence[Dimension],
    n_trials: int,
    *,
    registry: Path | None,
    overrides: Sequence[str],
    seed: int,
    data: Path,
    runs_dir: Path,
    device: str,
    callbacks: Callable[[Experiment], Callbacks],
    ended: Callable[[Run], object],
) -> list[Trial] | None:
    """Search until the study has `n_trials` that finished or were stopped early; return the finished, best first.

    A study that is there already is resumed, the trial that was interrupted first; one that other processes are at is
    shared with them, and this one ends when there is no trial left to take. None if the callbacks stopped it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", "Choices for a categorical")  # lists, which a journal keeps as well
    first, _ = (  # both ends, so that a misspelt key is said before anything is trained
        load_experiment(name, registry, [*overrides, *(f"{d.key}={json.dumps(d.values[end])}" for d in dimensions)])
        for end in (0, -1)
    )
    plan = plan_run(first, seed, data, runs_dir, lambda _: None)
    deciding = [plan.deciding, seed, [[d.key, d.values] for d in dimensions]]
    path = runs_dir / FOLDER / f"{name}-{digest_of(deciding)[:8]}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    study = _opened(path, name)
    states = optuna.trial.TrialState
    while True:
        with _taken(study, path, dimensions, n_trials, seed) as trial:
            if trial is None:
                break
            chosen = [f"{key}={json.dumps(value)}" for key, value in trial.params.items()]
            experiment = load_experiment(name, registry, [*overrides, *chosen])
            judge = Judge(callbacks(experiment), trial)
            while _elsewhere(study, path, trial) and not judge.callbacks.should_stop():
                time.sleep(1)  # the same run: it will be finished
            try:
                run = run_experiment(
                    experiment, seed=seed, data=data, runs_dir=runs_dir, device=device, resume=True,
                    callbacks=judge.callbacks,
                )  # fmt: skip
            except DivergedError:
                study.tell(trial, state=states.PRUNED)
                continue
            trial.set_user_attr("run", run.id)
            if run.metrics is not None:
                study.tell(trial, run.metrics["accuracy_validation"])
                ended(run)
            elif judge.prune:
                study.tell(trial, state=states.PRUNED)
            else:
                return None
    done = study.get_trials(states=[states.COMPLETE])
    found = [Trial(one.user_attrs["run"], one.params, one.value) for one in done if one.value is not None]
    return sorted(found, key=lambda one: -one.accuracy_validation)


def _opened(path: Path, name: str) -> "optuna.Study":
    """Open the study of a journal, or begin it; IntegrityError for what optuna did not write.

    What a killed process wrote half of a line is cut off: optuna would write behind it.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(path))
    backend = JournalFileBackend(str(path), lock)
    lock.acquire()
    try:
        with path.open("rb+") as journal:
            journal.truncate(journal.read().rfind(b"\n") + 1)
    finally:
        lock.release()
    try:
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend), study_name=name, direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED), load_if_exists=True,
        )  # fmt: skip
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: damaged; delete it: finished trials are found again as runs") from error


@contextmanager
def _taken(
    study: "optuna.Study", path: Path, dimensions: Sequence[Dimension], n_trials: int, seed: int
) -> Iterator["optuna.Trial | None"]:
    """Take the next trial, and hold it; None if as many as wanted are finished or under way."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    with ExitStack() as held:
        with locked(path.with_suffix(".lock"), f"{path}: another sweep holds it; run the command again", BUSY_S):
            running = study.get_trials(states=[TrialState.RUNNING])
            for gone in (one for one in running if not _is_held(path, one.number)):
                study.enqueue_trial(gone.params)
                study.tell(gone.number, state=TrialState.FAIL)
            counted = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING])
            trial = None
            if len(counted) < n_trials:
                # A seed of its own for every trial, whoever takes it; what is under way is not proposed once more.
                study.sampler = TPESampler(seed=seed + len(study.trials), constant_liar=True)
                trial = study.ask()
                for dimension in dimensions:
                    dimension.suggest(trial)
                held.enter_context(locked(_lock_of(path, trial.number), "held"))
        yield trial


def _elsewhere(study: "optuna.Study", path: Path, trial: "optuna.Trial") -> bool:
    """Say whether an earlier trial with the same choice is under way in another process."""
    from optuna.trial import TrialState

    earlier = (one for one in study.get_trials(states=[TrialState.RUNNING]) if one.number < trial.number)
    return any(one.params == trial.params and _is_held(path, one.number) for one in earlier)


def _is_held(path: Path, number: int) -> bool:
    try:
        with locked(_lock_of(path, number), "held"):
            return False
    except KwspotError:
        return True


def _lock_of(path: Path, number: int) -> Path:
    return path.with_suffix(f".{number}.lock")
