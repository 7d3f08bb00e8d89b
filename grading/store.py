"""Grading in PostgreSQL: read what counts from one snapshot, write what changes in one transaction.

Only graders write `users.grade`, and one advisory lock lets one of them through at a time. The
reading transaction is REPEATABLE READ, the writing one READ COMMITTED on purpose: otherwise it
would fail whenever the ingest touches a customer's counters between our reading and our update.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl
import psycopg
from psycopg import IsolationLevel, sql

from grading import customer_rows, grades, incremental
from shop.clock import Clock
from shop.grading_policy import POLICY, GradePolicy
from shop.postgres import Connection, Cursor, copy_frame
from shop.server_clock import agreed_clock

_GRADE_LOCK: Final = 0x67726164  # "grad": one grader at a time per database

_ORDERS: Final = sql.SQL(
    "SELECT user_id, amount FROM orders"
    " WHERE status = 'PAID' AND ordered_at >= %s AND ordered_at < %s"
)
_USERS: Final = sql.SQL("SELECT user_id, grade, total_spent FROM users")
_STAGE: Final = """
    CREATE TEMP TABLE grade_changes (
        user_id bigint PRIMARY KEY, from_grade text, to_grade text, cumulative_spend bigint
    ) ON COMMIT DROP
"""
# In the order of user_id, like every other writer of users: no deadlock between them and us.
_LOCK: Final = """
    SELECT FROM users JOIN grade_changes USING (user_id)
    ORDER BY user_id FOR NO KEY UPDATE OF users
"""
_UPDATE: Final = """
    UPDATE users SET grade = c.to_grade, changed_at = now()
    FROM grade_changes c WHERE users.user_id = c.user_id
"""
# The same instant again (a clock that stepped back, a virtual clock): one row a customer and
# instant stays, from where the first run found them to where the last one put them.
_HISTORY: Final = """
    INSERT INTO grade_history (user_id, from_grade, to_grade, cumulative_spend, as_of)
    SELECT user_id, from_grade, to_grade, cumulative_spend, %s FROM grade_changes
    ON CONFLICT (user_id, as_of) DO UPDATE
    SET to_grade = excluded.to_grade, cumulative_spend = excluded.cumulative_spend
"""
_RUN: Final = """
    INSERT INTO grade_runs
        (as_of, mode, users, changed, upgraded, downgraded, started_at, finished_at,
         examined, disagreed, read_seconds, compute_seconds, write_seconds)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True)
class GradeRun:
    """What one run did.

    Attributes:
        as_of: the instant whose grades these are; spend in the policy's months before it counts.
        mode: how the spends were found.
        users: customers graded.
        changed: whose grade is another one now; the sum of the next two.
        upgraded: who rose.
        downgraded: who fell.
        distribution: customers per grade, lowest grade first.
        started_at: by the clock.
        finished_at: just before the commit.
        examined: customers whose spend was worked out.
        disagreed: of a full run, customers that an incremental one would have got wrong; None if
            there was none to compare with.
        read_s: seconds of reading.
        compute_s: seconds of working out the grades.
        write_s: seconds of writing, up to the run's own record.
    """

    as_of: datetime
    mode: Literal["full", "incremental"]
    users: int
    changed: int
    upgraded: int
    downgraded: int
    distribution: dict[str, int]
    started_at: datetime
    finished_at: datetime
    examined: int = 0
    disagreed: int | None = None
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()


def grade_users(
    conn: Connection,
    *,
    wait: bool,
    policy: GradePolicy = POLICY,
    clock: Clock | None = None,
    full: bool = False,
    full_every_s: float | None = None,
) -> GradeRun | None:
    """Grade every customer; what is written, is written in one transaction.

    Args:
        conn: a connection without a transaction in progress, in UTC.
        wait: wait for another grader to finish, instead of leaving it alone.
        policy: the grades.
        clock: whose time the grades are as of; PostgreSQL's by default, if this machine's agrees.
        full: from nothing but their orders, instead of from what changed since the last run.
            The first run, and one that finds no state to start from, is always a full one.
        full_every_s: run in full if the last full run is this number of seconds ago.

    Returns:
        What was done; None if another grader is at work and `wait` is false.

    Raises:
        psycopg.Error: nothing was changed then.
        ClocksDifferError: likewise.
    """
    with _turn(conn, wait=wait) as ours:
        if not ours:
            return None
        if clock is None:
            with conn.transaction():
                clock = agreed_clock(conn)
        return _grade(conn, policy, clock, full, full_every_s)


@contextmanager
def _turn(conn: Connection, *, wait: bool) -> Iterator[bool]:
    """Hold the graders' lock over several transactions; it ends with the session at the latest."""
    take = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    with conn.transaction():
        row = conn.execute(f"SELECT {take}(%s)", (_GRADE_LOCK,)).fetchone()
    ours = wait or bool(row and row[0])
    try:
        yield ours
    finally:
        with suppress(psycopg.Error):
            if ours:
                with conn.transaction():
                    conn.execute("SELECT pg_advisory_unlock(%s)", (_GRADE_LOCK,))


@dataclass(frozen=True)
class _GradingSnapshot:
    """What the reading transaction found; see `incremental.Found`."""

    mode: Literal["full", "incremental"]
    found: incremental.Found
    snapshot: str
    place: str
    full_at: datetime
    disagreed: int | None
    read_s: float


def _grade(
    conn: Connection, policy: GradePolicy, clock: Clock, full: bool, full_every_s: float | None
) -> GradeRun:
    began, started_at = time.perf_counter(), clock()
    kept = incremental.watch(conn, *policy.window(started_at))
    before = conn.isolation_level
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with conn.transaction(), conn.cursor() as cur:
            seen = _see(cur, policy, started_at, kept, full, full_every_s)
    finally:
        conn.isolation_level = before
    read_at = time.perf_counter()
    graded = seen.found.graded
    changed = grades.changed(graded)
    upgraded = grades.upgrades(changed, policy)
    counts = seen.found.counts
    computed_at = time.perf_counter()
    with conn.transaction(), conn.cursor() as cur:
        write_changes(cur, changed, started_at)
        if kept is None:
            cur.execute("DELETE FROM grade_state")
        else:
            incremental.save(
                cur, started_at, policy, seen.snapshot, seen.place, kept, seen.full_at, seen.found
            )  # fmt: skip
        run = GradeRun(
            as_of=started_at,
            mode=seen.mode,
            users=sum(counts.values()),
            changed=changed.height,
            upgraded=upgraded,
            downgraded=changed.height - upgraded,
            distribution={g.name: counts.get(g.name, 0) for g in policy},
            started_at=started_at,
            finished_at=clock(),
            examined=graded.height,
            disagreed=seen.disagreed,
            read_s=read_at - began,
            compute_s=computed_at - read_at,
            write_s=time.perf_counter() - computed_at,
        )
        record(cur, run)
    return run


def _see(  # noqa: PLR0917  (what the two readings share)
    cur: Cursor, policy: GradePolicy, as_of: datetime, kept: datetime | None, full: bool,
    full_every_s: float | None,
) -> _GradingSnapshot:  # fmt: skip
    """Read all that a run needs; `cur` is in a transaction of one snapshot."""
    began = time.perf_counter()
    cur.execute("SET LOCAL jit = off")  # compiling takes longer than these queries
    incremental.hold(cur)
    known = incremental.load(cur) if kept else None
    row = cur.execute("SELECT pg_current_snapshot()::text").fetchone()
    found = incremental.find(cur, known, policy, as_of) if known else None
    if known and full_every_s is not None:
        full |= not 0 <= (as_of - known.full_at).total_seconds() < full_every_s
    disagreed = None
    whole = full or found is None or known is None
    if whole:
        oracle = _from_nothing(cur, policy, as_of)
        if found is not None:
            disagreed = _differences(found, oracle)
        found = oracle
    assert found is not None  # noqa: S101  (one of the two)
    return _GradingSnapshot(
        mode="full" if whole else "incremental",
        found=found,
        snapshot=str(row[0]) if row else "",
        place=incremental.place_of(cur),
        full_at=as_of if whole or known is None else known.full_at,
        disagreed=disagreed,
        read_s=time.perf_counter() - began,
    )


def _from_nothing(cur: Cursor, policy: GradePolicy, as_of: datetime) -> incremental.Found:
    """Grade by the orders alone; what was paid before the period follows from the totals."""
    spend = read_spend(cur, *policy.window(as_of))
    users, known = read_current(cur), incremental.remembered(cur)
    ahead = incremental.ahead_of(cur, as_of).rename({"cumulative_spend": "ahead"})
    there = grades.grades(users.join(ahead, on="user_id", how="left"), spend, policy)
    after = pl.col("total_spent") - pl.col("cumulative_spend") - pl.col("ahead").fill_null(0)
    now = there.select("user_id", "to_grade", after=after).join(known, on="user_id", how="left")
    gone = known.join(users, on="user_id", how="anti").with_columns(after=pl.lit(0, pl.Int64))
    now = pl.concat([now, gone], how="diagonal")
    return incremental.found(there.drop("total_spent", "ahead"), now, None)


def _differences(found: incremental.Found, oracle: incremental.Found) -> int:
    """Count the customers that an incremental run would leave with a wrong grade, sum or count."""
    pairs = (
        (grades.changed(found.graded), grades.changed(oracle.graded)),
        (found.remember, oracle.remember),
    )
    wrong = [
        a.join(b, on=b.columns, how="anti")["user_id"]
        for ours, right in pairs
        for a, b in ((ours, right), (right, ours))
    ]
    miscounted = Counter(found.counts)
    miscounted.subtract(oracle.counts)
    surplus = sum((+miscounted).values()), sum((-miscounted).values())
    return max(int(pl.concat(wrong).n_unique()), *surplus)


def read_current(cur: Cursor) -> pl.DataFrame:
    """Return the current grade and the total of every customer, stubs included."""
    return customer_rows.users(cur, _USERS, (), incremental.USERS)


def read_spend(cur: Cursor, start: datetime, end: datetime) -> pl.DataFrame:
    """Return what each customer paid for orders with start <= `ordered_at` < end."""
    return customer_rows.spend_between(cur, _ORDERS, start, end)


def write_changes(cur: Cursor, changed: pl.DataFrame, as_of: datetime) -> None:
    """Write the new grades and their history; a run without changes writes nothing.

    Args:
        cur: in the transaction that read the frame.
        changed: as `grades.changes` returns it.
        as_of: the instant that the history names.
    """
    if changed.is_empty():
        return
    cur.execute(_STAGE)
    copy_frame(cur, "grade_changes", changed)
    cur.execute(_LOCK)
    cur.execute(_UPDATE)
    cur.execute(_HISTORY, (as_of,))


def record(cur: Cursor, run: GradeRun) -> None:
    """Keep what a run did."""
    cur.execute(
        _RUN,
        (
            run.as_of,
            run.mode,
            run.users,
            run.changed,
            run.upgraded,
            run.downgraded,
            run.started_at,
            run.finished_at,
            run.examined,
            run.disagreed,
            run.read_s,
            run.compute_s,
            run.write_s,
        ),
    )
