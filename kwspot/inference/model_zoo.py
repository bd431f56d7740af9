"""Model files by name: those that come with kwspot, enrolled ones, those of finished runs, and any file.

bundled/<name>.onnx with its model card <name>.md, and <name>.stream.onnx beside it where it streams;
RUNS/enrolled/<name>.onnx; RUN/model.onnx of the record. Needs neither torch nor onnxruntime, so that it is quick to
list and to complete names.
"""

from dataclasses import dataclass
import os
from pathlib import Path

from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.runs import MODEL, best_run, list_runs, run_ids
from kwspot.files import read_text

FOLDER = Path(__file__).parent / "bundled"
LONGEST_NAME = 200  # bytes, of the 255 that a file system allows: there are endings to add
DEFAULT = "keywords10"  # for clips
DEFAULT_LONG = "keywords10_long"  # for long sound
SUFFIX, STREAM_SUFFIX = ".onnx", ".stream.onnx"
ENROLLED = "enrolled"  # folder of the runs folder
ENCODER = FOLDER / f"encoder{SUFFIX}"  # what enrollment starts from; no model to predict with


@dataclass(frozen=True)
class ModelFile:
    """A model file and the name it is known by."""

    name: str
    path: Path

    @property
    def card(self) -> str | None:
        """The model card beside the file, Markdown; None if there is none, IntegrityError if it is no text in UTF-8."""
        path = self.path.with_suffix(".md")
        return read_text(path) if path.is_file() else None


def runs_folder(named: str | Path | None = None) -> Path:
    """Return the folder of run records and enrolled models: that named, else what KWSPOT_RUNS says, else `runs`."""
    return Path(named or os.environ.get("KWSPOT_RUNS") or "runs")


def bundled_models() -> list[ModelFile]:
    """List the models that come with kwspot, the default one first."""
    found = [ModelFile(path.stem, path) for path in FOLDER.glob(f"*{SUFFIX}") if path != ENCODER]
    found = [model for model in found if not model.path.name.endswith(STREAM_SUFFIX)]
    return sorted(found, key=lambda model: (model.name != DEFAULT, model.name))


def enrolled_models(runs_dir: Path) -> list[ModelFile]:
    """List the models of own words that `kwspot enroll` wrote."""
    return [ModelFile(path.stem, path) for path in sorted((runs_dir / ENROLLED).glob(f"*{SUFFIX}"))]


def enrolled_path(runs_dir: Path, name: str) -> Path:
    """Return where a model of this name is enrolled; ConfigError if the name stands for another, or names no file.

    Another is a bundled model and, unless a model of this name is there already, a run.
    """
    is_other = f"{name}{SUFFIX}".endswith((2 * SUFFIX, STREAM_SUFFIX))
    if is_other or not (name.isprintable() and name[:1].isalnum()) or set(name) & set('/\\:*?"<>|'):
        raise ConfigError(f"'{name}': no name for a model; letters, digits, '-' and '_' make one, '{SUFFIX}' is added")
    if len(name.encode()) > LONGEST_NAME:
        raise ConfigError(f"'{name[:20]}…': too long a name for a model; {LONGEST_NAME} letters at most")
    if name.casefold() in {ENCODER.stem, *(model.name for model in bundled_models())}:
        raise ConfigError(f"'{name}': a model that comes with kwspot; give another name")
    path = runs_dir / ENROLLED / f"{name}{SUFFIX}"
    found = next((run for run in run_ids(runs_dir) if f"{run}-".startswith(f"{name}-")), None)
    if found and not path.exists():
        raise ConfigError(f"'{name}': the run {found}, in whose place the model would be found; give another name")
    return path


def run_models(runs_dir: Path) -> list[ModelFile]:
    """List the enrolled models, and the runs that have a model file."""
    runs = [ModelFile(run.id, run.path / MODEL) for run in list_runs(runs_dir) if (run.path / MODEL).is_file()]
    return [*enrolled_models(runs_dir), *runs]


def find_model(name: str | None = None, runs_dir: Path | None = None, default: str = DEFAULT) -> ModelFile:
    """Find a model: a file, a bundled or an enrolled one, a run, or the best run of an experiment.

    Without a name it is the default. MissingError says what there is.
    """
    bundled = {model.name: model for model in bundled_models()}
    if name is None or name in bundled:
        if not bundled:
            raise MissingError(f"{FOLDER}: no model; install kwspot again, or name a run or a file")
        return bundled[name or default]
    enrolled = {model.name: model for model in enrolled_models(runs_dir)} if runs_dir else {}
    if name in enrolled:
        return enrolled[name]
    if name.endswith(SUFFIX) or Path(name).is_file():
        return ModelFile(name, Path(name))
    try:
        if runs_dir is None:
            raise MissingError(f"{name}: no such model")
        run = best_run(runs_dir, name, MODEL)
    except MissingError as error:
        known = f"bundled models: {', '.join(bundled)}" + (f"; enrolled: {', '.join(enrolled)}" if enrolled else "")
        from difflib import get_close_matches  # not at every start

        close = get_close_matches(name, [*bundled, *enrolled], 1)
        meant = f"; did you mean '{close[0]}'?" if close else ""
        raise MissingError(f"{error}; {known}; a file ends in {SUFFIX}{meant}") from error
    return ModelFile(run.id, run.path / MODEL)
