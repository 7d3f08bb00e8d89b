"""Baskets: the lines of stored orders, live; and those of a history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from generators.behaviour.visits import baskets
from generators.random_streams import Ints
from generators.topics.interface import (
    HistoryBlock,
    LiveTopic,
    RunningShop,
    TopicHistory,
    is_history_unfinished,
)
from generators.topics.lately_stored import PAGE, LatelyStored, rest
from shop.events import SCHEMAS
from shop.postgres import Connection

TOPIC: Final = "baskets"
LOOK_S: Final = 1.0
REACH: Final = timedelta(days=60)
"""Age of the oldest order that gets a basket when the topic is switched on."""
_NEW: Final = f"""
SELECT order_id, user_id, quantity, unit_price, discount, ordered_at FROM orders AS o
WHERE order_id > %s
  AND NOT EXISTS (SELECT FROM baskets AS b WHERE b.order_id = o.order_id)
ORDER BY order_id LIMIT {PAGE}
"""  # noqa: S608  (the number is a constant of this project)
_FIRST: Final = """
SELECT user_id, min(order_id) FROM orders
WHERE user_id = ANY(%s) AND order_id >= %s AND order_id < %s GROUP BY user_id
"""
_COLUMNS: Final[dict[str, Any]] = {
    "order_id": pl.Int64, "user_id": pl.Int64, "quantity": pl.Int64, "unit_price": pl.Int64,
    "discount": pl.Int64, "ordered_at": pl.Datetime("us", "UTC"),
}  # fmt: skip


class LiveBaskets(LiveTopic):
    """Returns the basket lines of orders that are stored and have none."""

    def __init__(self, shop: RunningShop, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(shop, monotonic)
        self._next = float("-inf")
        self._orders = LatelyStored(_NEW, shop.speed)
        self._has_begun = False

    def due(self, now: datetime) -> pl.DataFrame:
        """Return the lines of the next orders without one; see `LiveTopic`."""
        moment = self._monotonic()
        none = pl.DataFrame(schema=SCHEMAS[TOPIC])
        if moment < self._next:
            return none
        conn = self._connection()
        if not self._has_begun:
            if is_history_unfinished(conn):
                self._next = moment + LOOK_S
                return none
            self._orders.begin(now - REACH / self._shop.speed)
            self._has_begun = True
        more, lines = True, none
        while more and lines.is_empty():
            rows = self._orders.page(conn, now, moment)
            orders = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
            if rows:
                lines = baskets.lines(self._shop.seed, orders, self._first(conn, orders))
            more = self._orders.taken()
        if not more:
            self._next = moment + rest(LOOK_S, self._monotonic() - moment)
        return lines

    def status(self) -> Mapping[str, str | float]:
        """Return how many published lines are not stored yet."""
        return {"unstored": self._orders.unstored}

    def _first(self, conn: Connection, orders: pl.DataFrame) -> Ints:
        """Return the first order of each one's customer and day."""
        speed = self._shop.speed
        ids, users = orders["order_id"].to_numpy(), orders["user_id"].to_numpy()
        days = baskets.day_of(ids, speed)
        first: Ints = ids.copy()
        for day in np.unique(days).tolist():
            rows = np.flatnonzero(days == day)
            wanted = [baskets.first_id_of(day + more, speed) for more in (0, 1)]
            found = conn.execute(_FIRST, (users[rows].tolist(), *wanted)).fetchall()
            known: dict[int, int] = dict(found)
            first[rows] = [known[user] for user in users[rows].tolist()]
        return first


class BasketHistory(TopicHistory):
    """The basket lines of a history.

    Args:
        seed: of the shop.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def events(self, block: HistoryBlock) -> pl.DataFrame:
        """Return the lines of a block, which has whole days of Seoul; see `TopicHistory`."""
        orders = block.orders.with_columns(
            pl.Series("day", baskets.day_of(block.orders["order_id"].to_numpy()))
        )
        first = orders.select(pl.col("order_id").min().over("user_id", "day")).to_series()
        return baskets.lines(self._seed, orders, first.to_numpy())
