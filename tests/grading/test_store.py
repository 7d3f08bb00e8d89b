"""Grading in a real PostgreSQL: what counts, what is written, and concurrent graders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from grading import customer_rows, store
from grading.store import GradeRun, grade_users
from shop import postgres
from shop.grading_policy import Grade, GradePolicy, months_before
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.waiting import wait_until


@pytest.fixture
def conn(settings: Settings) -> Iterator[Connection]:
    with postgres.connect(settings.postgres, "grader", autocommit=True) as made:
        yield made


@pytest.fixture
def now(shop: Any) -> datetime:
    return datetime.fromisoformat("2026-08-31T12:00:00+00:00")


@pytest.fixture
def grade(conn: Connection, now: datetime) -> Callable[..., GradeRun]:
    def run(at: datetime = now, **options: Any) -> GradeRun:
        result = grade_users(conn, wait=True, clock=lambda: at, **options)
        assert result is not None
        return result

    return run


def test_thresholds_are_reached_exactly(shop: Any, grade: Callable[..., GradeRun]) -> None:
    spends = [0, 99_999, 100_000, 399_999, 400_000, 999_999, 1_000_000, 1_999_999, 2_000_000]
    for user, spend in enumerate(spends):
        shop.user(user)
        if spend:
            shop.order(user, spend - 1)
            shop.order(user, 1)
    result = grade()
    assert list(shop.grades().values()) == [
        *("BRONZE", "BRONZE", "SILVER", "SILVER", "GOLD", "GOLD", "VIP", "VIP", "VVIP")
    ]
    assert result.distribution == {"BRONZE": 2, "SILVER": 2, "GOLD": 2, "VIP": 2, "VVIP": 1}
    assert (result.users, result.changed, result.upgraded, result.downgraded) == (9, 7, 7, 0)
    assert shop.runs() == [("full", 9, 7, 7, 0)]
    assert shop.history()[0] == (2, "BRONZE", "SILVER", 100_000)


def test_the_period_begins_six_months_ago_to_the_microsecond_and_ends_now(
    shop: Any, grade: Callable[..., GradeRun], now: datetime
) -> None:
    tick = timedelta(microseconds=1)
    start = months_before(now, 6)
    assert start == datetime.fromisoformat("2026-02-28T12:00:00+00:00")
    for user, at in enumerate([start - tick, start, now - tick, now]):
        shop.user(user)
        shop.order(user, 100_000, at)
    grade()
    assert list(shop.grades().values()) == ["BRONZE", "SILVER", "SILVER", "BRONZE"]
    grade(now + tick)  # one order leaves, one enters
    assert list(shop.grades().values()) == ["BRONZE", "BRONZE", "SILVER", "SILVER"]


def test_only_paid_orders_count_and_a_cancellation_takes_its_spend_back(
    shop: Any, grade: Callable[..., GradeRun], now: datetime
) -> None:
    shop.user(1)
    kept, cancelled = shop.order(1, 100_000), shop.order(1, 300_000)
    shop.order(1, 5_000_000, status="REFUNDED")
    grade()
    assert shop.grades() == {1: "GOLD"}
    shop.cancel(cancelled)
    result = grade(now + timedelta(minutes=10))
    assert shop.grades() == {1: "SILVER"}
    assert (result.upgraded, result.downgraded) == (0, 1)
    shop.cancel(kept, "REFUNDED")
    grade(now + timedelta(minutes=20))
    assert shop.history() == [
        (1, "BRONZE", "GOLD", 400_000),
        (1, "GOLD", "SILVER", 100_000),
        (1, "SILVER", "BRONZE", 0),
    ]


def test_a_second_run_changes_nothing_and_writes_no_row_again(
    shop: Any, grade: Callable[..., GradeRun], now: datetime
) -> None:
    for user in range(5):
        shop.user(user, grade="PLATINUM")  # of some earlier policy
        shop.order(user, 100_000 * user + 1)
    first = grade()
    before = shop.pg.execute("SELECT user_id, xmin, ctid FROM users ORDER BY 1").fetchall()
    second = grade(now + timedelta(seconds=1))
    assert (first.changed, first.upgraded, second.changed) == (5, 5, 0)
    assert shop.pg.execute("SELECT user_id, xmin, ctid FROM users ORDER BY 1").fetchall() == before
    assert len(shop.history()) == 5
    assert second.distribution == first.distribution


def test_another_policy_grades_anew(shop: Any, grade: Callable[..., GradeRun]) -> None:
    shop.user(1)
    shop.order(1, 100_000)
    grade()
    grade(policy=GradePolicy((Grade("WHITE", 0), Grade("BLACK", 100_000))))
    assert shop.grades() == {1: "BLACK"}
    # The same instant twice: one row says from where to where.
    assert shop.history() == [(1, "BRONZE", "BLACK", 100_000)]


def test_an_empty_shop_is_graded_too(shop: Any, grade: Callable[..., GradeRun]) -> None:
    assert (grade().users, shop.history(), shop.runs()) == (0, [], [("full", 0, 0, 0, 0)])


def test_orders_are_read_whole_whatever_the_size_of_a_part(
    shop: Any, conn: Connection, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    shop.pg.execute(
        "INSERT INTO orders SELECT i, 1, i %% 977, 1, 1, i, 0, i, 'CARD', 'PAID', NULL, t, t"
        " FROM (SELECT i, %s + make_interval(secs => i) AS t FROM generate_series(1, 20000) i) o",
        (now,),
    )
    shop.pg.execute("ANALYZE orders")
    start, end = now + timedelta(seconds=100), now + timedelta(seconds=19_900)
    expected = shop.pg.execute(
        "SELECT user_id, sum(amount)::bigint FROM orders"
        " WHERE ordered_at >= %s AND ordered_at < %s GROUP BY 1 ORDER BY 1",
        (start, end),
    ).fetchall()
    for rows, bits in ((100, 3), (999, 1), (2_000_000, 9)):
        monkeypatch.setattr(customer_rows, "PART_ROWS", rows)
        monkeypatch.setattr(customer_rows, "BITS", bits)
        with conn.cursor() as cur:
            spend = customer_rows.spend_between(cur, store._ORDERS, start, end)
        assert spend.sort("user_id").rows() == expected


def test_a_failure_half_way_leaves_nothing_half_done(
    shop: Any, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.user(1)
    shop.order(1, 100_000, datetime.now().astimezone() - timedelta(days=1))
    monkeypatch.setattr(
        store, "_RUN", f"INSERT INTO no_such_table VALUES ({','.join(['%s'] * 13)})"
    )
    with pytest.raises(Exception, match="no_such_table"):
        grade_users(conn, wait=True)
    assert (shop.grades(), shop.history(), shop.runs()) == ({1: "BRONZE"}, [], [])


def test_two_graders_at_once(
    shop: Any,
    conn: Connection,
    settings: Settings,
    now: datetime,
) -> None:
    shop.user(1)
    shop.order(1, 100_000)
    results: list[GradeRun | None] = []

    def waiting(at: datetime) -> None:
        with postgres.connect(settings.postgres, "grader", autocommit=True) as mine:
            results.append(grade_users(mine, wait=True, clock=lambda: at))

    graders = [
        threading.Thread(target=waiting, args=(now + timedelta(seconds=i),)) for i in range(2)
    ]
    with postgres.connect(settings.postgres, "blocker") as blocker:
        blocker.execute("SELECT FROM users WHERE user_id = 1 FOR UPDATE")
        graders[0].start()
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
        graders[1].start()
        wait_until(lambda: shop.graders("advisory"), "the other waits for its turn")
        assert grade_users(conn, wait=False) is None
    for grader in graders:
        grader.join(30)
    assert [r.changed for r in results if r] == [1, 0]
    assert shop.history() == [(1, "BRONZE", "SILVER", 100_000)]


def test_counters_may_change_between_reading_and_writing(
    shop: Any,
    settings: Settings,
    now: datetime,
) -> None:
    shop.user(1)
    shop.order(1, 100_000)
    results: list[GradeRun | None] = []

    def grader() -> None:
        with postgres.connect(settings.postgres, "grader", autocommit=True) as mine:
            results.append(grade_users(mine, wait=True, clock=lambda: now))

    thread = threading.Thread(target=grader)
    with postgres.connect(settings.postgres, "ingest") as ingest:
        ingest.execute("UPDATE users SET order_count = 7, total_spent = 9 WHERE user_id = 1")
        thread.start()
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
    thread.join(30)
    assert [r.changed for r in results if r] == [1]
    assert shop.pg.execute("SELECT grade, order_count, total_spent FROM users").fetchall() == [
        ("SILVER", 7, 9)
    ]


def test_the_moves_of_a_day_are_those_of_its_history(
    pg: Connection, shop: Any, now: datetime, grade: Callable[..., GradeRun]
) -> None:
    at = now + timedelta(minutes=10)
    for user_id in range(1, 5):
        shop.user(user_id)
    shop.order(1, 100_000)
    shop.order(2, 100_000)
    grade()
    assert moves(pg) == {("BRONZE", "SILVER"): 2}
    shop.order(3, 100_000)
    shop.order(1, 5_000_000)
    grade(at)
    assert moves(pg) == {("BRONZE", "SILVER"): 3, ("SILVER", "VVIP"): 1}
    shop.order(4, 100_000)
    shop.order(3, 5_000_000)
    grade(at)  # a clock that stepped back: 3 moved at this instant before
    assert moves(pg) == {("BRONZE", "SILVER"): 3, ("SILVER", "VVIP"): 1, ("BRONZE", "VVIP"): 1}
    of_history = pg.execute("SELECT * FROM grade_moves_by_day_of_history()").fetchall()
    assert {(before, after): number for _, before, after, number in of_history} == moves(pg)


def moves(pg: Connection) -> dict[tuple[str, str], int]:
    """Return how many customers moved from one grade to another, on all days."""
    rows = pg.execute("SELECT from_grade, to_grade, customers FROM grade_moves_by_day").fetchall()
    return {(before, after): number for before, after, number in rows}
