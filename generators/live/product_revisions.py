"""Price changes and delistings of the products in the cache, when they are due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, Final

import msgspec
import polars as pl
import redis

from generators.behaviour import product_changes
from generators.publishing.reliable_producer import Done
from shop.clock import KST, UTC, Clock
from shop.events import SCHEMAS, Event, Product
from shop.redis import cache
from shop.redis.cache import CachedProduct

LOOK_EVERY_S: Final = 5.0
"""Changes come at midnight, and with products that return to the cache."""


class ProductRevisions:
    """Finds what is due, of products of this shop's own making.

    The same change computed twice is an exact copy, so nothing has to be remembered beyond this
    process: a restart, or a second generator, publishes at most copies, which the ingest ignores.

    Args:
        r: Redis, where the cache is.
        clock: UTC.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, r: redis.Redis, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._redis = r
        self._clock = clock
        self._monotonic = monotonic
        self._next_look = float("-inf")
        self._seen: tuple[datetime | None, date] | None = None
        self._published: dict[int, int] = {}

    def due(self) -> Iterator[tuple[Event, Done]]:
        """Return the revisions that are due, each with its callback."""
        if self._monotonic() < self._next_look:
            return
        self._next_look = self._monotonic() + LOOK_EVERY_S
        now = self._clock()
        try:
            seen = cache.read_meta(self._redis).refreshed_at, now.astimezone(KST).date()
            if seen == self._seen:
                return
            products = cache.read_products(self._redis)
        except redis.RedisError:
            return  # the next look finds them
        self._seen = seen
        kept = {p.product_id for p in products}
        self._published = {i: rev for i, rev in self._published.items() if i in kept}
        for row in revisions(products, now).iter_rows(named=True):
            event = Product(v=1, **{**row, "updated_at": row["updated_at"].astimezone(UTC)})
            if event.rev > self._published.get(event.product_id, 0):
                self._published[event.product_id] = event.rev
                yield event, _nothing


def revisions(products: list[CachedProduct], now: datetime) -> pl.DataFrame:
    """Return the revisions that cached products have by now and the cache does not show."""
    rows = [
        {name: getattr(p, name) for name in SCHEMAS["products"]}
        for p in products
        if p.name and p.category and p.brand and p.created_at
    ]
    frame = pl.DataFrame(rows, schema=SCHEMAS["products"])
    return product_changes.due(frame, int(now.timestamp() * 1_000_000))


def current(products: list[CachedProduct], now: datetime) -> list[CachedProduct]:
    """Return the products that are on sale now, with their prices of now.

    The cache shows a change a refresh after midnight; what is sold meanwhile has its price already.
    """
    newest = {
        row["product_id"]: row
        for row in revisions(products, now).sort("product_id", "rev").iter_rows(named=True)
    }
    changed = (_changed(p, newest.get(p.product_id)) for p in products)
    return [p for p in changed if p is not None]


def _changed(product: CachedProduct, row: dict[str, Any] | None) -> CachedProduct | None:
    if row is None:
        return product
    if row["sale_status"] != product_changes.LISTED:
        return None
    return msgspec.structs.replace(product, price=row["price"])


def _nothing(_: object) -> None:
    """Do nothing: the reliable producer keeps a message until Kafka has acknowledged it.

    After a process that was killed, the next one publishes what the cache still lacks.
    """
