"""Many sounds through a model: in order, in constant memory, each as soon as it can be."""

from queue import Queue
import threading
import time

import numpy as np
import pytest

from kwspot.audio.inputs import Source
from kwspot.audio.reading import AudioError
from kwspot.inference.batch import BATCH, READ_AHEAD, predict_all
from kwspot.inference.spotter import Prediction
from tests.sounds import tone, write_sound


class Echo:
    """A spotter that says the name of its file, and keeps count of the batches."""

    def __init__(self):
        self.sizes = []

    def read(self, file):
        if file.name.startswith("bad"):
            raise AudioError(file, "not a sound")
        if file.name.startswith("broken"):
            raise RuntimeError("a defect")
        return file.name

    def predict_clips(self, clips, n_top, threshold):
        self.sizes.append(len(clips))
        return [Prediction(((clip, 1.0),), 1.0) for clip in clips]


class Named:
    def __init__(self, name):
        self.name = name


def numbered(n):
    return (Source(f"{i}", Named(f"{i}")) for i in range(n))


def test_order_is_kept_and_errors_stand_in_their_place():
    sources = [Source(name, Named(name)) for name in ("a", "bad1", "b", "bad2", "c")]
    found = list(predict_all(Echo(), sources))
    assert [source.name for source, _ in found] == ["a", "bad1", "b", "bad2", "c"]
    assert [r.word if isinstance(r, Prediction) else r.reason for _, r in found] == [  # type: ignore[attr-defined]
        "a", "not a sound", "b", "not a sound", "c"
    ]  # fmt: skip


def test_a_source_without_a_file_is_its_error():
    error = AudioError(Named("x"), "gone")
    ((_, result),) = predict_all(Echo(), [Source("x", error=error)])
    assert result is error


def test_no_more_is_read_ahead_than_the_queue_holds():
    taken = []

    def endless():
        for i, source in enumerate(numbered(10**9)):
            taken.append(i)
            yield source

    results = predict_all(Echo(), endless())
    for _ in range(1000):
        next(results)
    assert len(taken) <= 1000 + READ_AHEAD + 2 * BATCH + 2
    results.close()  # type: ignore[attr-defined]
    after = len(taken)
    time.sleep(0.3)
    assert len(taken) - after <= 1


def test_fast_sources_go_through_in_batches():
    echo = Echo()
    assert sum(1 for _ in predict_all(echo, numbered(2000))) == 2000  # type: ignore[misc]
    assert max(echo.sizes) <= BATCH
    assert len(echo.sizes) < 1500


def test_a_slow_source_is_answered_at_once():
    given = Queue()
    results = predict_all(Echo(), iter(given.get, None))
    for name in ("first", "second"):
        given.put(Source(name, Named(name)))
        assert next(results)[1].word == name  # before anything else was given
    given.put(None)
    assert list(results) == []


@pytest.mark.parametrize("where", ["reading", "listing"])
def test_a_defect_is_not_swallowed(where):
    def listing():
        yield Source("a", Named("a"))
        if where == "listing":
            raise RuntimeError("a defect")
        yield Source("broken", Named("broken"))

    with pytest.raises(RuntimeError, match="a defect"):
        list(predict_all(Echo(), listing()))


def test_an_end_before_the_end_leaves_no_thread_behind():
    before = set(threading.enumerate())
    results = predict_all(Echo(), numbered(10**9))
    next(results)
    results.close()  # type: ignore[attr-defined]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_real_files_through_the_bundled_model(tmp_path):
    from kwspot import Spotter

    spotter = Spotter.load(threads=1)
    random = np.random.default_rng(0)
    paths = [
        write_sound(tmp_path / f"{i}.wav", tone(300 + 100 * i, random.uniform(0.3, 1.5)), 16_000) for i in range(20)
    ]
    found = list(predict_all(spotter, (Source(str(path), path) for path in paths), 3))
    assert [source.file for source, _ in found] == paths
    for path, (_, prediction) in zip(paths, found, strict=True):
        alone = spotter.predict_file(path, 3)
        assert [word for word, _ in prediction.top] == [word for word, _ in alone.top]
        assert prediction.seconds == alone.seconds
        assert prediction.posterior == pytest.approx(alone.posterior, abs=1e-5)
