"""Items are prepared ahead: in order, never further than asked, and failures are raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from generators.history.prefetch import ahead
from tests.support.waiting import wait_until


def test_no_more_is_taken_than_asked_for():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    found = ahead(items(), str, depth=2)
    assert next(found) == (0, "0")
    wait_until(lambda: len(taken) == 3, "the next two")
    assert next(found) == (1, "1")
    wait_until(lambda: len(taken) == 4, "one more")
    found.close()
    assert taken == [0, 1, 2, 3]


def test_who_stops_waits_for_what_is_being_made():
    begun, done = threading.Event(), threading.Event()
    made: list[int] = []

    def make(i: int) -> int:
        if i == 1:
            begun.set()
            done.wait(10)
        made.append(i)
        return i

    found = ahead(iter(range(9)), make)
    next(found)
    assert begun.wait(10)
    threading.Timer(0.2, done.set).start()
    found.close()
    assert made == [0, 1]


def test_what_the_thread_raises_is_raised_here_and_ends_it():
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("taken")

    found = ahead(items(), str)
    assert next(found) == (1, "1")
    with pytest.raises(KeyError, match="taken"):
        next(found)

    tried: list[int] = []

    def make(i: int) -> float:
        tried.append(i)
        return 1 / (2 - i)

    found_too = ahead(iter(range(9)), make, depth=1)
    assert [next(found_too)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found_too)
    assert tried == [0, 1, 2]
