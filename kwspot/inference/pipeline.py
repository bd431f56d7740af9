"""Long sound -> events: blocks of samples go through a model as they come, in constant memory.

    blocks (n,) float32 at the model's rate -> posteriors (k, n_classes) -> smoothed -> Event…

The model is either a clip model that looks at every window anew (spotter.Windows), or a stream that carries a state
(spotter.Stream). With both, a row is about a second of sound that ends with it: `span_length`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.errors import MissingError
from kwspot.inference.detector import DetectionSettings, Detector, Event, Smoother
from kwspot.inference.model_zoo import DEFAULT_LONG, find_model
from kwspot.inference.spotter import Spotter
from kwspot.inference.streaming import Stream, Windows

STREAM_SUFFIX = ".stream.onnx"


class Ear(Protocol):
    """What turns sound into posteriors: Windows and Stream."""

    name: str
    metadata: dict[str, Any]
    labels: tuple[str, ...]
    sample_rate: int  # Hz
    span_length: int  # samples before its end that a row is about
    step_length: int  # samples from a row to the next
    lead_length: int  # samples before the first row's step

    def reset(self) -> None:
        """Forget everything heard."""

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples (n,), return the rows they end (k, n_classes)."""


def open_ear(model: str | None, runs_dir: Path, *, streaming: bool = False, threads: int = 0) -> Ear:
    """Open a model by what `kwspot models` calls it, or a file, to hear long sound with it.

    A stream file carries its state on; `streaming` takes the one beside a model for whole clips. MissingError
    without a file.
    """
    found = find_model(model, runs_dir, DEFAULT_LONG)
    if found.path.name.endswith(STREAM_SUFFIX):
        return Stream(found.path, name=found.name)
    if streaming:
        path = found.path.with_suffix(STREAM_SUFFIX)
        if not path.is_file():
            raise MissingError(f"{path}: no stream of this model; 'kwspot export RUN --stream' writes one")
        return Stream(path, name=found.name)
    return Windows(Spotter(found.path, name=found.name, threads=threads))


def detection_settings(metadata: Mapping[str, Any], **changes: float | None) -> DetectionSettings:
    """Return what was chosen for a model on validation, or kwspot's defaults, with changes that are not None.

    ConfigError if a value makes no sense.
    """
    stored = metadata.get("spotting") or {}
    names = ("threshold", "smoothing_ms", "refractory_ms")
    settings = DetectionSettings(**{name: stored[name] for name in names if name in stored})
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def detector_of(ear: Ear, settings: DetectionSettings) -> Detector:
    """Make a detector for the rows of a model."""
    step_s, span_s, lead_s = (n / ear.sample_rate for n in (ear.step_length, ear.span_length, ear.lead_length))
    return Detector(ear.labels, settings, step_s=step_s, span_s=span_s, lead_s=lead_s)


class Spotting:
    """One sound on its way through a model: `feed` it, then `finish`; both return events."""

    def __init__(self, ear: Ear, settings: DetectionSettings) -> None:
        self.ear = ear
        self.step_s = ear.step_length / ear.sample_rate
        self._smoother = Smoother(settings.smoothing_ms, self.step_s)
        self._detector = detector_of(ear, settings)
        self._n_samples = 0
        ear.reset()

    def feed(self, block: Waveform) -> list[Event]:
        """Take the next samples (n,) at the model's rate."""
        return self.hear(block)[0]

    def hear(self, block: Waveform) -> tuple[list[Event], NDArray[Any]]:
        """Take the next samples (n,); return events and the smoothed posteriors (k, n_classes) they came from."""
        self._n_samples += len(block)
        smoothed = self._smoother.feed(self.ear.feed(block))
        return self._detector.feed(smoothed), smoothed

    @property
    def under_way(self) -> Event | None:
        """The keyword that is being heard, as far as it is known by now."""
        return self._detector.under_way

    def set_threshold(self, threshold: float) -> None:
        """Spot with another threshold from here on; ConfigError if it is no posterior."""
        self._detector.settings = replace(self._detector.settings, threshold=threshold)

    def finish(self) -> list[Event]:
        """End the sound: silence follows until the last word has left the window."""
        seconds = self._n_samples / self.ear.sample_rate
        events = [*self.feed(np.zeros(self.ear.span_length, np.float32)), *self._detector.finish()]
        return [Event(e.word, min(e.start_s, seconds), min(e.end_s, seconds), e.posterior) for e in events]


def spot(ear: Ear, blocks: Iterable[Waveform], settings: DetectionSettings) -> Iterator[Event]:
    """Yield the keywords of a sound that comes in blocks (n,) at the model's rate."""
    spotting = Spotting(ear, settings)
    for block in blocks:
        yield from spotting.feed(block)
    yield from spotting.finish()


def posteriors_of(ear: Ear, blocks: Iterable[Waveform]) -> NDArray[np.float32]:
    """Return the posteriors of a whole sound, not smoothed: (n_rows, n_classes)."""
    ear.reset()
    return np.concatenate([ear.feed(block) for block in blocks])
