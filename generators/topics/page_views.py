"""Page views: those of stored orders and sign-ups, live; and those of a history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from generators.behaviour.visits.page_views import LONGEST_VISIT_S, PageViews
from generators.behaviour.visits.view_ids import (
    LAGS,
    NODE_SHIFT,
    POOL,
    SIGN_UP,
    SPREAD_S,
    TIME_SHIFT,
    Anchors,
    Pool,
    lag_start_s,
    settled_before,
)
from generators.random_streams import Ints
from generators.topics.interface import (
    HistoryBlock,
    LiveTopic,
    RunningShop,
    TopicHistory,
    is_history_unfinished,
)
from generators.topics.lately_stored import LATE, PAGE, LatelyStored, id_at, rest
from shop.events import SCHEMAS
from shop.ids import EPOCH
from shop.postgres import Connection

TOPIC: Final = "page_views"
GATHER_S: Final = 1.0
"""Views are published together once a second, not each by itself: the ingest pays for batches."""
OVERLAP: Final = timedelta(minutes=5)
"""What is published again after a restart: what was in flight may be lost with the process."""
REACH: Final = timedelta(days=7)
"""The longest pause that is caught up on, at speed 1."""
BEGINS: Final = timedelta(hours=1)
"""Switched on in a shop with a past, visits begin this long before, at speed 1."""
STEP_S: Final = 3_600.0
"""Of the time that is caught up on, made at a time; at speed 1."""
AT_ONCE: Final = 20_000
_VIEW: Final = (
    f"({{id}} >> 12 << {TIME_SHIFT}) | (({{id}} >> 8 & 15) << {NODE_SHIFT})"
    " | (({id} & 3) << 8) | ({slot} << 4)"
)
"""The first view of an anchor's visit, as `page_views.session_ids` has it."""
_NEW_ORDERS: Final = f"""
SELECT order_id, user_id, ordered_at, product_id FROM orders AS o
WHERE order_id > %s AND order_id & 255 < 4
  AND NOT EXISTS (SELECT FROM page_views WHERE view_id = {_VIEW.format(id="o.order_id", slot=0)})
ORDER BY order_id LIMIT {PAGE}
"""  # noqa: S608  (names and numbers are constants of this project)
_NEW_USERS: Final = f"""
SELECT user_id, user_id, created_at, 0 FROM users AS u
WHERE user_id > %s AND created_at IS NOT NULL AND user_id & 255 < 4
  AND NOT EXISTS
      (SELECT FROM page_views WHERE view_id = {_VIEW.format(id="u.user_id", slot=SIGN_UP)})
ORDER BY user_id LIMIT {PAGE}
"""  # noqa: S608  (as above)
# Without OFFSET the planner may read the whole table instead of 29 short pieces of its index.
_BY_LAG: Final = """
SELECT r.lag, a.* FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS r(lag, first, last)
CROSS JOIN LATERAL (
    SELECT {columns} FROM {table} WHERE {id} >= r.first AND {id} < r.last AND {when} OFFSET 0
) AS a
"""
_PAST_ORDERS: Final = _BY_LAG.format(
    columns="order_id, user_id, ordered_at, product_id", table="orders", id="order_id", when="true"
)
_PAST_USERS: Final = _BY_LAG.format(
    columns="user_id, user_id, created_at, 0", table="users", id="user_id",
    when="created_at IS NOT NULL",
)  # fmt: skip
_POOL: Final = f"""
SELECT order_id, product_id FROM orders WHERE order_id < %s ORDER BY order_id DESC LIMIT {POOL}
"""  # noqa: S608  (as above)
_ANCHORS: Final[dict[str, Any]] = {
    "id": pl.Int64, "user_id": pl.Int64, "at": pl.Datetime("us", "UTC"), "product_id": pl.Int64
}  # fmt: skip


class LivePageViews(LiveTopic):
    """Makes the views of visits whose time has come, and those that led to orders just stored.

    A visit that ends with an order or a sign-up is known when that is stored: its views arrive
    together and are dated before it, by minutes. All others are published when they happen. Where a
    process begins follows from what is stored; what it publishes again are exact copies.
    """

    def __init__(self, shop: RunningShop, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(shop, monotonic)
        self._views = PageViews(shop.seed, shop.speed)
        self._next = float("-inf")
        self._until = EPOCH
        self._orders = LatelyStored(_NEW_ORDERS, shop.speed)
        self._users = LatelyStored(_NEW_USERS, shop.speed)
        self._waiting = pl.DataFrame(schema=SCHEMAS[TOPIC])
        self._begins = EPOCH

    def due(self, now: datetime) -> pl.DataFrame:
        """Return the views that are due; see `LiveTopic`."""
        moment = self._monotonic()
        if moment < self._next:
            return self._waiting.clear()
        conn = self._connection()
        if self._until == EPOCH:
            if is_history_unfinished(conn):
                self._next = moment + GATHER_S
                return self._waiting.clear()
            self._begin(conn, now)
        self._look_back(conn, now, moment)
        while True:
            behind = self._look_ahead(conn, now)
            waiting = self._waiting.sort("viewed_at", "view_id")
            due = waiting.filter(pl.col("viewed_at") <= min(now, self._until)).head(AT_ONCE)
            if not behind or len(due):
                break
        self._waiting = waiting[len(due) :]
        if not behind and len(due) < AT_ONCE:
            self._next = moment + rest(GATHER_S, self._monotonic() - moment)
        return due

    def status(self) -> Mapping[str, str | float]:
        """Return how many views wait for their time."""
        return {"waiting_views": len(self._waiting)}

    def _scaled(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds / self._shop.speed)

    def _begin(self, conn: Connection, now: datetime) -> None:
        """Continue behind what is stored; in a shop without views, begin a little before now."""
        (last,) = conn.execute("SELECT max(viewed_at) FROM page_views").fetchone() or (None,)
        speed = self._shop.speed
        begins = now - BEGINS / speed if last is None else max(last - OVERLAP, now - REACH / speed)
        self._begins = min(begins, now)
        # A visit that has begun before may still be under way.
        self._until = self._begins - self._scaled(SPREAD_S + LONGEST_VISIT_S)
        for stored in (self._orders, self._users):
            stored.begin(self._begins - LATE / speed)

    def _look_back(self, conn: Connection, now: datetime, moment: float) -> None:
        """Make the visits that ended with orders and sign-ups that are stored now."""
        for stored, make in (
            (self._orders, self._views.of_orders),
            (self._users, self._views.of_sign_ups),
        ):
            more = True
            while more:
                rows = stored.page(conn, now, moment)
                anchors = _anchors(pl.DataFrame(rows, schema=_ANCHORS, orient="row"))
                views = make(anchors, self._pool(conn, anchors.ids))
                self._waiting = pl.concat([self._waiting, views])
                more = stored.taken()

    def _look_ahead(self, conn: Connection, now: datetime) -> bool:
        """Make the visits that follow earlier orders and sign-ups; return whether more are due."""
        end = min(now, self._until + self._scaled(STEP_S))
        if end <= self._until:
            return False
        starts = [self._scaled(lag_start_s(lag)) for lag in range(LAGS)]
        pieces = (
            list(range(LAGS)),
            [id_at(self._until - start) for start in starts],
            [id_at(end - start) for start in starts],
        )
        found = [self._waiting]
        for query, sign_ups in ((_PAST_ORDERS, False), (_PAST_USERS, True)):
            rows = conn.execute(query, pieces).fetchall()
            frame = pl.DataFrame(rows, schema={"lag": pl.Int64, **_ANCHORS}, orient="row")
            anchors, lags = _anchors(frame), frame["lag"].to_numpy()
            pool = self._pool(conn, anchors.ids)
            for lag in np.unique(lags):
                some = anchors.take(lags == lag)
                views = self._views.after(some, pool, sign_ups=sign_ups, lag=int(lag))
                found.append(views.filter(pl.col("viewed_at") >= self._begins))
        self._waiting, self._until = pl.concat(found), end
        return end < now

    def _pool(self, conn: Connection, ids: Ints) -> Pool:
        """Return the orders whose products visits of these anchors look at."""
        parts = [
            conn.execute(_POOL, (int(before),)).fetchall()
            for before in np.unique(settled_before(ids, self._shop.speed))
        ]
        found: dict[int, int] = {order: product for rows in parts for order, product in rows}
        orders = np.array(sorted(found), np.int64)
        return Pool(orders, np.array([found[o] for o in orders.tolist()], np.int64))


class PageViewHistory(TopicHistory):
    """The page views of a history.

    Args:
        seed: of the shop.
    """

    def __init__(self, seed: int) -> None:
        self._views = PageViews(seed)
        self._tail = Pool(np.empty(0, np.int64), np.empty(0, np.int64))

    def events(self, block: HistoryBlock) -> pl.DataFrame:
        """Return all views of the visits of a block's orders and sign-ups; see `TopicHistory`."""
        orders = _anchors(block.orders.select("order_id", "user_id", "ordered_at", "product_id"))
        users = _anchors(block.users.select("user_id", pl.col("user_id").alias("u"), "created_at",
                                            pl.lit(0).alias("p")))  # fmt: skip
        by_id = np.argsort(orders.ids, kind="stable")
        pool = Pool(
            np.concatenate([self._tail.orders, orders.ids[by_id]]),
            np.concatenate([self._tail.products, orders.products[by_id]]),
        )
        # Those that the next block's first hours look at: from before its hour before.
        settled = np.searchsorted(pool.orders, id_at(block.end - timedelta(hours=2)))
        keep = max(0, int(settled) - POOL)
        self._tail = Pool(pool.orders[keep:], pool.products[keep:])
        return pl.concat(
            [
                self._views.of_orders(orders, pool),
                self._views.of_sign_ups(users, pool),
                self._views.after(orders, pool, sign_ups=False),
                self._views.after(users, pool, sign_ups=True),
            ]
        )


def _anchors(frame: pl.DataFrame) -> Anchors:
    """Return the anchors in columns of this order: id, customer, time, product."""
    ids, users, at, products = frame.get_columns()[-4:]
    return Anchors(
        ids.to_numpy(),
        users.to_numpy(),
        at.dt.timestamp("us").to_numpy(),
        products.cast(pl.Int64).to_numpy(),
    )
