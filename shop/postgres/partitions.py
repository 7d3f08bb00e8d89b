"""The layout by month: `orders` and `user_spend_windows` in partitions, each a month of Seoul.

Orders are partitioned by `order_id`, which begins with the time, so that `order_id` alone stays the
primary key and an order is unique over all months; windows by `window_start`. A default partition
takes what belongs to no month that there is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date, datetime
from functools import partial
from typing import Final

import psycopg
from psycopg import sql

from shop.clock import KST
from shop.errors import UsageError
from shop.log import get_logger
from shop.postgres import months
from shop.postgres.connections import Connection, Cursor
from shop.postgres.sqlstate import retried
from shop.retry import first_line

TABLES: Final = ("user_spend_windows", "orders")
"""In the order in which every writer locks them."""
_LEAST: Final = 1_000
"""A month of fewer orders than these gets no partition in a conversion: late and invented times."""
_AHEAD_S: Final = 3_600
"""Seconds between two looks at the months ahead; there are three, so any of them may fail."""
_KEYS: Final = {"user_spend_windows": "window_start", "orders": "order_id"}
_FILLFACTORS: Final = {"user_spend_windows": 80, "orders": 100}  # as in 0001_shop.sql

# What LIKE leaves behind, as statements that repeat it on a table of the same name.
_KEPT: Final = """
SELECT 1 AS place, format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', %(name)s::text, conname,
                          pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = to_regclass(%(name)s) AND contype IN ('p', 'u')
UNION ALL
SELECT 2, pg_get_indexdef(indexrelid) FROM pg_index AS i
WHERE indrelid = to_regclass(%(name)s)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u'))
UNION ALL
SELECT 3, pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = to_regclass(%(name)s) AND NOT tgisinternal
UNION ALL
SELECT 4, format('GRANT %%s ON %%I TO %%s', privilege_type, %(name)s::text,
                 CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(%(name)s)
UNION ALL
SELECT 5, format('COMMENT ON TABLE %%I IS %%L', %(name)s::text,
                 obj_description(to_regclass(%(name)s), 'pg_class'))
ORDER BY 1
"""
_FILLED: Final = """
SELECT month FROM (
    SELECT date_trunc('month', to_timestamp(((order_id >> 12) + 1577836800000) / 1000.0)
                      AT TIME ZONE 'Asia/Seoul')::date AS month, count(*) AS orders
    FROM orders_whole GROUP BY 1) AS m
WHERE orders >= %s AND month BETWEEN %s AND now() + interval '2 years' ORDER BY month
"""


def partitioned(conn: Connection) -> bool:
    """Return whether the database has the layout by month."""
    row = conn.execute("SELECT partitioned FROM schema_layout").fetchone()
    return bool(row and row[0])


class MonthsAhead:
    """Keeps the partitions of the next months made, as an ingest runs over the end of a month."""

    def __init__(self) -> None:
        self._due = 0.0

    def keep(self, conn: Connection) -> None:
        """Make the months ahead, if an hour has passed; what cannot be made now is made later.

        Until then the default partition takes their rows.

        Args:
            conn: outside a transaction.

        Raises:
            psycopg.Error: if the server is away.
        """
        if time.monotonic() < self._due:
            return
        try:
            with conn.transaction():
                made = make_ahead(conn) if partitioned(conn) else 0
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ReadOnlySqlTransaction,
        ) as e:
            get_logger().warning("partitions of the next months: later", error=first_line(e))
        else:
            if made:
                get_logger().info("partitions made ahead", partitions=made)
        self._due = time.monotonic() + _AHEAD_S


def make_ahead(conn: Connection) -> int:
    """Make the partitions of this month and the next three; return how many were made."""
    row = conn.execute("SELECT make_months_ahead()").fetchone()
    return int(row[0]) if row else 0


def make(cur: Cursor, first: datetime, last: datetime) -> None:
    """Make the partitions of a time, in a layout by month; for a load of a history.

    Args:
        cur: in a transaction of the tables' owner.
        first: a moment of the first month.
        last: a moment of the last month.
    """
    low, high = (at.astimezone(KST).date().replace(day=1) for at in (first, last))
    _make(cur, _between(max(low, months.FIRST), high))


def _make(cur: Cursor, wanted: Iterable[date]) -> None:
    for month in wanted:
        for table in TABLES:
            cur.execute(
                "SELECT make_month(%s, %s) FROM schema_layout WHERE partitioned", (table, month)
            )


def _between(first: date, last: date) -> Iterable[date]:
    while first <= last:
        yield first
        first = months.following(first)


def fit(conn: Connection, *, wanted: bool | None = None) -> bool:
    """Change the layout if another one is wanted, and make the months ahead.

    A change copies both tables while everybody else waits for them: new ones are written next to
    the old ones, so the disk needs room for both.

    Args:
        conn: of the tables' owner, outside a transaction.
        wanted: whether the tables are partitioned from now on; None: as they are.

    Returns:
        Whether the layout was changed.

    Raises:
        UsageError: if a backfill is half done, or months are detached that a plain table cannot
            take back.
    """
    with conn.transaction():
        is_ = partitioned(conn)
    change = wanted is not None and wanted != is_
    if change:
        retried(partial(_convert, conn, on=not is_))
        with conn.transaction():
            conn.execute("ANALYZE user_spend_windows, orders")
    elif is_:
        MonthsAhead().keep(conn)
    return change


def _convert(conn: Connection, *, on: bool) -> None:
    with conn.transaction(), conn.cursor() as cur:
        months.refuse_half_done(cur)
        cur.execute("LOCK TABLE user_spend_windows, orders IN ACCESS EXCLUSIVE MODE")
        if detached := [m.month for m in months.months(conn) if m.state == "detached"]:
            raise UsageError(
                f"{', '.join(detached)}: detached; attach or drop these months, then run this again"
            )
        cur.execute("UPDATE schema_layout SET partitioned = %s", (on,))
        kept = {}
        for table in TABLES:
            kept[table] = [q for _, q in cur.execute(_KEPT, {"name": table}).fetchall()]
            _replace(cur, table, partitioned=on)
        if on:
            filled = cur.execute(_FILLED, (_LEAST, months.FIRST)).fetchall()
            _make(cur, [month for (month,) in filled])
            make_ahead(conn)
        for table in TABLES:
            names = {"new": sql.Identifier(table), "old": sql.Identifier(f"{table}_whole")}
            cur.execute(sql.SQL("INSERT INTO {new} SELECT * FROM {old}").format(**names))
            cur.execute(sql.SQL("DROP TABLE {old}").format(**names))
            cur.execute("SET LOCAL maintenance_work_mem = '256MB'")
            for statement in kept[table]:
                cur.execute(statement)


def _replace(cur: Cursor, table: str, *, partitioned: bool) -> None:
    """Put an empty table of the other layout in the place of one, which is `..._whole` then."""
    names = {
        "new": sql.Identifier(table),
        "old": sql.Identifier(f"{table}_whole"),
        "rest": sql.Identifier(f"{table}_default"),
        "key": sql.Identifier(_KEYS[table]),
        "fill": sql.Literal(_FILLFACTORS[table]),
    }
    cur.execute(sql.SQL("ALTER TABLE {new} RENAME TO {old}").format(**names))
    if partitioned:
        cur.execute(
            sql.SQL(
                "CREATE TABLE {new} (LIKE {old} INCLUDING ALL EXCLUDING INDEXES)"
                " PARTITION BY RANGE ({key})"
            ).format(**names)
        )
        # LIKE takes the comments of the columns along, PARTITION OF would not.
        cur.execute(
            sql.SQL(
                "CREATE TABLE {rest} (LIKE {new} INCLUDING ALL EXCLUDING INDEXES)"
                " WITH (fillfactor = {fill})"
            ).format(**names)
        )
        cur.execute(sql.SQL("ALTER TABLE {new} ATTACH PARTITION {rest} DEFAULT").format(**names))
        cur.execute(
            sql.SQL("COMMENT ON TABLE {rest} IS 'what belongs to no month that there is'")
            .format(**names)
        )  # fmt: skip
    else:
        cur.execute(
            sql.SQL(
                "CREATE TABLE {new} (LIKE {old} INCLUDING ALL EXCLUDING INDEXES)"
                " WITH (fillfactor = {fill})"
            ).format(**names)
        )
