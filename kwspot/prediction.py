"""Many sounds -> their predictions, in order, in constant memory: files are read ahead while the model works.

A reading thread walks the sources; its workers decode and resample. What is ready when the model is free goes
through it as one batch, so a slow source is answered at once and a fast one in batches.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
import os
from queue import Full, Queue
from threading import Event, Thread

from kwspot.audio import Waveform
from kwspot.errors import KwspotError
from kwspot.sources import Source
from kwspot.spotter import Prediction, Spotter

READ_AHEAD = 64  # sounds
BATCH = 32

Reading = tuple[Source, Future[Waveform]]


def predict_all(
    spotter: Spotter, sources: Iterable[Source], n_top: int = 1, threshold: float = 0.0
) -> Iterator[tuple[Source, Prediction | KwspotError]]:
    """Yield every source with its prediction, or with the reason why it has none.

    A word with a posterior below `threshold` is said to be `unknown`.
    """
    waiting: Queue[Reading | BaseException | None] = Queue(READ_AHEAD)
    stopped = Event()
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        reader = Thread(target=_read_ahead, args=(spotter, sources, workers, waiting, stopped), daemon=True)
        reader.start()
        try:
            while batch := _next_batch(waiting):
                yield from _predicted(spotter, batch, n_top, threshold)
        finally:
            stopped.set()


def _read_ahead(
    spotter: Spotter,
    sources: Iterable[Source],
    workers: ThreadPoolExecutor,
    waiting: "Queue[Reading | BaseException | None]",
    stopped: Event,
) -> None:
    """Put every source into the queue with the future of its waveform, then None; an exception ends it too."""

    def put(item: Reading | BaseException | None) -> None:
        placed = False
        while not placed and not stopped.is_set():
            with suppress(Full):
                waiting.put(item, timeout=0.1)
                placed = True

    try:
        for source in sources:
            if stopped.is_set():
                return
            put((source, workers.submit(_read, spotter, source)))
        put(None)
    except BaseException as error:  # raised again where the predictions are taken
        put(error)


def _read(spotter: Spotter, source: Source) -> Waveform:
    if source.file is None:
        raise source.error or KwspotError(f"{source.name}: no sound")
    return spotter.read(source.file)


def _next_batch(waiting: "Queue[Reading | BaseException | None]") -> list[Reading]:
    """Wait for one sound, and take with it what else is there; empty at the end."""
    batch: list[Reading] = []
    while not batch or (len(batch) < BATCH and not waiting.empty()):
        item = waiting.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            waiting.put(None)  # for the call after this one
            break
        batch.append(item)
    return batch


def _predicted(
    spotter: Spotter, batch: list[Reading], n_top: int, threshold: float
) -> Iterator[tuple[Source, Prediction | KwspotError]]:
    readings = [(source, reading.exception()) for source, reading in batch]
    clips = [reading.result() for _, reading in batch if not reading.exception()]
    predictions = iter(spotter.predict_clips(clips, n_top, threshold))
    for source, error in readings:
        if error is not None and not isinstance(error, KwspotError):
            raise error
        yield source, error or next(predictions)
