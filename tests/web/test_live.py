"""Live spotting: what a minute of words becomes in real browsers, and the parts it is made of."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import random
import time

import numpy as np
import pytest

from kwspot import Spotter
from kwspot.audio.reading import read_waveform, resample
from kwspot.corpus.layout import TEST, read_corpus
from kwspot.errors import ConfigError
from kwspot.inference.pipeline import detection_settings, spot
from kwspot.inference.streaming import SlidingWindow
from kwspot.synthesis.engines import ENGINES, Engine, Utterance
from kwspot.tasks import SILENCE
from tests.browsers import CHROMIUM, chromium, served, visit
from tests.sounds import RATE, tone, write_sound
from tests.voices import USABLE

pytestmark = pytest.mark.slow

pytest.importorskip("uvicorn", reason="the [ui] extra is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
httpx = pytest.importorskip("httpx")
testclient = pytest.importorskip("starlette.testclient")
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

MINUTE_S, SLOT_S = 60, 2
N_WORDS = 28
THRESHOLD = 0.8
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
MEASURED = {
    "threshold": 0.7, "smoothing_ms": 200.0, "refractory_ms": 300.0, "snr_db": 10.0, "hours": 4.0,
    "curve": [[0.4, 60.0, 0.02], [0.6, 6.0, 0.05], [0.8, 2.0, 0.09], [0.95, 0.25, 0.3]],
}  # fmt: skip


# In the browser


@dataclass
class Visit:
    """What a visitor saw: events with their times, what the page said, and the addresses the browser asked for."""

    events: list
    said: dict
    requested: list


def settings_for(streaming_model):
    """The settings of the first visitor: what was measured for the model, but for a threshold for quiet minutes."""
    return replace(detection_settings(streaming_model.metadata), threshold=THRESHOLD)


def real_clips():
    """28 test clips, not chosen by what the model makes of them."""
    corpus = read_corpus(Path(os.environ["KWSPOT_REAL_CORPUS"]))
    clips = [clip for clip in corpus.clips if clip.split == TEST and clip.word in KEYWORDS]
    picked = random.Random(0).sample(clips, N_WORDS)
    return [(clip.word, read_waveform(corpus.folder / clip.name).waveform[:RATE]) for clip in picked]


def heard_once(streaming_model, word, waveform):
    """Say whether a word in a quiet second is one event, wherever the windows of the model, 40 ms apart, fall."""
    sounds = [np.pad(waveform, (RATE + shift, RATE)) for shift in range(0, streaming_model.step_length, 80)]
    noise = np.random.default_rng(0).normal(0, 1e-3, 4 * RATE).astype(np.float32)
    settings = settings_for(streaming_model)
    return all(
        [e.word for e in spot(streaming_model, [sound + noise[: len(sound)]], settings)] == [word] for sound in sounds
    )


def spoken_clips():
    """28 words by synthesisers that the bundled model knows as clips, and hears once without a browser."""
    spotter, clips = Spotter.load(threads=1), []
    streaming_model = SlidingWindow(spotter)
    for name in USABLE:
        with Engine(name) as engine:
            for accent in dict.fromkeys(ENGINES[name].accents[:2]):
                for word in KEYWORDS:
                    waveform, rate = engine.speak(Utterance(word, accent))
                    waveform = resample(np.asarray(waveform, np.float32), rate, RATE)[:RATE]
                    prediction = spotter.predict(waveform)
                    if (
                        prediction.word == word
                        and prediction.posterior > 0.9
                        and heard_once(streaming_model, word, waveform)
                    ):
                        clips.append((word, waveform))
    assert len({word for word, _ in clips}) >= 5, "the bundled model knows too few of the synthesised words"
    return random.Random(0).sample(clips * N_WORDS, N_WORDS)


def minute_of(clips, seed):
    """Clips in a quiet minute, one every two seconds or so: the waveform, and (word, middle in seconds) of each."""
    rng = np.random.default_rng(seed)
    waveform = rng.normal(0, 1e-3, MINUTE_S * RATE).astype(np.float32)
    words = []
    for i, (word, clip) in enumerate(clips):
        start = int((1 + SLOT_S * i + rng.uniform(0, 0.5)) * RATE)
        waveform[start : start + len(clip)] += clip
        words.append((word, (start + len(clip) / 2) / RATE))
    return waveform.clip(-1, 1), words


def with_metadata(path, **values):
    """Write the bundled model anew with more metadata."""
    import onnx

    model = onnx.load(Spotter.load().path)
    for key, value in values.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, path)
    return path


def start_live(page):
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Listening", exact=True).wait_for()


def set_threshold(page, value):
    with page.expect_response(lambda answer: f"threshold={value:g}" in answer.url and "/api/expected" in answer.url):
        page.get_by_role("slider", name="Threshold").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
        )
    page.wait_for_timeout(200)
    return page.locator("#expected").inner_text()


def choose_model(page, name):
    page.get_by_label("Model", exact=True).select_option(name)


def events_of(page):
    found = page.evaluate("[...document.querySelectorAll('#words li')].map(item => ({...item.dataset}))")
    return [(event["word"], (float(event["start_s"]) + float(event["end_s"])) / 2) for event in reversed(found)]


@pytest.fixture(scope="module")
def clips():
    return real_clips() if "KWSPOT_REAL_CORPUS" in os.environ else spoken_clips()


@pytest.fixture(scope="module")
def minutes(clips):
    """For each of two visitors a minute of its own: (waveform, words)."""
    return minute_of(clips, 1), minute_of(clips[::-1], 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    with_metadata(folder / "measured.onnx", spotting=MEASURED)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "temporary"))
        (folder / "temporary").mkdir()
        with served(folder, "--model", "measured.onnx") as address:
            yield address


@pytest.fixture(scope="module")
def started():
    with playwright.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(started, folder, minutes):
    with chromium(started, write_sound(folder / "0.wav", minutes[0][0])) as browser:
        yield browser


@pytest.fixture(scope="module")
def visits(started, browser, address, folder, minutes):
    """Two visitors at once: one listens for the minute, the other sets the threshold to 1 and then stops."""
    with chromium(started, write_sound(folder / "1.wav", minutes[1][0])) as another:
        first, second = visit(browser, address), visit(another, address)
        for one in (first, second):
            one.locator("#start:enabled").wait_for()
        choose_model(first, "keywords10")
        first.get_by_text("Not measured").or_(first.get_by_text("measured on 3 hours")).wait_for()
        set_threshold(first, THRESHOLD)
        begun = time.monotonic()
        start_live(first)
        start_live(second)
        said = {"measured": second.locator("#expected").inner_text()}
        first.set_viewport_size({"width": 375, "height": 812})
        second.wait_for_timeout(25_000)
        with second.expect_response(lambda answer: answer.url.endswith("&threshold=1")):
            said["highest"] = set_threshold(second, 1)
        said["before"] = len(events_of(second))  # with those of sound that was on its way, seconds of it if busy
        second.wait_for_timeout(12_000)
        second.get_by_role("button", name="Stop", exact=True).click()
        second.get_by_text("Stopped", exact=True).wait_for()
        second.wait_for_timeout(1000)
        n_requested = len(second.requested)
        first.wait_for_timeout(max(0.0, MINUTE_S - (time.monotonic() - begun)) * 1000)
        said["after stop"] = second.requested[n_requested:]
        fits = "document.documentElement.scrollWidth <= innerWidth"
        said["fits"] = [first.evaluate(fits), second.evaluate(fits)]
        said["drawn"] = first.evaluate(
            "(canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(x => x))"
            "(document.getElementById('plot'))"
        )
        first.get_by_role("button", name="Stop", exact=True).click()
        first.get_by_text("Stopped", exact=True).wait_for()
        first.wait_for_timeout(1000)
        yield Visit(events_of(first), said, first.requested), Visit(events_of(second), said, second.requested)


def found(events, words):
    """Which of the words are among the events, within a second of their middle."""
    return [any(word == event and abs(at - middle) < 1 for event, at in events) for word, middle in words]


@BROWSER
def test_the_words_of_a_minute_are_found_once_and_in_time(visits, minutes):
    (visit, _), ((_, words), _) = visits, minutes
    assert sum(found(visit.events, words)) >= 0.8 * len(words), visit.events
    for word, middle in words:
        assert sum(said == word and abs(at - middle) < 0.7 for said, at in visit.events) <= 1, (word, middle)
    times = [sum(abs(at - middle) < 0.7 for _, at in visit.events) for _, middle in words]
    assert sum(n > 1 for n in times) <= 1, times
    assert len(visit.events) <= len(words)


@BROWSER
def test_the_browser_hears_what_the_library_hears(visits, minutes):
    (visit, _), ((waveform, _), _) = visits, minutes
    streaming_model = SlidingWindow(Spotter.load(threads=1))
    spotted = list(spot(streaming_model, [waveform], settings_for(streaming_model)))
    same = found(visit.events, [(event.word, (event.start_s + event.end_s) / 2) for event in spotted])
    assert sum(same) >= 0.9 * len(spotted) - 1


@BROWSER
def test_two_visitors_get_their_own_and_the_threshold_holds_from_then_on(visits, minutes):
    (_, visit), (_, (_, words)) = visits, minutes
    early = [(word, middle) for word, middle in words if middle < 22]
    assert sum(found(visit.events, early)) >= 0.8 * len(early), visit.events
    assert len(visit.events) <= visit.said["before"] + 1  # one was under way
    assert visit.said["measured"].startswith("Expected: 4 false alarms an hour, 7.0% of the keywords missed")
    assert visit.said["highest"].startswith("Expected: fewer than 0.25 false alarms an hour, more than 30.0%")


@BROWSER
def test_stop_stops_and_the_page_fits_a_phone(visits):
    said = visits[0].said
    assert said["after stop"] == []
    assert said["fits"] == [True, True]
    assert said["drawn"]


@BROWSER
def test_nothing_comes_from_elsewhere_and_nothing_is_written(visits, address, folder):
    for one in visits:
        assert [url for url in one.requested if not url.startswith((address, "data:", "blob:"))] == []
    written = [path for path in (folder / "temporary").rglob("*") if path.is_file()]
    assert written == []
    assert {path.name for path in folder.iterdir()} == {"0.wav", "1.wav", "measured.onnx", "temporary"}


@BROWSER
def test_trouble_is_one_sentence_and_start_starts_again(browser, address):
    page = visit(browser, address)
    page.locator("#start:enabled").wait_for()
    page.evaluate("window.devices = navigator.mediaDevices; window.listens = window.devices.getUserMedia; 0")
    repaired = "window.devices.getUserMedia = window.listens; delete navigator.mediaDevices; 0"
    for trouble, message in (
        (
            "window.devices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }; 0",
            "The browser was not allowed to listen.",
        ),
        (
            "Object.defineProperty(navigator, 'mediaDevices', {value: undefined, configurable: true}); 0",
            "A browser gives the microphone to pages on https:// or localhost only.",
        ),
        ("0", "The server does not answer; start again when it does."),
    ):
        page.evaluate(trouble)
        if trouble == "0":
            page.route("**/live/process?**", lambda route: route.abort())
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_role("alert").get_by_text(message, exact=True).wait_for()
        page.evaluate(repaired)
    page.unroute("**/live/process?**")
    with page.expect_response("**/live/process?**") as answer:
        start_live(page)
    assert answer.value.ok
    page.context.close()


@BROWSER
def test_another_model_goes_on_listening_with_its_threshold(browser, address):
    page = visit(browser, address)
    page.locator("#start:enabled").wait_for()
    start_live(page)
    page.get_by_text("Expected: ").wait_for()
    threshold = detection_settings(Spotter.load().metadata).threshold
    with page.expect_response(f"**/live/process?**threshold={threshold:g}") as answer:
        choose_model(page, "keywords10")
    assert answer.value.ok
    assert page.get_by_role("alert").filter(visible=True).count() == 0
    page.context.close()


# Its parts


class Recorder:
    """A streaming model that keeps what it is fed and hears silence."""

    name, metadata, labels = "recorder", {}, ("yes", SILENCE)
    sample_rate, clip_length, step_length, span_length, lead_length = RATE, RATE, 640, RATE, 0

    def reset(self):
        self.fed = []

    def feed(self, samples):
        self.fed.append(samples)
        return np.tile(np.float32([0, 1]), (len(samples) // self.step_length, 1))


def visitor(streaming_model, rate=RATE):
    from kwspot.web.live import LiveSession

    return LiveSession(streaming_model, rate)


@pytest.mark.parametrize("rate", [8000, RATE, 44_100, 48_000])
def test_blocks_are_resampled_without_a_seam(rate):
    sound = tone(440, seconds=3, rate=rate)
    whole, parts = Recorder(), Recorder()
    for streaming_model, size in ((whole, len(sound)), (parts, 3001)):
        one = visitor(streaming_model, rate)
        for at in range(0, len(sound), size):
            one.process(sound[at : at + size], at, 0.8)
    heard = np.concatenate(parts.fed)
    assert abs(len(heard) - 3 * RATE) < 0.1 * RATE
    n = min(len(heard), len(np.concatenate(whole.fed)))
    np.testing.assert_allclose(heard[:n], np.concatenate(whole.fed)[:n], atol=1e-5)


def test_lost_or_repeated_samples_are_noticed():
    one = visitor(Recorder())
    one.process(tone(440)[:1000], 0, 0.8)
    for at in (0, 999, 2000):
        with pytest.raises(ConfigError, match="lost"):
            one.process(tone(440)[:1000], at, 0.8)
    assert one.process(tone(440)[:1000], 1000, 0.8)["seconds"] == 0.125
    with pytest.raises(ConfigError, match="threshold"):
        one.process(tone(440)[:1000], 2000, float("nan"))
    with pytest.raises(ConfigError, match="Hz"):
        visitor(Recorder(), 1000)


def test_an_event_is_told_while_it_is_under_way_and_once_when_it_is_over():
    class Yes(Recorder):
        n = 0

        def feed(self, samples):
            rows = np.tile(np.float32([0, 1]), (len(samples) // self.step_length, 1))
            for i in range(len(rows)):
                self.n += 1
                if 20 <= self.n < 40:
                    rows[i] = [0.95, 0.05]
            return rows

    one, events, pending = visitor(Yes()), [], []
    block = np.zeros(4 * 640, np.float32)
    for i in range(20):
        answer = json.loads(json.dumps(one.process(block, i * len(block), 0.8)))
        events += answer["events"]
        pending.append(answer["pending"] and answer["pending"]["word"])
        assert np.shape(answer["rows"]) == (4, 1)
    assert [event["word"] for event in events] == ["yes"]
    assert pending[4] is None
    assert pending[7] == "yes"
    assert pending[-1] is None


@pytest.fixture
def routes():
    """The routes of live.py in a server of their own: `live` knows who is listening."""
    from starlette.applications import Starlette

    from kwspot.web.live import Live

    live = Live(lambda _name: Recorder())  # type: ignore[return-value]
    with testclient.TestClient(Starlette(routes=live.routes())) as client:
        client.live = live
        yield client


def begin(routes):
    return routes.post("/live/start", params={"model": "m", "rate": RATE}).json()


def test_a_visitor_is_forgotten_on_stop_and_when_nothing_comes(routes, monkeypatch):
    monkeypatch.setattr("kwspot.web.live.FORGET_S", 1.0)
    started = begin(routes)
    assert (started["words"], started["step_s"]) == (["yes"], 0.04)
    visitor = {"visitor": started["visitor"], "at": 0, "threshold": 0.5}
    answer = routes.post("/live/process", params=visitor, content=bytes(8000)).json()
    assert (answer["seconds"], answer["events"], answer["pending"]) == (0.25, [], None)
    assert routes.post("/live/stop", params=visitor).json() == {"events": []}
    assert routes.live.sessions == {}
    visitor["visitor"] = begin(routes)["visitor"]
    for at in range(0, 16_000, 4000):
        time.sleep(0.4)  # all of them are longer than that, none is
        assert routes.post("/live/process", params={**visitor, "at": at}, content=bytes(8000)).is_success
    time.sleep(2)
    assert routes.live.sessions == {}
    answer = routes.post("/live/process", params=visitor, content=bytes(8000))
    assert (answer.status_code, "start again" in answer.json()["error"]) == (400, True)


def test_too_much_at_once_and_nonsense_are_refused(routes, monkeypatch):
    monkeypatch.setattr("kwspot.web.live.MOST_VISITORS", 2)
    monkeypatch.setattr("kwspot.web.live.MOST_BYTES", 10_000)
    one, _ = begin(routes), begin(routes)
    busy = routes.post("/live/start", params={"model": "m", "rate": RATE})
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "2")
    assert "try again later" in busy.json()["error"]
    asked = {"visitor": one["visitor"], "at": 0, "threshold": 0.5}
    for content, change, error in (
        (bytes(10_001), {}, "too much"),
        (bytes(999), {}, "not a request of this page"),
        (b"", {"at": "x"}, "not a request of this page"),
        (b"", {"threshold": 0}, "threshold"),
        (b"", {"visitor": "guessed"}, "start again"),
    ):
        answer = routes.post("/live/process", params={**asked, **change}, content=content)
        assert answer.status_code == 400
        assert error in answer.json()["error"]


def test_the_sound_of_many_visitors_is_worked_on_a_few_at_a_time(routes):
    from kwspot.web.serving import AT_ONCE

    at_work, most = [], []

    class Busy(Recorder):
        def feed(self, samples):
            at_work.append(self)
            most.append(len(at_work))
            time.sleep(0.02)
            at_work.remove(self)
            return super().feed(samples)

    routes.live.open_model = lambda _name: Busy()
    visitors = [begin(routes)["visitor"] for _ in range(20)]

    def sends(visitor):
        asked = {"visitor": visitor, "at": 0, "threshold": 0.5}
        return routes.post("/live/process", params=asked, content=bytes(8000)).is_success

    with ThreadPoolExecutor(len(visitors)) as threads:
        assert all(threads.map(sends, visitors))
    assert len(most) == len(visitors)
    assert max(most) <= AT_ONCE  # each at work has memory of its own


def test_a_visitor_may_open_only_the_models_of_the_page(address, folder):
    for model, status in (("keywords10", 200), ("measured.onnx", 200), (str(folder / "measured.onnx"), 400)):
        asked = httpx.post(f"{address}live/start", params={"model": model, "rate": RATE})
        assert asked.status_code == status, model
    assert asked.json()["error"].endswith("no such model")
