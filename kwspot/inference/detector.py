"""Posteriors over time -> events, one for every spoken keyword.

    posteriors (k, n_classes), a row every `step_s`, each of the `span_s` of sound that end there
    -> Event(word, start_s, end_s, posterior)

    smoothing    the mean of the rows of the last `smoothing_ms` (Chen et al., ICASSP 2014)
    threshold    a keyword is detected while its smoothed posterior is the highest of all and not below this
    refractory   detections within `refractory_ms` of each other belong to the same event, whose word is the one with
                 the highest smoothed posterior

A row's span holds the whole word from where the word ends until the span begins after its start. So the first row that
detects a word gives its end and the last one its start, each less the delay of the smoothing. A model that knows a word
by a part of it detects it sooner and for longer; `before_ms` and `after_ms` are what its words then lack at their ends.
Events do not overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.errors import ConfigError
from kwspot.tasks import SILENCE, UNKNOWN

Rows = NDArray[np.floating]

SHORTEST_S = 0.1  # of a word
LONGEST_MS = 60_000.0  # of what smooths or separates words


@dataclass(frozen=True)
class DetectionSettings:
    """When posteriors become an event."""

    threshold: float = 0.8
    smoothing_ms: float = 200.0
    refractory_ms: float = 300.0
    before_ms: float = 0.0
    after_ms: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold: a posterior above 0 and at most 1 is needed, got {self.threshold:g}")
        for name in ("smoothing_ms", "refractory_ms", "before_ms", "after_ms"):
            if not 0 <= getattr(self, name) <= LONGEST_MS:
                raise ConfigError(f"{name}: 0 to {LONGEST_MS:g} is needed, got {getattr(self, name):g}")


@dataclass(frozen=True)
class Event:
    """A keyword that was detected: its times in seconds from the beginning, and its highest smoothed posterior."""

    word: str
    start_s: float
    end_s: float
    posterior: float

    def __repr__(self) -> str:
        return f"<Event {self.word} {self.posterior:.2f}, {self.start_s:.2f} to {self.end_s:.2f} s>"

    def to_dict(self) -> dict[str, Any]:
        """Return what `kwspot spot --json` prints of it."""
        times = {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return {"word": self.word, "posterior": round(self.posterior, 6), **times}


def keywords_of(labels: Sequence[str]) -> list[str]:
    """Return the labels that are words to spot."""
    return [label for label in labels if label not in (UNKNOWN, SILENCE)]


def n_smoothed(smoothing_ms: float, step_s: float) -> int:
    """Return how many rows a mean takes."""
    return max(1, round(smoothing_ms / 1000 / step_s))


class Smoother:
    """Rows as they come -> the mean of each with those before it, within `smoothing_ms`."""

    def __init__(self, smoothing_ms: float, step_s: float) -> None:
        self.n_rows = n_smoothed(smoothing_ms, step_s)
        self._before: Rows | None = None

    def feed(self, rows: Rows) -> Rows:
        """Smooth (k, n_classes); before the first row there were others like it."""
        if not len(rows):
            return rows
        before = np.repeat(rows[:1], self.n_rows - 1, axis=0) if self._before is None else self._before
        seen = np.concatenate([before, rows])
        self._before = seen[len(seen) - self.n_rows + 1 :]
        return np.lib.stride_tricks.sliding_window_view(seen, self.n_rows, axis=0).mean(-1)


@dataclass(frozen=True)
class _Candidate:
    """A keyword above the threshold: its highest smoothed posterior, and its first and last row."""

    posterior: float
    first: int
    last: int


class Detector:
    """Smoothed posteriors as they come -> events, each when the word has left the span of a row.

    The first row ends `step_s` after `lead_s`. Keywords that are none of `words`, if these are given, are passed over.
    """

    def __init__(
        self,
        labels: Sequence[str],
        settings: DetectionSettings,
        *,
        step_s: float,
        span_s: float,
        lead_s: float = 0.0,
        words: Sequence[str] | None = None,
    ) -> None:
        self.labels, self.settings = labels, settings
        self.step_s, self.span_s, self.lead_s = step_s, span_s, lead_s
        self._keywords = [labels.index(word) for word in keywords_of(labels) if words is None or word in words]
        self._quiet = max(1, round(settings.refractory_ms / 1000 / step_s))  # rows without a word that end an event
        self._longest = round(span_s / step_s) + self._quiet  # rows that can hold one word, and a little more
        self._n_rows = 0
        self._previous_end_s = 0.0  # of the event before
        self._candidates: dict[int, _Candidate] = {}  # what the pending event may be of, by keyword

    @property
    def pending(self) -> Event | None:
        """The event that is not over: until then its word, its beginning and its posterior may change."""
        return self._event() if self._candidates else None

    def feed(self, smoothed: Rows) -> list[Event]:
        """Take rows (k, n_classes) and return the events that end in them."""
        return list(self._feed(smoothed))

    def _feed(self, smoothed: Rows) -> Iterator[Event]:
        best = smoothed.argmax(axis=1) if len(smoothed) else np.zeros(0, int)
        highest = smoothed[np.arange(len(best)), best]
        above = np.isin(best, self._keywords) & (highest >= self.settings.threshold)
        for i in np.flatnonzero(above):
            row = self._n_rows + int(i)
            yield from self._ended_before(row)
            self._update(int(best[i]), float(highest[i]), row)
        self._n_rows += len(smoothed)
        yield from self._ended_before(self._n_rows)

    def _update(self, keyword: int, posterior: float, row: int) -> None:
        before = self._candidates.get(keyword, _Candidate(posterior, row, row))
        self._candidates[keyword] = replace(before, posterior=max(posterior, before.posterior), last=row)

    def _strongest(self) -> int:
        return max(self._candidates, key=lambda keyword: self._candidates[keyword].posterior)

    def _ended_before(self, row: int) -> Iterator[Event]:
        """Yield the pending event if it is over by this row: no keyword for a while, or too long for one word."""
        if self._candidates:
            latest = max(candidate.last for candidate in self._candidates.values())
            first = self._candidates[self._strongest()].first
            if row - latest > self._quiet or row - first > self._longest:
                event = self._event()
                self._candidates, self._previous_end_s = {}, event.end_s
                yield event

    def finish(self) -> list[Event]:
        """Return the event that the end of the sound cut off, if there is one, and start afresh."""
        events = [self._event()] if self._candidates else []
        self._candidates, self._n_rows, self._previous_end_s = {}, 0, 0.0
        return events

    def _event(self) -> Event:
        keyword = self._strongest()
        candidate = self._candidates[keyword]
        n_mean = n_smoothed(self.settings.smoothing_ms, self.step_s)
        # A word whose posterior jumps to its peak reaches the threshold when so many of the mean's rows hold it.
        n_needed = min(n_mean, ceil(self.settings.threshold / candidate.posterior * n_mean - 1e-6))
        end = self._time_s(candidate.first - (n_needed - 1))
        start = self._time_s(candidate.last - (n_mean - n_needed)) - self.span_s
        if end - start < SHORTEST_S:
            middle = (start + end) / 2
            start, end = middle - SHORTEST_S / 2, middle + SHORTEST_S / 2
        start = max(start - self.settings.before_ms / 1000, self._previous_end_s)
        end = max(end + self.settings.after_ms / 1000, start + SHORTEST_S)
        return Event(self.labels[keyword], start, end, candidate.posterior)

    def _time_s(self, row: int) -> float:
        """Return where a row ends."""
        return self.lead_s + (row + 1) * self.step_s
