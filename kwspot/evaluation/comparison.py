"""Run records -> one row an experiment: mean and sample standard deviation over its seeds.

Only runs of the same settings on the same corpus and task share a row; others of the same name get a row of
their own, named by the hash of their run ids, and rows of different corpora or tasks are marked [a], [b], …
Reads records only: needs neither torch nor numpy.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
import math
from pathlib import Path
import re
import statistics

from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.runs import Run, finished_runs, list_runs
from kwspot.files import digest_of
from kwspot.tasks import SILENCE, silence_of

SPLITS = ("train", "validation", "test", "test12")
RESULTS = "results"  # beside the runs: where a repository keeps records that `kwspot runs export` copied


@dataclass(frozen=True)
class Figure:
    """A quantity over seeds; `std` is None for one seed, `n` counts the seeds that have it."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Column:
    """A figure of every run: its key in JSON and CSV, its title, its name for --sort."""

    key: str
    title: str
    short: str
    read: Callable[[Run], float | None]
    descending: bool = False  # better first


def _metric(key: str) -> Callable[[Run], float | None]:
    return lambda run: (run.metrics or {}).get(key)


def _test_accuracy(run: Run) -> float | None:
    return run.evaluations.get("test", {}).get("accuracy")


def _recorded(key: str) -> Callable[[Run], float | None]:
    return lambda run: run.record.get(key)


COLUMNS = (
    Column("loss_train", "Train Loss", "train-loss", _metric("loss_train")),
    Column("accuracy_train", "Train Acc", "train-acc", _metric("accuracy_train"), True),
    Column("loss_validation", "Val Loss", "val-loss", _metric("loss_validation")),
    Column("accuracy_validation", "Val Acc", "val-acc", _metric("accuracy_validation"), True),
    Column("accuracy_test", "Test Acc", "test-acc", _test_accuracy, True),
    Column("n_parameters", "Parameters", "params", _recorded("n_parameters")),
    Column("macs", "MACs per clip", "macs", _recorded("macs")),
    Column("seconds", "Training time", "time", _metric("seconds")),
    Column("epochs", "Epochs", "epochs", _metric("epochs")),
)
SORTS = ("model", *(column.short for column in COLUMNS), "seeds")


@dataclass(frozen=True)
class Scope:
    """What a figure speaks of: figures of different scopes cannot be compared.

    How many clips a model learned from is its own affair: `n_train`, the fewest and the most, makes no other scope.
    """

    task: str
    classes: tuple[str, ...]
    corpus: str
    source: str
    digest: str
    n_clips: tuple[tuple[str, int], ...]  # by split, without training
    n_train: tuple[int, int] = field(compare=False)

    def __str__(self) -> str:
        n = len(self.classes)
        task = f"{self.task} ({n} classes)" if self.task else f"{n} words"
        train = " to ".join(dict.fromkeys(f"{count:,}" for count in self.n_train))
        clips = ", ".join([f"{train} train", *(f"{count:,} {split}" for split, count in self.n_clips)])
        return f"{task} of {self.corpus}, from {self.source}; {clips} clips"


@dataclass(frozen=True)
class Row:
    """The runs of one experiment that differ only in their seed, and their figures by column key.

    `mark` is the letter of the scope, empty where the whole table has one scope.
    """

    label: str
    runs: tuple[Run, ...]
    scope: Scope
    mark: str
    figures: dict[str, Figure | None]

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.runs[0].experiment

    @property
    def seeds(self) -> list[int]:
        """The seeds averaged over."""
        return [run.seed for run in self.runs]


def scope_of(run: Run) -> Scope:
    """Read from a run's record what its figures speak of."""
    corpus, task = run.record["corpus"], run.record["settings"]["task"]
    n_clips = corpus["n_clips"]
    return Scope(
        task=task if isinstance(task, str) else "",
        classes=tuple(run.record["classes"]),
        corpus=corpus["name"],
        source=corpus["source"],
        digest=corpus["digest"],
        n_clips=tuple((split, n_clips[split]) for split in SPLITS[1:] if n_clips.get(split)),
        n_train=(n_clips.get("train", 0),) * 2,
    )


def figure_of(values: Iterable[float | None]) -> Figure | None:
    """Summarise a quantity over seeds; None if no seed has it."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    if not all(map(math.isfinite, known)):  # a seed diverged: an average would hide it
        return Figure(math.nan, None, len(known))
    return Figure(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def choose_runs(runs_dir: Path, names: Sequence[str] = ()) -> tuple[list[Run], list[Run]]:
    """Return the finished runs of these experiments (all if none is named), and the unfinished ones left out.

    A name may also be a run's id. MissingError if there is no such run, or none of them is finished.
    """
    known = list_runs(runs_dir)
    if not known and list_runs(results := runs_dir.parent / RESULTS):
        raise MissingError(f"{runs_dir}: no runs; {results} has records of some: --runs {results}")
    unfinished = [run for run in known if not run.metrics]
    if not names:
        return finished_runs(runs_dir), unfinished
    left_out = [run for run in unfinished if run.experiment in names or run.id in names]
    chosen: dict[Path, Run] = {}
    missing: list[MissingError] = []
    for name in names:
        try:
            chosen |= {run.path: run for run in finished_runs(runs_dir, name)}
        except MissingError as error:
            if not any(name in (run.experiment, run.id) for run in left_out):
                raise
            missing.append(error)
    if not chosen:
        raise missing[0]
    return list(chosen.values()), left_out


def table_rows(runs: Iterable[Run]) -> list[Row]:
    """Gather runs into rows, in the order in which their experiments come."""
    groups: dict[tuple[str, str, Scope], list[Run]] = {}
    for run in runs:
        key = (run.experiment, digest_of(run.record["settings"]), scope_of(run))
        groups.setdefault(key, []).append(run)
    scopes = list(dict.fromkeys(scope for _, _, scope in groups))
    rows = []
    for (name, _, scope), group in groups.items():
        several = len({settings for other, settings, _ in groups if other == name}) > 1
        mark = _letter(scopes.index(scope)) if len(scopes) > 1 else ""
        ending = group[0].id.rpartition("-")[2]
        label = " ".join([name, *([ending] if several else []), *([f"[{mark}]"] if mark else [])])
        figures = {column.key: figure_of(map(column.read, group)) for column in COLUMNS}
        rows.append(Row(label, tuple(group), scope, mark, figures))
    return rows


def _letter(index: int) -> str:
    """Name the scopes a, b, …, z, a2, b2, …"""
    return chr(ord("a") + index % 26) + (str(index // 26 + 1) if index >= 26 else "")


def sort_rows(rows: Sequence[Row], by: str) -> list[Row]:
    """Sort rows by a column, better figures first, missing ones last; ConfigError if it is no column."""
    wanted = re.sub(r"[\s_]+", "-", by.strip().lower())
    if wanted == "model":
        return sorted(rows, key=lambda row: row.label)
    if wanted == "seeds":
        return sorted(rows, key=lambda row: -len(row.runs))
    for column in COLUMNS:
        if wanted in (column.short, column.key.replace("_", "-"), column.title.lower().replace(" ", "-")):
            break
    else:
        near = get_close_matches(wanted, SORTS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(SORTS)}"
        raise ConfigError(f"--sort {by}: no such column; {hint}")

    def place(row: Row) -> tuple[bool, float]:
        figure = row.figures[column.key]
        if figure is None or math.isnan(figure.mean):
            return True, 0.0
        return False, -figure.mean if column.descending else figure.mean

    return sorted(rows, key=place)


def remarks(rows: Iterable[Row]) -> list[str]:
    """Say what the column of test accuracies does not: seeds missing, and what other corpora gave."""
    said = []
    elsewhere: dict[str, list[str]] = {}
    for row in rows:
        figure = row.figures["accuracy_test"]
        if figure is not None and figure.n < len(row.runs):
            said.append(f"test accuracy of {row.label}: {figure.n} of {len(row.runs)} seeds")
        others = sorted({key for run in row.runs for key in run.evaluations if key not in SPLITS})
        for key in others:
            found = [run.evaluations[key] for run in row.runs if key in run.evaluations]
            mean = statistics.fmean(evaluation["accuracy"] for evaluation in found)
            clips = f"{found[0]['n']:,} {found[0]['split']} clips of {found[0]['corpus']['name']}"
            if SILENCE in row.scope.classes and found[0]["split"] != "test":
                clips += f" (silence: {silence_of(found[0]['split'])})"
            elsewhere.setdefault(clips, []).append(f"{row.label} {100 * mean:.1f} %")
    return said + [f"on other recordings, {clips}: {', '.join(each)}" for clips, each in elsewhere.items()]


def interval_of(row: Row) -> tuple[float, float] | None:
    """Return the interval of a row's test accuracy over speakers, the mean of its seeds' limits; None without one."""
    measured = [run.evaluations["test"]["interval"] for run in row.runs if "test" in run.evaluations]
    known = [interval for interval in measured if interval]
    return (statistics.fmean(low for low, _ in known), statistics.fmean(high for _, high in known)) if known else None


def _intervals(rows: Iterable[Row]) -> list[str]:
    known = [(row.label, interval) for row in rows if (interval := interval_of(row))]
    said = ", ".join(f"{label} {100 * low:.1f}–{100 * high:.1f}" for label, (low, high) in known)
    return [f"95 % intervals of the test accuracy over speakers (bootstrap): {said} %"] if known else []


def notes(rows: Sequence[Row]) -> list[str]:
    """Say what a reader of the table must know: rows kept apart, or not comparable, figures missing."""
    said = []
    for name in dict.fromkeys(row.experiment for row in rows):
        settings = {digest_of(row.runs[0].record["settings"]) for row in rows if row.experiment == name}
        if len(settings) > 1:
            said.append(f"{name} has runs of {len(settings)} different settings: a row each, named by the runs' hash")
    if len({row.scope for row in rows}) > 1:
        said.append("rows of different corpora or tasks are marked [a], [b], …: do not compare their accuracies")
    said += remarks(rows)
    if bare := [row.label for row in rows if row.figures["accuracy_test"] is None]:
        said.append(f"no test accuracy yet: {', '.join(bare)}; measure it with 'kwspot eval NAME'")
    return said


def caption(rows: Sequence[Row]) -> str:
    """Say where the figures come from: corpus, clips, seeds, device and versions, all from the records."""
    runs = [run for row in rows for run in row.runs]
    scopes = _scopes(rows)
    scoped = [f"[{mark}] {scope}; digest {scope.digest[:8]}" if mark else str(scope) for mark, scope in scopes]
    seeds = sorted({run.seed for run in runs})
    numbers = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    spread = f"mean ± sample standard deviation over {numbers}" if len(seeds) > 1 else numbers
    if any(row.seeds != rows[0].seeds for row in rows):
        spread += " (not every row has every seed)"
    machines = dict.fromkeys(_machine(run) for run in runs)
    versions = dict.fromkeys(f"kwspot {run.record['environment']['kwspot']}" for run in runs)
    return ". ".join(
        [
            *scoped,
            f"Train and validation figures are those of the best epoch on validation; {spread}",
            *_silence(rows),
            *_intervals(rows),
            *(text[0].upper() + text[1:] for text in remarks(rows)),
            f"Trained on {' and '.join(machines)} with {', '.join(versions)}.",
        ]
    )


def _scopes(rows: Iterable[Row]) -> list[tuple[str, Scope]]:
    """Return the scope of every mark, with the numbers of training clips of all its rows."""
    found: dict[str, Scope] = {}
    for row in rows:
        counts = [*row.scope.n_train, *(found[row.mark].n_train if row.mark in found else ())]
        found[row.mark] = replace(row.scope, n_train=(min(counts), max(counts)))
    return sorted(found.items())


def _silence(rows: Iterable[Row]) -> list[str]:
    """Say what `silence` is in the figures of the table, if it is a class of any row."""
    if not any(SILENCE in row.scope.classes for row in rows):
        return []
    return [f"`{SILENCE}` is {silence_of('test')} in test figures, {silence_of('validation')} elsewhere"]


def _machine(run: Run) -> str:
    environment = run.record["environment"]
    threads = environment.get("threads")
    return (
        f"{environment['device']} ({threads} thread{'' if threads == 1 else 's'})" if threads else environment["device"]
    )
