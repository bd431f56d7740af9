"""Posteriors over time -> events, one for every spoken keyword.

    posteriors (k, n_classes), a row every `step_s`, each of the `clip_s` of sound that end there
    -> Event(word, start_s, end_s, posterior)

    smoothing    the mean of the rows of the last `smoothing_ms` (Chen et al., ICASSP 2014)
    threshold    a keyword is heard while its smoothed posterior is the highest of all and not below this
    refractory   what is heard within `refractory_ms` of another hearing belongs to the same event, whose word is the
                 one with the highest smoothed posterior

A window holds the whole word from where the word ends until the window begins after its start. So the first row that
hears a word says where it ends, and the last one where it starts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kwspot.errors import ConfigError
from kwspot.labels import SILENCE, UNKNOWN

Rows = NDArray[np.floating]

SHORTEST_S = 0.1  # of a word


@dataclass(frozen=True)
class DetectionSettings:
    """When posteriors become an event."""

    threshold: float = 0.8
    smoothing_ms: float = 200.0
    refractory_ms: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold: a posterior above 0 and at most 1 is needed, got {self.threshold:g}")
        for name in ("smoothing_ms", "refractory_ms"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}: 0 or more is needed, got {getattr(self, name):g}")


@dataclass(frozen=True)
class Event:
    """A keyword that was heard: its times in seconds from the beginning, and its highest smoothed posterior."""

    word: str
    start_s: float
    end_s: float
    posterior: float


class Smoother:
    """Rows as they come -> the mean of each with those before it, within `smoothing_ms`."""

    def __init__(self, smoothing_ms: float, step_s: float) -> None:
        self.n_rows = max(1, round(smoothing_ms / 1000 / step_s))
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
class _Heard:
    """A keyword that is being heard: rows count from the beginning."""

    keyword: int
    posterior: float
    first: int
    last: int  # in which this keyword was heard
    latest: int  # in which any keyword was heard


class Detector:
    """Smoothed posteriors as they come -> events, each when the word has left the window."""

    def __init__(self, labels: Sequence[str], settings: DetectionSettings, *, step_s: float, clip_s: float) -> None:
        self.labels, self.settings, self.step_s, self.clip_s = labels, settings, step_s, clip_s
        self._keywords = [i for i, label in enumerate(labels) if label not in (UNKNOWN, SILENCE)]
        self._quiet = max(1, round(settings.refractory_ms / 1000 / step_s))  # rows without a word that end an event
        self._longest = round(clip_s / step_s) + self._quiet  # rows a window can hold one word, and a little more
        self._n_rows = 0
        self._heard: _Heard | None = None

    @property
    def under_way(self) -> Event | None:
        """The event that is not over: until then its word, its beginning and its posterior may change."""
        return None if self._heard is None else self._event(self._heard)

    def feed(self, smoothed: Rows) -> list[Event]:
        """Take rows (k, n_classes) and return the events that end in them."""
        return list(self._feed(smoothed))

    def _feed(self, smoothed: Rows) -> Iterator[Event]:
        best = smoothed.argmax(axis=1) if len(smoothed) else np.zeros(0, int)
        highest = smoothed[np.arange(len(best)), best]
        heard = np.isin(best, self._keywords) & (highest >= self.settings.threshold)
        for i in np.flatnonzero(heard):
            row = self._n_rows + int(i)
            yield from self._ended_before(row)
            self._hear(int(best[i]), float(highest[i]), row)
        self._n_rows += len(smoothed)
        yield from self._ended_before(self._n_rows)

    def _hear(self, keyword: int, posterior: float, row: int) -> None:
        heard = self._heard
        if heard is None or (keyword != heard.keyword and posterior > heard.posterior):
            self._heard = _Heard(keyword, posterior, row, row, row)
        elif keyword == heard.keyword:
            self._heard = replace(heard, posterior=max(posterior, heard.posterior), last=row, latest=row)
        else:
            self._heard = replace(heard, latest=row)

    def _ended_before(self, row: int) -> Iterator[Event]:
        """Yield the event under way if it is over by this row: nothing heard for a while, or too long for one word."""
        heard = self._heard
        if heard is not None and (row - heard.latest > self._quiet or row - heard.first > self._longest):
            yield self._event(heard)
            self._heard = None

    def finish(self) -> list[Event]:
        """Return the event that the end of the sound cut off, if there is one, and begin anew."""
        events = [] if self._heard is None else [self._event(self._heard)]
        self._heard, self._n_rows = None, 0
        return events

    def _event(self, heard: _Heard) -> Event:
        lag = self.settings.smoothing_ms / 2000  # by which smoothing delays a row
        end = (heard.first + 1) * self.step_s - lag
        start = (heard.last + 1) * self.step_s - lag - self.clip_s
        if end - start < SHORTEST_S:
            middle = (start + end) / 2
            start, end = middle - SHORTEST_S / 2, middle + SHORTEST_S / 2
        end = max(end, SHORTEST_S)
        return Event(self.labels[heard.keyword], max(0.0, start), end, heard.posterior)
