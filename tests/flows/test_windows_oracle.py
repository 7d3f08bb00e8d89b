"""Our spend windows against Bytewax's own windowing operator, on the same in-order events."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.windows import Item, added_up, by_bytewax, by_us
from shop.clock import UTC
from shop.events import SCHEMAS, Order, as_row
from tests.support.event_samples import order

START = datetime(2026, 3, 4, tzinfo=UTC)


def stopped() -> datetime:
    """A clock on which no time passes while events are read: none of them can be late."""
    return START


def both_ways(events: list[Order], window_s: int, batch: int) -> tuple[dict, dict]:
    rows = pl.DataFrame([as_row(e) for e in events], schema=SCHEMAS["orders"])
    ours = added_up(by_us(list(rows.iter_slices(batch)), window_s))
    items: list[Item] = [(str(e.user_id), e.ordered_at, e.amount) for e in events]
    return ours, by_bytewax(items, window_s, now=stopped)


def in_order(times: list[int], users: list[int]) -> list[Order]:
    """Orders at microseconds from START, ascending."""
    return [
        order(i, user_id=user, quantity=1 + i % 9, ordered_at=START + timedelta(microseconds=at))
        for i, (at, user) in enumerate(zip(sorted(times), users, strict=False), 1)
    ]


@pytest.mark.parametrize("window_s", [1, 300, 86_400])
def test_an_order_on_the_edge_belongs_to_the_window_that_begins(window_s: int) -> None:
    edge = window_s * 1_000_000
    times = [0, edge - 1, edge, edge + 1, 2 * edge - 1, 2 * edge, 5 * edge]
    ours, theirs = both_ways(in_order(times, [7] * len(times)), window_s, batch=3)
    assert ours == theirs
    assert [n for (_, _), (n, _) in sorted(ours.items())] == [2, 3, 1, 1]


@settings(max_examples=25, deadline=None)
@given(
    times=st.lists(
        st.one_of(
            st.integers(0, 4 * 3_600_000_000),
            # The edges of five-minute windows, and a microsecond around them.
            st.builds(lambda n, off: max(0, n * 300_000_000 + off), st.integers(0, 48),
                      st.sampled_from([-1, 0, 1])),
        ),
        min_size=1,
        max_size=40,
    ),
    users=st.lists(st.integers(1, 4), min_size=40, max_size=40),
    window_s=st.sampled_from([60, 300, 3_600]),
    batch=st.integers(1, 50),
)  # fmt: skip
def test_windows_equal_bytewax_on_events_in_order(
    times: list[int], users: list[int], window_s: int, batch: int
) -> None:
    ours, theirs = both_ways(in_order(times, users), window_s, batch)
    assert ours == theirs


def test_a_busy_day_of_many_customers_equals_bytewax() -> None:
    times = [(i * i * 7919) % 86_400_000_000 for i in range(3_000)]
    events = in_order(times, [1 + i % 97 for i in range(3_000)])
    ours, theirs = both_ways(events, 300, batch=500)
    assert ours == theirs
    assert sum(krw for _, krw in ours.values()) == sum(e.amount for e in events)
