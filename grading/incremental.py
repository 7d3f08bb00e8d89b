"""The end of the last run, and what has changed since: all that an incremental run reads.

Exact, because each part is: `users.total_spent` is written with the order; a customer's row whose
`xmin` is below the horizon of the last run's snapshot had been seen by it, however late a
transaction commits; what left the period is read from the orders; changes to orders before the
period are kept by triggers, made under a lock that every writer of orders conflicts with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from grading import customer_rows, grades
from shop.grading_policy import GradePolicy
from shop.log import get_logger
from shop.postgres import Connection, Cursor, copy_frame
from shop.retry import first_line

_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"  # writers queue behind us meanwhile
_MARGIN: Final = 6
"""Triggers look this part of the period ahead, so that they are recreated once in that time."""
_XID_REACH: Final = 2**30  # half of what age() tells apart
_PLACE: Final = """
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        pg_relation_filenode('users'), pg_relation_filenode('orders'),
        pg_relation_filenode('spend_before_period'), pg_relation_filenode('spend_before_recent'),
        pg_relation_filenode('old_order_changes'))
"""
_HOLD: Final = """
    LOCK TABLE orders, users, spend_before_period, spend_before_recent, old_order_changes
    IN ACCESS SHARE MODE
"""
_WATCHED: Final = """
    SELECT count(*) FROM pg_trigger WHERE tgenabled = 'A' AND (
        tgrelid = 'orders'::regclass
        AND tgname IN ('old_order_insert', 'old_order_update', 'old_order_delete')
        OR tgrelid = 'users'::regclass AND tgname = 'customer_lost')
"""
_TRIGGERS: Final = 4
_STATE: Final = """
    SELECT as_of, period_start, policy, place, logged_before, full_at, counts,
        pg_snapshot_xmin(snapshot)::text, pg_snapshot_xmax(pg_current_snapshot())::text
    FROM grade_state
"""
_TOUCHED: Final = sql.SQL("""
    SELECT user_id, grade, total_spent FROM users
    WHERE %s OR age(xmin) <= (SELECT age(%s::xid))
""")
_SOME: Final = sql.SQL(
    "SELECT user_id, grade, total_spent FROM users WHERE user_id = ANY(%s::bigint[])"
)
_MOVED: Final = sql.SQL("""
    SELECT user_id, sum(amount)::bigint FROM orders
    WHERE status = 'PAID' AND ordered_at >= %s AND ordered_at < %s GROUP BY user_id
""")
_OLD: Final = sql.SQL("""
    SELECT user_id, sum(spend)::bigint FROM old_order_changes WHERE ordered_at < %s GROUP BY user_id
""")
_AHEAD: Final = sql.SQL("""
    SELECT user_id, coalesce(sum(amount) FILTER (WHERE ordered_at >= %s), 0)::bigint
    FROM orders WHERE status = 'PAID' AND ordered_at >= %s GROUP BY user_id
""")
_BEFORE: Final = "SELECT user_id, coalesce(grade, ''), spend FROM spend_before_period {where}"
_RECENT: Final = """
    SELECT DISTINCT ON (user_id) user_id, coalesce(grade, ''), spend
    FROM spend_before_recent {where} ORDER BY user_id, nr DESC
"""
_KNOWN: Final = """
    SELECT EXISTS (SELECT FROM spend_before_period) OR EXISTS (SELECT FROM spend_before_recent)
"""
_MERGE: Final = """
    INSERT INTO spend_before_period (user_id, spend, grade)
    SELECT DISTINCT ON (user_id) user_id, spend, grade
    FROM spend_before_recent ORDER BY user_id, nr DESC
    ON CONFLICT (user_id) DO UPDATE SET spend = excluded.spend, grade = excluded.grade
"""
_SAVE: Final = """
    INSERT INTO grade_state
        (as_of, period_start, policy, snapshot, place, logged_before, full_at, counts)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (only_row) DO UPDATE SET as_of = excluded.as_of,
        period_start = excluded.period_start, policy = excluded.policy,
        snapshot = excluded.snapshot, place = excluded.place,
        logged_before = excluded.logged_before, full_at = excluded.full_at, counts = excluded.counts
"""
_MANY: Final = 100_000  # beyond it a table is read whole, not row by row
USERS: Final = {**grades.CURRENT, "total_spent": pl.Int64()}
"""Schema of a frame of customers: current grade, and what they paid in all, KRW."""
KNOWN: Final = {"user_id": pl.Int64(), "counted": pl.String(), "before": pl.Int64()}
"""Schema of what a run remembers of customers: the grade it counted them under, empty if it counted
them nowhere, and what they paid before its period, KRW."""
MERGE_ROWS: Final = 100_000
"""More newer rows than these are merged: nearly every page of the big table is written then, once
in fifty runs that remember 2,000 customers each."""


@dataclass(frozen=True)
class IncrementalState:
    """The last run: its instant, period, policy, customers of each grade.

    `horizon`: it saw all transactions before.
    """

    as_of: datetime
    period_start: datetime
    policy: str
    logged_before: datetime
    full_at: datetime
    counts: dict[str, int]
    horizon: int


@dataclass(frozen=True)
class Found:
    """What a run works out.

    Attributes:
        graded: as `grades.grades` returns it, of the customers that had to be looked at.
        remember: what has to be remembered of whom, where that is something new; schema KNOWN.
        counts: customers of each grade, once the grades are written.
    """

    graded: pl.DataFrame
    remember: pl.DataFrame
    counts: dict[str, int]


def load(cur: Cursor) -> IncrementalState | None:
    """Return where the last run ended; None if an incremental run cannot start from there."""
    row = cur.execute(_STATE).fetchone()
    if row is None:
        return None
    *known, horizon, now = row
    as_of, period_start, policy, place, logged_before, full_at, counts = known
    reach = int(now) - int(horizon)
    watched = cur.execute(_WATCHED).fetchone()
    if place != place_of(cur) or watched != (_TRIGGERS,) or not 0 <= reach < _XID_REACH:
        return None
    return IncrementalState(
        as_of, period_start, policy, logged_before, full_at, counts, int(horizon)
    )


def hold(cur: Cursor) -> None:
    """Keep the tables as they are, to the end of the transaction: nobody truncates them.

    Args:
        cur: at the beginning of a transaction, before its snapshot: LOCK takes none.
    """
    cur.execute(_HOLD)


def place_of(cur: Cursor) -> str:
    """Return which tables of which database these are; it stays so where they are held."""
    row = cur.execute(_PLACE).fetchone()
    return str(row[0]) if row else ""


def watch(conn: Connection, start: datetime, end: datetime) -> datetime | None:
    """See to it that changes to orders before the period are kept, now and until the next run.

    Args:
        conn: outside a transaction, with the graders' lock.
        start: of the period.
        end: of the period.

    Returns:
        Before which they are kept; None if that cannot be had now.
    """
    span = end - start
    with conn.transaction(), conn.cursor() as cur:
        state = load(cur)
        need = max(start, state.period_start) if state else start
        if state and need <= state.logged_before <= need + span / 2:
            return state.logged_before
        if cur.execute("SELECT FROM users LIMIT 1").fetchone() is None:
            return None  # an empty shop: nothing to save, and history may be about to be written
    kept = need + span / _MARGIN
    try:
        with conn.transaction(), conn.cursor() as cur:
            cur.execute(_LOCK_TIMEOUT)
            cur.execute("SELECT watch_changes(%s)", (kept,))
            if state is None:  # new triggers do not tell what was changed while there were none
                cur.execute("DELETE FROM grade_state")
                # Nor do changes count that came with a dump of another server: a full run sees
                # all that there is, and nobody else can be changing an order now.
                cur.execute("DELETE FROM old_order_changes")
            cur.execute("UPDATE grade_state SET logged_before = %s", (kept,))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege) as e:
        get_logger().warning("grades cannot follow old orders, full runs", error=first_line(e))
        return None
    return kept


def find(cur: Cursor, state: IncrementalState, policy: GradePolicy, as_of: datetime) -> Found:
    """Work out what has changed since the last run.

    Args:
        cur: in a transaction whose statements share one snapshot.
        state: where the last run ended.
        policy: the grades.
        as_of: the instant whose grades are wanted; it may lie before the last run's.
    """
    start, _ = policy.window(as_of)
    replaced = policy.as_json() != state.policy
    touched = customer_rows.users(cur, _TOUCHED, (replaced, str(state.horizon % 2**32)), USERS)
    low, high = sorted((state.period_start, start))
    moved = customer_rows.spend(cur, _MOVED, (low, high))
    before_changes = total(
        [
            moved if start >= state.period_start else negative(moved),
            customer_rows.spend(cur, _OLD, (state.period_start,)),
        ]
    )
    ahead = customer_rows.spend(cur, _AHEAD, (as_of, min(as_of, state.as_of)))
    others = (
        pl.concat([before_changes["user_id"], ahead["user_id"]])
        .unique()
        .to_frame()
        .join(touched, on="user_id", how="anti")["user_id"]
    )
    users = pl.concat([touched, customer_rows.users(cur, _SOME, (others.to_list(),), USERS)])
    # Of lost customers too: they are among those of the changes, and no longer among the users.
    known = remembered(cur, pl.concat([users["user_id"], others]).unique())
    spend = total(
        [
            users.select("user_id", cumulative_spend="total_spent"),
            negative(known.select("user_id", cumulative_spend="before")),
            negative(before_changes),
            negative(ahead),
        ]
    )
    graded = grades.grades(users.select("user_id", "grade"), spend, policy)
    now = (
        graded.select("user_id", "to_grade")
        .join(known, on="user_id", how="full", coalesce=True)
        .join(before_changes, on="user_id", how="full", coalesce=True)
        .with_columns(pl.col("before", "cumulative_spend").fill_null(0))
        .with_columns(after=pl.col("before") + pl.col("cumulative_spend"))
    )
    return found(graded, now, state.counts)


def found(graded: pl.DataFrame, now: pl.DataFrame, counts: Mapping[str, int] | None) -> Found:
    """Work out what to remember, and how many customers have each grade.

    Args:
        graded: see `Found`.
        now: of these customers and of those who are no longer there: `user_id`, `to_grade` (null:
            not there), `after` (what they paid before the period), and what is remembered of them,
            `counted` and `before` (null: nothing).
        counts: customers of each grade as remembered; None if all were looked at.
    """
    now = now.with_columns(pl.col("to_grade", "counted").fill_null(""))
    numbers = Counter(counts)
    for column, sign in (("counted", -1), ("to_grade", 1)):
        for name, customers in now[column].value_counts().iter_rows():
            if name and (sign > 0 or counts is not None):
                numbers[name] += sign * customers
    same = (pl.col("to_grade") == pl.col("counted")) & (pl.col("after") == pl.col("before"))
    new = now.filter(~same.fill_null(value=False))
    return Found(
        graded,
        new.select("user_id", counted="to_grade", before="after"),
        {name: n for name, n in numbers.items() if n},
    )


def remembered(cur: Cursor, users: pl.Series | None = None) -> pl.DataFrame:
    """Return what the last run remembered, of all customers or of some; schema KNOWN."""
    some = users is not None and len(users) <= _MANY
    where = "WHERE user_id = ANY(%s::bigint[])" if some else ""
    ids = (users.to_list(),) if users is not None and some else ()
    old, new = (
        customer_rows.users(cur, sql.SQL(query).format(where=sql.SQL(where)), ids, KNOWN)
        for query in (_BEFORE, _RECENT)
    )
    return pl.concat([old.join(new, on="user_id", how="anti"), new])


def ahead_of(cur: Cursor, as_of: datetime) -> pl.DataFrame:
    """Return what customers paid for orders dated at `as_of` or later."""
    return customer_rows.spend(cur, _AHEAD, (as_of, as_of))


def save(  # noqa: PLR0917  (a row's columns)
    cur: Cursor, as_of: datetime, policy: GradePolicy, snapshot: str, place: str, kept: datetime,
    full_at: datetime, seen: Found,
) -> None:  # fmt: skip
    """Keep where this run ended, and take in what it has read.

    Args:
        cur: in the writing transaction.
        as_of: the instant that was graded.
        policy: the grades.
        snapshot: of the reading transaction.
        place: as `place_of` returned it there: a table truncated since is not the one it read.
        kept: as `watch` returned it.
        full_at: the instant of the last full run.
        seen: what this run found.
    """
    if seen.remember.height:
        grade = pl.when(pl.col("counted") != "").then("counted")
        rows = seen.remember.select("user_id", spend="before", grade=grade).sort("user_id")
        known = cur.execute(_KNOWN).fetchone()
        if known and known[0]:
            copy_frame(cur, "spend_before_recent", rows)
            merge(cur)
        else:  # of everybody at once: to merge them would be to write them twice
            copy_frame(cur, "spend_before_period", rows)
    cur.execute(
        "DELETE FROM old_order_changes WHERE pg_visible_in_snapshot(xact, %s::pg_snapshot)",
        (snapshot,),
    )
    start, _ = policy.window(as_of)
    cur.execute(
        _SAVE,
        (as_of, start, policy.as_json(), snapshot, place, kept, full_at, Jsonb(seen.counts)),
    )


def merge(cur: Cursor) -> None:
    """Take the newer rows into `spend_before_period` if they are many."""
    row = cur.execute("SELECT count(*) FROM spend_before_recent").fetchone()
    if row and row[0] > MERGE_ROWS:
        cur.execute(_MERGE)
        cur.execute("DELETE FROM spend_before_recent")


def total(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Add up spend frames."""
    return grades.total(parts)


def negative(spend: pl.DataFrame) -> pl.DataFrame:
    """Return a spend frame with the opposite sign."""
    return spend.with_columns(-pl.col("cumulative_spend"))
