"""The page of `kwspot ui`: predict a recorded or uploaded word, spot live, compare runs. With Gradio.

    file -> answers.py -> word, posteriors, picture of waveform and log-mel frames
    microphone -> live.js <-> live.py -> posteriors over time and the words spotted, while they are spoken

Everything a browser loads comes from the page's own server, which the Content-Security-Policy header makes sure of.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import gradio
from starlette.middleware import Middleware

from kwspot.errors import KwspotError
from kwspot.inference.detector import DetectionSettings
from kwspot.inference.model_zoo import DEFAULT_LONG, find_model
from kwspot.reports.sound import N_TOP
from kwspot.web.answers import Answers
from kwspot.web.live import Live

MOST_BYTES = 20 * 2**20  # of an upload
WAITING = 64  # visitors; the next is asked to come back
AT_ONCE = 2
KEPT_S = 600  # how long a recording is kept for the page; none is when the server ends
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
    answers = Answers(runs_dir, data, find_model(model, runs_dir, DEFAULT_LONG).name)  # the one that can listen live
    kept = _own_folder()
    with gradio.Blocks(title="kwspot", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gradio.Markdown(
            "# kwspot\nSay one of the model's words. What you record goes to the machine that serves this page, "
            "and no further."
        )
        choice = gradio.Dropdown(answers.names(), value=answers.chosen, label="Model")
        with gradio.Tab("Listen"), gradio.Row():
            _predict_tab(answers, choice, page)
        with gradio.Tab("Live"), gradio.Row():
            _live_tab(answers, choice, page)
        with gradio.Tab("Compare runs") as third:
            _compare_tab(answers, third)
        page.load(lambda: gradio.Dropdown(answers.names()), None, choice, api_visibility="private")
    return Page(page, Live(answers.open_model), kept)


def _predict_tab(answers: Answers, choice: gradio.Dropdown, page: gradio.Blocks) -> None:
    """A word is recorded, uploaded or drawn from the corpus; beside it stands what the model makes of it."""
    with gradio.Column(min_width=300):
        sound = gradio.Audio(sources=["microphone", "upload"], type="filepath", label="A word", buttons=[])
        ask = gradio.Button("Which word?", variant="primary")
        draw = gradio.Button("Random test clip", interactive=answers.data.is_dir())
        if not answers.data.is_dir():
            gradio.Markdown("Test clips need a corpus: `kwspot download`, or `--data`.")
    with gradio.Column(min_width=300):
        said = gradio.HTML(elem_id="said")
        bars = gradio.Label(num_top_classes=N_TOP, label="Posteriors")
        picture = gradio.HTML()
    results = [bars, said, picture]
    asked = [sound.stop_recording, sound.upload, ask.click, choice.change]
    gradio.on(asked, answers.predict, [sound, choice], results, api_name="predict")
    draw.click(answers.random_clip, choice, [sound, *results], api_name="random")
    page.load(answers.predict, [sound, choice], results, api_visibility="private")


def _live_tab(answers: Answers, choice: gradio.Dropdown, page: gradio.Blocks) -> None:
    """The microphone drives live.js; beside it stand the threshold and what it costs."""
    with gradio.Column(min_width=300, scale=2):
        with gradio.Row():
            begin = gradio.Button("Start", variant="primary", min_width=100)
            end = gradio.Button("Stop", min_width=100)
        gradio.HTML(PLOT)
    with gradio.Column(min_width=300):
        threshold = gradio.Slider(0.05, 1, DetectionSettings.threshold, step=0.005, label="Threshold")
        cost = gradio.Markdown(elem_id="expected")
        gradio.HTML(WORDS)
    live = [choice, threshold]
    begin.click(None, live, None, js="(model, threshold) => { kwspotLive.start(model, threshold); }")
    end.click(None, None, None, js="() => { kwspotLive.stop(); }")
    follow = "(model, threshold) => { kwspotLive.setThreshold(threshold); return [model, threshold]; }"
    threshold.change(
        answers.expected, live, cost, js=follow, queue=False, trigger_mode="always_last", show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    changed = choice.change(
        answers.threshold_of, choice, [threshold, cost], show_progress="hidden", api_visibility="private"
    )
    changed.then(None, live, None, js="(model, threshold) => { kwspotLive.setModel(model, threshold); }")
    page.load(answers.threshold_of, choice, [threshold, cost], show_progress="hidden", api_visibility="private")


def _compare_tab(answers: Answers, tab: gradio.Tab) -> None:
    """The results table of the finished runs, and their learning curves."""
    which = gradio.Dropdown(answers.experiments(), multiselect=True, label="Experiments (none: all)")
    table = gradio.Markdown(elem_id="table")
    curves = gradio.HTML()
    gradio.on([tab.select, which.change], answers.comparison, which, [table, curves], api_name="compare")


def serve(page: Page, host: str, port: int, *, opened: bool, started: Callable[[str], None]) -> None:
    """Serve the page until interrupted; `started` gets its address. KwspotError if the port is taken."""
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
