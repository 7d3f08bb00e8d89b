"""Shipments: what is due of the parcels of stored orders; and those of a history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

import msgspec
import numpy as np
import polars as pl

from generators.behaviour import shipments
from generators.behaviour.shipments import CANCELLED, PAID, REFUNDED
from generators.publishing.order_lifecycle import PENDING
from generators.random_streams import Floats, Ints
from generators.topics.interface import (
    HistoryBlock,
    LiveTopic,
    RunningShop,
    TopicHistory,
    is_history_unfinished,
)
from shop.events import SCHEMAS, Order
from shop.ids import EPOCH, IDS_PER_MS

TOPIC: Final = "shipments"
SWEEP_S: Final = 120.0
"""Seconds between two looks at the open orders, at speed 1; each finds what is due until the one
after the next. Parcels leave two hours after their order at the earliest."""
LEAST_SWEEP_S: Final = 2.0
REST: Final = 10.0
"""A look begins this many times the last one's length after it, so it costs a tenth at most."""
DEEP_S: Final = 1_800.0
"""Seconds, at speed 1, after which a look begins with the oldest orders again, not with the oldest
open one: it finds refunds of orders whose fate Redis has lost."""
REACH: Final = timedelta(days=60)
"""Age of the oldest order whose parcel is looked after, at speed 1: one of a million refunds comes
later. Switched on in a shop with a past, its orders of this time are shipped."""
COMES_BACK: Final = timedelta(hours=32)
"""A parcel is back at most this long before its refund, at speed 1."""
PAGE: Final = 20_000
AT_ONCE: Final = 5_000
REMEMBERED_S: Final = 3_600.0
"""Seconds for which a fate is remembered that Redis no longer has and PostgreSQL has not yet."""
_FATES: Final = {"PAID": PAID, "CANCELLED": CANCELLED, "REFUNDED": REFUNDED}
_ORDERS: Final = """
SELECT o.order_id, o.user_id, o.ordered_at, o.status, o.updated_at, u.city,
       coalesce(s.rev, 0), s.region, s.in_transit_at, s.delivered_at
FROM orders AS o
LEFT JOIN shipments AS s ON s.shipment_id = o.order_id"""
# A page is a range of orders, not of answers: were all joined and sorted for each page, the orders
# of 60 days at the seed's rate would be read a hundred times.
_LAST: Final = """
SELECT max(order_id) FROM
    (SELECT order_id FROM orders WHERE order_id > %s ORDER BY order_id LIMIT %s) AS page
"""
_OPEN: Final = f"""{_ORDERS} AND s.shipment_id > %(after)s AND s.shipment_id <= %(last)s
LEFT JOIN users AS u ON u.user_id = o.user_id
WHERE o.order_id > %(after)s AND o.order_id <= %(last)s
  AND (s.status IN ('DISPATCHED', 'IN_TRANSIT')
       OR s.status IS NULL AND o.status <> 'CANCELLED'
       OR s.status = 'DELIVERED' AND o.status <> 'PAID')
"""
_SENT_BACK: Final = f"""{_ORDERS}
LEFT JOIN users AS u ON u.user_id = o.user_id
WHERE o.order_id = ANY(%s) AND o.status = 'PAID' AND s.status = 'DELIVERED'
"""
_COLUMNS: Final[dict[str, Any]] = {
    "order_id": pl.Int64, "user_id": pl.Int64, "ordered_at": pl.Datetime("us", "UTC"),
    "status": pl.String, "updated_at": pl.Datetime("us", "UTC"), "city": pl.String,
    "had": pl.Int64, "region": pl.String, "in_transit_at": pl.Datetime("us", "UTC"),
    "delivered_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
_decoder: Final = msgspec.json.Decoder(Order)


class LiveShipments(LiveTopic):
    """Looks through the orders whose parcels have a step to come, and says which steps are due.

    Orders are read from PostgreSQL, so none is shipped that is not stored; what becomes of them,
    from PostgreSQL and from what waits in Redis (`order_lifecycle`). Each step is dated by when it
    was due, so that one that is published twice is an exact copy.
    """

    def __init__(self, shop: RunningShop, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(shop, monotonic)
        self._every = self._pause = max(LEAST_SWEEP_S, SWEEP_S / shop.speed)
        self._next = self._deep = float("-inf")
        self._first_open = 0
        self._waiting = pl.DataFrame(schema=SCHEMAS[TOPIC])
        self._fates: dict[int, tuple[int, float, float]] = {}
        self._sent: dict[int, int] = {}
        self._open = 0

    def due(self, now: datetime) -> pl.DataFrame:
        """Return the steps that are due; see `LiveTopic`."""
        moment = self._monotonic()
        if moment >= self._next:
            self._sweep(now)
            self._pause = max(self._every, REST * (self._monotonic() - moment))
            self._next = moment + self._pause
        due = self._waiting.filter(pl.col("updated_at") <= now).head(AT_ONCE)
        self._waiting = self._waiting[len(due) :]
        self._sent.update(zip(due["shipment_id"], due["rev"], strict=True))
        return due

    def status(self) -> Mapping[str, str | float]:
        """Return how many orders have a parcel on its way or not sent yet, at the last look."""
        return {"open": self._open}

    def _sweep(self, now: datetime) -> None:
        """Find the steps that are due until the next look but one.

        Raises:
            psycopg.Error, redis.RedisError: if a server does not answer; nothing has changed.
        """
        fates = self._read_fates()
        if is_history_unfinished(self._connection()):
            return
        began = self._monotonic()
        until = now + timedelta(seconds=2 * self._pause)
        reach = REACH / self._shop.speed
        after = max(0, round((now - reach - EPOCH) / timedelta(milliseconds=1))) * IDS_PER_MS
        if began >= self._deep:
            self._deep = began + max(DEEP_S / self._shop.speed, 10 * LEAST_SWEEP_S)
        else:
            after = max(after, self._first_open - 1)
        found, seen = [self._waiting.clear()], list[int]()
        soon = (until + COMES_BACK / self._shop.speed).timestamp()
        returning = [id_ for id_, (fate, at, _) in fates.items() if fate == REFUNDED and at < soon]
        for page in self._pages(after, returning):
            seen += page["order_id"].to_list()
            found.append(self._steps(page, fates, until))
        # An order that is refunded between the two queries is in the answers to both.
        steps = pl.concat(found).unique(["shipment_id", "rev"], keep="last")
        self._waiting = steps.sort("updated_at", "shipment_id", "rev")
        known = set(seen)
        self._sent = {id_: rev for id_, rev in self._sent.items() if id_ in known}
        self._open = len(seen)
        self._first_open = min(seen, default=after)

    def _pages(self, after: int, returning: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Yield the orders whose parcels have a step to come."""
        rows = self._connection().execute(_SENT_BACK, (list(returning),)).fetchall()
        yield pl.DataFrame(rows, schema=_COLUMNS, orient="row")
        conn = self._connection()
        while not self._shop.stopped():
            (last,) = conn.execute(_LAST, (after, PAGE)).fetchone() or (None,)
            if last is None:
                return
            rows = conn.execute(_OPEN, {"after": after, "last": last}).fetchall()
            yield pl.DataFrame(rows, schema=_COLUMNS, orient="row")
            after = last

    def _read_fates(self) -> dict[int, tuple[int, float, float]]:
        """Return what waits for orders: fate, when, and until when that is remembered.

        Read before the orders: what leaves Redis in between is still known.
        """
        now = self._monotonic()
        pending = self._shop.redis.zrange(PENDING, 0, -1, withscores=True)
        for text, due_s in cast("list[tuple[str, float]]", pending):
            event = _decoder.decode(text)
            dated = event.updated_at > event.ordered_at
            at = event.updated_at.timestamp() if dated else due_s
            self._fates[event.order_id] = _FATES[event.status], at, now + REMEMBERED_S
        self._fates = {id_: fate for id_, fate in self._fates.items() if fate[2] > now}
        return self._fates

    def _steps(
        self, page: pl.DataFrame, fates: Mapping[int, tuple[int, float, float]], until: datetime
    ) -> pl.DataFrame:
        ids = page["order_id"].to_list()
        known = page["status"].replace_strict(_FATES, return_dtype=pl.Int64).to_numpy().copy()
        at = _seconds(page["updated_at"])
        for row, id_ in enumerate(ids):
            if known[row] == PAID and (fate := fates.get(id_)) is not None:
                known[row], at[row] = fate[0], fate[1]
        parcels = shipments.parcels(
            self._shop.seed, page, _regions(page), fate=known, fate_s=at, speed=self._shop.speed
        )
        parcels = shipments.kept(
            parcels, _seconds(page["in_transit_at"]), _seconds(page["delivered_at"])
        )
        sent = pl.Series([self._sent.get(id_, 0) for id_ in ids], dtype=pl.Int64)
        had = page.select(shipment_id="order_id", had=pl.max_horizontal("had", sent))
        steps = shipments.events(parcels).filter(pl.col("updated_at") <= until)
        new = steps.join(had, on="shipment_id").filter(pl.col("rev") > pl.col("had"))
        return new.drop("had")


def _regions(page: pl.DataFrame) -> Ints:
    """Return where parcels go: where the customer lived at the first step that is stored."""
    places = {region: place for place, region in enumerate(shipments.REGION_OF.values())}
    stored = (
        page["region"]
        .replace_strict(places, default=shipments.UNKNOWN, return_dtype=pl.Int64)
        .to_numpy()
    )
    now = shipments.region_of(page["city"])
    return np.where((page["had"] > 0).to_numpy(), stored, now)


def _seconds(times: pl.Series) -> Floats:
    """Return times as seconds since the Unix epoch; NaN for null."""
    seconds: Floats = (times.dt.timestamp("us") / 1e6).fill_null(float("nan")).to_numpy().copy()
    return seconds


class ShipmentHistory(TopicHistory):
    """The shipments of a history.

    Args:
        seed: of the shop.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def events(self, block: HistoryBlock) -> pl.DataFrame:
        """Return all steps of the parcels of a block; see `TopicHistory`."""
        orders = block.orders
        return shipments.events(
            shipments.parcels(
                self._seed, orders, block.province.astype(np.int64),
                fate=orders["status"].replace_strict(_FATES, return_dtype=pl.Int64).to_numpy(),
                fate_s=_seconds(orders["updated_at"]),
            )
        )  # fmt: skip
