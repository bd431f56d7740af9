"""Items that are slow to come are taken in a thread, some ahead of the one who needs them."""

from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def ahead(items: Iterable[T], most: int, at_once: int = 1) -> Generator[list[T], None, None]:
    """Take items in a thread, up to `most` ahead; yield those that are there, in order, up to `at_once` in a list.

    What the items raise is raised after the last list. The thread stops when the iterator is closed.
    """
    waiting: Queue[T | _End] = Queue(most)
    stopped = Event()

    def put(item: T | _End) -> None:
        placed = False
        while not placed and not stopped.is_set():
            with suppress(Full):
                waiting.put(item, timeout=0.1)
                placed = True

    def read() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_End(None))
        except BaseException as error:
            put(_End(error))

    Thread(target=read, daemon=True).start()
    end: _End | None = None
    try:
        while end is None:
            taken: list[T] = []
            while end is None and (not taken or (len(taken) < at_once and not waiting.empty())):
                item = waiting.get()
                if isinstance(item, _End):
                    end = item
                else:
                    taken.append(item)
            if taken:
                yield taken
        if end.error is not None:
            raise end.error
    finally:
        stopped.set()
