"""The page in a real browser: a word said into the microphone comes out, own words are enrolled, nothing leaves."""

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from kwspot import Spotter
from kwspot.audio.reading import Decoded, as_wav
from kwspot.corpus.layout import TEST, which_split
from kwspot.inference.expectation import purpose
from kwspot.synthesis.engines import ENGINES, Engine, Utterance
from tests.browsers import AXE, CHROMIUM, chromium, served, visit
from tests.records import make_run
from tests.sounds import RATE, tone, write_sound
from tests.voices import USABLE
from tests.words import word

pytestmark = pytest.mark.slow

pytest.importorskip("uvicorn", reason="the [ui] extra is not installed")
httpx = pytest.importorskip("httpx")
testclient = pytest.importorskip("starlette.testclient")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def spoken():
    """A word by a synthesiser that the bundled model knows, somewhere in three seconds: (word, waveform)."""
    from kwspot.audio.reading import resample

    spotter = Spotter.load(threads=1)
    for name in USABLE:
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


def opened(browser, address, **look):
    """Open the page; `page.requested` are the addresses that the browser asked for."""
    page = visit(browser, address, **look)
    page.locator("#start:enabled").wait_for()
    return page


@pytest.fixture
def page(browser, address):
    page = opened(browser, address)
    yield page
    elsewhere = [url for url in page.requested if not url.startswith((address, "data:", "blob:"))]
    page.context.close()
    assert elsewhere == []
    assert page.failed == []


def choose(page, tab):
    page.get_by_role("tab", name=tab).click()


@BROWSER
def test_a_word_said_into_the_microphone_comes_out(page, spoken):
    word, _ = spoken
    choose(page, "Predict")
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(3500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("the loudest part from").wait_for()
    assert page.locator("#answer").inner_text().startswith(f"{word} ")
    assert page.locator("#top li").count() == 5
    assert page.locator("#picture").evaluate("picture => picture.decode().then(() => picture.naturalWidth > 100)")


# The browser's microphone plays its file from the beginning for everyone who opens it; nobody says a word twice alike.
VARIED = """() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  let n = 0;
  navigator.mediaDevices.getUserMedia = async (given) => {
    const context = new AudioContext(), out = context.createMediaStreamDestination();
    const phases = new BiquadFilterNode(context, {type: "allpass", frequency: 150 * 2 ** n++});
    context.createMediaStreamSource(await open(given)).connect(phases).connect(out);
    return out.stream;
  };
}"""


@BROWSER
def test_own_words_are_recorded_enrolled_tested_and_taken_home(page, folder):
    page.evaluate(VARIED)
    choose(page, "Own words")
    page.get_by_label("Word", exact=True).fill("abracadabra")
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Enroll").is_disabled()
    for n in range(5):
        page.get_by_role("button", name="Record a take of abracadabra").click()
        page.get_by_text(f"abracadabra: {n + 1} of 5 takes").wait_for()
    page.get_by_role("button", name="Discard take 5 of abracadabra").click()
    page.get_by_text("abracadabra: 4 of 5 takes").wait_for()
    page.get_by_label("Name of the model").fill("magic")
    page.get_by_role("button", name="Enroll").click()
    page.get_by_text(re.compile("nrolled( as magic|:)")).wait_for()
    assert page.locator("#own-status").inner_text() == "Enrolled as magic"
    assert "of other words taken for one" in page.locator("#own-expected").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the model file").click()
    assert Path(download.value.path()).read_bytes() == (folder / "runs" / "enrolled" / "magic.onnx").read_bytes()
    page.get_by_role("button", name="Enroll").click()  # again, as after one more take
    page.get_by_text("Enrolling: some seconds").wait_for()
    page.get_by_text(re.compile("nrolled( as magic|:)")).wait_for()
    assert page.locator("#own-status").inner_text() == "Enrolled as magic"
    page.get_by_role("button", name="Test it live").click()
    page.get_by_text("Listening", exact=True).or_(page.get_by_text("“abracadabra”")).wait_for()
    assert page.get_by_label("Model", exact=True).input_value() == "magic"
    about = page.locator("#about").inner_text()
    assert about.startswith("your own words")
    assert about.endswith("an hour of other people's speech")
    page.get_by_role("button", name="Stop", exact=True).click()


@BROWSER
def test_runs_are_compared_in_a_table_and_curves(page):
    choose(page, "Compare")
    page.get_by_alt_text("Learning curves: loss").wait_for()
    assert page.locator("#table tbody td:first-child").all_inner_texts() == ["lstm", "rnn"]


@BROWSER
def test_only_runs_of_such_a_name_are_compared(page):
    choose(page, "Compare")
    page.get_by_alt_text("Learning curves: loss").wait_for()
    for typed, shown in (("LST", ["lstm"]), ("rnn lstm", ["lstm", "rnn"]), ("nothing", []), ("", ["lstm", "rnn"])):
        with page.expect_response("**/api/compare?**"):
            page.get_by_label("Show").fill(typed)
        names = page.locator("#table tbody td:first-child")
        playwright.expect(names).to_have_text(shown)
        playwright.expect(page.locator("#curves img")).to_have_count(2 if shown else 0)
        assert ("No run has such a name." in page.locator("#notes").inner_text()) == (not shown)


LOOKS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for scheme in ("light", "dark")
    for width in (1280, 390)
]


@BROWSER
@pytest.mark.skipif(not AXE.is_file(), reason="`make space` has not fetched axe-core")
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['color_scheme']}-{look['viewport']['width']}")
def test_everybody_can_use_every_tab_in_light_and_dark_wide_and_narrow(browser, address, look):
    page = opened(browser, address, **look)
    page.evaluate(AXE.read_text())
    for tab in ("Live", "Predict", "Own words", "Compare"):
        choose(page, tab)
        if tab == "Predict":
            page.get_by_role("button", name="Random test clip").click()
            page.locator("#picture").wait_for()
        if tab == "Own words":
            page.get_by_label("Word", exact=True).fill("a word")
            page.keyboard.press("Enter")
        if tab == "Compare":
            page.get_by_alt_text("Learning curves: loss").wait_for()
            table, curves = page.locator("#table").bounding_box(), page.locator("#curves").bounding_box()
            assert curves["y"] >= table["y"] + table["height"] + 16
            assert page.locator("#curves img").first.bounding_box()["width"] >= 700  # px: its text can be read
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
        violations = page.evaluate("axe.run().then(({violations}) => violations)")
        assert violations == [], f"{tab}: {json.dumps(violations, indent=1)}"
    page.context.close()


@BROWSER
def test_the_keyboard_alone_is_enough(page):
    page.locator("[role=tab][aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-predict"
    page.keyboard.press("Tab")
    for _ in range(5):
        if page.evaluate("document.activeElement.id") == "random":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("a test clip of “left”, 1.00 s").wait_for()


@BROWSER
def test_what_is_no_sound_gets_one_sentence(page, tmp_path):
    (tmp_path / "x.wav").write_text("no sound")
    choose(page, "Predict")
    page.locator("#upload").set_input_files(tmp_path / "x.wav")
    page.get_by_role("alert").filter(has_text="No sound that can be read").wait_for()


@BROWSER
def test_without_a_corpus_there_is_no_button_for_its_clips(browser, tmp_path):
    (tmp_path / "data").mkdir()
    with served(tmp_path) as address:
        page = opened(browser, address)
        choose(page, "Predict")
        assert page.get_by_role("button", name="Record", exact=True).is_visible()
        assert not page.get_by_role("button", name="Random test clip").is_visible()
        choose(page, "Compare")
        page.get_by_text("None yet: 'kwspot train NAME' makes one.").wait_for()
        page.context.close()


# Without a browser


def test_twenty_visitors_at_once_all_get_an_answer(address, folder, spoken):
    content = write_sound(folder / "word.wav", spoken[1]).read_bytes()
    asked = {"model": "keywords10", "name": "word.wav"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda _: httpx.post(f"{address}api/predict", params=asked, content=content, timeout=120), range(20)
            )
        )
    assert {answer.json()["word"] for answer in answers} == {spoken[0]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"host": "elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_only_this_page_is_answered(address, headers, status):
    answer = httpx.get(f"{address}api/models", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.168.1.7:7860", 200),
        ("[fd00::7]:7860", 200),
        ("[::1]", 200),
        ("LOCALHOST:7860", 200),
        (f"{socket.gethostname()}:7860", 200),
        (f"{socket.gethostname().partition('.')[0]}.local", 200),
        ("words.example:443", 200),
        ("elsewhere.example", 403),
        ("192.168.1.7.elsewhere.example:7860", 403),
        ("", 403),
    ],
)
def test_where_other_machines_may_come_only_this_ones_names_are_answered(tmp_path, host, status):
    from kwspot.web.page import build_page

    page = build_page(tmp_path / "runs", tmp_path, host="0.0.0.0", names=["Words.example"])
    with testclient.TestClient(page) as visitor:
        assert visitor.get("/static/page.js", headers={"host": host}).status_code == status


def test_what_another_page_posts_is_refused(address):
    for site, status in (("cross-site", 403), ("same-origin", 400)):
        assert httpx.post(f"{address}api/take", headers={"sec-fetch-site": site}).status_code == status


def test_the_pages_own_origin_is_answered(address):
    assert httpx.get(f"{address}api/models", headers={"origin": address.rstrip("/")}).status_code == 200


def test_too_much_at_once_and_nonsense_are_refused_in_a_sentence(address):
    asked = {"model": "keywords10", "name": "x"}
    too_much = httpx.post(f"{address}api/predict", params=asked, content=bytes(21 * 2**20), timeout=60)
    assert (too_much.status_code, too_much.json()["error"]) == (400, "too much at once: more than 20 MiB")
    for path, content, error in (
        ("predict?model=keywords10", b"", "not a request of this page"),
        ("predict?model=/etc/passwd&name=x", b"", "no such model"),
        ("enroll", b"[]", "not a request of this page"),
        ("enroll", b'{"name": "../x", "words": {}}', "no name for a model"),
        ("enroll", rb'{"name": "\ud800", "words": {}}', r"'\ud800': no name for a model"),
        ("take", b'{"sound": "no base64"}', "not a request of this page"),
        ("take", b"[" * 100_000, "nested too deeply"),
    ):
        answer = httpx.post(f"{address}api/{path}", content=content)
        assert answer.status_code == 400, path
        assert error in answer.json()["error"]
    for threshold in ("nan", "inf", "-0.1", "1.1"):
        answer = httpx.get(f"{address}api/expected", params={"model": "keywords10_long", "threshold": threshold})
        assert answer.status_code == 400, threshold
        assert answer.json()["error"] == f"threshold: a number from 0 to 1 is needed, got {threshold}"
    assert httpx.get(f"{address}api/models/keywords10.onnx").status_code == 404


def test_who_comes_when_too_many_wait_is_asked_to_come_again(tmp_path, monkeypatch):
    from kwspot.web.page import build_page

    monkeypatch.setattr("kwspot.web.serving.WAITING", -2)
    with testclient.TestClient(build_page(tmp_path / "runs", tmp_path), base_url="http://localhost") as visitor:
        answer = visitor.get("/api/models")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"] == "too many visitors at once; try again in a minute"


@BROWSER
def test_the_page_asks_a_busy_server_again(page):
    answers = [503, 503]

    def busy(route):
        if not answers:
            return route.continue_()
        return route.fulfill(status=answers.pop(), headers={"retry-after": "0.1"}, body='{"error": "too many"}')

    page.route("**/api/compare?**", busy)
    choose(page, "Compare")
    page.get_by_alt_text("Learning curves: loss").wait_for()
    assert answers == []


def test_words_are_enrolled_only_on_the_machine_itself(tmp_path):
    from kwspot.web.page import build_page

    with testclient.TestClient(
        build_page(tmp_path / "runs", tmp_path, host="0.0.0.0"), base_url="http://localhost"
    ) as visitor:
        assert visitor.get("/api/models").json()["enrolling"] is False
        answer = visitor.post("/api/enroll", json={"name": "x", "words": {"a": []}})
    assert (answer.status_code, "only on the machine" in answer.json()["error"]) == (400, True)
    assert not (tmp_path / "runs").exists()


def test_a_model_that_is_there_is_replaced_only_if_asked_to(tmp_path):
    from kwspot.web.page import build_page

    there = tmp_path / "runs/enrolled/house.onnx"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"of last week")
    tones = [tone(400 + 100 * n) for n in range(2)]
    takes = [b64encode(as_wav(Decoded(np.pad(take, 8000), RATE))).decode() for take in tones]
    asked = {"name": "house", "words": {"word": takes}}
    with testclient.TestClient(build_page(tmp_path / "runs", tmp_path), base_url="http://localhost") as visitor:
        answer = visitor.post("/api/enroll", json=asked)
        assert answer.json()["error"] == "there is a model 'house' already; give this one another name"
        assert there.read_bytes() == b"of last week"
        answer = visitor.post("/api/enroll", json=asked | {"again": True})
    assert "already" not in answer.text


def test_live_sound_goes_through_the_stream_of_a_model_that_has_one(tmp_path):
    from kwspot.inference.streaming import Stream
    from kwspot.web.answers import Answers

    answers = Answers(tmp_path / "runs", tmp_path, "keywords10", enrolling=False)
    first, second = answers.open_model("keywords10_long"), answers.open_model("keywords10_long")
    assert isinstance(first, Stream)
    assert not isinstance(answers.open_model("keywords10"), Stream)
    one, other = np.random.default_rng(0).normal(0, 0.1, (2, 2 * RATE)).astype(np.float32)
    alone = answers.open_model("keywords10_long").feed(other)
    first.feed(one)
    np.testing.assert_array_equal(second.feed(other), alone)  # visitors do not hear each other
    described = next(one for one in answers.models()["models"] if one["name"] == "keywords10_long")
    assert described["threshold"] == first.metadata["spotting"]["threshold"]
    assert described["threshold"] != Spotter.load("keywords10_long").metadata["spotting"]["threshold"]
    assert purpose(first.metadata) in described["about"]


def test_a_model_that_was_enrolled_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    from kwspot.enrollment.enroll import enroll_takes
    from kwspot.web.page import build_page

    there = tmp_path / "runs/enrolled/house.onnx"

    def meanwhile(*arguments, **options):
        made = enroll_takes(*arguments, **options)
        there.parent.mkdir(parents=True)
        there.write_bytes(b"of another")
        return made

    monkeypatch.setattr("kwspot.web.answers.enroll_takes", meanwhile)
    takes = [b64encode(as_wav(Decoded(word("rise", n), RATE))).decode() for n in range(2)]
    with testclient.TestClient(build_page(tmp_path / "runs", tmp_path), base_url="http://localhost") as visitor:
        answer = visitor.post("/api/enroll", json={"name": "house", "words": {"rise": takes}})
    assert "changed while this was made" in answer.json()["error"]
    assert there.read_bytes() == b"of another"


def test_a_model_that_does_not_say_its_front_end_has_a_picture_all_the_same(spoken, tmp_path):
    import onnx

    from kwspot.audio.reading import read_waveform
    from kwspot.web.answers import prediction_of

    model = onnx.load(Spotter.load().path)
    kept = [entry for entry in model.metadata_props if entry.key != "front_end"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "other.onnx")
    path = write_sound(tmp_path / "word.wav", spoken[1])
    answer = prediction_of(read_waveform(path), "a word", Spotter(tmp_path / "other.onnx"))
    assert answer["word"] == spoken[0]
    assert answer["picture"].startswith("data:image/svg+xml;base64,")


def test_pictures_drawn_at_once_are_those_drawn_alone(folder):
    from kwspot.web.answers import Answers

    answers = Answers(folder / "runs", folder, "keywords10", enrolling=False)
    alone = answers.comparison()
    with ThreadPoolExecutor(4) as pool:
        assert all(answer == alone for answer in pool.map(lambda _: answers.comparison(), range(12)))


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
    assert "--host and --port name another" in done.stderr
    for host, code in (("a..b", 1), ("", 2)):
        done = ui("--host", host)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert "--host" in done.stderr
    done = ui("--model", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = ui(code="import sys; sys.modules['starlette'] = None")
    assert done.returncode == 3
    assert done.stderr == "error: kwspot ui needs starlette; run: pip install 'kwspot[ui]'\n"


def test_the_loudest_part_is_the_one_with_the_tone():
    from kwspot.audio.reading import loudest

    waveform = np.random.default_rng(0).normal(0, 0.001, 5 * RATE).astype(np.float32)
    waveform[30_000:46_000] += tone(440)
    assert abs(loudest(waveform, RATE) - 30_000) <= 2
    assert loudest(waveform[:100], RATE) == 0
