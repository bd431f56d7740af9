"""Reading ahead: in order, no further than asked, and over when nobody listens."""

from threading import Event
import time

import pytest

from kwspot.prefetch import ahead


def test_order_is_kept_and_what_was_raised_is_raised_after_the_last():
    def items():
        yield from range(20)
        raise ValueError("broken")

    lists = ahead(items(), most=4, at_once=3)
    taken = []
    with pytest.raises(ValueError, match="broken"):
        for some in lists:
            assert 1 <= len(some) <= 3
            taken += some
    assert taken == list(range(20))


def test_what_is_there_comes_and_no_more_is_waited_for():
    go_on = Event()

    def items():
        yield from range(6)
        go_on.wait(10)
        yield 6

    lists = ahead(items(), most=8, at_once=8)
    taken = next(lists)
    while len(taken) < 6:  # as many lists as the thread is slow
        taken += next(lists)
    go_on.set()
    assert taken == list(range(6))
    assert list(lists) == [[6]]


def test_a_list_holds_no_more_than_asked():
    through = Event()

    def items():
        yield from range(20)
        through.set()

    lists = ahead(items(), most=20, at_once=3)
    n_left = 20 - len(next(lists))
    assert through.wait(10)
    assert [len(some) for some in lists] == [3] * (n_left // 3) + [n_left % 3] * (n_left % 3 > 0)


def test_it_stops_with_its_listener():
    taken = []
    lists = ahead((taken.append(i) or i for i in range(10**9)), most=4)
    next(lists)
    lists.close()
    time.sleep(0.5)
    n_taken = len(taken)
    time.sleep(0.3)
    assert len(taken) == n_taken < 20
