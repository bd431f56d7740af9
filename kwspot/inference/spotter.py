"""The spotter: one file, `model.onnx`, applied to sound. Needs onnxruntime, soundfile and NumPy, never torch.

    file or waveform at any rate -> clip (n_samples,) float32 at the model's rate -> posteriors (n_classes,)

The front end is inside the file, so what is computed here is what was trained. All a program has to know about
the model stands in the file's metadata: labels, sample rate, clip length, where it came from, how good it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
import json
from pathlib import Path
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from kwspot.audio.reading import (
    HIGHEST_RATE,
    LONGEST_S,
    LOWEST_RATE,
    Decoded,
    Waveform,
    as_waveform,
    fit_clip,
    read_clip,
    require_hz,
)
from kwspot.errors import IntegrityError, MissingError
from kwspot.inference.model_zoo import find_model, runs_folder
from kwspot.names import is_printable
from kwspot.tasks import UNKNOWN

SCHEMA = 1
MOST_CLIPS = 1.25  # that a waveform without a rate may be long: a clip of a second at 22.05 kHz would be 1.38
LENGTHS = ("sample_rate", "clip_length", "win_length", "step_length", "lead_length")
SPOTTING = (
    "threshold", "smoothing_ms", "refractory_ms", "before_ms", "after_ms", "hours", "snr_db", "target_per_hour"
)  # fmt: skip
NEEDED = ("schema", "labels", "sample_rate", "clip_length", "win_length")


@dataclass(frozen=True)
class Prediction:
    """The most likely words of a clip, by falling posterior (0 to 1).

    `seconds` is the length of the sound that was used."""

    top: tuple[tuple[str, float], ...]
    seconds: float
    threshold: float = 0.0  # a word with a lower posterior becomes `unknown`

    def __repr__(self) -> str:
        return f"<Prediction {self.word} {self.posterior:.2f}>"

    @property
    def word(self) -> str:
        """The most likely word; `unknown` if its posterior is below the threshold."""
        return self.top[0][0] if self.posterior >= self.threshold else UNKNOWN

    @property
    def posterior(self) -> float:
        """The posterior of the most likely word."""
        return self.top[0][1]

    def to_dict(self) -> dict[str, Any]:
        """Return what `kwspot predict --json` prints of it."""
        top = [{"word": word, "posterior": round(posterior, 6)} for word, posterior in self.top]
        return {"word": self.word, "posterior": top[0]["posterior"], "top": top, "seconds": round(self.seconds, 4)}


class Spotter:
    """A model file, ready to predict clips.

    `name` is that of the bundled model, or the file; with `content`, the bytes of a file, the file need not exist.
    Sound longer than `clip_length` is cropped to its loudest part.
    """

    def __init__(
        self, path: str | Path, *, name: str | None = None, threads: int = 0, content: bytes | None = None
    ) -> None:
        self.path, self.name = Path(path), name or str(path)
        self.session = open_session(self.path, threads, content)
        self.metadata = read_metadata(self.session, self.path)
        require_graph(self.session, self.path, ["waveform"], {"posteriors": len(self.metadata["labels"])})
        self.labels: tuple[str, ...] = tuple(self.metadata["labels"])
        if not self.labels:
            raise IntegrityError(f"{path}: knows no words, so it cannot predict any")
        self.sample_rate = int(self.metadata["sample_rate"])  # Hz
        self.clip_length = int(self.metadata["clip_length"])  # samples
        self.win_length = int(self.metadata["win_length"])  # samples, the least a clip can have

    def __repr__(self) -> str:
        return f"<Spotter {self.name}: {' '.join(self.labels)}>"

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, runs_dir: str | Path | None = None, threads: int = 0
    ) -> "Spotter":
        """Open a model by its name in `kwspot models`, or a file; without a name the bundled model for clips.

        Names are also looked up in `runs_dir`, by default $KWSPOT_RUNS or `runs`. `threads` 0 uses all cores.
        MissingError if there is no such model, IntegrityError if it is not one of kwspot.
        """
        found = find_model(None if model is None else str(model), runs_folder(runs_dir))
        return cls(found.path, name=found.name, threads=threads)

    def predict(self, waveform: NDArray[Any], sample_rate: int | None = None, n_top: int = 1) -> Prediction:
        """Predict the word of a waveform (n_samples,): mono, floats in [-1, 1] or integers of full scale.

        `sample_rate` is that of the waveform, in Hz; by default the model's own, if that makes about a clip.
        ValueError for what is no such waveform.
        """
        return self.predict_clips([self.fit(waveform, sample_rate)], n_top)[0]

    def predict_file(self, source: str | Path | BinaryIO, n_top: int = 1) -> Prediction:
        """Predict the word of a file, or of a seekable stream of its bytes; AudioError if it is not audio."""
        return self.predict_clips([self.read(source)], n_top)[0]

    def fit(self, waveform: NDArray[Any], sample_rate: int | None = None) -> Waveform:
        """Bring a waveform to the model's rate and clip length; ValueError if it is none, or lacks a rate."""
        samples = as_waveform(waveform)
        if sample_rate is None and len(samples) > MOST_CLIPS * self.clip_length:
            raise ValueError(
                f"{len(samples):,} samples without a sample_rate: at the model's {self.sample_rate:,} Hz they would be "
                f"{len(samples) / self.sample_rate:.2f} s, longer than a clip; give their sample_rate"
            )
        rate = require_hz(self.sample_rate if sample_rate is None else sample_rate)
        return fit_clip(Decoded(samples, rate), self).waveform

    def read(self, source: str | Path | BinaryIO) -> Waveform:
        """Read a file as a clip for `predict_clips`."""
        return read_clip(Path(source) if isinstance(source, str) else source, self).waveform

    def predict_clips(self, clips: Sequence[Waveform], n_top: int = 1, threshold: float = 0.0) -> list[Prediction]:
        """Predict clips made by `fit` or `read`, in their order; neighbours of one length are predicted together.

        A word with a posterior below `threshold` becomes `unknown`.
        """
        if n_top < 1:
            raise ValueError(f"n_top: 1 or more is needed, got {n_top}")
        predictions = []
        for n_samples, alike in groupby(clips, key=len):
            for row in self.posteriors(np.stack(list(alike))):
                order = np.argsort(-row, kind="stable")[:n_top]
                top = tuple((self.labels[i], float(row[i])) for i in order)
                predictions.append(Prediction(top, n_samples / self.sample_rate, threshold))
        return predictions

    def posteriors(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the posteriors (batch, n_classes) of waveforms (batch, n_samples) at the model's rate.

        ValueError for another shape.
        """
        if np.ndim(waveforms) != 2:
            raise ValueError(f"waveforms of shape (batch, n_samples) are needed, got {np.shape(waveforms)}")
        result: NDArray[np.float32]
        (result,) = run_session(self.session, self.path, ["posteriors"], {"waveform": waveforms})
        if result.shape != (len(waveforms), len(self.labels)):
            raise IntegrityError(f"{self.path}: {len(self.labels)} labels, but posteriors of shape {result.shape}")
        return result


def open_once(path: Path, name: str, threads: int = 0) -> Spotter:
    """Open a model file, once for as long as it does not change."""
    return _opened(path, name, threads, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=16)
def _opened(path: Path, name: str, threads: int, _changed: int) -> Spotter:
    return Spotter(path, name=name, threads=threads)


def open_session(path: Path, threads: int = 0, content: bytes | None = None) -> onnxruntime.InferenceSession:
    """Open a model file, or its content; MissingError without one, IntegrityError if it cannot be read."""
    if content is None and not path.is_file():
        raise MissingError(f"{path}: no such model; 'kwspot models' lists the available ones")
    if content is None:
        path.open("rb").close()  # what the system refuses is no damage, as which onnxruntime would have it
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong comes as an exception
    try:
        return onnxruntime.InferenceSession(
            content or str(path),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which prints on stdout
        )
    except Exception as error:  # onnxruntime's own kinds, without a common base
        raise IntegrityError(f"{path}: no model that onnxruntime can read; write it again with 'kwspot export'") from (
            error
        )


def require_graph(
    session: onnxruntime.InferenceSession, path: Path, inputs: Sequence[str], outputs: Mapping[str, int | None]
) -> None:
    """Raise IntegrityError unless a graph takes these inputs and gives outputs with these last axes (None: any)."""
    try:
        sizes = {each.name: each.shape[-1] if each.shape else None for each in session.get_outputs()}
        taken = [each.name for each in session.get_inputs()]
    except UnicodeDecodeError:
        sizes, taken = {}, []
    fits = taken == list(inputs) and all(
        name in sizes and (size is None or not isinstance(sizes[name], int) or sizes[name] == size)
        for name, size in outputs.items()
    )
    if not fits:
        raise IntegrityError(
            f"{path}: its graph is not the one of a model of kwspot; write it again with 'kwspot export'"
        )


def run_session(
    session: onnxruntime.InferenceSession, path: Path, outputs: Sequence[str], inputs: Mapping[str, NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Compute outputs; IntegrityError if the graph cannot, or if they are not finite."""
    try:
        results: list[NDArray[np.float32]] = session.run(list(outputs), dict(inputs))
    except Exception as error:  # onnxruntime's own kinds, without a common base
        raise IntegrityError(f"{path}: its graph cannot be computed; write it again with 'kwspot export'") from error
    if not all(np.isfinite(result).all() for result in results):
        raise IntegrityError(f"{path}: gives numbers that are not finite; train it again")
    return results


def read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    """Return what the file says of itself, each value as the JSON it was written as; IntegrityError if it is no sense.

    Checked by hand: importing pydantic takes as long as predicting a clip.
    """
    try:
        written = session.get_modelmeta().custom_metadata_map  # decoded as UTF-8 here
        metadata = {key: json.loads(value) for key, value in written.items()}
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: metadata that is not JSON; not a model of kwspot") from error
    if missing := [key for key in NEEDED if key not in metadata]:
        raise IntegrityError(f"{path}: not a model of kwspot: no {', '.join(missing)} in its metadata")
    if metadata["schema"] != SCHEMA:
        raise IntegrityError(f"{path}: schema {metadata['schema']!r:.40}, this kwspot reads {SCHEMA}")
    if wrong := next(_wrong(metadata), None):
        raise IntegrityError(f"{path}: not a model of kwspot: {wrong} in its metadata")
    return metadata


def _wrong(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes no sense in metadata that has all keys needed."""
    labels = metadata["labels"]
    if not (isinstance(labels, list) and all(isinstance(label, str) and is_printable(label) for label in labels)):
        yield "labels that are no list of words"
    elif len(set(labels)) < len(labels) or "" in labels:
        yield "a label twice, or an empty one"
    lengths = {key: metadata[key] for key in LENGTHS if key in metadata}
    if not all(type(value) is int and value >= (key == "sample_rate") for key, value in lengths.items()):
        yield f"a number of samples in {', '.join(lengths)} that is none"
    elif not LOWEST_RATE <= metadata["sample_rate"] <= HIGHEST_RATE:
        yield f"a sample rate of {metadata['sample_rate']!r:.20} Hz"
    elif not 0 < metadata["win_length"] <= metadata["clip_length"] <= LONGEST_S * metadata["sample_rate"]:
        yield "a window longer than a clip, or a clip longer than a minute"
    elif not 0 < metadata.get("step_length", 1) <= metadata["clip_length"] >= metadata.get("lead_length", 0):
        yield "a step longer than a clip"
    figures = ("n_parameters", "macs", "accuracy_validation", "accuracy_test")
    if unfit := [key for key in figures if not (metadata.get(key) is None or _is_number(metadata[key]))]:
        yield f"{', '.join(unfit)} that is no number"
    spotting = metadata.get("spotting") or {}
    if not isinstance(spotting, dict) or not all(_is_number(spotting.get(key, 0)) for key in SPOTTING):
        yield "spotting that is no settings of detection"
    curve = spotting.get("curve", []) if isinstance(spotting, dict) else []
    if not isinstance(curve, list) or not all(
        isinstance(p, list) and len(p) == 3 and all(map(_is_number, p)) for p in curve
    ):
        yield "a curve of spotting that is none"
    if "enrollment" in metadata and not _is_enrollment(metadata["enrollment"]):
        yield "an enrollment that 'kwspot enroll' did not write"


def _is_enrollment(value: Any) -> bool:
    """Say whether `value` holds what is read again of enrollment.examples.Source and enrollment.expected.Expected."""
    sources, expected = (value.get("sources"), value.get("expected")) if isinstance(value, dict) else (None, None)
    if not (isinstance(sources, list) and all(map(_is_source, sources)) and isinstance(expected, dict)):
        return False
    n, confused = expected.get("n"), expected.get("confused")
    shares = [expected.get(key) for key in ("right", "detected", "accepted")]
    return (
        (n == 0 or (all(map(_is_number, shares)) and _is_word(expected.get("by"))))
        and (type(n) is int and n >= 0)
        and isinstance(confused, list)
        and all(
            isinstance(c, list) and len(c) == 3 and all(map(_is_word, c[:2])) and type(c[2]) is int for c in confused
        )
    )


def _is_source(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_word(value.get("word"))
        and isinstance(value.get("speaker"), str | None)
        and all(isinstance(value.get(key), str) for key in ("name", "digest"))
        and type(n_rows := value.get("n_rows")) is int
        and n_rows > 0
        and isinstance(value.get("spoken", False), bool)
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_printable(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # an integer can be larger than any float
