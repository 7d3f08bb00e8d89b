"""Changes of products that are due, on their way from the cache worker to the generator.

`life:products` is a set of product events (JSON): the cache worker, which reads PostgreSQL, adds
what is due; a generator of products publishes it and removes it when Kafka has acknowledged it. An
event that is added or published twice is an exact copy, which the ingest ignores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, cast

import msgspec
import polars as pl
import redis

from generators.publishing.encoding import encode_columns
from generators.publishing.reliable_producer import Done
from shop.events import Event, Product
from shop.log import get_logger

PENDING_PRODUCTS: Final = "life:products"
MOST: Final = 50_000
"""Changes that may wait, 12 MB of Redis: while there are more, no others are looked for."""
LOOK_EVERY_S: Final = 2.0
AT_ONCE: Final = 2_000
_REST_S: Final = 5.0

_decoder: Final = msgspec.json.Decoder(Product)


def room(r: redis.Redis) -> bool:
    """Return whether more changes may be added."""
    return r.scard(PENDING_PRODUCTS) < MOST


def add(r: redis.Redis, revisions: pl.DataFrame) -> None:
    """Add changes that are due.

    Args:
        r: Redis.
        revisions: rows of `SCHEMAS["products"]`.
    """
    _, values = encode_columns("products", revisions)
    if values:
        r.sadd(PENDING_PRODUCTS, *values)


class PendingProducts:
    """Takes the changes that are due, to publish them.

    Args:
        r: Redis.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, r: redis.Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = r
        self._monotonic = monotonic
        self._next = float("-inf")
        self._in_flight: set[str] = set()
        self._done: list[str] = []

    def due(self) -> Iterator[tuple[Event, Done]]:
        """Return the changes to publish, each with the callback for when it is published."""
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY_S
        try:
            members = self._look()
        except redis.RedisError:
            self._next = now + _REST_S
            return
        for text in members:
            if text not in self._in_flight:
                self._in_flight.add(text)
                yield _decoder.decode(text), self._when_published(text)

    def _look(self) -> list[str]:
        pipe = self._redis.pipeline(transaction=False)
        if self._done:
            pipe.srem(PENDING_PRODUCTS, *self._done)
        pipe.sscan(PENDING_PRODUCTS, 0, count=AT_ONCE)
        *_, (_, members) = pipe.execute()
        self._in_flight.difference_update(self._done)
        self._done.clear()
        return cast("list[str]", members)

    def _when_published(self, text: str) -> Done:
        return lambda _: self._done.append(text)

    def close(self) -> None:
        """Remove what was published since the last look."""
        if self._done:
            try:
                self._redis.srem(PENDING_PRODUCTS, *self._done)
            except redis.RedisError:
                get_logger().debug("published changes not removed", products=len(self._done))
