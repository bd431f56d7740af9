"""The run record: one folder a run, plain text, readable without torch.

run.json         settings, classes, corpus, cost and environment, written before the first epoch
history.jsonl    a line an epoch: losses (nats a clip), accuracies (fractions), lr, grad_norm; decided by the seed
timing.jsonl     a line an epoch: seconds; decided by the machine
trace.jsonl      with --trace, a line an epoch from 0 on: gradient and state_spread (training.gradients)
best.pt          weights of the best epoch          checkpoint.pt   everything a resumed run needs
metrics.json     figures of the best epoch; written last, so it marks the run as finished
model.onnx       the best epoch as one file, for whole clips; model.stream.onnx for sound as it comes,
                 model.int8.onnx and model.int8.stream.onnx with weights of 8 bits; encoder.onnx of an encoder's run
false-alarms-<split>.json   what `kwspot eval --long-audio` measured in assembled sound
recordings-<split>.json     what `kwspot eval --false-alarms` measured in real recordings
eval-<split>.json   what `kwspot eval` measured     events.out.tfevents.*   the same for TensorBoard
robustness-<split>.json   what `kwspot eval --robustness` measured
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from secrets import token_hex
import shutil
from typing import TYPE_CHECKING, Any

from kwspot.errors import ConfigError, IntegrityError, MissingError
from kwspot.files import MOST_JSON, digest_of, locked, read_bounded, read_json, write_text, written_whole

if TYPE_CHECKING:
    from kwspot.experiments.records import Shape
    from kwspot.experiments.settings import Experiment

SCHEMA = 1
RUN, HISTORY, TIMING, METRICS = "run.json", "history.jsonl", "timing.jsonl", "metrics.json"
TRACE = "trace.jsonl"
BEST, CHECKPOINT = "best.pt", "checkpoint.pt"
MODEL, STREAM = "model.onnx", "model.stream.onnx"
INT8, INT8_STREAM = "model.int8.onnx", "model.int8.stream.onnx"
ENCODER = "encoder.onnx"
RECORDINGS = "recordings"
WINDOWS, STREAMED = "windows", "stream"  # long audio: with MODEL window by window, or with STREAM
PARTS = (RUN, METRICS, CHECKPOINT, BEST)  # any of them makes a folder that of a run
LOCK, REMOVED = ".lock", ".removed-"
RECORD_FILES = (
    HISTORY,
    TIMING,
    TRACE,
    "eval-*.json",
    "false-alarms-*.json",
    f"{RECORDINGS}-*.json",
    "robustness-*.json",
    RUN,
    METRICS,
)  # in the order in which they are copied: with the last two it is a finished run

# What `kind` says of a condition in robustness-<split>.json.
CLEAN, NOISE, BABBLE, GAIN = "clean", "noise", "babble", "gain"
TELEPHONE, REVERBERATION, SPEED = "telephone", "reverberation", "speed"


def run_id(experiment: str, seed: int, deciding: Mapping[str, Any]) -> str:
    """Name a run by all that decides its result: `lstm-s1-3f9a2c1b`."""
    return f"{experiment}-s{seed}-{digest_of(deciding)[:8]}"


@dataclass(frozen=True)
class Run:
    """A run as its folder records it."""

    path: Path
    record: dict[str, Any]
    history: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    metrics: dict[str, Any] | None
    evaluations: dict[str, dict[str, Any]]  # by split
    false_alarms: dict[str, dict[str, Any]] = field(default_factory=dict)  # by split
    robustness: dict[str, dict[str, Any]] = field(default_factory=dict)  # by split
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)  # by split, then WINDOWS and STREAMED

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return str(self.record["experiment"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.record["seed"])

    @property
    def state(self) -> str:
        """`finished`, or `epoch N` for a run that was stopped or is under way."""
        return "finished" if self.metrics else f"epoch {len(self.history)}"


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON value a line, the whole file or nothing."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def _json(path: Path, shape: "type[Shape]") -> Any:
    try:
        value = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON file ({error}); remove the run with 'kwspot runs rm'") from error
    _require(path, shape, value)
    return value


def _require(path: Path, shape: "type[Shape]", value: Any, line: int | None = None) -> None:
    from kwspot.experiments.records import problems_with

    if found := problems_with(shape, value):
        where = f"{path}, line {line}" if line else str(path)
        raise IntegrityError(f"{where}: not as kwspot writes it ({found[0]}); remove the run with 'kwspot runs rm'")


def read_lines(path: Path, shape: "type[Shape]") -> list[dict[str, Any]]:
    """Read a JSON value of a shape a line; none of a file that is not there."""
    if not path.is_file():
        return []
    try:
        values = [json.loads(line) for line in read_bounded(path, MOST_JSON).decode("utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not JSON lines ({error}); remove the run with 'kwspot runs rm'") from error
    for number, value in enumerate(values, 1):
        _require(path, shape, value, number)
    return values


def _measured(path: Path, prefix: str, shape: "type[Shape]") -> dict[str, dict[str, Any]]:
    """Read what was measured of a run, by split."""
    return {file.stem.removeprefix(prefix): _json(file, shape) for file in sorted(path.glob(f"{prefix}*.json"))}


def is_run(folder: Path) -> bool:
    """Say whether a folder holds a run, or what is left of one."""
    return not folder.name.startswith(".") and any((folder / part).is_file() for part in PARTS)


def read_run(path: Path) -> Run:
    """Read one run folder; MissingError if there is none, IntegrityError if it cannot be read."""
    if not is_run(path):
        raise MissingError(f"{path}: no run there; 'kwspot runs' lists them")
    if not (path / RUN).is_file():
        raise IntegrityError(
            f"{path}: what is left of a run, without {RUN}; remove it with 'kwspot runs rm {path.name}'"
        )
    from kwspot.experiments import records  # pydantic, a tenth of a second that predicting can do without

    metrics = path / METRICS
    return Run(
        path=path,
        record=_json(path / RUN, records.RunShape),
        history=read_lines(path / HISTORY, records.EpochShape),
        timing=read_lines(path / TIMING, records.TimingShape),
        metrics=_json(metrics, records.MetricsShape) if metrics.is_file() else None,
        evaluations=_measured(path, "eval-", records.EvaluationShape),
        false_alarms=_measured(path, "false-alarms-", records.FalseAlarmsShape),
        robustness=_measured(path, "robustness-", records.RobustnessShape),
        recordings=_measured(path, f"{RECORDINGS}-", records.RecordingsShape),
    )


def read_runs(runs_dir: Path) -> tuple[list[Run], list[IntegrityError]]:
    """Read every run below `runs_dir`, or in folders below, by experiment and seed; and why others cannot be read."""
    found: list[Run] = []
    broken: list[IntegrityError] = []
    for folder in _run_folders(runs_dir):
        try:
            found.append(read_run(folder))
        except IntegrityError as error:
            broken.append(error)
        except OSError as error:
            broken.append(IntegrityError(f"{error.filename}: {error.strerror}; make it readable, or remove the run"))
    return sorted(found, key=lambda run: (run.experiment, run.seed, run.id)), broken


def _run_folders(runs_dir: Path) -> Iterator[Path]:
    for folder in sorted(runs_dir.glob("*")):
        if is_run(folder):  # its files are not looked at one by one
            yield folder
        elif folder.is_dir():
            yield from filter(is_run, sorted(folder.glob("*")))


def list_runs(runs_dir: Path) -> list[Run]:
    """Read every run below `runs_dir` that can be read, by experiment and seed; an absent folder holds none.

    A folder of folders of runs, such as results/, is read as well.
    """
    return read_runs(runs_dir)[0]


def run_ids(runs_dir: Path) -> list[str]:
    """List the ids of the runs below `runs_dir`, finished or not, without reading them."""
    return [folder.name for folder in _run_folders(runs_dir)]


def find_run(runs_dir: Path, name: str) -> Run:
    """Find a run by its id, its folder, or the start of an id that fits only one."""
    if not name:
        raise ConfigError("a run with an empty name; 'kwspot runs' lists those that there are")
    for folder in (Path(name), runs_dir / name):
        if is_run(folder):
            return read_run(folder)
    matches = [run for run in list_runs(runs_dir) if run.id.startswith(name)]
    exact = [run for run in matches if run.id == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise MissingError(
            f"{name}: fits {len(matches)} runs: {', '.join(run.id for run in matches)}; write more of it"
        )
    raise MissingError(f"{name}: no such run in {runs_dir}; 'kwspot runs' lists them, 'kwspot train NAME' makes one")


def finished_runs(runs_dir: Path, name: str | None = None) -> list[Run]:
    """List the finished runs of an experiment, or the run named; all if no name. MissingError if there are none."""
    runs = [run for run in list_runs(runs_dir) if name in (None, run.experiment)]
    chosen = [run for run in runs if run.metrics]
    if name is not None and not runs:
        run = find_run(runs_dir, name)
        if not run.metrics:
            resume = f"kwspot train {run.experiment} --seed {run.seed} --resume"
            raise MissingError(f"{run.path}: not finished ({run.state}); resume it with '{resume}'")
        chosen = [run]
    if not chosen:
        what = f"run of '{name}'" if name else "run"
        raise MissingError(f"{runs_dir}: no finished {what}; train one with 'kwspot train {name or 'NAME'}'")
    return chosen


def best_run(runs_dir: Path, name: str | None = None, having: str = BEST) -> Run:
    """Choose the finished run with the best validation accuracy that has a file: its weights, or its model file."""
    runs = [run for run in finished_runs(runs_dir, name) if (run.path / having).is_file()]
    if not runs:
        command = "kwspot train NAME --again" if having == BEST else "kwspot export RUN"
        what = f"run of '{name}'" if name else "run"
        raise MissingError(f"{runs_dir}: no finished {what} has {having}; '{command}' writes it")
    return max(runs, key=lambda run: run.metrics["accuracy_validation"] if run.metrics else 0.0)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing or removing a run until the block ends; KwspotError if one is at it."""
    busy = f"{folder}: another process is training or removing this run; wait for it to end"
    with locked(folder.with_name(f".{folder.name}{LOCK}"), busy):
        yield


def remove_run(folder: Path) -> None:
    """Delete a run, whatever its folder holds; KwspotError while another process holds it."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - a link stays a link
    with held(folder):
        discard(folder)


def discard(folder: Path) -> None:
    """Delete the folder of a run that is held: renamed first, so that a half deleted one is no run of any name.

    Of a link to a run, the link is deleted.
    """
    finish_deletions(folder.parent)
    doomed = folder.with_name(f"{REMOVED}{folder.name}.{token_hex(4)}")
    folder.rename(doomed)
    _delete(doomed)


def finish_deletions(runs_dir: Path) -> None:
    """Delete what deletions that were cut short have left in a folder of runs."""
    for left in runs_dir.glob(f"{REMOVED}*"):
        with suppress(OSError):
            _delete(left)


def _delete(path: Path) -> None:
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # another process finishes deletions and is at it too
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)


def copy_record(run: Run, destination: Path) -> Path:
    """Copy the readable record of a run, without weights, checkpoint or events; return its new folder."""
    folder = destination / run.id
    content = {file.name: file.read_bytes() for pattern in RECORD_FILES for file in sorted(run.path.glob(pattern))}
    for name, copied in content.items():
        with written_whole(folder / name) as partial:
            partial.write_bytes(copied)
    return folder


def load_settings(run: Run) -> "Experiment":
    """Return the experiment as the run recorded it; IntegrityError if this kwspot does not know its settings."""
    from pydantic import ValidationError

    from kwspot.experiments.settings import Experiment, problems_of

    settings = dict(run.record["settings"])
    settings["train"] = {"patience": None, "clip_norm": None} | settings["train"]  # null is left out of a record
    try:
        return Experiment(name=run.experiment, why=run.record["why"], **settings)
    except ValidationError as error:
        raise IntegrityError("\n  ".join([f"{run.path / RUN}:", *problems_of(error, "settings")])) from error
