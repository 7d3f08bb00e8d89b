"""53-bit time-ordered ids."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop import ids
from shop.ids import EPOCH, EPOCH_MS, MAX_ID, IdGenerator, ids_at, make_id, time_of

_MS = st.integers(0, 2**41 - 1)
_NODE = st.integers(0, 15)


@given(_MS, _NODE, st.integers(0, 255))
def test_an_id_is_exact_in_javascript_and_carries_its_time(
    ms: int, node: int, sequence: int
) -> None:
    made = make_id(ms, node, sequence)
    assert 0 <= made <= MAX_ID < 2**53
    assert int(float(made)) == made
    assert time_of(made) == EPOCH + timedelta(milliseconds=ms)


@given(st.tuples(_MS, _NODE, st.integers(0, 255)), st.tuples(_MS, _NODE, st.integers(0, 255)))
def test_ids_are_ordered_by_time_and_differ_unless_all_parts_are_equal(
    a: tuple[int, int, int], b: tuple[int, int, int]
) -> None:
    assert (make_id(*a) < make_id(*b)) == (a < b)


@pytest.mark.parametrize("parts", [(-1, 0, 0), (2**41, 0, 0), (0, 16, 0), (0, -1, 0), (0, 0, 256)])
def test_parts_that_do_not_fit_are_refused(parts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        make_id(*parts)


@given(st.lists(st.integers(0, 50), max_size=2000).map(sorted), _NODE)
def test_vectorised_ids_are_those_of_the_generator(ms: list[int], node: int) -> None:
    made = ids_at(np.array(ms, dtype=np.int64), node)
    clock = iter(ms)
    one_by_one = IdGenerator(node, lambda: (EPOCH_MS + next(clock)) * 1_000_000)
    assert made.tolist() == [one_by_one() for _ in ms]
    assert (np.diff(made) > 0).all()


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=300))
def test_a_clock_that_steps_back_repeats_nothing(readings: list[int]) -> None:
    clock = iter(readings)
    generator = IdGenerator(3, lambda: (EPOCH_MS + next(clock)) * 1_000_000)
    made = [generator() for _ in readings]
    assert all(a < b for a, b in itertools.pairwise(made))


def test_a_full_millisecond_spills_into_the_next() -> None:
    generator = IdGenerator(0, lambda: (EPOCH_MS + 5) * 1_000_000)
    made = [generator() for _ in range(ids.PER_MS + 1)]
    assert made[-2] == make_id(5, 0, 255)
    assert made[-1] == make_id(6, 0, 0)


def test_threads_share_a_generator() -> None:
    generator = IdGenerator()
    made: list[list[int]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(generator() for _ in range(2000)))
        for mine in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({i for mine in made for i in mine}) == 8000
    assert all(mine == sorted(mine) for mine in made)


def test_nodes_never_collide() -> None:
    ms = np.zeros(1000, dtype=np.int64)
    assert len({i for node in range(16) for i in ids_at(ms, node).tolist()}) == 16_000
