"""Grading in PostgreSQL: read what counts from one snapshot, write what changes in one transaction.

A full run adds up the orders of the period for every customer. An incremental one does so for the
customers whose sum can have changed since the last run. Grading a customer again changes nothing,
so it may look at too many of them, but not at too few:

- Customers whose row was written since: each order, cancellation and refund writes it. They are
  found by `xmin`, from the oldest transaction on that was open when the last run read, however late
  it commits. A look-back by `changed_at` costs the same look at each row, and would miss what a
  longer transaction or a step of the clock hides; an index on it would cost each order more.
- Customers with an order between the beginnings, or between the ends, of the two periods.

Only graders write `users.grade`, and one advisory lock lets one of them through at a time. The
reading transaction is REPEATABLE READ, the writing one READ COMMITTED on purpose: otherwise it
would fail whenever the ingest touches a customer's counters between our reading and our update.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import polars as pl
import psycopg
from psycopg import IsolationLevel, sql

from grading import customer_rows, grades
from shop.clock import Clock
from shop.grading_policy import POLICY, GradePolicy
from shop.postgres import Connection, Cursor, copy_frame
from shop.server_clock import agreed_clock

_GRADE_LOCK: Final = 0x67726164  # "grad": one grader at a time per database
_XID_REACH: Final = 2**30  # half of what age() tells apart
MANY: Final = 100_000
"""More customers than these are graded by reading all orders of the period, not theirs alone."""

_ORDERS: Final = sql.SQL(
    "SELECT user_id, amount FROM orders"
    " WHERE status = 'PAID' AND ordered_at >= %s AND ordered_at < %s"
)
_THEIR_ORDERS: Final = sql.SQL("{} AND user_id = ANY(%s::bigint[])").format(_ORDERS)
_EVERYBODY: Final = sql.SQL("true")
_CHANGED: Final = sql.SQL("""
    age(xmin) <= (SELECT age(%s::xid)) OR user_id IN (
        SELECT user_id FROM orders WHERE ordered_at >= %s AND ordered_at < %s
        UNION ALL SELECT user_id FROM orders WHERE ordered_at >= %s AND ordered_at < %s)
""")
# LOCK takes no snapshot: nobody truncates what the run is about to read.
_HOLD: Final = "LOCK TABLE orders, users IN ACCESS SHARE MODE"
# A restored, emptied or rewritten table is not the one that the last run saw.
_PLACE: Final = """
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        (SELECT string_agg(pg_relation_filenode(relid)::text, ',' ORDER BY relid)
         FROM (SELECT relid FROM pg_partition_tree('orders')
               UNION SELECT unnest(ARRAY['users'::regclass, 'orders'])) AS files)),
        pg_current_snapshot()::text
"""
_STATE: Final = """
    SELECT as_of, period_start, full_at, pg_snapshot_xmin(snapshot)::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    FROM grade_state WHERE place = %s AND policy = %s
"""
_SAVE: Final = """
    INSERT INTO grade_state (as_of, period_start, policy, snapshot, place, full_at)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (only_row) DO UPDATE SET as_of = excluded.as_of,
        period_start = excluded.period_start, policy = excluded.policy,
        snapshot = excluded.snapshot, place = excluded.place, full_at = excluded.full_at
"""
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
_AGAIN: Final = """
    SELECT EXISTS (
        SELECT FROM grade_changes JOIN grade_history USING (user_id) WHERE as_of = %s)
"""
# What `count_grade_moves` would find, without reading the day: 0.4 s once a million customers were
# graded on it.
_ADD_MOVES: Final = """
    INSERT INTO grade_moves_by_day (day, from_grade, to_grade, customers)
    SELECT (%s AT TIME ZONE 'Asia/Seoul')::date, from_grade, to_grade, count(*)
    FROM grade_changes GROUP BY from_grade, to_grade
    ON CONFLICT (day, from_grade, to_grade) DO UPDATE
    SET customers = grade_moves_by_day.customers + excluded.customers, changed_at = now()
"""
_RUN: Final = """
    INSERT INTO grade_runs
        (as_of, mode, users, changed, upgraded, downgraded, started_at, finished_at,
         examined, disagreed, read_seconds, compute_seconds, write_seconds)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True)
class GradeRun:
    """The result of one run.

    Attributes:
        as_of: the instant whose grades these are; spend in the policy's months before it counts.
        mode: whether every customer was graded, or those who can have changed.
        users: customers there are.
        changed: customers whose grade changed; the sum of the next two.
        upgraded: who rose.
        downgraded: who fell.
        distribution: customers per grade, lowest grade first.
        started_at: by the clock.
        finished_at: just before the commit.
        examined: customers whose spend was added up.
        disagreed: of a full run, customers that an incremental one would have got wrong; None if
            there was none to compare with.
        read_s: seconds of reading, and of adding up.
        compute_s: seconds of comparing grades.
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


@dataclass(frozen=True)
class _Found:
    """What the reading transaction found.

    Attributes:
        changes: as `grades.changes` returns it.
        counts: customers of each grade before the changes.
        examined: customers looked at.
        state: what the next run needs: snapshot, place, instant of the last full run.
        disagreed: see `GradeRun`.
    """

    changes: pl.DataFrame
    counts: dict[str, int]
    examined: int
    full: bool = True
    state: tuple[Any, ...] = ()
    disagreed: int | None = None


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


def _grade(
    conn: Connection, policy: GradePolicy, clock: Clock, full: bool, full_every_s: float | None
) -> GradeRun:
    began, as_of = time.perf_counter(), clock()
    before = conn.isolation_level
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with conn.transaction(), conn.cursor() as cur:
            found = _read(cur, policy, as_of, full, full_every_s)
    finally:
        conn.isolation_level = before
    read_at = time.perf_counter()
    counts = Counter(found.counts)
    counts.subtract(found.changes["from_grade"].to_list())
    counts.update(found.changes["to_grade"].to_list())
    upgraded = grades.upgrades(found.changes, policy)
    computed_at = time.perf_counter()
    with conn.transaction(), conn.cursor() as cur:
        _write_changes(cur, found.changes, as_of)
        cur.execute(_SAVE, (as_of, policy.window(as_of)[0], policy.as_json(), *found.state))
        run = GradeRun(
            as_of=as_of,
            mode="full" if found.full else "incremental",
            users=counts.total(),
            changed=found.changes.height,
            upgraded=upgraded,
            downgraded=found.changes.height - upgraded,
            distribution={g.name: counts[g.name] for g in policy},
            started_at=as_of,
            finished_at=clock(),
            examined=found.examined,
            disagreed=found.disagreed,
            read_s=read_at - began,
            compute_s=computed_at - read_at,
            write_s=time.perf_counter() - computed_at,
        )
        cur.execute(_RUN, (
            run.as_of, run.mode, run.users, run.changed, run.upgraded, run.downgraded,
            run.started_at, run.finished_at, run.examined, run.disagreed, run.read_s,
            run.compute_s, run.write_s,
        ))  # fmt: skip
    return run


def _read(
    cur: Cursor, policy: GradePolicy, as_of: datetime, full: bool, full_every_s: float | None
) -> _Found:
    """Find what changes; `cur` is in a transaction of one snapshot."""
    cur.execute(_HOLD)
    cur.execute("SET LOCAL jit = off")  # compiling takes longer than these queries
    place, snapshot = cur.execute(_PLACE).fetchone() or ("", "")
    state = cur.execute(_STATE, (place, policy.as_json())).fetchone()
    some, full_at = None, as_of
    if state is not None:
        last, last_start, last_full, horizon, now = state
        if full_every_s is not None:
            full |= not 0 <= (as_of - last_full).total_seconds() < full_every_s
        if 0 <= now - horizon < _XID_REACH:
            left = sorted((last_start, policy.window(as_of)[0]))
            joined = sorted((last, as_of))
            changed = (str(horizon % 2**32), *left, *joined)
            some, full_at = _examine(cur, policy, as_of, _CHANGED, changed), last_full
    if some is not None and not full:
        return replace(some, full=False, state=(snapshot, place, full_at))
    all_ = _examine(cur, policy, as_of, _EVERYBODY, ())
    disagreed = None if some is None else _differences(some.changes, all_.changes)
    return replace(all_, state=(snapshot, place, as_of), disagreed=disagreed)


def _examine(
    cur: Cursor, policy: GradePolicy, as_of: datetime, who: sql.SQL, parameters: tuple[Any, ...]
) -> _Found:
    """Grade the customers that satisfy a condition."""
    current, counts = customer_rows.customers(cur, who, parameters)
    period = policy.window(as_of)
    if who is _EVERYBODY or current.height > MANY:
        spend = customer_rows.spend_between(cur, _ORDERS, *period)
    else:
        ids = current["user_id"].to_list()
        spend = customer_rows.spend(cur, _THEIR_ORDERS, (*period, ids))
    return _Found(grades.changes(current, spend, policy), counts, current.height)


def _differences(ours: pl.DataFrame, right: pl.DataFrame) -> int:
    """Count the customers for which two runs differ."""
    pairs = ((ours, right), (right, ours))
    return pl.concat([a.join(b, on=a.columns, how="anti")["user_id"] for a, b in pairs]).n_unique()


def _write_changes(cur: Cursor, changed: pl.DataFrame, as_of: datetime) -> None:
    """Write the new grades and their history; a run without changes writes nothing."""
    if not changed.is_empty():
        cur.execute(_STAGE)
        copy_frame(cur, "grade_changes", changed)
        cur.execute(_LOCK)
        cur.execute(_UPDATE)
        again = cur.execute(_AGAIN, (as_of,)).fetchone()
        cur.execute(_HISTORY, (as_of,))
        count = "SELECT count_grade_moves(%s)" if again and again[0] else _ADD_MOVES
        cur.execute(count, (as_of,))
