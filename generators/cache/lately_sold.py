"""The orders of each product lately, as in a history, from the rollup of PAID orders by day."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from psycopg import sql

from generators.behaviour.shelf import HALF_LIFE_DAYS
from generators.random_streams import Floats, Ints
from shop.postgres import Connection

DAYS: Final = 98
"""Seven half-lives: what is older weighs less than a hundredth."""
OLD_S: Final = 600.0
"""How often days before yesterday are added up again, for orders that were stored or cancelled
late, seconds: those of a year's history take 0.1 s of CPU, yesterday's and today's 5 ms."""
GROWTH: Final = 1.05
"""They are added up at once if the orders of the shop grew by this factor, as after a history."""
_TODAY: Final = "SELECT (now() AT TIME ZONE 'Asia/Seoul')::date"
# In double precision: numeric powers take 15 us each, 2 s of a year's history.
_SUMS: Final = sql.SQL(
    "SELECT product_id,"
    " sum(orders * power(0.5::float8, (%(today)s - day) / {half_life}::float8)) AS lately"
    " FROM sales_by_product WHERE {days} AND orders > 0 GROUP BY product_id"
)
_OLD: Final = _SUMS.format(
    half_life=HALF_LIFE_DAYS,
    days=sql.SQL("day > %(today)s - {} AND day < %(today)s - 1").format(DAYS),
)
_RECENT: Final = _SUMS.format(half_life=HALF_LIFE_DAYS, days=sql.SQL("day >= %(today)s - 1"))


class LatelySold:
    """Adds up the orders of each product, of which one counts less by half after 14 days.

    Args:
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._today: object = None
        self._added_up = float("-inf")
        self._orders = 0
        self._old: tuple[Ints, Floats] = _columns([])

    def read(self, conn: Connection, orders: int) -> tuple[Ints, Floats]:
        """Return the ids of the products that sold, those that sold most first, and their orders.

        Args:
            conn: in a transaction.
            orders: of the shop so far.
        """
        today = (conn.execute(_TODAY).fetchone() or (None,))[0]
        values = {"today": today}
        now = self._monotonic()
        grown = orders > GROWTH * self._orders
        if today != self._today or grown or now - self._added_up >= OLD_S:
            self._old = _columns(conn.execute(_OLD, values).fetchall())
            self._today, self._added_up, self._orders = today, now, orders
        recent = _columns(conn.execute(_RECENT, values).fetchall())
        ids, place = np.unique(np.concatenate([self._old[0], recent[0]]), return_inverse=True)
        sums: Floats = np.bincount(
            place, np.concatenate([self._old[1], recent[1]]), len(ids)
        ).astype(np.float64)
        most_first = np.argsort(-sums, kind="stable")
        return ids[most_first], sums[most_first]


def _columns(rows: list[tuple[int, float]]) -> tuple[Ints, Floats]:
    ids = np.array([product_id for product_id, _ in rows], np.int64)
    return ids, np.array([lately for _, lately in rows], np.float64)
