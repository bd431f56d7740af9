"""The page in a real browser: a word spoken into the microphone comes out, and nothing leaves the machine."""

from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import os
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys
from threading import Thread
from urllib.request import urlopen

import numpy as np
import pytest

from kwspot import Spotter
from kwspot.corpus.layout import TEST, which_split
from kwspot.synthesis.engines import ENGINES, Engine, Utterance, installed
from tests.browsers import CHROMIUM, PATIENCE_MS, chromium, free_port, served, visit
from tests.records import make_run
from tests.sounds import RATE, tone, write_sound

pytestmark = pytest.mark.slow

pytest.importorskip("gradio", reason="the [ui] extra is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def spoken():
    """A word by a synthesiser that the bundled model knows, somewhere in three seconds: (word, waveform)."""
    from kwspot.audio.reading import resample

    spotter = Spotter.load(threads=1)
    for name in (name for name in ENGINES if name in installed()):
        with Engine(name) as engine:
            for word in ("yes", "stop", "left", "right", "off", "no"):
                waveform, rate = engine.speak(Utterance(word, ENGINES[name].accents[0]))
                waveform = resample(np.asarray(waveform, np.float32), rate, RATE)
                whole = np.random.default_rng(0).normal(0, 1e-3, 3 * RATE).astype(np.float32)
                whole[RATE : RATE + len(waveform)] += waveform[: 2 * RATE]
                centre = RATE + len(waveform) // 2
                prediction = spotter.predict(whole[centre - RATE // 2 : centre + RATE // 2])
                if prediction.word == word and prediction.posterior > 0.9:
                    return word, whole
    pytest.fail("the bundled model knows none of the synthesised words")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus with a test clip, and two runs."""
    folder = tmp_path_factory.mktemp("page")
    speaker = next(f"{i:08x}" for i in range(100) if which_split(f"{i:08x}") == TEST)
    write_sound(folder / "data" / "left" / f"{speaker}_nohash_0.wav", tone(440))
    make_run(folder / "runs", "lstm", 1)
    make_run(folder / "runs", "rnn", 1, accuracies=(0.1, 0.2))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(folder, spoken):
    microphone = write_sound(folder / "microphone.wav", spoken[1])
    with playwright.sync_playwright() as started, chromium(started, microphone) as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    """The page opened at desktop size; `page.requested` are the addresses that the browser asked for."""
    page = visit(browser, address)
    page.get_by_role("button", name="Which word?").wait_for()
    yield page
    page.context.close()


def answer_of(page):
    page.locator("#said p[role=status]").wait_for()
    return page.locator("#said p").inner_text()


@BROWSER
def test_a_word_said_into_the_microphone_comes_out(page, spoken, address):
    word, _ = spoken
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(3500)
    page.get_by_role("button", name="Stop", exact=True).first.click()
    said = answer_of(page)
    assert said.startswith(f"{word} ")
    assert "the loudest part from" in said
    assert page.get_by_test_id("label-output-value").inner_text().strip() == word
    page.get_by_alt_text("Waveform and log-mel frames").wait_for()
    assert page.get_by_test_id("label-output-value").count() == 1
    page.get_by_role("tab", name="Compare runs").click()
    page.get_by_role("cell", name="lstm").wait_for()
    page.get_by_alt_text("Learning curves: loss").wait_for()
    assert page.locator("#table tbody tr").count() == 2
    page.get_by_label("Experiments (none: all)").click()
    page.get_by_role("option", name="rnn").click()
    page.get_by_role("cell", name="lstm").wait_for(state="detached")
    assert page.locator("#table tbody tr").count() == 1
    elsewhere = [url for url in page.requested if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


@BROWSER
def test_the_browser_may_load_from_nowhere_else(page):
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_port}/"
        assert urlopen(address, timeout=30).status == 200  # it is there
        fetching = f"fetch('{address}', {{mode: 'no-cors'}}).then(() => 'loaded', error => error.message)"
        assert page.evaluate(fetching) != "loaded"
        other.shutdown()
    policy = page.evaluate("fetch('/').then(response => response.headers.get('content-security-policy'))")
    assert policy.startswith("default-src 'self'")


@BROWSER
def test_keyboard_alone_and_both_widths(page):
    for width, height in ((1280, 800), (375, 812)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Random test clip":
            break
    page.keyboard.press("Enter")
    assert "test clip of “left”, 1.00 s" in answer_of(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@BROWSER
@pytest.mark.parametrize(
    ("name", "size", "message"),
    [("x.wav", 1000, "No sound that can be read"), ("big.wav", 200 * 2**20, "exceed the maximum allowed size")],
)
def test_what_cannot_be_heard_gets_a_message(page, tmp_path, name, size, message):
    with (tmp_path / name).open("wb") as file:
        file.write(b"no sound")
        file.truncate(size)
    page.get_by_label("Upload file").first.click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / name)
    toast = page.get_by_text(message)
    toast.wait_for()
    assert "Traceback" not in page.content()


def test_twenty_visitors_at_once_all_get_an_answer(address, folder, spoken):
    from gradio_client import Client, handle_file

    path = write_sound(folder / "word.wav", spoken[1])
    visitors = [Client(address, verbose=False) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda one: one.predict(handle_file(path), "keywords10", api_name="/predict"), visitors)
        )
    assert {answer[0]["label"] for answer in answers} == {spoken[0]}


@BROWSER
def test_nothing_recorded_gets_the_words_and_no_corpus_no_button(browser, tmp_path):
    with served(tmp_path) as address:
        page = browser.new_page(viewport={"width": 375, "height": 812})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.get_by_text("Record or upload one of: yes, no").wait_for()
        assert page.get_by_role("button", name="Random test clip").is_disabled()
        page.get_by_text("Test clips need a corpus").wait_for()
        page.close()


def test_a_model_that_does_not_say_its_front_end_has_no_frames_in_its_picture(spoken, tmp_path):
    import onnx

    from kwspot.audio.reading import read_waveform
    from kwspot.web.answers import prediction_of

    model = onnx.load(Spotter.load().path)
    kept = [entry for entry in model.metadata_props if entry.key != "front_end"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "other.onnx")
    path = write_sound(tmp_path / "word.wav", spoken[1])
    top, _, picture = prediction_of(read_waveform(path), "a word", Spotter(tmp_path / "other.onnx"))
    assert max(top, key=top.get) == spoken[0]
    assert "Waveform and log-mel" not in picture
    assert "<img" in picture


def test_no_recording_is_left_when_the_server_ends(tmp_path, spoken, monkeypatch):
    from gradio_client import Client, handle_file

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    path = write_sound(tmp_path / "word.wav", spoken[1])
    with served(tmp_path) as address:
        visitor = Client(address, verbose=False, download_files=False)
        visitor.predict(handle_file(path), "keywords10", api_name="/predict")
        assert list((tmp_path / "kept").rglob("*.wav"))
    assert not list((tmp_path / "kept").rglob("*.wav"))


def test_a_server_that_ends_takes_no_recording_from_another(tmp_path, spoken, monkeypatch):
    from gradio_client import Client, handle_file

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    path = write_sound(tmp_path / "word.wav", spoken[1])
    with served(tmp_path) as lasting:
        with served(tmp_path) as ending:
            for address in (lasting, ending):
                Client(address, verbose=False).predict(handle_file(path), "keywords10", api_name="/predict")
            assert len(list((tmp_path / "kept").rglob("word.wav"))) == 2
        assert len(list((tmp_path / "kept").rglob("word.wav"))) == 1


def test_pictures_drawn_at_once_are_those_drawn_alone(folder):
    from kwspot.web.answers import Answers

    answers = Answers(folder / "runs", folder, "keywords10")
    alone = answers.comparison()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: answers.comparison(), range(12))) == {alone}


def test_errors_are_one_line(folder):
    def ui(*arguments, code="import sys"):
        begin = f"{code}; from kwspot.cli import main; main()"
        command = [sys.executable, "-c", begin, "ui", "--no-open", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = ui("--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--port names another" in done.stderr
    done = ui("--model", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = ui(code="import sys; sys.modules['gradio'] = None")
    assert done.returncode == 3
    assert done.stderr == "error: kwspot ui needs gradio; run: pip install 'kwspot[ui]'\n"


def test_the_loudest_part_is_the_one_with_the_tone():
    from kwspot.audio.reading import loudest

    waveform = np.random.default_rng(0).normal(0, 0.001, 5 * RATE).astype(np.float32)
    waveform[30_000:46_000] += tone(440)
    assert abs(loudest(waveform, RATE) - 30_000) <= 2
    assert loudest(waveform[:100], RATE) == 0


def test_a_space_starts_as_hugging_face_would_start_it(tmp_path, folder, spoken):
    import gradio
    from gradio_client import Client, handle_file

    source = Path(__file__).parents[2] / "space"
    front_matter = (source / "README.md").read_text().split("---")[1]
    version = re.search(r"^sdk_version: (.*)$", front_matter, re.MULTILINE)[1]
    assert version.split(".")[0] == gradio.__version__.split(".")[0]
    assert re.search(r"^app_file: app.py$", front_matter, re.MULTILINE)
    assert (source / "requirements.txt").read_text() == "kwspot[ui]\n"
    shutil.copytree(source, tmp_path / "space")
    port = free_port()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "0.0.0.0"}
    environment["GRADIO_TEMP_DIR"] = str(tmp_path / "kept")
    command = [sys.executable, "-u", "app.py"]
    with subprocess.Popen(
        command, cwd=tmp_path / "space", env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert str(port) in process.stdout.readline()
            path = write_sound(tmp_path / "word.wav", spoken[1])
            visitor = Client(f"http://127.0.0.1:{port}", verbose=False)
            answer = visitor.predict(handle_file(path), "keywords10", api_name="/predict")
            assert answer[0]["label"] == spoken[0]
        finally:
            process.terminate()
            process.communicate()
