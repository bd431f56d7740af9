"""Posteriors that are known -> events that must follow, however the rows come in."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from kwspot.errors import ConfigError
from kwspot.inference.detector import DetectionSettings, Detector, Smoother

LABELS = ("yes", "no", "unknown", "silence")
SILENT = (0.0, 0.0, 0.1, 0.9)
STEP_S, SPAN_S = 0.04, 1.0


def rows_of(*plateaus, seconds=6.0):
    """Rows that are silence but for (label, from_s, to_s, posterior): a row counts by where it ends."""
    rows = np.tile(np.float32(SILENT), (round(seconds / STEP_S), 1))
    ends = (np.arange(len(rows)) + 1) * STEP_S
    for label, from_s, to_s, posterior in plateaus:
        inside = (ends >= from_s - 1e-6) & (ends <= to_s + 1e-6)
        rows[inside] = 0
        rows[inside, LABELS.index("unknown")] = 1 - posterior
        rows[inside, LABELS.index(label)] = posterior
    return rows


def events_of(rows, sizes=(), lead_s=0.0, **changes):
    """Detect in blocks of these sizes, then in the rest at once."""
    chosen = DetectionSettings(**changes)
    smoother = Smoother(chosen.smoothing_ms, STEP_S)
    detector = Detector(LABELS, chosen, step_s=STEP_S, span_s=SPAN_S, lead_s=lead_s)
    events = []
    for block in np.split(rows, np.cumsum(sizes)):
        events += detector.feed(smoother.feed(block))
    return events + detector.finish()


def words(events):
    return [event.word for event in events]


@pytest.mark.parametrize("posterior", [0.85, 0.92, 1.0])
@pytest.mark.parametrize("smoothing_ms", [0, 100, 200, 300])
@pytest.mark.parametrize("lead_s", [0.0, 0.11])
def test_times_are_those_of_the_word(posterior, smoothing_ms, lead_s):
    """A word from 2.0 to 2.5 s is whole in windows that end from 2.5 to 3.0 s."""
    rows = rows_of(("yes", 2.5 - lead_s, 3.0 - lead_s, posterior))
    (event,) = events_of(rows, lead_s=lead_s, smoothing_ms=smoothing_ms)
    assert event.word == "yes"
    assert event.start_s == pytest.approx(2.0, abs=STEP_S)
    assert event.end_s == pytest.approx(2.5, abs=STEP_S)
    assert event.posterior == pytest.approx(posterior, abs=1e-6)


@pytest.mark.parametrize("length_s", [0.24, 0.5, 0.9, 1.2])
def test_a_plateau_is_one_event(length_s):
    assert words(events_of(rows_of(("no", 2.0, 2.0 + length_s, 0.95)))) == ["no"]


def test_a_dip_within_the_refractory_period_is_the_same_word():
    rows = rows_of(("yes", 2.0, 2.3, 0.95), ("yes", 2.5, 2.8, 0.9))
    assert words(events_of(rows, smoothing_ms=0)) == ["yes"]
    assert words(events_of(rows, smoothing_ms=0, refractory_ms=50)) == ["yes", "yes"]


@pytest.mark.parametrize("order", [("yes", "no"), ("no", "yes")])
def test_a_flicker_between_keywords_is_the_stronger_one(order):
    a, b = order
    rows = rows_of((a, 2.5, 2.7, 0.85), (b, 2.74, 3.0, 0.97))
    (event,) = events_of(rows, smoothing_ms=0)
    assert (event.word, event.posterior) == (b, pytest.approx(0.97))
    (event,) = events_of(rows[::-1], smoothing_ms=0)
    assert event.word == b


def test_a_keyword_that_is_not_wanted_hides_none_that_is():
    rows = rows_of(("yes", 2.2, 2.48, 0.85), ("no", 2.5, 3.0, 0.99))
    chosen = DetectionSettings(threshold=0.8, smoothing_ms=0)
    wanted = {}
    for asked in (None, ["no"], ["yes"], ["other"]):
        detector = Detector(LABELS, chosen, step_s=STEP_S, span_s=SPAN_S, words=asked)
        wanted[str(asked)] = words([*detector.feed(rows), *detector.finish()])
    assert wanted == {"None": ["no"], "['no']": ["no"], "['yes']": ["yes"], "['other']": []}


def test_a_flicker_in_the_midst_of_a_word_takes_nothing_from_its_times():
    rows = rows_of(("yes", 2.5, 2.7, 0.9), ("no", 2.74, 2.82, 0.85), ("yes", 2.86, 3.0, 0.95))
    (event,) = events_of(rows, smoothing_ms=0)
    assert event.word == "yes"
    assert (event.start_s, event.end_s) == pytest.approx((2.0, 2.5), abs=STEP_S)


@pytest.mark.parametrize(("first", "second"), [("yes", "yes"), ("yes", "no")])
def test_words_a_second_apart_are_two(first, second):
    events = events_of(rows_of((first, 1.5, 2.0, 0.95), (second, 2.5, 3.0, 0.95)))
    assert words(events) == [first, second]
    assert events[1].start_s - events[0].start_s == pytest.approx(1, abs=0.05)


def test_what_is_heard_longer_than_a_word_can_be_is_several():
    assert len(events_of(rows_of(("yes", 1.0, 5.0, 0.95)))) == 3


@pytest.mark.parametrize("label", ["unknown", "silence"])
def test_other_classes_are_no_events(label):
    assert events_of(rows_of((label, 1.0, 4.0, 1.0))) == []


def test_the_highest_class_decides_at_a_low_threshold():
    assert events_of(rows_of(("yes", 2.0, 3.0, 0.2)), threshold=0.15) == []
    assert words(events_of(rows_of(("yes", 2.0, 3.0, 0.6)), threshold=0.15)) == ["yes"]


def test_the_end_of_the_sound_ends_a_word():
    assert words(events_of(rows_of(("yes", 5.7, 6.0, 0.95)))) == ["yes"]
    detector = Detector(LABELS, DetectionSettings(), step_s=STEP_S, span_s=SPAN_S)
    detector.feed(rows_of(("yes", 5.7, 6.0, 0.95)))
    assert len(detector.finish()) == 1
    assert detector.finish() == []


def test_an_event_is_known_soon_after_the_word():
    """Smoothing, the span and the refractory period, not more: somebody may be waiting."""
    rows = rows_of(("yes", 2.5, 3.0, 0.95))
    smoother, detector = (
        Smoother(200, STEP_S),
        Detector(LABELS, DetectionSettings(), step_s=STEP_S, span_s=SPAN_S),
    )
    known = [i for i in range(len(rows)) if detector.feed(smoother.feed(rows[i : i + 1]))]
    assert [(i + 1) * STEP_S for i in known] == [pytest.approx(3.0 + 0.3, abs=0.15)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 30), max_size=12),
    threshold=st.sampled_from([0.3, 0.6, 0.8]),
    refractory_ms=st.sampled_from([0, 100, 300]),
)
def test_blocks_of_any_size_give_the_same_events(seed, sizes, threshold, refractory_ms):
    random = np.random.default_rng(seed)
    plateaus = [
        (random.choice(LABELS), start, start + random.uniform(0, 1.5), random.uniform(0.3, 1))
        for start in np.sort(random.uniform(0, 6, 6))
    ]
    chosen = {"threshold": threshold, "refractory_ms": refractory_ms}
    whole, parts = events_of(rows_of(*plateaus), **chosen), events_of(rows_of(*plateaus), sizes, **chosen)
    assert words(whole) == words(parts)
    for one, other in zip(whole, parts, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert one.posterior == pytest.approx(other.posterior, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_events_follow_each_other_and_have_a_length(seed):
    rows = np.random.default_rng(seed).dirichlet([0.15] * len(LABELS), 200).astype(np.float32)
    events = events_of(rows, smoothing_ms=40, threshold=0.5)
    assert all(0 <= e.start_s < e.end_s <= 200 * STEP_S + 0.1 for e in events)
    assert all(e.word in ("yes", "no") and 0.5 <= e.posterior <= 1 for e in events)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0}, "threshold: a posterior above 0 and at most 1"),
        ({"threshold": 2}, "got 2"),
        ({"threshold": float("nan")}, "got nan"),
        ({"smoothing_ms": -1}, "smoothing_ms: 0 to 60000 is needed, got -1"),
        ({"smoothing_ms": float("inf")}, "got inf"),
        ({"refractory_ms": float("nan")}, "refractory_ms: 0 to 60000"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DetectionSettings(**changes)


def test_margins_make_events_longer_and_never_overlap():
    rows = rows_of(("yes", 2.5, 3.0, 0.95), ("no", 3.5, 4.0, 0.95))
    bare = events_of(rows)
    wide = events_of(rows, before_ms=100, after_ms=300)
    assert wide[0].start_s == pytest.approx(bare[0].start_s - 0.1)
    assert wide[0].end_s == pytest.approx(bare[0].end_s + 0.3)
    wider = events_of(rows, before_ms=500, after_ms=500)
    assert wider[1].start_s == wider[0].end_s
    assert words(wider) == ["yes", "no"]
