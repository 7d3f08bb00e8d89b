"""Publish orders to Kafka, one every 3 to 5 seconds, by customers and of products in the cache.

Only Redis and Kafka are used. Without them, or with an empty cache, the generator waits.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import polars as pl
import redis

from generators import arrivals, baskets, publisher
from generators.buyers import Buyers
from generators.streams import stream
from shop import cache, command
from shop.clock import Clock, utc_now
from shop.ids import IdGenerator
from shop.model import SCHEMAS, Order, as_row
from shop.outage import first_line
from shop.settings import Settings

LOOK_EVERY_S: Final = 1.0
"""How often the generator looks whether the cache has changed, seconds."""


class OrderSource(publisher.Source):
    """Makes orders of what the cache holds.

    Args:
        r: Redis.
        seed: of the streams.
        name: of this process, for its streams.
        ids: order ids.
        clock: UTC; dates the orders.
        monotonic: seconds of a clock that never steps.
    """

    topic = "orders"

    def __init__(
        self,
        r: redis.Redis,
        seed: int,
        name: str,
        ids: IdGenerator,
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = r
        self._ids = ids
        self._clock = clock
        self._monotonic = monotonic
        self._buyers = Buyers(stream(seed, f"{name}/buyers"))
        self._baskets = baskets.Baskets(stream(seed, f"{name}/baskets"))
        self._read: tuple[int, datetime | None] | None = None
        self._next_look = float("-inf")
        self._lacks = ""

    def lacks(self) -> str:
        """Return what is missing; looks at Redis at most once a second."""
        now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            try:
                self._lacks = self._look()
            except redis.RedisError as e:
                self._lacks = f"Redis ({first_line(e)})"
        return self._lacks

    def _look(self) -> str:
        """Read the cache if it has changed."""
        meta = cache.read_meta(self._redis)
        filled = (meta.version, meta.refreshed_at)
        if self._read == filled and self._redis.exists(cache.USERS, cache.PRODUCTS) == 2:
            return ""
        users, products = cache.read_users(self._redis), cache.read_products(self._redis)
        if not users or not products:
            self._read = None
            empty = " and ".join(k for k, v in (("users", users), ("products", products)) if not v)
            return f"the cache (no {empty} in it yet)"
        self._buyers.load(users, self._clock())
        self._baskets.load(products)
        self._read = filled
        return ""

    def make(self, n: int) -> pl.DataFrame:
        """Return the next `n` orders."""
        rows = [as_row(self._order(basket)) for basket in self._baskets.next(n)]
        return pl.DataFrame(rows, schema=SCHEMAS["orders"])

    def _order(self, basket: baskets.Basket) -> Order:
        now = self._clock()
        return Order(
            v=1,
            order_id=self._ids(),
            rev=1,
            user_id=self._buyers.next(now),
            product_id=basket.product.product_id,
            quantity=basket.quantity,
            unit_price=basket.product.price,
            discount=basket.discount,
            amount=basket.amount,
            payment_method=basket.payment_method,
            status="PAID",
            scenario=None,
            ordered_at=now,
            updated_at=now,
        )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    publisher.configure(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish orders until stopped."""
    source = OrderSource(
        cache.client(settings.redis_url),
        publisher.seed_of(args, settings),
        publisher.process_name(OrderSource.topic, args.node),
        IdGenerator(args.node),
    )
    return publisher.publish(args, settings, source, arrivals.ORDERS)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.orders", description=__doc__))
