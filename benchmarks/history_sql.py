"""What the tables of a shop say of themselves: the statistics of docs/realism.md in SQL.

Each query returns one row, a column for each of its statistics. Business days are Seoul's. Days
without a scenario are those of which no order names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.targets import Statistic, judged
from generators.behaviour import catalogue, demand_curves
from generators.scenarios import timetable
from shop.clock import KST
from shop.postgres import Connection

_LABEL: Final = {c.key: c.label for c in catalogue.CATEGORIES}
_HOLIDAYS: Final = ("seollal_holiday", "chuseok_holiday")
_DAY_S: Final = 86_400
_NOON_S: Final = _DAY_S // 2

PREPARE: Final = (
    # Sorts and sums of a year: without it they go through files, at three times the time.
    "SET work_mem = '256MB'",
    "DROP TABLE IF EXISTS pg_temp.placed, pg_temp.buyers, pg_temp.by_hour",
    """
    CREATE TEMP TABLE placed AS
    SELECT user_id, ordered_at, amount, status = 'PAID' AS paid,
        (ordered_at AT TIME ZONE 'UTC')::date AS utc_day,
        row_number() OVER w AS nth, ordered_at - lag(ordered_at) OVER w AS gap
    FROM orders WINDOW w AS (PARTITION BY user_id ORDER BY ordered_at)
    """,
    """
    CREATE TEMP TABLE buyers AS
    SELECT user_id, count(*) AS orders, coalesce(sum(amount) FILTER (WHERE paid), 0) AS spend,
        min(ordered_at) AS first_at, min(ordered_at) FILTER (WHERE nth = 2) AS second_at
    FROM placed GROUP BY user_id
    """,
    # Seoul is nine whole hours ahead of UTC: rows are counted by UTC's hours, which is cheap.
    """
    CREATE TEMP TABLE by_hour AS
    SELECT (began AT TIME ZONE 'Asia/Seoul')::date AS day,
        extract(hour FROM began AT TIME ZONE 'Asia/Seoul')::int AS hour, h.*
    FROM (
        SELECT date_bin('1 hour', ordered_at, 'epoch') AS began, coalesce(scenario, '') AS scenario,
            count(*) AS orders, count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
            count(*) FILTER (WHERE status = 'REFUNDED') AS refunded, sum(amount) AS placed,
            coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0) AS revenue
        FROM orders GROUP BY 1, 2
    ) h
    """,
    "ANALYZE placed",
    "ANALYZE buyers",
)
"""Tables of this session that the queries share: every order with its place among its customer's,
every buyer, every hour and scenario."""

_LOYALTY: Final = """
    WITH ranked AS (
        SELECT orders, spend, row_number() OVER (ORDER BY orders) AS i,
            row_number() OVER (ORDER BY spend) AS j, count(*) OVER () AS n
        FROM buyers
    )
    SELECT avg((orders = 1)::int), 2 * sum(i * orders) / (n * sum(orders)) - (n + 1.0) / n,
        2 * sum(j * spend) / (n * sum(spend)) - (n + 1.0) / n,
        sum(spend) FILTER (WHERE j > n - round(0.2 * n)) / sum(spend)
    FROM ranked GROUP BY n
"""
_GAPS: Final = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY days), stddev_pop(days) / avg(days)
    FROM (SELECT extract(epoch FROM gap)::float8 / 86400 AS days FROM placed WHERE nth > 1) g
"""
_MOST: Final = """
    SELECT max(n) FROM (SELECT count(*) AS n FROM placed GROUP BY user_id, utc_day) d
"""
_AGAIN: Final = """
    SELECT avg((coalesce(second_at - first_at <= d, false))::int)
            FILTER (WHERE first_at + d <= last_at)
    FROM buyers, (SELECT max(ordered_at) AS last_at FROM placed) l,
        unnest(ARRAY[interval '30 days', '90 days', '180 days']) d
    GROUP BY d ORDER BY d
"""
_FIRST: Final = """
    SELECT avg((nth = 1)::int), sum(amount) FILTER (WHERE paid AND nth = 1) / sum(amount)
        FILTER (WHERE paid) FROM placed
"""
_VALUES: Final = """
    SELECT avg(amount), percentile_cont(0.5) WITHIN GROUP (ORDER BY amount),
        stddev_pop(ln(greatest(amount, 1)::float8)), avg((amount >= 110000)::int)
    FROM placed
"""
# Analysis of variance with one factor, of customers with two orders and more.
_BETWEEN: Final = """
    SELECT 1 - sum(inside) / (sum(n) - count(*))
        / ((sum(squares) - sum(total) ^ 2 / sum(n)) / sum(n))
    FROM (
        SELECT count(*) AS n, sum(v) AS total, sum(v * v) AS squares,
            regr_sxx(v, v) AS inside
        FROM (SELECT user_id, ln(greatest(amount, 1)::float8) AS v FROM placed) l
        GROUP BY user_id HAVING count(*) >= 2
    ) c
"""
_LINES: Final = """
    SELECT avg((quantity = 1)::int), avg((quantity >= 5)::int),
        avg((payment_method = 'SIMPLE_PAY')::int), avg((payment_method = 'CARD')::int),
        avg((payment_method = 'VIRTUAL_ACCOUNT')::int), avg((payment_method = 'TRANSFER')::int),
        avg((payment_method = 'PHONE')::int),
        avg((status = 'CANCELLED')::int), avg((status = 'REFUNDED')::int)
    FROM orders
"""
_GOODS: Final = """
    WITH sold AS (
        SELECT coalesce(units, 0)::float8 AS units, count(*) OVER () AS n,
            row_number() OVER (ORDER BY units DESC NULLS LAST) - 1 AS rank
        FROM products
        FULL JOIN (SELECT product_id, sum(quantity) AS units FROM orders GROUP BY 1) o
        USING (product_id)
    ), slopes AS (
        SELECT sum(units) FILTER (WHERE rank < round(0.2 * n)) / sum(units) AS top,
            regr_slope(ln(units), ln(rank)) FILTER (WHERE rank BETWEEN 3 AND 99) AS head,
            regr_slope(ln(units), ln(rank)) FILTER (WHERE rank >= 700 AND units > 0) AS tail
        FROM sold
    )
    SELECT top, head, head - tail FROM slopes
"""
_CATEGORIES: Final = """
    SELECT avg((status = 'REFUNDED')::int) FILTER (WHERE category = %(fashion)s),
        avg((status = 'REFUNDED')::int) FILTER (WHERE category = %(electronics)s),
        avg((status = 'REFUNDED')::int) FILTER (WHERE category = %(food)s)
    FROM orders JOIN products USING (product_id)
"""
_PEOPLE: Final = """
    SELECT avg((gender = 'F')::int),
        sum(amount) FILTER (WHERE paid AND age BETWEEN 20 AND 39) / sum(amount) FILTER (WHERE paid),
        sum(amount) FILTER (WHERE paid AND age BETWEEN 40 AND 59) / sum(amount) FILTER (WHERE paid)
    FROM (
        SELECT amount, paid, gender, extract(year FROM ordered_at) - birth_year AS age
        FROM placed JOIN users USING (user_id)
    ) p
"""
_CALENDAR: Final = """
    WITH eleven AS (
        SELECT hour, sum(orders) AS orders FROM by_hour
        WHERE extract(month FROM day) = 11 AND extract(day FROM day) = 11 GROUP BY day, hour
    )
    SELECT (SELECT sum(orders) FROM eleven) / (sum(orders) / count(DISTINCT day)),
        (SELECT max(orders) / sum(orders) FROM eleven),
        sum(orders) FILTER (WHERE extract(day FROM day) IN (11, 12, 26, 27)) / sum(orders)
    FROM by_hour
"""


@dataclass(frozen=True)
class Query:
    """A query and the statistics that its columns, or its rows if it has one column, are."""

    sql: str
    names: tuple[str, ...]


QUERIES: Final = (
    Query(
        _LOYALTY,
        ("one-time buyers", "Gini of orders", "Gini of spend", "spend of the top 20 %"),
    ),
    Query(_GAPS, ("gap between orders, median days", "gap between orders, CV")),
    Query(_MOST, ("orders a day and customer, most",)),
    Query(_AGAIN, tuple(f"bought again within {days} days" for days in (30, 90, 180))),
    Query(_FIRST, ("first orders, share of orders", "first orders, share of revenue")),
    Query(
        _VALUES,
        (
            "order value, mean KRW", "order value, median KRW", "order value, log-sd",
            "orders of 110,000 KRW and more",
        ),
    ),
    Query(_BETWEEN, ("customers' share of log-variance",)),
    Query(
        _LINES,
        (
            "quantity 1", "quantity 5 and more", "simple pay", "card", "virtual account",
            "transfer", "phone bill", "cancelled", "sent back",
        ),
    ),
    Query(
        _CATEGORIES,
        tuple(f"sent back, {category}" for category in ("fashion", "electronics", "food")),
    ),
    Query(
        _GOODS,
        (
            "units of the top 20 % products", "slope of sales by rank, 3 to 100",
            "slope beyond rank 700, steeper by",
        ),
    ),
    Query(
        _PEOPLE,
        ("orders of women", "revenue, twenties and thirties", "revenue, forties and fifties"),
    ),
    Query(
        _CALENDAR,
        (
            "11.11, times a mean day", "11.11, share of its peak hour",
            "orders on days 11, 12, 26, 27",
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Hours:
    """Orders of every business day: `day` its number since 1970, `orders` (days, 24)."""

    day: npt.NDArray[np.int64]
    orders: npt.NDArray[np.int64]
    quiet: npt.NDArray[np.bool_]

    @property
    def total(self) -> npt.NDArray[np.int64]:
        """Orders of each day."""
        summed: npt.NDArray[np.int64] = self.orders.sum(axis=1)
        return summed


def prepare(conn: Connection) -> None:
    """Make the tables that the queries share."""
    for statement in PREPARE:
        conn.execute(statement)


def measure(conn: Connection) -> list[Statistic]:
    """Return every statistic that the tables have the data for, each with its target."""
    found = []
    for query in QUERIES:
        rows = conn.execute(query.sql, _LABEL).fetchall()
        values = rows[0] if len(rows) == 1 else [value for (value,) in rows]
        found += [
            judged(name, float(value))
            for name, value in zip(query.names, values, strict=True)
            if value is not None
        ]
    return found + rhythm(hours(conn))


def hours(conn: Connection) -> Hours:
    """Return orders by day and hour, of whole days."""
    rows = conn.execute(
        "SELECT day - date '1970-01-01', hour, sum(orders)::bigint,"
        " bool_and(bool_and(scenario = '')) OVER (PARTITION BY day)"
        " FROM by_hour GROUP BY day, hour ORDER BY day"
    ).fetchall()
    number, hour, orders, quiet = (np.array(c) for c in zip(*rows, strict=True))
    day, row = np.unique(number.astype(np.int64), return_inverse=True)
    grid = np.zeros((len(day), 24), np.int64)
    grid[row, hour.astype(np.int64)] = orders
    without = np.zeros(len(day), np.bool_)
    without[row] = quiet
    return Hours(day, grid, without)


def rhythm(seen: Hours) -> list[Statistic]:
    """Return how far hours, weekdays and months are from their curves, and what holidays do."""
    quiet = seen.orders[seen.quiet]
    if not len(quiet):
        return []
    share = quiet.sum(axis=0) / quiet.sum()
    wanted = np.array(demand_curves.HOURS) / sum(demand_curves.HOURS)
    found = [
        judged("hours, largest deviation, points", float(np.abs(share - wanted).max() * 100)),
        judged("night, 0 to 8 h, share", float(share[:8].sum())),
    ]
    excess = _excess(seen)
    weekday = (seen.day + 3) % 7  # 1970-01-01 was a Thursday
    month = seen.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    for name, part, curve in (
        ("weekdays", weekday, demand_curves.WEEKDAYS),
        ("months", month, demand_curves.MONTHS),
    ):
        index = np.array(curve) / np.mean(curve) * 100
        off = [
            abs(excess[seen.quiet & (part == i)].mean() - 1) * index[i]
            for i in range(len(curve))
            if (seen.quiet & (part == i)).any()
        ]
        found.append(judged(f"{name}, largest deviation, points", float(max(off))))
    return found + _holidays(seen, excess)


def _excess(seen: Hours) -> npt.NDArray[np.float64]:
    """Return each day's orders relative to the curves of weekday, month and growth.

    1 is the mean of the days without a scenario.
    """
    noon = (seen.day * _DAY_S - 9 * 3_600 + _NOON_S).astype(np.float64)
    ratio = seen.total / demand_curves.multiplier(noon, float(noon[0]))
    result: npt.NDArray[np.float64] = ratio / ratio[seen.quiet].mean()
    return result


def _holidays(seen: Hours, excess: npt.NDArray[np.float64]) -> list[Statistic]:
    """Return what the lunar holidays do, and the days after them."""
    off: list[float] = []
    after: list[float] = []
    for span in timetable.between(0, float(seen.day[0]) * _DAY_S, float(seen.day[-1]) * _DAY_S):
        if span.name in _HOLIDAYS:
            day = datetime.fromtimestamp(span.start, KST).date()
            at = np.flatnonzero(seen.day == (day - date(1970, 1, 1)).days)
            (off if span.rate < 1 else after).extend(excess[at].tolist())
    if not off or not after:
        return []
    return [
        judged("Seollal and Chuseok, of a normal day", float(np.mean(off))),
        judged("day after Seollal and Chuseok, of a normal day", float(np.mean(after))),
    ]


def scenarios_of(conn: Connection) -> list[tuple[str, int, float, float, float, float]]:
    """Return per scenario: orders, their share, revenue's share, mean value KRW, cancelled share.

    Revenue is the amount of PAID orders; the name is empty where there was no scenario.
    """
    rows = conn.execute(
        "SELECT scenario, sum(orders)::bigint, sum(orders) / sum(sum(orders)) OVER (),"
        " sum(revenue) / sum(sum(revenue)) OVER (), sum(placed) / sum(orders),"
        " sum(cancelled) / sum(orders) FROM by_hour GROUP BY scenario ORDER BY 2 DESC"
    ).fetchall()
    return [(name, int(n), *map(float, rest)) for name, n, *rest in rows]


def revenue_by_day(conn: Connection) -> list[tuple[date, int, str]]:
    """Return each business day, its revenue in KRW, and the scenario of most of its orders."""
    rows = conn.execute(
        "SELECT day, sum(revenue)::bigint, (array_agg(scenario ORDER BY orders DESC))[1] FROM"
        " (SELECT day, scenario, sum(orders) AS orders, sum(revenue) AS revenue FROM by_hour"
        " GROUP BY 1, 2) s GROUP BY day ORDER BY day"
    ).fetchall()
    return [(day, int(revenue), name) for day, revenue, name in rows]


def grades_by_week(
    conn: Connection, names: Sequence[str]
) -> tuple[list[datetime], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the gradings, the customers of each grade after them (gradings, grades), the changes.

    Args:
        conn: to the shop.
        names: of the grades, lowest first: the one with which everybody begins.
    """
    runs = conn.execute(
        "SELECT as_of, max(users), max(changed) FROM grade_runs GROUP BY as_of ORDER BY as_of"
    ).fetchall()
    place = {as_of: i for i, (as_of, _, _) in enumerate(runs)}
    moved = np.zeros((len(runs), len(names)), np.int64)
    for as_of, before, after, n in conn.execute(
        "SELECT as_of, from_grade, to_grade, count(*) FROM grade_history GROUP BY 1, 2, 3"
    ):
        moved[place[as_of], names.index(before)] -= n
        moved[place[as_of], names.index(after)] += n
    held = moved.cumsum(axis=0)
    held[:, 0] += np.array([users for _, users, _ in runs], np.int64)
    return list(place), held, np.array([changed for _, _, changed in runs], np.int64)


def lorenz(conn: Connection, query: str) -> npt.NDArray[np.float64]:
    """Return the shares of the sum that the smallest 0, 1, ..., 100 % hold.

    Args:
        conn: after `prepare`.
        query: returns one column, `x`.
    """
    rows = conn.execute(
        "SELECT (upto - x * (i - n * k / 100.0)) / total FROM ("
        "SELECT x, row_number() OVER ascending AS i, sum(x) OVER ascending AS upto,"
        f" count(*) OVER () AS n, sum(x) OVER () AS total FROM ({query}) q"
        " WINDOW ascending AS (ORDER BY x ROWS UNBOUNDED PRECEDING)) r"
        # the customer in whose spend the border lies, a part of it on either side
        " JOIN generate_series(1, 100) AS k ON i = (n * k + 99) / 100 ORDER BY k"
    ).fetchall()
    return np.array([0.0, *(float(share) for (share,) in rows)])
