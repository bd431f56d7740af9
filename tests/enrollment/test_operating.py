"""Operating points: the margin accepts the share it should, and rarer alarms follow from the tail of the scores."""

from dataclasses import replace

import numpy as np
import pytest

from kwspot.enrollment.background import SPEECH, WORD, Background
from kwspot.enrollment.head import Head
from kwspot.enrollment.operating import (
    ALARM_S,
    accepted_by,
    false_alarms_per_hour,
    margin_for,
    temperature_for,
    threshold_for,
)
from kwspot.tasks import SILENCE, UNKNOWN

HEAD = Head(("yes", UNKNOWN, SILENCE), np.zeros(1), np.array([[1.0, 0.0, 0.0]]), np.array([0.0, 0.0, -50.0]))


def background(scores, kind=SPEECH, hours=1.0):
    """Held-out windows whose logit of the one word is the score."""
    n = len(scores)
    return Background(
        np.asarray(scores, np.float32)[:, None], np.full(n, kind, np.uint8), np.full(n, ""), np.ones(n, bool), hours
    )


@pytest.mark.parametrize("kind", [WORD, SPEECH])
@pytest.mark.parametrize("accepted", [0.01, 0.1])
def test_margin_accepts_the_share_wanted(kind, accepted):
    held_out = background(np.random.default_rng(0).normal(-3, 2, 5000), kind)
    harder = HEAD.harder(margin_for(HEAD, held_out, accepted))
    assert accepted_by(harder, held_out.embeddings) == pytest.approx(accepted, abs=1e-3)


def test_alarms_an_hour_count_the_windows_above_a_threshold():
    scores = np.random.default_rng(0).normal(-3, 1.5, 4000)
    thresholds = np.array([0.05, 0.1, 0.2])
    shares = np.array([(scores >= np.log(t / (1 - t))).mean() for t in thresholds])
    alarms = false_alarms_per_hour(HEAD, background(scores), thresholds)
    assert alarms == pytest.approx(shares * 3600 / ALARM_S)


def test_rare_alarms_follow_from_the_tail():
    """Of scores whose tail is exponential, the rate far beyond the windows there are."""
    random = np.random.default_rng(1)
    scores = random.exponential(0.7, 4000) - 2
    threshold = threshold_for(HEAD, background(scores), per_hour=0.1)
    expected = -2 + 0.7 * np.log(3600 / ALARM_S / 0.1)
    assert np.log(threshold / (1 - threshold)) == pytest.approx(expected, rel=0.15)


def test_fewer_alarms_need_a_higher_threshold():
    held_out = background(np.random.default_rng(0).normal(-3, 2, 3000))
    thresholds = [threshold_for(HEAD, held_out, per_hour) for per_hour in (100, 10, 1, 0.1)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 4
    alarms = false_alarms_per_hour(HEAD, held_out, np.array(thresholds))
    assert alarms == pytest.approx([100, 10, 1, 0.1], rel=0.15)


@pytest.mark.parametrize("scale", [0.3, 1, 5])
def test_temperature_leaves_room_for_thresholds(scale):
    """One false alarm in ten hours has a posterior of 0.99 at most, and what is likeliest stays so."""
    held_out = background(scale * np.random.default_rng(0).normal(-3, 2, 3000))
    cooler = HEAD.tempered(temperature_for(HEAD, held_out))
    assert threshold_for(cooler, held_out, 0.1) <= 0.99 + 1e-3
    windows = held_out.embeddings
    assert (cooler.posteriors(windows).argmax(1) == HEAD.posteriors(windows).argmax(1)).all()


def test_a_part_leaves_words_out_and_keeps_what_is_held_out():
    both = background([0, 1, 2, 3], WORD)
    words, held_out = np.array(["Stop", "go", "stop", ""]), np.array([1, 0, 0, 1], bool)
    named = replace(both, word=words, held_out=held_out)
    assert named.without(["STOP"]).embeddings.ravel().tolist() == [1, 3]
    assert named.part(held_out=False).word.tolist() == ["go", "stop"]
    assert len(named.of(SPEECH)) == 0
