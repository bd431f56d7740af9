"""What `import kwspot` offers for one line each: predict a clip, spot in a recording, listen to a microphone.

    predict  a path, an open file, or a waveform (n_samples,) with its rate -> Prediction
    spot     a path, a waveform, or blocks of one with their rate -> Event…

A model is opened once and kept for as long as its file does not change.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.blocks import file_blocks, resampled
from kwspot.audio.reading import Waveform, as_waveform, require_hz
from kwspot.inference.detector import DetectionSettings, Event
from kwspot.inference.model_zoo import find_model, runs_folder
from kwspot.inference.pipeline import detection_settings, spot_at_once
from kwspot.inference.pipeline import spot as spot_blocks
from kwspot.inference.spotter import Prediction, Spotter, open_once
from kwspot.inference.streaming import StreamingModel, open_model

BLOCK_LENGTH = 16_000  # samples of a long waveform that are taken at once

Sound = str | Path | NDArray[Any]


def predict(
    sound: Sound | BinaryIO,
    sample_rate: int | None = None,
    *,
    model: str | Path | None = None,
    n_top: int = 1,
    runs_dir: str | Path | None = None,
) -> Prediction:
    """Predict the word of a file, or of a waveform (n_samples,) at `sample_rate` Hz.

    A waveform has one channel, floats in [-1, 1] or integers of full scale. Of more than a clip the loudest part is
    used. `model` is a name of `kwspot models` or a file; without it the bundled model for clips. Names are looked up in
    `runs_dir` too, by default $KWSPOT_RUNS or `runs`, as the commands do. ValueError for a waveform that cannot be
    right, MissingError without a file, AudioError for one that is not audio.
    """
    spotter = _spotter(model, runs_dir)
    if isinstance(sound, str | Path) or hasattr(sound, "read"):
        _refuse_rate(sample_rate)
        return spotter.predict_file(cast("str | Path | BinaryIO", sound), n_top)
    return spotter.predict(sound, sample_rate, n_top)


def spot(
    sound: Sound | Iterable[NDArray[Any]],
    sample_rate: int | None = None,
    *,
    model: str | Path | None = None,
    threshold: float | None = None,
    smoothing_ms: float | None = None,
    refractory_ms: float | None = None,
    stream: bool = False,
    runs_dir: str | Path | None = None,
) -> Iterator[Event]:
    """Yield the keywords of a file, of a waveform (n_samples,), or of blocks of one (n,) as they come.

    Waveforms and blocks need their `sample_rate` in Hz. Threshold, smoothing and refractory period are the model's,
    chosen on validation, unless given; `stream` uses the model's stream. Without `model`, the bundled model for long
    sound. Errors are those of `predict`, ValueError for an open file, and ConfigError for settings that make no sense.
    """
    streaming_model, settings = _opened(
        model, runs_dir, stream, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    return spot_blocks(streaming_model, _blocks(sound, sample_rate, streaming_model.sample_rate), settings)


def listen(
    *,
    model: str | Path | None = None,
    microphone: str | None = None,
    threshold: float | None = None,
    smoothing_ms: float | None = None,
    refractory_ms: float | None = None,
    stream: bool | None = None,
    runs_dir: str | Path | None = None,
) -> Iterator[Event]:
    """Yield the keywords said into a microphone, without end: the default one, or that of a number or name.

    Each comes as soon as it is known; its start is then the earliest that it can be. Settings are those of `spot`;
    the model's stream is used if it has one, unless `stream` is False.
    Needs `pip install 'kwspot[mic]'`: MissingPartError without it, MissingError without a microphone.
    """
    from kwspot.audio.microphone import find_device, microphone_blocks

    streaming_model, settings = _opened(
        model, runs_dir, stream, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    blocks = microphone_blocks(find_device(microphone), streaming_model.sample_rate, lambda: None)
    return spot_at_once(streaming_model, blocks, settings)


def _opened(
    model: str | Path | None, runs_dir: str | Path | None, stream: bool | None, **asked: float | None
) -> tuple[StreamingModel, DetectionSettings]:
    streaming_model = open_model(_name(model), runs_folder(runs_dir), streaming=stream)
    return streaming_model, detection_settings(streaming_model.metadata, **asked)


def _blocks(sound: Sound | Iterable[NDArray[Any]], sample_rate: int | None, wanted: int) -> Iterator[Waveform]:
    if isinstance(sound, str | Path):
        _refuse_rate(sample_rate)
        return file_blocks(Path(sound), wanted)
    if hasattr(sound, "read"):
        raise ValueError("an open file is not read in blocks: give its path, or its samples with their sample_rate")
    if sample_rate is None:
        raise ValueError("a waveform without a sample_rate: give it, in Hz")
    rate = require_hz(sample_rate)
    if isinstance(sound, np.ndarray) or (isinstance(sound, list | tuple) and any(map(np.isscalar, sound[:1]))):
        whole = as_waveform(sound)
        pieces: Iterable[NDArray[Any]] = (whole[i : i + BLOCK_LENGTH] for i in range(0, len(whole), BLOCK_LENGTH))
    else:
        pieces = sound
    return resampled(((as_waveform(piece), rate) for piece in pieces if np.size(piece)), wanted)


def _refuse_rate(sample_rate: int | None) -> None:
    if sample_rate is not None:
        raise ValueError("a file has its own sample rate; give sample_rate with a waveform only")


def _name(model: str | Path | None) -> str | None:
    return None if model is None else str(model)


def _spotter(model: str | Path | None, runs_dir: str | Path | None) -> Spotter:
    found = find_model(_name(model), runs_folder(runs_dir))
    return open_once(found.path, found.name)
