"""The grades as data, and the calendar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop import grading_policy, postgres
from shop import settings as shop_settings
from shop.clock import UTC
from shop.errors import UsageError
from shop.grading_policy import POLICY, Grade, GradePolicy, months_before
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
        ((Grade("A", 0), Grade("B", 2**63)), 6, "at most"),
        ((Grade("", 0),), 6, "1 to 32 printable"),
        ((Grade("A" * 33, 0),), 6, "1 to 32 printable"),
        ((Grade("A\x00", 0),), 6, "1 to 32 printable"),
        ((Grade(" A", 0),), 6, "1 to 32 printable"),
        ((Grade("A", 0),), 0, "month"),
        ((Grade("A", 0),), 121, "month"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    grades: tuple[Grade, ...], months: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        GradePolicy(grades, months)


def test_a_policy_survives_being_written_down(tmp_path: Path) -> None:
    ours = GradePolicy((Grade("새싹", 0), Grade("나무", 300_000)), months=12)
    path = tmp_path / "policy.json"
    path.write_text(ours.as_json(), encoding="utf-8")
    assert grading_policy.load(str(path)) == ours
    assert shop_settings.load({"GRADE_POLICY": f" {path} "}, use_stack=False).grade_policy == ours
    assert shop_settings.load({}, use_stack=False).grade_policy is POLICY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "truncated"),
        (b"\xff", "byte 0"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `grades`"),
        (b'{"grades": [], "month": 3}', "unknown field `month`"),
        (b'{"grades": [{"name": "A", "threshold": "0"}]}', r"\$.grades\[0\].threshold"),
        (b'{"grades": [{"name": "A", "threshold": 0.5}]}', "Expected `int`"),
        (b'{"grades": [{"name": "A", "threshold": true}]}', "Expected `int`"),
        (b'{"grades": [{"name": "A", "threshold": 5}]}', "begin at 0"),
        (json.dumps({"grades": [{"name": "A", "threshold": 0}], "months": 0}).encode(), "months"),
    ],
)
def test_a_file_that_is_no_policy_is_named_in_one_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as refused:
        grading_policy.load(str(path))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(UsageError, match=words):
            grading_policy.load(str(path))


def test_calendar_agrees_with_postgresql_on_every_day_of_eight_years(pg: Connection) -> None:
    rows = pg.execute(
        """
        SELECT d, m, d - make_interval(months => m)
        FROM generate_series('2023-01-01T23:59:59.999999Z'::timestamptz,
                             '2030-12-31T23:59:59.999999Z', '1 day') d,
             generate_series(1, 13) m
        """
    ).fetchall()
    assert len(rows) == 2922 * 13
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
