"""Figures of sound: a clip with what was predicted of it, and a recording with its posteriors and keywords.

waveform (n_samples,) above log-mel frames (n_frames, n_mels) above posteriors, all on one axis of seconds. A model of
other making, whose front end is not known, has no frames.
"""

from collections.abc import Sequence
from itertools import pairwise
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Decoded, Waveform, loudest, resample
from kwspot.enrollment.endpoints import is_silent
from kwspot.evaluation.long_audio import sounding
from kwspot.experiments.settings import FrontEnd
from kwspot.features.reference import reference_frames
from kwspot.inference.detector import DetectionSettings, Event, keywords_of
from kwspot.inference.pipeline import Trace
from kwspot.inference.spotter import Prediction, Spotter
from kwspot.inference.streaming import StreamingModel
from kwspot.reports.style import COLOURS, STYLES, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_TOP = 5  # words beside a clip
N_STRETCHES = 2000  # of a waveform: a figure has no more columns
N_COLUMNS = 4000  # of log-mel frames
CONTRAST_NATS = 12.0  # from the loudest band down; what lies lower is black, and so is silence
MOST_NAMED = 60  # keywords in one figure; the names of more would stand on each other
LEAST_SHOWN = 0.2  # highest posterior below which a word has no line of its own


def plot_prediction(
    sound: Decoded, spotter: Spotter, path: Path, *, beside: bool = True, threshold: float = 0.0
) -> tuple[Prediction, float]:
    """Predict the loudest part of a sound and draw it; return the prediction, and where that part begins (s).

    Shaded is the word: where that part sounds. `beside` draws the likeliest words too.
    """
    rate = spotter.sample_rate
    waveform = resample(sound.waveform, sound.sample_rate, rate)
    start = loudest(waveform, spotter.clip_length)
    clip = spotter.fit(waveform[start : start + spotter.clip_length], rate)
    (prediction,) = spotter.predict_clips([clip], N_TOP, threshold)
    front_end = _front_end(spotter.metadata)
    word = None if is_silent(clip) else [start / rate + end_s for end_s in sounding(clip, rate)]
    with drawing(path, 7.2 if beside else 5.0, 4.6 if front_end else 3.0, fitted=True) as (figure, whole):
        whole.remove()
        grid = figure.add_gridspec(2 if front_end else 1, 2 if beside else 1, width_ratios=(3, 1) if beside else (1,))
        above = figure.add_subplot(grid[0, 0])
        _draw_waveform(above, waveform, rate)
        if word:
            above.axvspan(*word, color=COLOURS[1], alpha=0.15, linewidth=0)
        above.set_title(f"{prediction.word} {prediction.posterior:.2f}" + ("; shaded: the word" if word else ""))
        if front_end:
            below = figure.add_subplot(grid[1, 0])
            _draw_frames(below, reference_frames(clip, front_end), front_end, start / rate)
            for end_s in word or ():
                below.axvline(end_s, color="white", linewidth=0.9, linestyle=(0, (4, 3)))
            below.set(xlabel="time (s)", xlim=above.get_xlim())
        if beside:
            _draw_top(figure.add_subplot(grid[:, 1]), prediction)
    return prediction, start / rate


def plot_spotting(trace: Trace, streaming_model: StreamingModel, settings: DetectionSettings, path: Path) -> None:
    """Draw a recording that was searched: waveform with its keywords, log-mel frames, smoothed posteriors."""
    rate, front_end = streaming_model.sample_rate, _front_end(streaming_model.metadata)
    waveform = np.concatenate([*trace.blocks, np.zeros(0, np.float32)])
    seconds = len(waveform) / rate
    heights = (1.0, 1.2, 1.4) if front_end and len(waveform) >= front_end.win_length else (1.0, 1.4)
    with drawing(path, min(16.0, max(8.0, 0.5 * seconds)), 2.2 * sum(heights), fitted=True) as (figure, whole):
        whole.remove()
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_waveform(panels[0], waveform, rate)
        _mark_events(panels[0], trace.events, seconds)
        if len(heights) == 3 and front_end:
            _draw_frames(panels[1], reference_frames(waveform, front_end), front_end)
        rows = np.concatenate([*trace.rows, np.zeros((0, len(streaming_model.labels)))])
        times = (streaming_model.lead_length + (np.arange(len(rows)) + 1) * streaming_model.step_length) / rate
        _draw_posteriors(panels[-1], times, rows, streaming_model.labels, settings.threshold)
        panels[-1].set(xlabel="time (s)", xlim=(0, seconds))


def _front_end(metadata: dict[str, Any]) -> FrontEnd | None:
    return FrontEnd(**metadata["front_end"]) if "front_end" in metadata else None


def _draw_waveform(axes: "Axes", waveform: Waveform, rate: int) -> None:
    """Draw the lowest and highest sample of every stretch: what a line of all samples would show."""
    n = max(1, len(waveform) // N_STRETCHES)
    stretches = waveform[: len(waveform) // n * n].reshape(-1, n)
    times = np.arange(len(stretches)) * n / rate
    axes.set_axisbelow(True)
    axes.fill_between(times, stretches.min(1), stretches.max(1), color=COLOURS[0], linewidth=0.5)
    most = max(0.05, float(np.abs(waveform).max(initial=0.0)) * 1.1)
    axes.set(ylabel="waveform", ylim=(-most, most), xlim=(0, len(waveform) / rate))


def _draw_frames(axes: "Axes", frames: NDArray[np.floating], front_end: FrontEnd, start_s: float = 0.0) -> None:
    seconds = len(frames) * front_end.hop_ms / 1000
    shown = frames[:: max(1, -(-len(frames) // N_COLUMNS))]
    high = max(float(shown.max()), math.log(front_end.log_offset) + CONTRAST_NATS)
    axes.imshow(
        shown.T, origin="lower", aspect="auto", extent=(start_s, start_s + seconds, -0.5, frames.shape[1] - 0.5),
        cmap="magma", vmin=high - CONTRAST_NATS, vmax=high,
    )  # fmt: skip
    axes.set_ylabel("mel band")
    axes.grid(False)


def _draw_top(axes: "Axes", prediction: Prediction) -> None:
    words, posteriors = zip(*prediction.top, strict=True)
    bars = axes.barh(words, posteriors, color=[COLOURS[1], *[COLOURS[0]] * (len(words) - 1)])
    axes.bar_label(bars, [f"{posterior:.2f}" for posterior in posteriors], padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="posterior", xlim=(0, 1.25), xticks=(0, 0.5, 1))
    axes.grid(False)


def _mark_events(axes: "Axes", events: Sequence[Event], seconds: float) -> None:
    """Shade every keyword and name it above; where they stand close, the names stand upright, or there are none."""
    upright = any(b.start_s - a.start_s < 0.06 * seconds for a, b in pairwise(events))
    if len(events) > MOST_NAMED:
        axes.set_title(f"{len(events):,} keywords")
    for event in events:
        axes.axvspan(event.start_s, event.end_s, color=COLOURS[1], alpha=0.2, linewidth=0)
        if len(events) > MOST_NAMED:
            continue
        axes.annotate(
            event.word, ((event.start_s + event.end_s) / 2, 1), (0, 3), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="bottom", rotation=90 if upright else 0, fontsize=9,
        )  # fmt: skip


def _draw_posteriors(
    axes: "Axes", times: NDArray[Any], rows: NDArray[Any], labels: Sequence[str], threshold: float
) -> None:
    """Draw a line a keyword that was likely at any time; the others would lie on the floor."""
    shown = [word for word in keywords_of(labels) if rows[:, labels.index(word)].max(initial=0.0) >= LEAST_SHOWN]
    for i, word in enumerate(shown):
        style = STYLES[i // len(COLOURS) % len(STYLES)]
        axes.plot(times, rows[:, labels.index(word)], color=COLOURS[i % len(COLOURS)], linestyle=style, label=word)
    axes.axhline(threshold, color="#777777", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        f"threshold {threshold:g}", (0, threshold), (3, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=8, color="#777777",
    )  # fmt: skip
    axes.set(ylabel="smoothed posterior", ylim=(0, 1.04))
    if shown:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), alignment="left")
