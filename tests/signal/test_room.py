"""A room dies away in its time, and its echo stands to the direct sound as asked for."""

import numpy as np
import pytest

from kwspot.signal.room import impulse_response, reverberation
from tests.sounds import RATE

RNG = np.random.default_rng


@pytest.mark.parametrize("rt60_s", [0.3, 0.7])
def test_reverberation_falls_by_60_db_in_its_time(rt60_s):
    tail = reverberation(RNG(2), rt60_s, RATE)
    fall = [10 * np.log10(np.mean(tail[start : start + 800] ** 2)) for start in (800, round((0.05 + rt60_s) * RATE))]
    assert fall[0] - fall[1] == pytest.approx(60, abs=1.5)
    assert not tail[:32].any()


@pytest.mark.parametrize("drr_db", [0, -6])
def test_direct_sound_against_echo(drr_db):
    response = impulse_response(reverberation(RNG(2), 0.3, 4800), drr_db)
    assert response[0] == 1
    assert -10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(drr_db, abs=1e-6)
