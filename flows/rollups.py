"""Fold a batch's orders into sales by hour, product, category, payment method and cohort.

Sums of PAID orders at their `ordered_at`; a cancellation takes back what was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import polars as pl

from shop.ids import EPOCH_MS, IDS_PER_MS
from shop.postgres import Cursor, copy_into
from shop.postgres.binary_copy import binary

Categories: TypeAlias = Mapping[int, str | None]
"""The category of each product that there is; None: a stub."""

SESSION: Final = """
CREATE TEMP TABLE IF NOT EXISTS stage_sales_by_product (
    product_id bigint, day timestamptz, orders integer, units integer, spend bigint
) ON COMMIT DELETE ROWS
"""
_TIMEZONE_US: Final = 9 * 3_600_000_000
"""Seoul is 9 h ahead of UTC, without a summer time since 1988."""
_ID_EPOCH_MS: Final = EPOCH_MS + _TIMEZONE_US // 1000
"""What the time in an id counts from, in Seoul."""

# In key order, and after products: those rows are locked by then, so nobody changes a category
# between our reading it and our commit. What all workers meet on, the current day and hour, last.
_MERGE_PRODUCTS: Final = """
INSERT INTO sales_by_product AS s (product_id, day, orders, units, spend)
SELECT product_id, (day AT TIME ZONE 'UTC')::date, orders, units, spend
FROM stage_sales_by_product ORDER BY product_id, day
ON CONFLICT (product_id, day) DO UPDATE
SET orders = s.orders + excluded.orders, units = s.units + excluded.units,
    spend = s.spend + excluded.spend, changed_at = now()
"""
_MERGE_CATEGORIES: Final = """
INSERT INTO sales_by_category AS c (day, category, orders, units, spend)
SELECT (s.day AT TIME ZONE 'UTC')::date AS on_day, coalesce(p.category, 'unknown') AS of_category,
       sum(s.orders), sum(s.units), sum(s.spend)
FROM stage_sales_by_product AS s JOIN products AS p USING (product_id)
GROUP BY on_day, of_category ORDER BY on_day, of_category
ON CONFLICT (day, category) DO UPDATE
SET orders = c.orders + excluded.orders, units = c.units + excluded.units,
    spend = c.spend + excluded.spend, changed_at = now()
"""
_MERGE_PAYMENT_METHODS: Final = """
INSERT INTO sales_by_payment_method AS m (day, payment_method, orders, spend)
SELECT (day AT TIME ZONE 'UTC')::date, method, orders, spend
FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[])
    AS d (day, method, orders, spend) ORDER BY day, method
ON CONFLICT (day, payment_method) DO UPDATE
SET orders = m.orders + excluded.orders, spend = m.spend + excluded.spend, changed_at = now()
"""
_MERGE_HOURS: Final = """
INSERT INTO sales_by_hour AS h (hour, scenario, orders, units, spend, cancelled, refunded)
SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
                     %s::bigint[], %s::bigint[])
    AS d (hour, scenario, orders, units, spend, cancelled, refunded) ORDER BY hour, scenario
ON CONFLICT (hour, scenario) DO UPDATE
SET orders = h.orders + excluded.orders, units = h.units + excluded.units,
    spend = h.spend + excluded.spend, cancelled = h.cancelled + excluded.cancelled,
    refunded = h.refunded + excluded.refunded, changed_at = now()
"""
_MERGE_COHORTS: Final = """
INSERT INTO sales_by_cohort AS s (cohort, month, orders, spend)
SELECT (cohort AT TIME ZONE 'UTC')::date, (month AT TIME ZONE 'UTC')::date, orders, spend
FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::bigint[])
    AS d (cohort, month, orders, spend) ORDER BY cohort, month
ON CONFLICT (cohort, month) DO UPDATE
SET orders = s.orders + excluded.orders, spend = s.spend + excluded.spend, changed_at = now()
"""
_COUNT_SIGN_UPS: Final = """
INSERT INTO sign_ups_by_day AS s (day, customers)
SELECT (created_at AT TIME ZONE 'Asia/Seoul')::date AS on_day, count(*)
FROM users WHERE user_id = ANY(%s) GROUP BY on_day ORDER BY on_day
ON CONFLICT (day) DO UPDATE SET customers = s.customers + excluded.customers, changed_at = now()
"""
_CATEGORIES: Final = """
SELECT product_id, category FROM products WHERE product_id = ANY(%s) ORDER BY product_id FOR UPDATE
"""
# Sales of products whose category is another one now leave the old one and join the new one.
_MOVE: Final = """
WITH moved AS (
    SELECT s.day, o.category AS old, coalesce(p.category, 'unknown') AS new,
           s.orders, s.units, s.spend
    FROM unnest(%s::bigint[], %s::text[]) AS o (product_id, category)
    JOIN products AS p USING (product_id) JOIN sales_by_product AS s USING (product_id)
    WHERE coalesce(p.category, 'unknown') <> o.category
), changes AS (
    SELECT day, old AS name, -orders AS orders, -units AS units, -spend AS spend FROM moved
    UNION ALL SELECT day, new, orders, units, spend FROM moved
)
INSERT INTO sales_by_category AS c (day, category, orders, units, spend)
SELECT day, name, sum(orders), sum(units), sum(spend) FROM changes
GROUP BY day, name ORDER BY day, name
ON CONFLICT (day, category) DO UPDATE
SET orders = c.orders + excluded.orders, units = c.units + excluded.units,
    spend = c.spend + excluded.spend, changed_at = now()
"""


@dataclass(frozen=True, slots=True)
class Sales:
    """What orders add to each rollup.

    Attributes:
        products: product_id, day, orders, units, spend.
        payment_methods: day, payment_method, orders, spend.
        hours: hour, scenario, orders, units, spend, cancelled, refunded.
        cohorts: cohort, month, orders, spend; months of sign-up and order are those of the ids.
    """

    products: pl.DataFrame = field(repr=False)
    payment_methods: pl.DataFrame = field(repr=False)
    hours: pl.DataFrame = field(repr=False)
    cohorts: pl.DataFrame = field(repr=False)


def fold(counted: pl.DataFrame) -> Sales:
    """Add up contributions (see `aggregates.contributions`) by the keys of the rollups.

    A day is written as its midnight in UTC: it is a date, and the tables say so.
    """
    local = pl.col("ordered_at") + pl.duration(microseconds=_TIMEZONE_US)
    seoul = local.dt.truncate("1d")
    orders, units, spend = (pl.col(name).sum() for name in ("orders", "units", "spend"))
    paid = counted.lazy().filter("paid").with_columns(day=seoul)
    products, payment_methods, hours, cohorts = pl.collect_all([
        paid.group_by("product_id", "day").agg(orders, units, spend).sort("product_id", "day"),
        paid.group_by("day", "payment_method").agg(orders, spend),
        counted.lazy()
        .group_by(hour=pl.col("ordered_at").dt.truncate("1h"),
                  scenario=pl.col("scenario").fill_null("none"))
        .agg(orders, units, spend, pl.col("cancelled").sum(), pl.col("refunded").sum()),
        paid.group_by(cohort=_month_of("user_id"), month=_month_of("order_id"))
        .agg(orders, spend),
    ])  # fmt: skip
    return Sales(products, payment_methods, hours, cohorts)


def _month_of(id_field: str) -> pl.Expr:
    """Return the beginning of the month in Seoul that an id carries, written as one in UTC."""
    local = (pl.col(id_field) // IDS_PER_MS + _ID_EPOCH_MS).cast(pl.Datetime("ms"))
    return local.dt.truncate("1mo").cast(pl.Datetime("us"))


def added(sales: Sequence[Sales]) -> Sales:
    """Return the sum of what the orders of several batches add."""
    products = _sum([s.products for s in sales], "product_id", "day").sort("product_id", "day")
    payment_methods = _sum([s.payment_methods for s in sales], "day", "payment_method")
    hours = _sum([s.hours for s in sales], "hour", "scenario")
    cohorts = _sum([s.cohorts for s in sales], "cohort", "month")
    return Sales(products, payment_methods, hours, cohorts)


def _sum(frames: Sequence[pl.DataFrame], *keys: str) -> pl.DataFrame:
    return pl.concat(frames).group_by(keys).agg(pl.all().sum()).select(frames[0].columns)


def merge(cur: Cursor, sales: Sales) -> None:
    """Add sales to the rollups.

    Args:
        cur: in the transaction that stores the orders, after the counters of their products.
        sales: of these orders.
    """
    if sales.products.height:
        copy_into(cur, "stage_sales_by_product", binary(sales.products, "sales_by_product"))
        cur.execute(_MERGE_PRODUCTS)
        cur.execute(_MERGE_CATEGORIES)
        cur.execute(_MERGE_PAYMENT_METHODS, _arrays(sales.payment_methods))
        cur.execute(_MERGE_COHORTS, _arrays(sales.cohorts))
    if sales.hours.height:
        cur.execute(_MERGE_HOURS, _arrays(sales.hours))


def _arrays(frame: pl.DataFrame) -> list[list[object]]:
    utc = frame.with_columns(pl.col(pl.Datetime).dt.replace_time_zone("UTC"))
    return [column.to_list() for column in utc]


def lock_categories(cur: Cursor, product_ids: Sequence[int]) -> Categories:
    """Return the categories of products, and keep others from changing them or counting on them.

    Args:
        cur: in the transaction that stores product events, before it does.
        product_ids: of the events.
    """
    cur.execute(_CATEGORIES, (sorted(product_ids),))
    return dict(cur.fetchall())


def move_categories(cur: Cursor, product_ids: Sequence[int], before: Categories) -> None:
    """Move the sales of products to the category that they have now.

    Args:
        cur: in the transaction that stored their events.
        product_ids: of the events that were stored; one that is not in `before` was a stub at most.
        before: as `lock_categories` returned it.
    """
    if product_ids:
        old = [before.get(id_) or "unknown" for id_ in product_ids]
        cur.execute(_MOVE, (list(product_ids), old))


def count_sign_ups(cur: Cursor, user_ids: Sequence[int]) -> None:
    """Count sign-ups by their day.

    Args:
        cur: in the transaction that stored them.
        user_ids: of customers whose event was stored just now, a stub or nothing until then.
    """
    if user_ids:
        cur.execute(_COUNT_SIGN_UPS, (list(user_ids),))
