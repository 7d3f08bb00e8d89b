"""Months of the layout by month: which there are, and how they are detached, attached and dropped.

A month that is detached or dropped takes its orders and windows along. What it counted for
customers, products and rollups stays counted: `detached_spend` and `detached_sales` hold its sums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final, Literal

from psycopg import sql

from shop.errors import UsageError
from shop.postgres.connections import Connection, Cursor
from shop.postgres.sqlstate import retried

State = Literal["attached", "detached", "dropped"]

FIRST: Final = date(2020, 1, 1)
"""Where ids begin."""
_MONTHS: Final = """
SELECT d.month, d.state, greatest(c.reltuples, 0)::bigint,
       coalesce(pg_total_relation_size(c.oid), 0)
           + coalesce(pg_total_relation_size(w.oid), 0)
FROM (
    SELECT replace(substr(relname, 8), '_', '-') AS month, relname,
           CASE WHEN relispartition THEN 'attached' ELSE 'detached' END AS state
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
      AND relname ~ '^orders_[0-9]{4}_[0-9]{2}$'
    UNION ALL
    SELECT to_char(month, 'YYYY-MM'), NULL, 'dropped' FROM detached_spend
    WHERE to_regclass('public.orders_' || to_char(month, 'YYYY_MM')) IS NULL GROUP BY month
) AS d
LEFT JOIN pg_class AS c ON c.oid = to_regclass('public.' || d.relname)
LEFT JOIN pg_class AS w
    ON w.oid = to_regclass('public.user_spend_windows_' || replace(d.month, '-', '_'))
ORDER BY d.month
"""
_SUMS: Final = """
INSERT INTO detached_spend (month, user_id, orders, spend)
SELECT {month}, user_id, count(*), sum(amount) FROM {part} WHERE status = 'PAID' GROUP BY user_id;
INSERT INTO detached_sales (month, product_id, day, orders, units, spend, cancelled, refunded)
SELECT {month}, product_id, (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS on_day, count(*),
       sum(quantity), sum(amount), 0, 0
FROM {part} WHERE status = 'PAID' GROUP BY product_id, on_day;
INSERT INTO detached_sales (month, payment_method, day, orders, units, spend, cancelled, refunded)
SELECT {month}, payment_method, (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS on_day, count(*),
       sum(quantity), sum(amount), 0, 0
FROM {part} WHERE status = 'PAID' GROUP BY payment_method, on_day;
INSERT INTO detached_sales (month, hour, scenario, orders, units, spend, cancelled, refunded)
SELECT {month}, date_trunc('hour', ordered_at, 'UTC') AS in_hour,
       coalesce(scenario, 'none') AS name,
       count(*) FILTER (WHERE status = 'PAID'),
       coalesce(sum(quantity) FILTER (WHERE status = 'PAID'), 0),
       coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0),
       count(*) FILTER (WHERE status = 'CANCELLED'), count(*) FILTER (WHERE status = 'REFUNDED')
FROM {part} GROUP BY in_hour, name
"""
_FOLD: Final = """
SELECT date_bin(make_interval(secs => {seconds}), ordered_at, 'epoch') AS window_start, user_id,
       count(*)::integer AS orders, sum(amount)::bigint AS spend
FROM {orders} WHERE status = 'PAID' AND {when} GROUP BY 1, 2
"""
# Orders whose id belongs to the month and whose time does not, or the other way round, are rare: a
# producer's clock was wrong, or the last millisecond of a month.
_TAKE_BACK: Final = """
UPDATE user_spend_windows AS w
SET orders = w.orders - d.orders, spend = w.spend - d.spend, changed_at = now()
FROM ({fold}) AS d WHERE w.window_start = d.window_start AND w.user_id = d.user_id
  AND (d.window_start < month_start({month}) OR d.window_start >= month_start({later}))
"""
_FOLD_REST: Final = """
INSERT INTO user_spend_windows (window_start, user_id, orders, spend)
SELECT * FROM ({fold}) AS d
WHERE d.window_start >= month_start({month}) AND d.window_start < month_start({later})
"""
_ADD: Final = """
INSERT INTO user_spend_windows AS w (window_start, user_id, orders, spend)
SELECT * FROM ({fold}) AS d ORDER BY window_start, user_id
ON CONFLICT (window_start, user_id) DO UPDATE
SET orders = w.orders + excluded.orders, spend = w.spend + excluded.spend, changed_at = now()
"""


@dataclass(frozen=True)
class Month:
    """A month of orders.

    Attributes:
        month: such as 2026-11, in Seoul.
        state: `detached`: a table of its own; `dropped`: only its sums are there.
        orders: PostgreSQL's estimate; 0 until a table was analysed.
        size: bytes of its orders and windows, indexes included.
    """

    month: str
    state: State
    orders: int
    size: int


def months(conn: Connection) -> list[Month]:
    """Return the months that there are or were, in order."""
    return [Month(*row) for row in conn.execute(_MONTHS).fetchall()]


def parse(text: str) -> date:
    """Return the first day of a month.

    >>> parse("2026-11")
    datetime.date(2026, 11, 1)

    Raises:
        UsageError: if it is none.
    """
    found = re.fullmatch(r"(\d{4})-(\d{2})", text)
    if not found or not 1 <= int(found[2]) <= 12 or int(found[1]) < FIRST.year:
        raise UsageError(f"{text!r} is not a month such as 2026-11, from 2020-01 on")
    return date(int(found[1]), int(found[2]), 1)


def detach(conn: Connection, month: date, *, drop: bool = False) -> int:
    """Take a month out of the shop, in one transaction: its orders become a table of their own.

    Its windows are dropped, as they follow from the orders. Users, products and rollups keep what
    it counted. Writers wait meanwhile.

    Args:
        conn: of the tables' owner, outside a transaction.
        month: its first day.
        drop: whether the orders are dropped, too; of a month that is detached already, likewise.

    Returns:
        How many orders it had.

    Raises:
        UsageError: if there is no such month to take.
    """
    return retried(partial(_detach, conn, month, drop))


def _detach(conn: Connection, month: date, drop: bool) -> int:
    with conn.transaction(), conn.cursor() as cur:
        names = _begin(cur, month)
        state = _state(conn, month)
        if state not in ("attached", *(("detached",) if drop else ())):
            raise UsageError(f"{month:%Y-%m} is {state or 'not there'}, not attached")
        (orders,) = cur.execute(_sql("SELECT count(*) FROM {part}", names)).fetchone() or (0,)
        if state == "attached":
            cur.execute(_sql(_SUMS, names))
            cur.execute(_sql("ALTER TABLE orders DETACH PARTITION {part}", names))
            cur.execute(_sql(_TAKE_BACK, {**names, "fold": _fold(names, whole=True)}))
            cur.execute(
                _sql("ALTER TABLE user_spend_windows DETACH PARTITION {windows}", names)
                + _sql("; DROP TABLE {windows}", names)
            )
            cur.execute(_sql(_FOLD_REST, {**names, "fold": _fold(names, whole=False)}))
        if drop:
            cur.execute(_sql("DROP TABLE {part}", names))
        return int(orders)


def attach(conn: Connection, month: date) -> int:
    """Put a detached month back, with the windows of its orders; return how many orders it has.

    Args:
        conn: of the tables' owner, outside a transaction.
        month: its first day.

    Raises:
        UsageError: if it is not detached, or its orders were changed or stored again meanwhile.
    """
    return retried(partial(_attach, conn, month))


def _attach(conn: Connection, month: date) -> int:
    with conn.transaction(), conn.cursor() as cur:
        names = _begin(cur, month)
        if (state := _state(conn, month)) != "detached":
            raise UsageError(f"{month:%Y-%m} is {state or 'not there'}, not detached")
        again, same, orders = cur.execute(_sql(
            "SELECT (SELECT count(*) FROM orders_default JOIN {part} USING (order_id)),"
            " (SELECT (count(*), coalesce(sum(amount), 0)) FROM {part} WHERE status = 'PAID')"
            " = (SELECT (coalesce(sum(orders), 0)::bigint, coalesce(sum(spend), 0))"
            "    FROM detached_spend WHERE month = {month}),"
            " (SELECT count(*) FROM {part})", names,
        )).fetchone() or (0, False, 0)  # fmt: skip
        if again:
            raise UsageError(
                f"{again:,} orders of {month:%Y-%m} were stored again since it was detached: "
                f"delete them from {names['part'].as_string()} or leave the month detached"
            )
        if not same:
            raise UsageError(
                f"{month:%Y-%m} has other orders than when it was detached, or the shop was "
                "emptied since: `jangteo partitions drop` removes it"
            )
        cur.execute("SELECT make_month('user_spend_windows', %s)", (month,))
        cur.execute(_sql(_ADD, {**names, "fold": _fold(names, whole=True)}))
        cur.execute(_sql(
            "WITH moved AS (DELETE FROM orders_default WHERE order_id >= month_first_id({month})"
            " AND order_id < month_first_id({later}) RETURNING *)"
            " INSERT INTO {part} SELECT * FROM moved", names,
        ))  # fmt: skip
        low, high = cur.execute(
            _sql("SELECT month_first_id({month}), month_first_id({later})", names)
        ).fetchone() or (0, 0)
        bounds = {**names, "low": sql.Literal(low), "high": sql.Literal(high)}
        cur.execute(_sql(
            "ALTER TABLE orders ATTACH PARTITION {part} FOR VALUES FROM ({low}) TO ({high})", bounds
        ))  # fmt: skip
        cur.execute(_sql("DELETE FROM detached_spend WHERE month = {month}", names))
        cur.execute(_sql("DELETE FROM detached_sales WHERE month = {month}", names))
        return int(orders)


def following(month: date) -> date:
    """Return the first day of the next month."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def refuse_half_done(cur: Cursor) -> None:
    """Refuse to work next to a history that is half written.

    Raises:
        UsageError: if there is one.
    """
    if cur.execute("SELECT FROM backfill_runs WHERE finished_at IS NULL").fetchone():
        raise UsageError("a backfill is half done: finish it, or `jangteo backfill --discard`")


def _begin(cur: Cursor, month: date) -> dict[str, sql.Composable]:
    refuse_half_done(cur)
    row = cur.execute("SELECT partitioned FROM schema_layout").fetchone()
    if not row or not row[0]:
        raise UsageError(
            "the tables are not partitioned: `jangteo init --partitioned` makes them so"
        )
    cur.execute("LOCK TABLE user_spend_windows, orders IN SHARE ROW EXCLUSIVE MODE")
    # Grades may rest on an order of these months whose time is a later one.
    cur.execute("SELECT forget_grade_state()")
    found = cur.execute("SELECT seconds FROM spend_window_length").fetchone()
    return {
        "part": sql.Identifier(f"orders_{month:%Y_%m}"),
        "windows": sql.Identifier(f"user_spend_windows_{month:%Y_%m}"),
        "month": sql.SQL("{}::date").format(sql.Literal(month)),
        "later": sql.SQL("{}::date").format(sql.Literal(following(month))),
        "seconds": sql.Literal(found[0] if found else 86_400),
    }


def _fold(names: dict[str, sql.Composable], *, whole: bool) -> sql.Composed:
    """Return the query for the windows of a month's own orders, or of the others at its time."""
    if whole:
        return _sql(_FOLD, {**names, "orders": names["part"], "when": sql.SQL("true")})
    when = _sql(
        "ordered_at >= month_start({month})"
        " AND ordered_at < month_start({later}) + interval '1 day'",
        names,
    )  # a window is at most a day long
    return _sql(_FOLD, {**names, "orders": sql.Identifier("orders"), "when": when})


def _sql(text: str, names: dict[str, sql.Composable]) -> sql.Composed:
    return sql.SQL(text).format(**names)


def _state(conn: Connection, month: date) -> State | None:
    return next((m.state for m in months(conn) if m.month == f"{month:%Y-%m}"), None)
