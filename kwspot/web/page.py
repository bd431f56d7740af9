"""The page of `kwspot ui`: record or upload a word and see what a model hears; spot live; compare runs. With Gradio.

    file -> loudest second -> Spotter -> word, posteriors, picture of waveform and log-mel frames
    microphone -> live.js <-> live.py -> posteriors over time and the words spotted, while they are spoken

Everything a browser loads comes from the page's own server, which the Content-Security-Policy header makes sure of.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from html import escape
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Any

import gradio
from starlette.middleware import Middleware

from kwspot.audio.reading import LONGEST_S, AudioError, Decoded, Waveform, loudest, read_waveform, resample
from kwspot.corpus.layout import random_test_clip
from kwspot.errors import KwspotError, MissingError
from kwspot.evaluation.comparison import choose_runs, sort_rows, table_rows
from kwspot.experiments.runs import list_runs
from kwspot.experiments.settings import FrontEnd
from kwspot.features.reference import reference_frames
from kwspot.inference.detector import DetectionSettings
from kwspot.inference.model_zoo import DEFAULT_LONG, bundled_models, find_model, run_models
from kwspot.inference.pipeline import detection_settings
from kwspot.inference.spotter import Prediction, Spotter
from kwspot.inference.streaming import SlidingWindow, StreamingModel
from kwspot.reports import results_table
from kwspot.reports.plots import plot_clip, plot_overlay
from kwspot.web.live import Live, expectation

N_TOP = 5
MOST_BYTES = 20 * 2**20  # of an upload
WAITING = 64  # visitors; the next is told to come back
AT_ONCE = 2
KEPT_S = 600  # how long a recording is kept for the page; none is when the server ends
DRAWING = Lock()  # matplotlib's style is one for all threads
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
FONTS = ("system-ui", "sans-serif")
CSS = """
#table table {display: block; overflow-x: auto; white-space: nowrap; border: none}
#table :is(th, td) {padding: .3em .7em}
img.picture {width: 100%; max-width: 46rem; background: white}
#live-plot {width: 100%; height: 16rem; display: block}
#live-status {min-height: 1.5em; font-weight: 600}
#live-keywords {list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .1em 1em; font-weight: 600}
#live-words {padding: 0; max-height: 16rem; overflow-y: auto; list-style: none}
"""
HEAD = '<script src="live/live.js"></script>'
PLOT = """
<p id="live-status" role="status">Start, and say words one after the other. Nothing of it is stored.</p>
<canvas id="live-plot" role="img" aria-label="Posteriors of the last ten seconds, the threshold dashed"></canvas>
<ul id="live-keywords" aria-label="Keywords by colour"></ul>
"""
WORDS = '<ol id="live-words" aria-label="Words spotted, the latest first" aria-live="polite"></ol>'


@dataclass(frozen=True)
class Page:
    """What `serve` serves."""

    blocks: "gradio.Blocks"
    live: "Live"
    kept: "TemporaryDirectory[str]"


def build_page(runs_dir: Path, data: Path, model: str | None = None) -> Page:
    """Build the page. `model` is chosen at first; MissingError if there is no such model."""
    chosen = find_model(model, runs_dir, DEFAULT_LONG).name  # the one that can listen live
    kept = _own_folder()

    def names() -> list[str]:
        known = [found.name for found in [*bundled_models(), *run_models(runs_dir)]]
        return known if chosen in known else [chosen, *known]

    def answer(path: str | None, name: str) -> tuple[Any, ...]:
        with _told():
            if path is None:
                words = ", ".join(_spotter(name, runs_dir).labels)
                return None, f"<p>Record or upload one of: {escape(words)}</p>", ""
            return _answer(read_waveform(Path(path), longest_s=LONGEST_S), Path(path).name, name, runs_dir)

    def any_clip(name: str) -> tuple[Any, ...]:
        with _told():
            path, word = random_test_clip(data, _spotter(name, runs_dir).labels)
            heard = read_waveform(path)  # the page plays samples: it has no access to the folder
            return (heard.sample_rate, heard.waveform), *_answer(heard, f"test clip of “{word}”", name, runs_dir)

    def open_model(name: str) -> StreamingModel:
        if name not in names():  # a visitor may not ask for any file
            raise MissingError(f"{name}: no such model")
        return SlidingWindow(_spotter(name, runs_dir))

    def threshold_of(name: str) -> tuple[float, str]:
        try:
            metadata = _spotter(name, runs_dir).metadata
            threshold = detection_settings(metadata).threshold
        except KwspotError:  # of which `answer` tells
            return DetectionSettings.threshold, ""
        return threshold, expectation(metadata, threshold)

    def expected(name: str, threshold: float) -> str:
        with _told():
            return expectation(_spotter(name, runs_dir).metadata, threshold)

    def comparison(which: list[str]) -> tuple[str, str]:
        with _told():
            return _comparison(runs_dir, which)

    with gradio.Blocks(title="kwspot", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gradio.Markdown(
            "# kwspot\nSay one of the model's words. What you record goes to the machine that serves this page, "
            "and no further."
        )
        choice = gradio.Dropdown(names(), value=chosen, label="Model")
        with gradio.Tab("Listen"), gradio.Row():
            with gradio.Column(min_width=300):
                sound = gradio.Audio(sources=["microphone", "upload"], type="filepath", label="A word", buttons=[])
                hear = gradio.Button("Which word?", variant="primary")
                draw = gradio.Button("Random test clip", interactive=data.is_dir())
                if not data.is_dir():
                    gradio.Markdown("Test clips need a corpus: `kwspot download`, or `--data`.")
            with gradio.Column(min_width=300):
                said = gradio.HTML(elem_id="said")
                bars = gradio.Label(num_top_classes=N_TOP, label="Posteriors")
                picture = gradio.HTML()
        with gradio.Tab("Live"), gradio.Row():
            with gradio.Column(min_width=300, scale=2):
                with gradio.Row():
                    begin = gradio.Button("Start", variant="primary", min_width=100)
                    end = gradio.Button("Stop", min_width=100)
                gradio.HTML(PLOT)
            with gradio.Column(min_width=300):
                threshold = gradio.Slider(0.05, 1, DetectionSettings.threshold, step=0.005, label="Threshold")
                cost = gradio.Markdown(elem_id="expected")
                gradio.HTML(WORDS)
        with gradio.Tab("Compare runs") as second:
            which = gradio.Dropdown(_experiments(runs_dir), multiselect=True, label="Experiments (none: all)")
            table = gradio.Markdown(elem_id="table")
            curves = gradio.HTML()
        results = [bars, said, picture]
        asked = [sound.stop_recording, sound.upload, hear.click, choice.change]
        gradio.on(asked, answer, [sound, choice], results, api_name="predict")
        draw.click(any_clip, choice, [sound, *results], api_name="random")
        gradio.on([second.select, which.change], comparison, which, [table, curves], api_name="compare")
        live = [choice, threshold]
        begin.click(None, live, None, js="(model, threshold) => { kwspotLive.start(model, threshold); }")
        end.click(None, None, None, js="() => { kwspotLive.stop(); }")
        follow = "(model, threshold) => { kwspotLive.setThreshold(threshold); return [model, threshold]; }"
        threshold.change(
            expected, live, cost, js=follow, queue=False, trigger_mode="always_last", show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        chosen_anew = choice.change(
            threshold_of, choice, [threshold, cost], show_progress="hidden", api_visibility="private"
        )
        chosen_anew.then(None, live, None, js="(model, threshold) => { kwspotLive.setModel(model, threshold); }")
        page.load(threshold_of, choice, [threshold, cost], show_progress="hidden", api_visibility="private")
        page.load(lambda: gradio.Dropdown(names()), None, choice, api_visibility="private")
        page.load(answer, [sound, choice], results, api_visibility="private")
    return Page(page, Live(open_model), kept)


def serve(page: Page, host: str, port: int, *, opened: bool, started: Callable[[str], None]) -> None:
    """Serve the page until interrupted; `started` hears its address. KwspotError if the port is taken."""
    page.blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)
    try:
        _, address, _ = page.blocks.launch(
            server_name=host, server_port=port, inbrowser=opened, prevent_thread_lock=True, quiet=True, share=False,
            ssr_mode=False, max_file_size=MOST_BYTES, footer_links=[], enable_monitoring=False, run_history=False,
            theme=gradio.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace")), css=CSS,
            head=HEAD, app_kwargs={"middleware": [Middleware(OwnOriginOnly)], "routes": page.live.routes()},
        )  # fmt: skip
    except OSError as error:
        raise KwspotError(f"{host}:{port} cannot be served on: {error}; --port names another") from error
    try:
        started(address)
        Event().wait()
    finally:
        page.blocks.close(verbose=False)
        page.kept.cleanup()


class OwnOriginOnly:
    """Tell the browser to load nothing from any other server (an ASGI middleware)."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Add the header to every response."""

        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _own_folder() -> "TemporaryDirectory[str]":
    """Keep what visitors send apart: by default servers share a folder, and each that ends takes recordings from it."""
    parent = os.environ.get("GRADIO_TEMP_DIR")
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    folder = TemporaryDirectory(prefix="kwspot-", dir=parent)
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    return folder


@contextmanager
def _told() -> Iterator[None]:
    """Show an error as a message on the page; of a sound only the reason, not where it is kept."""
    try:
        yield
    except AudioError as error:
        raise gradio.Error(f"No sound that can be read: {error.reason}", print_exception=False) from error
    except KwspotError as error:
        raise gradio.Error(str(error), print_exception=False) from error


def _spotter(name: str, runs_dir: Path) -> Spotter:
    path = find_model(name, runs_dir).path
    return _opened(path, name, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=4)
def _opened(path: Path, name: str, _changed: int) -> Spotter:
    return Spotter(path, name=name, threads=1)


def _answer(decoded: Decoded, title: str, name: str, runs_dir: Path) -> tuple[dict[str, float], str, str]:
    """Return the top posteriors by word, what was heard as HTML, and the picture."""
    spotter = _spotter(name, runs_dir)
    rate = spotter.sample_rate
    waveform = resample(decoded.waveform, decoded.sample_rate, rate)
    start = loudest(waveform, spotter.clip_length)
    clip = spotter.fit(waveform[start : start + spotter.clip_length])
    (prediction,) = spotter.predict_clips([clip], N_TOP)
    return dict(prediction.top), _said(prediction, title, start / rate, len(waveform) / rate), _picture(
        Decoded(waveform, rate), start, clip, spotter
    )  # fmt: skip


def _said(prediction: Prediction, title: str, start_s: float, whole_s: float) -> str:
    heard = f"<strong>{escape(prediction.word)}</strong> {prediction.posterior:.2f}"
    part = f", the loudest part from {start_s:.2f} s" if start_s else ""
    return f'<p role="status">{heard}: {escape(title)}, {whole_s:.2f} s{part}</p>'


def _picture(heard: Decoded, start: int, clip: Waveform, spotter: Spotter) -> str:
    if "front_end" not in spotter.metadata:  # a model of other making
        return ""
    front_end = FrontEnd(**spotter.metadata["front_end"])
    frames = reference_frames(clip, front_end)
    span = (start, start + len(clip))
    alt = "Waveform, and log-mel frames of the part that was looked at"
    return _drawn(lambda path: plot_clip(heard.waveform, heard.sample_rate, span, frames, front_end, path), alt)


def _drawn(draw: Callable[[Path], None], alt: str) -> str:
    """Return an SVG that `draw` writes as an HTML image of its own, so that ids of several do not meet."""
    with TemporaryDirectory() as folder, DRAWING:
        path = Path(folder) / "figure.svg"
        draw(path)
        encoded = b64encode(path.read_bytes()).decode()
    return f'<img class="picture" alt="{escape(alt)}" src="data:image/svg+xml;base64,{encoded}">'


def _experiments(runs_dir: Path) -> list[str]:
    return sorted({run.experiment for run in list_runs(runs_dir) if run.metrics})


def _comparison(runs_dir: Path, which: Sequence[str] = ()) -> tuple[str, str]:
    try:
        finished, _ = choose_runs(runs_dir, which)
    except MissingError as error:
        return f"No finished runs to compare: {error}", ""
    rows = sort_rows(table_rows(finished), "val-acc")

    def overlay(curve: str) -> str:
        return _drawn(lambda path: plot_overlay(rows, curve, path), f"Learning curves: {curve.replace('_', ', ')}")

    return results_table.markdown(rows), overlay("accuracy_validation") + overlay("loss_validation")
