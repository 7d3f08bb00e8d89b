"""Grading in PostgreSQL: read what counts, write what changes, in one transaction.

Isolation is READ COMMITTED on purpose. Only graders write `users.grade`, and one advisory lock
lets one of them through at a time; all orders are read by one statement, which is one snapshot.
REPEATABLE READ would add nothing but serialization failures, whenever the ingest touches a
customer's counters between our reading and our update.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from grading import grades
from grading.policy import POLICY, Policy
from shop.clock import Clock, utc_now
from shop.postgres import Connection, Cursor, copy_frame

_GRADE_LOCK: Final = 0x67726164  # "grad": one grader at a time per database
_PART_ROWS: Final = 2_000_000
"""Orders that are added up at once: 52 MB of COPY data, whatever the length of history."""

_ORDERS: Final = """
    COPY (
        SELECT user_id, amount FROM orders
        WHERE status = 'PAID' AND ordered_at >= %s AND ordered_at < %s
    ) TO STDOUT WITH (FORMAT binary)
"""
_USERS: Final = "COPY (SELECT user_id, grade FROM users) TO STDOUT WITH (FORMAT csv)"
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
    UPDATE users SET grade = c.to_grade FROM grade_changes c WHERE users.user_id = c.user_id
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
        (as_of, mode, users, changed, upgraded, downgraded, started_at, finished_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

_ROW: Final = np.dtype(
    [("fields", ">i2"), ("len0", ">i4"), ("user_id", ">i8"), ("len1", ">i4"), ("amount", ">i8")]
)
"""A row of two non-null bigints in PostgreSQL's binary COPY format (docs, COPY, "Binary Format"):
26 bytes, always, so that numpy reads it without parsing."""
_HEADER_BYTES: Final = 19  # signature 11, flags 4, header extension length 4 (of 0 bytes)


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

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()


def grade_users(
    conn: Connection,
    *,
    wait: bool,
    policy: Policy = POLICY,
    clock: Clock = utc_now,
) -> GradeRun | None:
    """Grade every customer from nothing but their orders, in one transaction.

    Args:
        conn: a connection without a transaction in progress, in UTC.
        wait: wait for another grader to finish, instead of leaving it alone.
        policy: the grades.
        clock: whose time the grades are as of.

    Returns:
        What was done; None if another grader is at work and `wait` is false.

    Raises:
        psycopg.Error: nothing was changed then.
    """
    with conn.transaction(), conn.cursor() as cur:
        if not _take_turn(cur, wait=wait):
            return None
        started_at = clock()
        graded = grades.grades(
            read_current(cur), read_spend(cur, *policy.window(started_at)), policy
        )
        changed = grades.changed(graded)
        upgraded = grades.upgrades(changed, policy)
        write_changes(cur, changed, started_at)
        run = GradeRun(
            as_of=started_at,
            mode="full",
            users=graded.height,
            changed=changed.height,
            upgraded=upgraded,
            downgraded=changed.height - upgraded,
            distribution=grades.distribution(graded, policy),
            started_at=started_at,
            finished_at=clock(),
        )
        record(cur, run)
    return run


def _take_turn(cur: Cursor, *, wait: bool) -> bool:
    if wait:
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (_GRADE_LOCK,))
        return True
    row = cur.execute("SELECT pg_try_advisory_xact_lock(%s)", (_GRADE_LOCK,)).fetchone()
    return bool(row and row[0])


def read_current(cur: Cursor) -> pl.DataFrame:
    """Return the current grade of every customer, stubs included."""
    buffer = io.BytesIO()
    with cur.copy(_USERS) as copy:
        for block in copy:
            buffer.write(block)
    if not buffer.tell():
        return pl.DataFrame(schema=grades.CURRENT)
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=grades.CURRENT)


def read_spend(cur: Cursor, start: datetime, end: datetime) -> pl.DataFrame:
    """Return what each customer paid for orders with start <= `ordered_at` < end.

    Memory is bounded by a part of the orders and the number of customers.
    """
    spends = []
    for part in _parts(cur, start, end):
        orders = {name: part[name].astype(np.int64) for name in ("user_id", "amount")}
        spends.append(grades.cumulative(pl.DataFrame(orders)))
    return grades.total(spends)


def _parts(cur: Cursor, start: datetime, end: datetime) -> Iterator[npt.NDArray[np.void]]:
    """Yield the orders in parts of at most about `_PART_ROWS` rows."""
    pending = bytearray()
    skip = _HEADER_BYTES
    with cur.copy(_ORDERS, (start, end)) as copy:
        for block in copy:
            pending += block
            if len(pending) >= skip + _PART_ROWS * _ROW.itemsize:
                rows = (len(pending) - skip) // _ROW.itemsize
                yield np.frombuffer(bytes(pending), _ROW, rows, skip)
                del pending[: skip + rows * _ROW.itemsize]
                skip = 0
    # What is left ends with the trailer, two bytes: never a whole row.
    yield np.frombuffer(bytes(pending), _ROW, (len(pending) - skip) // _ROW.itemsize, skip)


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
        ),
    )
