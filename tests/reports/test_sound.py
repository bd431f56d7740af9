"""The figures of sound: what is marked and named in them, and how loud the picture makes silence."""

import math

from matplotlib.figure import Figure
import numpy as np
import pytest

from kwspot.evaluation.long_audio import sounding
from kwspot.experiments.settings import FrontEnd
from kwspot.inference.detector import Event
from kwspot.reports.sound import MOST_NAMED, _draw_frames, _mark_events
from tests.sounds import RATE, tone


def test_a_word_sounds_where_it_is_not_far_below_its_loudest():
    clip = np.random.default_rng(1).normal(0, 1e-4, RATE).astype(np.float32)
    clip[6400:9600] += tone(440)[:3200]
    assert sounding(clip, RATE) == pytest.approx((0.4, 0.6), abs=0.011)


def test_silence_is_black_and_the_loudest_bright():
    front_end = FrontEnd()
    axes = Figure().subplots()
    floor = np.full((50, front_end.n_mels), math.log(front_end.log_offset))
    for frames, brightness in ((floor, 0.0), (floor + 20.0, 1.0)):
        _draw_frames(axes, frames, front_end)
        image = axes.images[-1]
        assert image.norm(frames[0, 0]) == brightness


@pytest.mark.parametrize(("n", "title", "n_names"), [(3, "", 3), (MOST_NAMED + 1, f"{MOST_NAMED + 1} keywords", 0)])
def test_more_keywords_than_names_have_room_are_counted(n, title, n_names):
    axes = Figure().subplots()
    _mark_events(axes, [Event("yes", i, i + 0.5, 0.9) for i in range(n)], float(n))
    assert axes.get_title() == title
    assert len(axes.texts) == n_names
    assert len(axes.patches) == n
