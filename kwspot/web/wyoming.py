"""Keywords over the Wyoming protocol, as Home Assistant and its satellites speak it: a wake word service.

    describe                                -> info: the model, a wake word for each of its keywords
    detect {names}, audio-start, audio-chunk…  -> detection {name, timestamp} as soon as a word is above the threshold
    audio-stop                              -> what only the end of the sound makes known; not-detected, if none was
    what cannot be used, or is too much     -> error, and the connection ends

Each connection is one sound, of any rate. The `wyoming` package does the protocol; events are read here, where an
announced length is looked at before it is waited for.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
import signal
import socket
from typing import Any

import numpy as np
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.server import AsyncEventHandler, AsyncTcpServer
from wyoming.wake import Detect, Detection, NotDetected

from kwspot import __version__
from kwspot.audio.blocks import Resampler
from kwspot.audio.inputs import raw_samples
from kwspot.audio.reading import require_hz
from kwspot.errors import KwspotError, StoppedError
from kwspot.files import parse_json
from kwspot.inference.detector import DetectionSettings, keywords_of
from kwspot.inference.pipeline import Spotting
from kwspot.inference.streaming import StreamingModel

MOST_CLIENTS = 64  # at once
MOST_S = 10.0  # of a chunk; satellites send less than 0.1
MOST_BYTES = 2 * 2**20  # of a chunk: ten seconds at 48 kHz in stereo are 1.9 MB
MOST_DATA = 2**16  # bytes of what describes an event, as asyncio has it for a line
ATTRIBUTION = Attribution(name="kwspot", url="https://arxiv.org/abs/1804.03209")


def info_of(streaming_model: StreamingModel) -> Info:
    """Describe a model as a wake word service."""
    models = [
        WakeModel(
            name=word, phrase=word, languages=["en"], attribution=ATTRIBUTION, installed=True, version=__version__,
            description=f"“{word}”, by {streaming_model.name}",
        )
        for word in keywords_of(streaming_model.labels)
    ]  # fmt: skip
    program = WakeProgram(
        name="kwspot", attribution=ATTRIBUTION, installed=True, version=__version__, models=models,
        description="Small recurrent keyword spotters",
    )  # fmt: skip
    return Info(wake=[program])


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Read an event of the protocol; None at the end, ValueError or TypeError for what is none or too much."""
    try:
        line = await reader.readline()
    except ValueError:
        raise ValueError(f"a line of more than {MOST_DATA:,} bytes") from None
    if not line:
        return None
    header = parse_json(line)
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise ValueError("a line of JSON with a type is needed")
    more = await _part(reader, header, "data_length", MOST_DATA)
    data = {**(header.get("data") or {}), **(parse_json(more) if more else {})}
    return Event(header["type"], data, await _part(reader, header, "payload_length", MOST_BYTES))


async def _part(reader: asyncio.StreamReader, header: dict[str, Any], name: str, most_bytes: int) -> bytes:
    length = header.get(name) or 0
    if not isinstance(length, int) or not 0 <= length <= most_bytes:
        raise ValueError(f"{name} is at most {most_bytes:,} bytes, got {length!r:.40}; send less at once")
    return await reader.readexactly(length)


def check_chunk(chunk: AudioChunk) -> None:
    """Raise ValueError for a chunk that no microphone sends, or of more than MOST_S."""
    if chunk.width not in (1, 2, 3, 4) or chunk.channels not in (1, 2):
        raise ValueError(
            f"1 to 4 bytes a sample and 1 or 2 channels are needed, got {chunk.width!r:.40} and {chunk.channels!r:.40}"
        )
    if len(chunk.audio) % (chunk.width * chunk.channels):
        raise ValueError("the last sample is not whole")
    if len(chunk.audio) > MOST_S * require_hz(chunk.rate) * chunk.width * chunk.channels:
        raise ValueError(f"more than {MOST_S:g} s in a chunk; send less at once")


class WakeHandler(AsyncEventHandler):
    """One connection: `open_model` opens a model of its own for it; `refuse` is told what is wrong with it."""

    def __init__(
        self,
        open_model: Callable[[], StreamingModel],
        settings: DetectionSettings,
        refuse: Callable[[str], None],
        places: asyncio.Semaphore,
        *streams: Any,
    ) -> None:
        super().__init__(*streams)
        self.open_model, self.settings, self.refuse, self.places = open_model, settings, refuse, places
        self.to_mono = AudioChunkConverter(width=2, channels=1)
        self.names: list[str] | None = None  # that are wanted; None: all

    async def run(self) -> None:
        """Answer events until the connection ends; whatever is wrong with one ends it alone, with one line."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # peers may vanish
        try:
            if self.places.locked():
                raise KwspotError(f"{MOST_CLIENTS} clients are connected already; try again later")
            async with self.places:
                self.streaming_model = await asyncio.get_running_loop().run_in_executor(None, self.open_model)
                self._begin()
                while (event := await read_event(self.reader)) and await self.handle_event(event):
                    pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has left
        except KwspotError as error:
            await self._end(str(error))
        except Exception as error:  # of what comes from elsewhere, of any kind
            await self._end(f"no event of the protocol: {error}")
        finally:
            self.writer.close()

    async def _end(self, text: str) -> None:
        """Say why the connection ends, here and to the other side."""
        self.refuse(text)
        with suppress(ConnectionError):
            await self.write_event(Error(text=text).event())

    def _begin(self) -> None:
        self.spotting = Spotting(self.streaming_model, self.settings, self.names)
        self.resample: Resampler | None = None
        self.rate = 0  # Hz, of the chunk before
        self.timestamp: int | None = None  # ms, its own
        self.detected = False

    async def handle_event(self, event: Event) -> bool:
        """Answer one event of the protocol; False ends the connection."""
        if Describe.is_type(event.type):
            await self.write_event(info_of(self.streaming_model).event())
        elif Detect.is_type(event.type):
            self._want(list(Detect.from_event(event).names or ()))
        elif AudioStart.is_type(event.type):
            self._begin()
        elif AudioChunk.is_type(event.type):
            try:
                chunk = AudioChunk.from_event(event)
                check_chunk(chunk)
                await self._tell(await asyncio.get_running_loop().run_in_executor(None, self._spot, chunk))
            except (KwspotError, ValueError, KeyError, TypeError) as error:
                await self._end(f"audio that cannot be used: {error}")
                return False
        elif AudioStop.is_type(event.type):
            await self._tell(await asyncio.get_running_loop().run_in_executor(None, self._finish))
            if not self.detected:
                await self.write_event(NotDetected().event())
            self._begin()
        return True

    async def _tell(self, words: Iterable[str]) -> None:
        for word in words:
            self.detected = True
            await self.write_event(Detection(name=word, timestamp=self.timestamp).event())

    def _want(self, names: list[str]) -> None:
        """Detect these keywords only, or all; what cannot be detected is told, as a client waits for it in silence."""
        self.names, words = names or None, keywords_of(self.streaming_model.labels)
        self._begin()
        if names and not set(names) & set(words):
            self.refuse(
                f"a client asks for {', '.join(names)}, which {self.streaming_model.name} does not spot; "
                f"choose another wake word there: {', '.join(words)}"
            )

    def _spot(self, chunk: AudioChunk) -> list[str]:
        """Take a chunk; return the words that it makes known."""
        if self.resample is None or chunk.rate != self.rate:  # every chunk says its own
            self.rate = require_hz(chunk.rate)
            self.resample = Resampler(self.rate, self.streaming_model.sample_rate)
        self.timestamp = chunk.timestamp
        heard = self.spotting.hear(self.resample(raw_samples(self.to_mono.convert(chunk).audio)))
        return [event.word for event in heard]

    def _finish(self) -> list[str]:
        """End the sound; return the words that only its end makes known."""
        rest = np.zeros(0, np.float32)
        heard = self.spotting.hear(self.resample(rest, last=True)) if self.resample else []
        return [event.word for event in [*heard, *self.spotting.finish()]]


def serve(
    open_model: Callable[[], StreamingModel],
    settings: DetectionSettings,
    host: str,
    port: int,
    started: Callable[[], None],
    refuse: Callable[[str], None],
) -> None:
    """Serve until a signal, which is StoppedError; `refuse` is told what is wrong. KwspotError: no such port."""

    async def run() -> None:
        server = AsyncTcpServer(host, port)
        try:
            await server.start(partial(WakeHandler, open_model, settings, refuse, asyncio.Semaphore(MOST_CLIENTS)))
        except (OSError, UnicodeError) as error:  # UnicodeError: a..b
            raise KwspotError(f"{host}:{port} cannot be served on: {error}; --host and --port name another") from error
        signals: asyncio.Queue[int] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda got, _frame: loop.call_soon_threadsafe(signals.put_nowait, got))
        started()
        got = await signals.get()
        raise StoppedError("interrupted" if got == signal.SIGINT else "terminated", got)

    asyncio.run(run())
