"""What the page answers: predictions with their picture, thresholds with their cost, comparisons of runs.

    file -> loudest second -> Spotter -> word, posteriors, picture of waveform and log-mel frames (HTML)

Errors become messages on the page.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import gradio

from kwspot.audio.reading import LONGEST_S, AudioError, Decoded, read_waveform
from kwspot.corpus.layout import random_test_clip
from kwspot.errors import KwspotError, MissingError
from kwspot.evaluation.comparison import choose_runs, sort_rows, table_rows
from kwspot.experiments.runs import list_runs
from kwspot.inference.detector import DetectionSettings
from kwspot.inference.model_zoo import bundled_models, find_model, run_models
from kwspot.inference.pipeline import detection_settings
from kwspot.inference.spotter import Prediction, Spotter
from kwspot.inference.streaming import SlidingWindow, StreamingModel
from kwspot.reports import results_table
from kwspot.reports.plots import plot_overlay
from kwspot.reports.sound import plot_prediction
from kwspot.web.live import expectation

DRAWING = Lock()  # matplotlib's style is one for all threads


@dataclass(frozen=True)
class Answers:
    """The answers of a page with these runs, this corpus, and a model chosen at first."""

    runs_dir: Path
    data: Path
    chosen: str

    def names(self) -> list[str]:
        """List the models to choose from."""
        known = [found.name for found in [*bundled_models(), *run_models(self.runs_dir)]]
        return known if self.chosen in known else [self.chosen, *known]

    def experiments(self) -> list[str]:
        """List the experiments with finished runs."""
        return sorted({run.experiment for run in list_runs(self.runs_dir) if run.metrics})

    def predict(self, path: str | None, name: str) -> tuple[Any, ...]:
        """Predict a recording: posteriors by word, a line of HTML, a picture; without one, name the words."""
        with shown_errors():
            if path is None:
                words = ", ".join(self.spotter(name).labels)
                return None, f"<p>Record or upload one of: {escape(words)}</p>", ""
            return prediction_of(read_waveform(Path(path), longest_s=LONGEST_S), Path(path).name, self.spotter(name))

    def random_clip(self, name: str) -> tuple[Any, ...]:
        """Draw a test clip of the corpus and predict it: its samples, then the same as `predict`."""
        with shown_errors():
            path, word = random_test_clip(self.data, self.spotter(name).labels)
            clip = read_waveform(path)  # the page plays samples: it has no access to the folder
            title = f"test clip of “{word}”"
            return (clip.sample_rate, clip.waveform), *prediction_of(clip, title, self.spotter(name))

    def open_model(self, name: str) -> StreamingModel:
        """Open a model for live sound; MissingError for one not offered: a visitor may not ask for any file."""
        if name not in self.names():
            raise MissingError(f"{name}: no such model")
        return SlidingWindow(self.spotter(name))

    def threshold_of(self, name: str) -> tuple[float, str]:
        """Return the threshold that a model holds, and what it costs."""
        try:
            metadata = self.spotter(name).metadata
            threshold = detection_settings(metadata).threshold
        except KwspotError:  # `predict` shows it
            return DetectionSettings.threshold, ""
        return threshold, expectation(metadata, threshold)

    def expected(self, name: str, threshold: float) -> str:
        """Say what a threshold costs."""
        with shown_errors():
            return expectation(self.spotter(name).metadata, threshold)

    def comparison(self, which: Sequence[str] = ()) -> tuple[str, str]:
        """Return the results table of experiments (none: all) as Markdown, and their learning curves as HTML."""
        with shown_errors():
            try:
                finished, _ = choose_runs(self.runs_dir, which)
            except MissingError as error:
                return f"No finished runs to compare: {error}", ""
            rows = sort_rows(table_rows(finished), "val-acc")

            def overlay(curve: str) -> str:
                return drawn(
                    lambda path: plot_overlay(rows, curve, path), f"Learning curves: {curve.replace('_', ', ')}"
                )

            return results_table.markdown(rows), overlay("accuracy_validation") + overlay("loss_validation")

    def spotter(self, name: str) -> Spotter:
        """Open a model, once for as long as its file does not change."""
        path = find_model(name, self.runs_dir).path
        return _opened(path, name, path.stat().st_mtime_ns if path.is_file() else 0)


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show an error as a message on the page; of a sound only the reason, not where it is kept."""
    try:
        yield
    except AudioError as error:
        raise gradio.Error(f"No sound that can be read: {error.reason}", print_exception=False) from error
    except KwspotError as error:
        raise gradio.Error(str(error), print_exception=False) from error


@lru_cache(maxsize=4)
def _opened(path: Path, name: str, _changed: int) -> Spotter:
    return Spotter(path, name=name, threads=1)


def prediction_of(decoded: Decoded, title: str, spotter: Spotter) -> tuple[dict[str, float], str, str]:
    """Return the top posteriors by word, the most likely word as HTML, and the picture."""
    predicted: list[tuple[Prediction, float]] = []
    alt = "Waveform and log-mel frames of the part that was used, and the posteriors of the likeliest words"
    picture = drawn(lambda path: predicted.append(plot_prediction(decoded, spotter, path)), alt)
    ((prediction, start_s),) = predicted
    said = _said(prediction, title, start_s, len(decoded.waveform) / decoded.sample_rate)
    return dict(prediction.top), said, picture


def _said(prediction: Prediction, title: str, start_s: float, whole_s: float) -> str:
    word = f"<strong>{escape(prediction.word)}</strong> {prediction.posterior:.2f}"
    part = f", the loudest part from {start_s:.2f} s" if start_s else ""
    return f'<p role="status">{word}: {escape(title)}, {whole_s:.2f} s{part}</p>'


def drawn(draw: Callable[[Path], None], alt: str) -> str:
    """Return an SVG that `draw` writes as an HTML image of its own, so that ids of several do not meet."""
    with TemporaryDirectory() as folder, DRAWING:
        path = Path(folder) / "figure.svg"
        draw(path)
        encoded = b64encode(path.read_bytes()).decode()
    return f'<img class="picture" alt="{escape(alt)}" src="data:image/svg+xml;base64,{encoded}">'
