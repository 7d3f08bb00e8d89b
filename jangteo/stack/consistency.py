"""Promise P2: spend windows, user totals, counters and rollups match the orders."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import psycopg
from psycopg import IsolationLevel

from shop.postgres import Connection

# Each query describes every row where the two sides differ; the last parameter limits their
# number. PAID orders are authoritative, the other tables follow from them.
_PAID: Final = """
paid AS MATERIALIZED (
    SELECT user_id, amount FROM orders WHERE status = 'PAID'
),
by_user AS (
    SELECT user_id, count(*) AS orders, sum(amount) AS spend FROM paid GROUP BY user_id
),
detached AS (
    SELECT user_id, sum(orders) AS orders, sum(spend) AS spend
    FROM detached_spend GROUP BY user_id
),
by_window AS (
    SELECT user_id, sum(orders) AS orders, sum(spend) AS spend
    FROM user_spend_windows GROUP BY user_id
)
"""
_USERS: Final = f"""
WITH {_PAID}
SELECT format(
    'user %%s: orders %%s of %%s KRW, windows %%s of %%s, users row %%s of %%s', user_id,
    coalesce(o.orders, 0) + coalesce(d.orders, 0), coalesce(o.spend, 0) + coalesce(d.spend, 0),
    coalesce(w.orders, 0) + coalesce(d.orders, 0), coalesce(w.spend, 0) + coalesce(d.spend, 0),
    coalesce(u.order_count::text, 'missing'), coalesce(u.total_spent::text, 'missing'))
FROM by_user AS o
FULL JOIN by_window AS w USING (user_id)
FULL JOIN detached AS d USING (user_id)
FULL JOIN users AS u USING (user_id)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0))
        IS DISTINCT FROM (coalesce(w.orders, 0), coalesce(w.spend, 0))
   OR (coalesce(o.orders, 0) + coalesce(d.orders, 0), coalesce(o.spend, 0) + coalesce(d.spend, 0))
        IS DISTINCT FROM (u.order_count::bigint, u.total_spent::numeric)
ORDER BY user_id LIMIT %s
"""  # noqa: S608  (put together from our own constants)
_PRODUCTS: Final = """
WITH paid AS (
    SELECT product_id, sum(orders) AS orders FROM (
        SELECT product_id, count(*) AS orders FROM orders WHERE status = 'PAID' GROUP BY product_id
        UNION ALL SELECT product_id, orders FROM detached_sales WHERE product_id IS NOT NULL
    ) AS p GROUP BY product_id
)
SELECT format('product %%s: orders %%s, products row %%s', product_id,
    coalesce(o.orders, 0), coalesce(p.order_count::text, 'missing'))
FROM paid AS o FULL JOIN products AS p USING (product_id)
WHERE coalesce(o.orders, 0) IS DISTINCT FROM p.order_count::bigint
ORDER BY product_id LIMIT %s
"""
_ROLLUPS: Final = {
    "sales_by_hour": ("hour", "scenario"),
    "sales_by_product": ("product_id", "day"),
    "sales_by_category": ("day", "category"),
    "sales_by_payment_method": ("day", "payment_method"),
}


def _rollup(table: str, keys: tuple[str, ...]) -> str:
    """Return the query for a rollup; a row that counts nothing is as good as none."""
    sums = ["orders", "spend"]
    if table != "sales_by_payment_method":
        sums.append("units")
    if table == "sales_by_hour":
        sums += ["cancelled", "refunded"]
    differ = " OR ".join(f"coalesce(o.{s}, 0) <> coalesce(r.{s}, 0)" for s in sums)
    return f"""
SELECT format('{table} %%s %%s: orders %%s of %%s KRW, rollup %%s of %%s', {", ".join(keys)},
    coalesce(o.orders, 0), coalesce(o.spend, 0), coalesce(r.orders, 0), coalesce(r.spend, 0))
FROM {table}_of_orders() AS o FULL JOIN {table} AS r USING ({", ".join(keys)})
WHERE {differ} ORDER BY {", ".join(keys)} LIMIT %s
"""  # noqa: S608  (as above)


_DAYS: Final = (30, 7, 1, 0)
# The last days alone, which the range index finds. By hour with the hour's scenario, by day with
# the product, the payment method, or neither: categories add up to their day.
_RECENT: Final = """
WITH since AS (
    SELECT date_trunc('day', now() AT TIME ZONE 'Asia/Seoul')
           - make_interval(days => %(days)s) AS day
), found AS MATERIALIZED (
    SELECT date_trunc('hour', ordered_at, 'UTC') AS hour,
           (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS day, product_id, payment_method,
           coalesce(scenario, 'none') AS scenario, amount
    FROM orders WHERE status = 'PAID'
      AND ordered_at >= (SELECT day FROM since) AT TIME ZONE 'Asia/Seoul'
), by_orders AS (
    SELECT 'sales_by_hour' AS name, hour::text AS at, scenario AS key, count(*) AS n,
           sum(amount) AS spend FROM found GROUP BY hour, scenario
    UNION ALL SELECT 'sales_by_product', day::text, product_id::text, count(*), sum(amount)
    FROM found GROUP BY day, product_id
    UNION ALL SELECT 'sales_by_payment_method', day::text, payment_method, count(*), sum(amount)
    FROM found GROUP BY day, payment_method
    UNION ALL SELECT 'sales_by_category', day::text, '', count(*), sum(amount)
    FROM found GROUP BY day
), by_rollups AS (
    SELECT 'sales_by_hour' AS name, hour::text AS at, scenario AS key, orders AS n, spend
    FROM sales_by_hour WHERE hour >= (SELECT day FROM since) AT TIME ZONE 'Asia/Seoul'
    UNION ALL SELECT 'sales_by_product', day::text, product_id::text, orders, spend
    FROM sales_by_product WHERE day >= (SELECT day FROM since)
    UNION ALL SELECT 'sales_by_payment_method', day::text, payment_method, orders, spend
    FROM sales_by_payment_method WHERE day >= (SELECT day FROM since)
    UNION ALL SELECT 'sales_by_category', day::text, '', sum(orders), sum(spend)
    FROM sales_by_category WHERE day >= (SELECT day FROM since) GROUP BY day
)
SELECT format('%%s %%s: orders %%s of %%s KRW, rollup %%s of %%s',
    name, concat_ws(' ', at, nullif(key, '')),
    coalesce(o.n, 0), coalesce(o.spend, 0), coalesce(r.n, 0), coalesce(r.spend, 0))
FROM by_orders AS o FULL JOIN by_rollups AS r USING (name, at, key)
WHERE (coalesce(o.n, 0), coalesce(o.spend, 0)) <> (coalesce(r.n, 0), coalesce(r.spend, 0))
ORDER BY name, at, key LIMIT %(limit)s
"""


def recent_rollups(
    conn: Connection, *, timeout_s: float, limit: int = 20
) -> tuple[int, list[str]] | None:
    """Compare the rollups of the last days with the orders; of fewer days where that takes long.

    Args:
        conn: with autocommit.
        timeout_s: seconds after which it tries fewer days.
        limit: maximum number of differences.

    Returns:
        How many days of Seoul before today, and the differences; None if today alone takes longer.
    """
    for days in _DAYS:
        with suppress(psycopg.errors.QueryCanceled), conn.transaction():
            conn.execute(f"SET LOCAL statement_timeout = {int(timeout_s * 1_000)}")
            rows = conn.execute(_RECENT, {"days": days, "limit": limit}).fetchall()
            return days, [str(row[0]) for row in rows]
    return None


def check(conn: Connection, *, limit: int = 20) -> list[str]:
    """Return the differences, at most `limit` of each kind; none if all counts match.

    What detached and dropped months counted belongs to both sides.

    For every user: the sum over the spend windows = the sum over PAID orders = the totals in
    `users`, in count and in KRW; for every product: `order_count` = its PAID orders; for every row
    of a rollup: its sums = those of its orders. All is read from one snapshot, so it may run while
    the ingest writes.

    Args:
        conn: outside a transaction; its isolation level is restored afterwards.
        limit: maximum number of differences of each kind.
    """
    before = conn.isolation_level
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with conn.transaction():
            return [
                str(row[0])
                for query in (
                    _USERS,
                    _PRODUCTS,
                    *(_rollup(t, keys) for t, keys in _ROLLUPS.items()),
                )
                for row in conn.execute(query.encode(), (limit,)).fetchall()
            ]
    finally:
        conn.isolation_level = before
