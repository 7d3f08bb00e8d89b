"""Incremental runs against full ones, on a real PostgreSQL, after any history."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from grading import store
from grading.store import GradeRun, grade_users
from shop import postgres
from shop.clock import UTC
from shop.grading_policy import POLICY, Grade, GradePolicy
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.layouts import by_month_in_the_long_suite
from tests.support.waiting import wait_until

T0 = datetime(2026, 8, 31, 12, tzinfo=UTC)
OLD = T0 - timedelta(days=400)
POLICIES = (POLICY, GradePolicy((Grade("A", 0), Grade("B", 300_000)), months=2))

_USERS = st.integers(1, 4)
_AGES = st.one_of(st.integers(-3, 3), st.integers(55, 65), st.integers(170, 200), st.just(400))
_WHO = st.integers(0, 1)  # which of two writers, both of whose transactions may be open
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), _WHO, _USERS, st.sampled_from([100_000, 350_000]), _AGES),
        st.tuples(st.just("cancel"), _WHO, st.integers(0, 30)),
        st.tuples(st.just("delete"), _WHO, st.integers(0, 30)),
        st.tuples(st.just("user"), _WHO, _USERS),
        st.tuples(st.just("leave"), _WHO, _USERS),
        st.tuples(st.just("regrade"), _WHO, _USERS),
        st.tuples(st.just("commit"), _WHO),
        st.tuples(st.just("rollback"), _WHO),
        st.tuples(st.just("clock"), st.sampled_from([-200, -40, -1, 1, 7, 40, 200])),
        st.tuples(st.just("policy"), st.integers(0, 1)),
        st.tuples(st.just("truncate"), st.sampled_from(["users, orders", "grade_history"])),
        st.tuples(st.just("forget")),
        st.tuples(st.just("grade")),
    ),
    min_size=5,
    max_size=40,
)


class History:
    """Two writers with open transactions and a grader, over one database."""

    def __init__(self, where: Any) -> None:
        self.grader = postgres.connect(where, "grader", autocommit=True)
        self.writers = [postgres.connect(where, "writer") for _ in range(2)]
        self.now, self.policy, self.ids = T0, POLICY, 0
        self.grader.execute("SELECT forget_grade_state()")
        self.grader.execute("SET lock_timeout = '100ms'")
        self.grader.execute("TRUNCATE users, orders, grade_history, grade_runs")
        self.busy: dict[int, int] = {}  # customer or order: whose transaction holds the row
        for writer in self.writers:
            writer.execute("SET lock_timeout = '1s'")
            writer.commit()

    def close(self) -> None:
        for conn in (self.grader, *self.writers):
            conn.close()

    def grade(self, full: bool = False) -> GradeRun:
        options: Any = {"policy": self.policy, "clock": lambda: self.now, "full": full}
        try:
            run = grade_users(self.grader, wait=True, **options)
        except psycopg.errors.LockNotAvailable:  # a row that an open transaction holds
            for who in (0, 1):
                self.end(who, commit=True)
            run = grade_users(self.grader, wait=True, **options)
        assert run is not None
        return run

    def free(self, who: int, user: int) -> bool:
        return self.busy.setdefault(user, who) == who

    def spent(self, who: int, user: int, amount: int) -> None:
        self.writers[who].execute(
            "INSERT INTO users AS u (user_id, total_spent) VALUES (%s, %s) ON CONFLICT (user_id)"
            " DO UPDATE SET total_spent = u.total_spent + excluded.total_spent",
            (user, amount),
        )

    def order(self, who: int, user: int, amount: int, age: int) -> None:
        if self.free(who, user):
            self.ids += 1
            at = self.now - timedelta(days=age)
            self.writers[who].execute(
                "INSERT INTO orders VALUES"
                " (%s, 1, %s, 1, 1, %s, 0, %s, 'CARD', 'PAID', NULL, %s, %s)",
                (self.ids, user, amount, amount, at, at),
            )
            self.spent(who, user, amount)

    def cancel(self, who: int, order_id: int) -> None:
        row = (
            self.writers[who]
            .execute(
                "SELECT user_id, amount FROM orders WHERE order_id = %s AND status = 'PAID'",
                (order_id,),
            )
            .fetchone()
        )
        if row and self.free(who, row[0]):
            done = self.writers[who].execute(
                "UPDATE orders SET status = 'CANCELLED' WHERE order_id = %s AND status = 'PAID'",
                (order_id,),
            )
            if done.rowcount:
                self.spent(who, row[0], -row[1])

    def delete(self, who: int, order_id: int) -> None:
        writer = self.writers[who]
        row = writer.execute(
            "SELECT user_id FROM orders WHERE order_id = %s", (order_id,)
        ).fetchone()
        if row and self.free(who, row[0]):
            gone = writer.execute(
                "DELETE FROM orders WHERE order_id = %s RETURNING amount, status", (order_id,)
            ).fetchone()
            if gone and gone[1] == "PAID":
                self.spent(who, row[0], -gone[0])

    def leave(self, who: int, user: int) -> None:
        """A customer is deleted with all their orders; they may come back."""
        if self.free(who, user):
            writer = self.writers[who]
            writer.execute("DELETE FROM orders WHERE user_id = %s", (user,))
            writer.execute("DELETE FROM users WHERE user_id = %s", (user,))

    def regrade(self, who: int, user: int) -> None:
        """A grade set by hand is corrected by the next run that sees it."""
        if self.free(who, user):
            self.writers[who].execute("UPDATE users SET grade = 'VIP' WHERE user_id = %s", (user,))

    def alone(self, statement: str) -> None:
        """An operation that locks whole tables waits for the writers."""
        for who in (0, 1):
            self.end(who, commit=True)
        self.grader.execute(statement)

    def end(self, who: int, *, commit: bool) -> None:
        (self.writers[who].commit if commit else self.writers[who].rollback)()
        self.busy = {user: w for user, w in self.busy.items() if w != who}

    def check(self) -> None:
        """An incremental run leaves a full one at the same instant nothing to do or to fix."""
        run = self.grade()
        event(f"a checked run is {run.mode}")  # --hypothesis-show-statistics: most are incremental
        self.check_counts(run)
        oracle = self.grade(full=True)
        self.check_counts(oracle)
        assert oracle.changed == 0
        assert oracle.disagreed in (0, None)
        assert run.distribution == oracle.distribution

    def check_counts(self, run: GradeRun) -> None:
        """The numbers are those of the table."""
        grades = "SELECT grade, count(*) FROM users GROUP BY grade"
        table = dict(self.grader.execute(grades).fetchall())
        assert {name: n for name, n in run.distribution.items() if n} == table
        assert run.users == sum(table.values())


@pytest.fixture
def where(settings: Settings) -> Iterator[Any]:
    return settings.postgres


@by_month_in_the_long_suite
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([0, 2, 100]), _STEPS)
def test_an_incremental_run_agrees_with_a_full_one_after_any_history(  # noqa: PLR0912  (one branch for each kind of event)
    where: Any, many: int, steps: list[tuple[Any, ...]]
) -> None:
    h = History(where)
    patch = pytest.MonkeyPatch()
    patch.setattr(store, "MANY", many)  # their orders one by one, and all of the period
    try:
        h.spent(0, 1, 0)
        h.end(0, commit=True)
        h.grade()
        for name, *args in steps:
            if name == "user":
                if h.free(args[0], args[1]):
                    h.spent(args[0], args[1], 0)
            elif name in ("commit", "rollback"):
                h.end(args[0], commit=name == "commit")
            elif name == "clock":
                h.now += timedelta(days=args[0])
            elif name == "policy":
                h.policy = POLICIES[args[0]]
            elif name == "truncate":
                h.alone(f"TRUNCATE {args[0]}")
            elif name == "forget":
                h.alone("SELECT forget_grade_state()")
            elif name == "grade":
                h.grade()
            else:
                getattr(h, name)(*args)
        if not h.busy:
            h.check()
        h.grade()
        for who in (0, 1):  # what commits late has older transaction ids than the last run's
            h.end(who, commit=True)
        h.check()
    finally:
        patch.undo()
        h.close()


def test_an_incremental_run_looks_at_what_changed_only(pg: Connection, shop: Any) -> None:
    for user in range(1, 51):
        shop.order(user, 100_000, T0 - timedelta(days=1))

    def run(at: datetime, **options: Any) -> GradeRun:
        result = grade_users(pg, wait=True, clock=lambda: at, **options)
        assert result is not None
        return result

    assert run(T0).mode == "full"
    run(T0)  # sees its predecessor's own writes once more
    quiet = run(T0 + timedelta(minutes=10))
    assert (quiet.mode, quiet.examined, quiet.changed) == ("incremental", 0, 0)
    shop.order(7, 300_000, T0)
    late = shop.order(8, 1_000_000, T0 - timedelta(days=400))
    found = run(T0 + timedelta(minutes=20))
    assert (found.mode, found.examined, found.changed) == ("incremental", 2, 1)
    assert shop.grades()[7] == "GOLD"
    shop.cancel(late)
    assert run(T0 + timedelta(minutes=30)).changed == 0
    assert run(T0 + timedelta(minutes=30), full=True).disagreed == 0
    gone = run(T0 + timedelta(days=184))  # a period later everybody's order has left it
    assert (gone.mode, gone.changed, gone.distribution["BRONZE"]) == ("incremental", 50, 50)


def test_a_full_run_finds_and_mends_what_is_wrong(pg: Connection, shop: Any) -> None:
    shop.order(1, 100_000, T0 - timedelta(days=1))
    clock = {"clock": lambda: T0, "wait": True}
    grade_users(pg, **clock)
    grade_users(pg, **clock)  # sees its predecessor's own writes once more
    pg.execute("UPDATE orders SET amount = 400000, unit_price = 400000")  # and not their customer
    wrong = grade_users(pg, **clock)
    assert wrong
    assert (wrong.mode, wrong.changed) == ("incremental", 0)
    repaired = grade_users(pg, full_every_s=0, **clock)
    assert repaired
    assert (repaired.mode, repaired.disagreed, shop.grades()) == ("full", 1, {1: "GOLD"})
    oracle = grade_users(pg, full=True, **clock)
    assert oracle
    assert oracle.disagreed == 0


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM grade_state",
        "TRUNCATE orders",
        "VACUUM FULL users",
        "UPDATE grade_state SET place = 'elsewhere'",
        "UPDATE grade_state SET snapshot = '9000000:9000000:'",
    ],
)
def test_without_a_state_to_trust_the_run_is_full(pg: Connection, shop: Any, loss: str) -> None:
    shop.order(1, 100_000, T0 - timedelta(days=1))
    clock = {"clock": lambda: T0, "wait": True}
    grade_users(pg, **clock)
    pg.execute(loss)
    modes = [run.mode for run in (grade_users(pg, **clock), grade_users(pg, **clock)) if run]
    assert modes == ["full", "incremental"]


def test_orders_truncated_while_a_run_writes_make_the_next_one_full(
    pg: Connection, shop: Any, settings: Settings
) -> None:
    shop.order(1, 100_000, T0 - timedelta(days=1))
    shop.order(2, 300_000, OLD)
    clock = {"clock": lambda: T0, "wait": True}

    def grader() -> None:
        with postgres.connect(settings.postgres, "grader", autocommit=True) as mine:
            grade_users(mine, **clock)

    thread = threading.Thread(target=grader)
    with postgres.connect(settings.postgres, "blocker") as blocker:
        blocker.execute("SELECT FROM users WHERE user_id = 1 FOR UPDATE")
        thread.start()
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
        pg.execute("TRUNCATE orders")
    thread.join(30)
    pg.execute("UPDATE users SET total_spent = 0")
    shop.order(2, 100_000, T0 - timedelta(days=1))
    run = grade_users(pg, **clock)
    assert run
    assert (run.mode, shop.grades()) == ("full", {1: "BRONZE", 2: "SILVER"})


def test_customers_who_come_and_go_are_counted_once(pg: Connection, shop: Any) -> None:
    shop.order(1, 100_000, T0 - timedelta(days=1))
    shop.user(2)
    grade_users(pg, wait=True, clock=lambda: T0)

    def run(at: timedelta) -> tuple[str, int, dict[str, int]]:
        result = grade_users(pg, wait=True, clock=lambda: T0 + at)
        assert result is not None
        return result.mode, result.users, {g: n for g, n in result.distribution.items() if n}

    pg.execute("DELETE FROM users WHERE user_id = 2")
    shop.user(3, grade="VVIP")  # by hand
    assert run(timedelta(minutes=10)) == ("incremental", 2, {"BRONZE": 1, "SILVER": 1})
    pg.execute("UPDATE users SET user_id = 4 WHERE user_id = 3")
    shop.user(2)
    assert run(timedelta(minutes=20)) == ("incremental", 3, {"BRONZE": 2, "SILVER": 1})
    pg.execute("DELETE FROM users WHERE user_id = 4")
    shop.user(4)  # the same one again, before a run has seen the gap
    assert run(timedelta(minutes=30)) == ("incremental", 3, {"BRONZE": 2, "SILVER": 1})
    oracle = grade_users(pg, wait=True, full=True, clock=lambda: T0 + timedelta(minutes=30))
    assert oracle
    assert oracle.disagreed == 0
