"""Incoming sound -> posteriors: a model for whole clips, window by window, or a stream that carries a state.

samples (n,) float32 at the model's rate -> posteriors (k, n_classes), a row for every step they end
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.blocks import Resampler
from kwspot.audio.reading import Waveform, as_waveform, require_hz
from kwspot.errors import IntegrityError, MissingError
from kwspot.inference.model_zoo import DEFAULT_LONG, STREAM_SUFFIX, ModelFile, bundled_models, find_model, runs_folder
from kwspot.inference.spotter import Spotter, open_session, read_metadata, require_graph, run_session

AT_ONCE = 32  # windows
REMEMBERED_S = 0.3  # by which a stream detects a word longer than a clip does; on validation recordings, as a median


class StreamingModel(Protocol):
    """A model that turns incoming sound into posteriors: `SlidingWindow` or `Stream`."""

    name: str
    metadata: dict[str, Any]
    labels: tuple[str, ...]
    sample_rate: int  # Hz
    span_length: int  # samples before its end that a row is about
    step_length: int  # samples from a row to the next
    lead_length: int  # samples before the first row's step

    def reset(self) -> None:
        """Forget all earlier sound."""

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples (n,), return the k rows they complete (k, n_classes)."""


class SlidingWindow:
    """Incoming sound -> posteriors of the last clip after every step, with a model for whole clips.

    Before the sound there was digital silence. Every window is computed afresh, so no earlier sound can matter.
    """

    def __init__(self, spotter: Spotter, *, step_ms: float = 40.0) -> None:
        self.name, self.metadata = spotter.name, spotter.metadata
        self.labels, self.sample_rate, self.clip_length = spotter.labels, spotter.sample_rate, spotter.clip_length
        self.step_length = max(1, round(spotter.sample_rate * step_ms / 1000))
        self.span_length, self.lead_length = self.clip_length, 0
        self._spotter = spotter
        self.reset()

    def reset(self) -> None:
        """Forget all earlier sound."""
        self._waiting: Waveform = np.zeros(self.clip_length - self.step_length, np.float32)

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take any number of samples (n,) in [-1, 1]; return posteriors (k, n_classes) of the k steps they complete."""
        new = as_waveform(samples) if len(samples) else np.zeros(0, np.float32)
        sound = np.concatenate([self._waiting, new])
        k = max(0, (len(sound) - self.clip_length) // self.step_length + 1)
        self._waiting = sound[k * self.step_length :]
        if not k:
            return np.zeros((0, len(self.labels)), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(sound, self.clip_length)[:: self.step_length][:k]
        return np.concatenate([self._spotter.posteriors(windows[i : i + AT_ONCE]) for i in range(0, k, AT_ONCE)])


class Stream:
    """Incoming sound -> posteriors after every step, with the stream file of a model (`kwspot export --stream`).

    A step is `step_length` samples. After the last whole step of a clip, its posteriors are those of the clip.
    `input_rate` (Hz) is that of the sound fed, which is resampled without a seam; by default the model's.
    """

    def __init__(
        self, path: str | Path, *, input_rate: int | None = None, name: str | None = None, threads: int = 1
    ) -> None:
        self.path = path = Path(path)
        self.name = name or str(path)
        self.session = open_session(path, threads)
        self.metadata = read_metadata(self.session, path)
        if not {"step_length", "lead_length"} <= self.metadata.keys():
            raise IntegrityError(f"{path}: takes whole clips; 'kwspot export RUN --stream' writes one that streams")
        require_graph(self.session, path, ["samples", "state"], {})
        self.labels: tuple[str, ...] = tuple(self.metadata["labels"])
        self.sample_rate = int(self.metadata["sample_rate"])
        self.clip_length = int(self.metadata["clip_length"])
        self.step_length = int(self.metadata["step_length"])
        self.lead_length = int(self.metadata["lead_length"])  # samples that stand before the first step
        self.span_length = self.clip_length + round(REMEMBERED_S * self.sample_rate)
        self._outputs = [each.name for each in self.session.get_outputs()]
        shape = self.session.get_inputs()[1].shape
        if len(self._outputs) != 2 or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < self.lead_length:
            raise IntegrityError(
                f"{path}: its graph carries no state; write it again with 'kwspot export RUN --stream'"
            )
        self._n_state = shape[1]
        self.input_rate = require_hz(self.sample_rate if input_rate is None else input_rate)
        self.reset()

    def __repr__(self) -> str:
        return f"<Stream {self.name}: {' '.join(self.labels)}>"

    @classmethod
    def load(cls, model: str | Path, *, input_rate: int | None = None, runs_dir: str | Path | None = None) -> "Stream":
        """Open the stream of a model by its name in `kwspot models`, or a file; MissingError if it has none."""
        found = find_model(str(model), runs_folder(runs_dir))
        return cls(_stream_of(found), input_rate=input_rate, name=found.name)

    def reset(self) -> None:
        """Forget all earlier sound."""
        self._resample = Resampler(self.input_rate, self.sample_rate)
        self._waiting: Waveform = np.zeros(0, np.float32)
        self._state: NDArray[np.float32] | None = None

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples (n,) at `input_rate`, any number; return posteriors (k, n_classes) of the k steps they complete.

        Samples are floats in [-1, 1] or integers of full scale; ValueError if they are not.
        """
        new = self._resample(as_waveform(samples)) if len(samples) else np.zeros(0, np.float32)
        waiting = np.concatenate([self._waiting, new])
        if self._state is None and len(waiting) >= self.lead_length:
            self._state = np.zeros((1, self._n_state), np.float32)
            self._state[0, : self.lead_length] = waiting[: self.lead_length]
            waiting = waiting[self.lead_length :]
        whole = len(waiting) // self.step_length * self.step_length if self._state is not None else 0
        self._waiting = waiting[whole:]
        if not whole:
            return np.zeros((0, len(self.labels)), np.float32)
        inputs: dict[str, Any] = {"samples": waiting[None, :whole], "state": self._state}
        posteriors, self._state = run_session(self.session, self.path, self._outputs, inputs)
        result: NDArray[np.float32] = posteriors[0]
        return result


def open_model(
    model: str | None, runs_dir: Path, *, streaming: bool | None = False, threads: int = 0
) -> StreamingModel:
    """Open a model by its name in `kwspot models`, or a file, for long sound.

    A stream file carries its state forward; `streaming` takes the one beside a model for whole clips, None takes it
    if there is one. Windows are computed in so many `threads` (0: one a core), a stream in one. MissingError without
    a file.
    """
    found = find_model(model, runs_dir, DEFAULT_LONG)
    if streaming is None:
        streaming = found.path.with_suffix(STREAM_SUFFIX).is_file()
    if streaming or found.path.name.endswith(STREAM_SUFFIX):
        return Stream(_stream_of(found), name=found.name)
    return SlidingWindow(Spotter(found.path, name=found.name, threads=threads))


def _stream_of(found: ModelFile) -> Path:
    """Return the stream file of a model: itself, or the one beside it."""
    path = found.path if found.path.name.endswith(STREAM_SUFFIX) else found.path.with_suffix(STREAM_SUFFIX)
    if not path.is_file():
        if found.path.is_file() and "enrollment" in Spotter(found.path).metadata:
            raise MissingError(f"{found.name}: a model of own words, which have no stream; use it window by window")
        if found in (bundled := bundled_models()):
            streams = ", ".join(model.name for model in bundled if model.path.with_suffix(STREAM_SUFFIX).is_file())
            raise MissingError(f"{found.name}: comes without a stream; {streams} has one")
        raise MissingError(f"{path}: no stream of this model; 'kwspot export RUN --stream' writes one")
    return path
