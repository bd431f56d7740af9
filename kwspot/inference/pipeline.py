"""Long sound -> events: blocks of samples go through a model as they come, in constant memory.

    blocks (n,) float32 at the model's rate -> posteriors (k, n_classes) -> smoothed -> Event…

With every streaming model a row is about the second of sound that ends with it: `span_length`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.inference.detector import DetectionSettings, Detector, Event, Smoother
from kwspot.inference.streaming import StreamingModel

LONGEST_TRACE_S = 600.0  # of sound that is kept to be drawn


def detection_settings(metadata: Mapping[str, Any], **changes: float | None) -> DetectionSettings:
    """Return what was chosen for a model on validation, or kwspot's defaults, with changes that are not None.

    ConfigError if a value makes no sense.
    """
    stored = metadata.get("spotting") or {}
    names = [field.name for field in fields(DetectionSettings)]
    settings = DetectionSettings(**{name: stored[name] for name in names if name in stored})
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def detector_of(
    streaming_model: StreamingModel, settings: DetectionSettings, words: Sequence[str] | None = None
) -> Detector:
    """Make a detector for the rows of a model, of these keywords only or of all."""
    step_s, span_s, lead_s = (
        n / streaming_model.sample_rate
        for n in (streaming_model.step_length, streaming_model.span_length, streaming_model.lead_length)
    )
    return Detector(streaming_model.labels, settings, step_s=step_s, span_s=span_s, lead_s=lead_s, words=words)


class Spotting:
    """One sound as it passes through a model: `feed` it, then `finish`; both return events, of `words` only or of all.

    `hear` in place of `feed` returns them as soon as they are known.
    """

    def __init__(
        self, streaming_model: StreamingModel, settings: DetectionSettings, words: Sequence[str] | None = None
    ) -> None:
        self.streaming_model = streaming_model
        self.step_s = streaming_model.step_length / streaming_model.sample_rate
        self._smoother = Smoother(settings.smoothing_ms, self.step_s)
        self._detector = detector_of(streaming_model, settings, words)
        self._n_samples = 0
        self._n_heard = 0  # events that are not over and were returned by `hear`: none or one
        streaming_model.reset()

    def feed(self, block: Waveform) -> list[Event]:
        """Take the next samples (n,) at the model's rate."""
        return self.process(block)[0]

    def process(self, block: Waveform) -> tuple[list[Event], NDArray[Any]]:
        """Take the next samples (n,); return events and the smoothed posteriors (k, n_classes) they came from."""
        self._n_samples += len(block)
        smoothed = self._smoother.feed(self.streaming_model.feed(block))
        return self._detector.feed(smoothed), smoothed

    @property
    def pending(self) -> Event | None:
        """The event that is not over, as far as it is known by now."""
        return self._detector.pending

    def hear(self, block: Waveform) -> list[Event]:
        """Take the next samples (n,); return the events that they make known, each once and before it is over.

        What is not known by then is left at the least: the start is the earliest that it can be, the posterior may
        still rise, and a stronger keyword within the same second does not come any more.
        """
        over = self.feed(block)
        known = [*over, *([self.pending] if self.pending else [])][self._n_heard :]
        self._n_heard = 1 if self.pending else 0
        return known

    def set_threshold(self, threshold: float) -> None:
        """Spot with another threshold from here on; ConfigError if it is no posterior."""
        self._detector.settings = replace(self._detector.settings, threshold=threshold)

    def finish(self) -> list[Event]:
        """End the sound: silence follows until the last word has left the window. Heard events are left out."""
        seconds = self._n_samples / self.streaming_model.sample_rate
        events = [*self.feed(np.zeros(self.streaming_model.span_length, np.float32)), *self._detector.finish()]
        events, self._n_heard = events[self._n_heard :], 0
        return [Event(e.word, min(e.start_s, seconds), min(e.end_s, seconds), e.posterior) for e in events]


@dataclass
class Trace:
    """What passed through a model, kept to be drawn: samples, smoothed posteriors and events of the first minutes."""

    blocks: list[Waveform] = field(default_factory=list)  # (n,) each, at the model's rate
    rows: list[NDArray[Any]] = field(default_factory=list)  # (k, n_classes) each
    events: list[Event] = field(default_factory=list)
    is_cut: bool = False

    def keep(self, block: Waveform, rows: NDArray[Any], events: list[Event], most: int) -> None:
        """Keep what a block brought, while there are no more than `most` samples."""
        self.is_cut = self.is_cut or sum(map(len, self.blocks)) + len(block) > most
        if not self.is_cut:
            self.blocks.append(block)
            self.rows.append(rows)
            self.events += events


def spot(
    streaming_model: StreamingModel,
    blocks: Iterable[Waveform],
    settings: DetectionSettings,
    trace: Trace | None = None,
) -> Iterator[Event]:
    """Yield the keywords of a sound that comes in blocks (n,) at the model's rate; `trace` keeps what passes."""
    spotting = Spotting(streaming_model, settings)
    most = round(LONGEST_TRACE_S * streaming_model.sample_rate)
    for block in blocks:
        events, rows = spotting.process(block)
        if trace:
            trace.keep(block, rows, events, most)
        yield from events
    events = spotting.finish()
    if trace and not trace.is_cut:
        trace.events += events
    yield from events


def spot_at_once(
    streaming_model: StreamingModel, blocks: Iterable[Waveform], settings: DetectionSettings
) -> Iterator[Event]:
    """Yield the keywords of a sound that comes in blocks (n,) as soon as they are known, which is before `spot` does.

    Their starts and posteriors are those of `Spotting.hear`.
    """
    spotting = Spotting(streaming_model, settings)
    for block in blocks:
        yield from spotting.hear(block)
    yield from spotting.finish()


def posteriors_of(streaming_model: StreamingModel, blocks: Iterable[Waveform]) -> NDArray[np.float32]:
    """Return the posteriors of a whole sound, not smoothed: (n_rows, n_classes)."""
    streaming_model.reset()
    return np.concatenate([streaming_model.feed(block) for block in blocks])
