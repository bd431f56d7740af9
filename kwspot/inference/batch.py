"""Many sounds -> their predictions, in order, in constant memory: files are read ahead while the model works.

A reading thread walks the sources; its workers decode and resample. What is ready when the model is free goes
through it as one batch, so a slow source is answered at once and a fast one in batches.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
import os

from kwspot.audio.inputs import Pipe, Source
from kwspot.audio.reading import Waveform, fit_clip
from kwspot.errors import KwspotError
from kwspot.inference.spotter import Prediction, Spotter
from kwspot.prefetch import ahead

READ_AHEAD = 64  # sounds
BATCH = 32

Reading = tuple[Source, Future[Waveform]]


def predict_all(
    spotter: Spotter, sources: Iterable[Source], n_top: int = 1, threshold: float = 0.0
) -> Iterator[tuple[Source, Prediction | KwspotError]]:
    """Yield every source with its prediction, or with the reason why it has none.

    A word with a posterior below `threshold` becomes `unknown`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        readings = ((source, workers.submit(_read, spotter, source)) for source in sources)
        with closing(ahead(readings, READ_AHEAD, BATCH)) as batches:
            for batch in batches:
                yield from _predicted(spotter, batch, n_top, threshold)


def _read(spotter: Spotter, source: Source) -> Waveform:
    if source.file is None:
        raise source.error or KwspotError(f"{source.name}: no sound")
    if isinstance(source.file, Pipe):
        return fit_clip(source.file.read(), spotter).waveform
    return spotter.read(source.file)


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
