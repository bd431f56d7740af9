"""Model files by name: those that come with kwspot, those of finished runs, and any file.

bundled/<name>.onnx with its model card <name>.md; RUN/model.onnx of the record. Needs neither torch nor
onnxruntime, so that it is quick to list and to complete names.
"""

from dataclasses import dataclass
from pathlib import Path

from kwspot.errors import MissingError
from kwspot.experiments.runs import MODEL, best_run, list_runs

FOLDER = Path(__file__).parent / "bundled"
DEFAULT = "keywords10"  # for clips
DEFAULT_LONG = "keywords10_long"  # for long sound
SUFFIX = ".onnx"
ENCODER = FOLDER / f"encoder{SUFFIX}"  # what enrollment starts from; no model to predict with


@dataclass(frozen=True)
class ModelFile:
    """A model file and the name it is known by."""

    name: str
    path: Path

    @property
    def card(self) -> str | None:
        """The model card beside the file, Markdown; None if there is none."""
        path = self.path.with_suffix(".md")
        return path.read_text(encoding="utf-8") if path.is_file() else None


def bundled_models() -> list[ModelFile]:
    """List the models that come with kwspot, the default one first."""
    found = [ModelFile(path.stem, path) for path in FOLDER.glob(f"*{SUFFIX}") if path != ENCODER]
    return sorted(found, key=lambda model: (model.name != DEFAULT, model.name))


def run_models(runs_dir: Path) -> list[ModelFile]:
    """List the runs that have a model file."""
    return [ModelFile(run.id, run.path / MODEL) for run in list_runs(runs_dir) if (run.path / MODEL).is_file()]


def find_model(name: str | None = None, runs_dir: Path | None = None, default: str = DEFAULT) -> ModelFile:
    """Find a model: a file, a bundled model, a run, or the best run of an experiment; without a name the default.

    MissingError says what there is.
    """
    bundled = {model.name: model for model in bundled_models()}
    if name is None or name in bundled:
        if not bundled:
            raise MissingError(f"{FOLDER}: no model; install kwspot again, or name a run or a file")
        return bundled[name or default]
    if name.endswith(SUFFIX) or Path(name).is_file():
        return ModelFile(name, Path(name))
    try:
        if runs_dir is None:
            raise MissingError(f"{name}: no such model")
        run = best_run(runs_dir, name, MODEL)
    except MissingError as error:
        raise MissingError(f"{error}; bundled models: {', '.join(bundled)}; a file ends in {SUFFIX}") from error
    return ModelFile(run.id, run.path / MODEL)
