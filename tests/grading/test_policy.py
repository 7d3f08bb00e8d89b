"""The grades as data, and the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grading.policy import POLICY, Grade, Policy, months_before
from shop import postgres
from shop.clock import UTC
from shop.postgres import Connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_thresholds_are_the_published_ones() -> None:
    assert [(g.name, g.threshold) for g in POLICY] == [
        ("BRONZE", 0),
        ("SILVER", 100_000),
        ("GOLD", 400_000),
        ("VIP", 1_000_000),
        ("VVIP", 2_000_000),
    ]
    assert POLICY.months == 6


@pytest.mark.parametrize(
    ("grades", "months", "words"),
    [
        ((), 6, "begin at 0"),
        ((Grade("A", 1),), 6, "begin at 0"),
        ((Grade("A", 0), Grade("B", 0)), 6, "ascend"),
        ((Grade("A", 0), Grade("B", 5), Grade("C", 4)), 6, "ascend"),
        ((Grade("A", 0), Grade("A", 5)), 6, "differ"),
        ((Grade("", 0),), 6, "differ"),
        ((Grade("A", 0),), 0, "month"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    grades: tuple[Grade, ...], months: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Policy(grades, months)


def test_calendar_agrees_with_postgresql_on_every_day_of_a_leap_cycle(pg: Connection) -> None:
    rows = pg.execute(
        """
        SELECT d, m, d - make_interval(months => m)
        FROM generate_series('2023-01-01T23:59:59.999999Z'::timestamptz,
                             '2028-12-31T23:59:59.999999Z', '1 day') d,
             generate_series(1, 13) m
        """
    ).fetchall()
    assert len(rows) == 2192 * 13
    wrong = [(d, m, expected) for d, m, expected in rows if months_before(d, m) != expected]
    assert wrong == []


@settings(deadline=None, max_examples=1)
@given(
    st.lists(
        st.integers(0, 32_503_000_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)),
        min_size=200,
        max_size=400,
    )
)
def test_calendar_agrees_with_postgresql_at_any_instant(
    pg_once: Connection, instants: list[datetime]
) -> None:
    rows = pg_once.execute(
        "SELECT t, t - interval '6 months' FROM unnest(%s::timestamptz[]) t", (instants,)
    ).fetchall()
    assert [months_before(t, 6) for t, _ in rows] == [expected for _, expected in rows]


@pytest.fixture(scope="module")
def pg_once(servers: Any) -> Iterator[Connection]:
    """Any database will do: only the server's calendar is asked."""
    with postgres.connect(servers.settings().postgres, "test", autocommit=True) as conn:
        yield conn


def test_the_calendar_is_that_of_utc() -> None:
    seoul = timezone(timedelta(hours=9))
    # 08:00 on the 1st in Seoul is still the last day of the month before in UTC.
    assert months_before(datetime(2026, 9, 1, 8, tzinfo=seoul), 6) == datetime(
        2026, 2, 28, 23, tzinfo=UTC
    )
