"""Keywords over the Wyoming protocol, as Home Assistant and its satellites speak it: a wake word service.

    describe                                -> info: the model, a wake word for each of its keywords
    detect {names}, audio-start, audio-chunk…  -> detection {name, timestamp} as soon as a word is above the threshold
    audio-stop                              -> not-detected, if there was none
    audio that cannot be                    -> error, and the connection ends

Each connection is one sound, of any rate. The `wyoming` package does the protocol.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

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
from kwspot.errors import KwspotError
from kwspot.inference.detector import DetectionSettings, keywords_of
from kwspot.inference.pipeline import Spotting
from kwspot.inference.streaming import StreamingModel

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


class WakeHandler(AsyncEventHandler):
    """One connection: `open_model` opens a model of its own for it; `refuse` is told why it ends."""

    def __init__(
        self,
        open_model: Callable[[], StreamingModel],
        settings: DetectionSettings,
        refuse: Callable[[str], None],
        *streams: Any,
    ) -> None:
        super().__init__(*streams)
        self.streaming_model, self.settings, self.refuse = open_model(), settings, refuse
        self.to_mono = AudioChunkConverter(width=2, channels=1)
        self.names: list[str] | None = None  # that are wanted; None: all
        self._begin()

    def _begin(self) -> None:
        self.spotting = Spotting(self.streaming_model, self.settings)
        self.resample: Resampler | None = None
        self.detected = False

    async def handle_event(self, event: Event) -> bool:
        """Answer one event of the protocol; False ends the connection."""
        if Describe.is_type(event.type):
            await self.write_event(info_of(self.streaming_model).event())
        elif Detect.is_type(event.type):
            self.names = Detect.from_event(event).names or None
        elif AudioStart.is_type(event.type):
            self._begin()
        elif AudioChunk.is_type(event.type):
            try:
                chunk = self.to_mono.convert(AudioChunk.from_event(event))
                word = await asyncio.get_running_loop().run_in_executor(None, self._spot, chunk)
            except (KwspotError, ValueError, KeyError) as error:
                text = f"audio that cannot be used: {error}"
                self.refuse(text)
                await self.write_event(Error(text=text).event())
                return False
            if word is not None:
                self.detected = True
                await self.write_event(Detection(name=word, timestamp=chunk.timestamp).event())
        elif AudioStop.is_type(event.type) and not self.detected:
            await self.write_event(NotDetected().event())
        return True

    def _spot(self, chunk: AudioChunk) -> str | None:
        """Take a chunk; return the word that it makes known, the first one if there are more."""
        if self.resample is None:
            self.resample = Resampler(require_hz(chunk.rate), self.streaming_model.sample_rate)
        heard = self.spotting.hear(self.resample(raw_samples(chunk.audio)))
        return next((event.word for event in heard if not self.names or event.word in self.names), None)


def serve(
    open_model: Callable[[], StreamingModel],
    settings: DetectionSettings,
    host: str,
    port: int,
    started: Callable[[], None],
    refuse: Callable[[str], None],
) -> None:
    """Serve until interrupted, and tell `refuse` of audio that cannot be used; KwspotError if the port is taken."""

    async def run() -> None:
        server = AsyncTcpServer(host, port)
        try:
            await server.start(partial(WakeHandler, open_model, settings, refuse))
        except OSError as error:
            raise KwspotError(f"{host}:{port} cannot be served on: {error}; --port names another") from error
        started()
        await asyncio.Event().wait()

    asyncio.run(run())
