"""A few kills of every job of the kill program, with a seed of their own."""

import pytest

from tests.kill.kills import N_KILLS, kill_often

pytestmark = pytest.mark.slow


def test_a_full_run_has_two_hundred_kills():
    assert sum(N_KILLS.values()) >= 200


@pytest.mark.parametrize("name", N_KILLS)
def test_the_command_given_again_ends_with_the_same_files(tmp_path, name):
    found = kill_often(name, 2, 2, tmp_path)
    assert found["kills"] + found["ended_before"] == 2
