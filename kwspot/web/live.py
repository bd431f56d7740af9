"""Live spotting for the page: a visitor's microphone -> posteriors and events, block by block, over plain HTTP.

    POST live/start?model=&rate=               -> {visitor, words, step_s}
    POST live/process?visitor=&at=&threshold=     -> {seconds, rows, pending, events}; the body are the next samples
                                                  (n,), 16 bits, little-endian, mono, at `rate` Hz
    POST live/stop?visitor=                    -> {events}, and the visitor is forgotten

The page's script, live.js, sends what came from the microphone since, and only after the block before was answered.
So blocks arrive in order, and a slow server gets longer ones instead of a queue. A WebSocket needs one more package.

Of what a visitor says, only the window the model looks at is kept, in memory, and not after `live/stop` or FORGET_S
without a block. Nothing is written.
"""

import asyncio
from collections.abc import Callable
import secrets
from threading import Lock
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from kwspot.audio.blocks import Resampler
from kwspot.audio.inputs import raw_samples
from kwspot.audio.reading import Waveform
from kwspot.errors import ConfigError, KwspotError
from kwspot.inference.detector import keywords_of
from kwspot.inference.pipeline import Spotting, detection_settings
from kwspot.inference.streaming import StreamingModel
from kwspot.web.serving import BusyError, Workers, answered, body_of

MOST_VISITORS = 64  # who listen; the next is told to come back
FORGET_S = 30.0
RATES = (8000, 192_000)  # Hz, of a microphone
MOST_BYTES = 10 * RATES[1] * 2  # of a block: ten seconds


class LiveSession:
    """The sound of one visitor, as it passes through a model."""

    def __init__(self, streaming_model: StreamingModel, rate: int) -> None:
        if not RATES[0] <= rate <= RATES[1]:
            raise ConfigError(f"a microphone at {rate} Hz; {RATES[0]} to {RATES[1]} Hz can be used")
        self.spotting = Spotting(streaming_model, detection_settings(streaming_model.metadata))
        self.words = keywords_of(streaming_model.labels)
        self.columns = [streaming_model.labels.index(word) for word in self.words]
        self.n_samples = 0  # received, at the microphone's rate
        self._n_resampled = 0  # at the model's
        self._resample = Resampler(rate, streaming_model.sample_rate)
        self._lock = Lock()

    def process(self, block: Waveform, at: int, threshold: float) -> dict[str, Any]:
        """Take the samples (n,) from number `at` on: return rows of smoothed posteriors (k, n_keywords) and events.

        `pending` is the event that is not over yet. ConfigError if samples are missing or come twice.
        """
        with self._lock:
            if at != self.n_samples:
                raise ConfigError("a part of the sound was lost on its way; start again")
            self.spotting.set_threshold(threshold)
            self.n_samples += len(block)
            samples = self._resample(block)
            self._n_resampled += len(samples)
            events, smoothed = self.spotting.process(samples)
            pending = self.spotting.pending
            return {
                "seconds": self._n_resampled / self.spotting.streaming_model.sample_rate,
                "rows": smoothed[:, self.columns].astype(float).round(3).tolist(),
                "pending": pending and pending.to_dict(),
                "events": [event.to_dict() for event in events],
            }

    def finish(self) -> dict[str, Any]:
        """End the sound: return the events that were not over."""
        with self._lock:
            return {"events": [event.to_dict() for event in self.spotting.finish()]}


class Live:
    """The routes of the live mode, and the sessions. `open_model` opens a model by its name, anew for each."""

    def __init__(self, open_model: Callable[[str], StreamingModel]) -> None:
        self.open_model, self.workers = open_model, Workers()  # its own: nobody's sound waits for a picture
        self.sessions: dict[str, LiveSession] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def routes(self) -> list[Route]:
        """Return the routes beside the page's own."""
        return [
            Route(f"/live/{name}", answered(answer), methods=["POST"])
            for name, answer in (("start", self.start), ("process", self.process), ("stop", self.stop))
        ]

    async def start(self, request: Request) -> dict[str, Any]:
        """Start a session: a visitor is known by a word nobody can guess."""
        name, rate = request.query_params["model"], int(request.query_params["rate"])
        session = await self.workers.run(lambda: LiveSession(self.open_model(name), rate))
        if len(self.sessions) >= MOST_VISITORS:  # asked now: others came while the model was opened
            raise BusyError(f"{MOST_VISITORS} visitors are listening already; try again later")
        visitor = secrets.token_urlsafe()
        self.sessions[visitor] = session
        self._stay(visitor)
        return {"visitor": visitor, "words": session.words, "step_s": session.spotting.step_s}

    async def process(self, request: Request) -> dict[str, Any]:
        """Take the next block of a visitor."""
        query = request.query_params
        session = self._session(query["visitor"])
        self._stay(query["visitor"])
        body = await body_of(request, MOST_BYTES)
        if len(body) % 2:
            raise ValueError("half a sample")
        block = raw_samples(body)
        return await self.workers.run(session.process, block, int(query["at"]), float(query["threshold"]))

    async def stop(self, request: Request) -> dict[str, Any]:
        """End the sound of a visitor and forget it."""
        session = self._session(request.query_params["visitor"])
        self._forget(request.query_params["visitor"])
        return await self.workers.run(session.finish)

    def _session(self, visitor: str) -> LiveSession:
        if visitor not in self.sessions:
            raise KwspotError("no sound came for a while and the server stopped listening; start again")
        return self.sessions[visitor]

    def _stay(self, visitor: str) -> None:
        if visitor in self._ends:
            self._ends[visitor].cancel()
        self._ends[visitor] = asyncio.get_running_loop().call_later(FORGET_S, self._forget, visitor)

    def _forget(self, visitor: str) -> None:
        self.sessions.pop(visitor, None)
        if end := self._ends.pop(visitor, None):
            end.cancel()
