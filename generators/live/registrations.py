"""Sign-ups and listings: the customers and products that are new in the shop now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import redis

from generators.behaviour import arrivals, catalogue, demand_curves, population
from generators.behaviour.customer_model import ORDERS_PER_DAY, sign_up_rate
from generators.live.publisher import LiveSource
from generators.publishing.pending_products import PendingProducts
from generators.publishing.reliable_producer import Done
from generators.random_streams import Floats, Ints
from shop.clock import Clock, utc_now
from shop.events import Event
from shop.ids import EPOCH_MS, IdGenerator
from shop.redis import cache

LOOK_EVERY_S: Final = 5.0
"""How often it is looked at what the cache worker says of the shop."""
_DAY_S: Final = 86_400
_GAP_S: Final = float(arrivals.Listings().gap(0.5, made=0))
"""Mean seconds between two products by the seed's law, which `pace` multiplies."""


class Population(NamedTuple):
    """How rows of a topic are made of uniform random numbers, and how many each takes."""

    make: Callable[[Floats, Ints], pl.DataFrame]
    draws: int


POPULATIONS: Final[Mapping[str, Population]] = {
    "users": Population(population.users, population.USER_DRAWS),
    "products": Population(population.products, population.PRODUCT_DRAWS),
}


class ShopSize(NamedTuple):
    """What the rates of sign-ups and listings depend on.

    Attributes:
        sign_ups: customers so far.
        orders_per_day: of a mean day; 0: not known.
        has_history: whether the shop began with a history.
    """

    sign_ups: int
    orders_per_day: int
    has_history: bool


class RegistrationSource(LiveSource):
    """Makes customers who sign up now, or products that are listed now.

    Args:
        topic: ``users`` or ``products``.
        rng: the stream of their properties.
        ids: their ids, which carry the time of registration.
        r: Redis, where the cache is, and what the cache worker says of the shop; None: the rate
            does not depend on it, and listed products do not change.
        size: of the shop at the start, until the cache worker has described it; None: not known.
        curved: whether the hours and weekdays of a shop change the pace.
        clock: UTC.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        topic: str,
        rng: np.random.Generator,
        ids: IdGenerator,
        *,
        r: redis.Redis | None = None,
        size: ShopSize | None = None,
        curved: bool = False,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self._population = POPULATIONS[topic]
        self._rng = rng
        self._ids = ids
        self._redis = r
        self._curved = curved
        self._clock = clock
        self._monotonic = monotonic
        self._next_look = float("-inf")
        self._refreshed: datetime | None = None
        self._known = size
        self._size = 1.0
        self._changes = (
            PendingProducts(r, monotonic) if r is not None and topic == "products" else None
        )

    def counted(self) -> int | None:
        """Return the number that decides the rate if it is newly known.

        Of sign-ups it is the number of customers: those who signed up since the cache worker
        counted them are too few to change it. Products of a shop with a history are listed by the
        history's law, which depends on no number; others by what this process has counted.
        """
        now = self._monotonic()
        if self._redis is None or now < self._next_look:
            return None
        self._next_look = now + LOOK_EVERY_S
        known, self._known = self._known, None
        try:
            meta = cache.read_meta(self._redis)
        except redis.RedisError:
            meta = cache.CacheMeta()  # the last count continues
        if meta.sign_ups and meta.refreshed_at != self._refreshed:
            self._refreshed = meta.refreshed_at
            known = ShopSize(meta.sign_ups, meta.orders_per_day, meta.has_history)
        return None if known is None else self._take(known)

    def _take(self, shop: ShopSize) -> int | None:
        """Set the size of the shop; return the number that decides the rate, None: its own."""
        per_day = shop.orders_per_day or ORDERS_PER_DAY
        if self.topic == "products":
            if not shop.has_history:
                self._size = 1.0
                return None
            listed_per_day = catalogue.LISTED_PER_DAY * per_day / ORDERS_PER_DAY
            self._size = listed_per_day / _DAY_S * _GAP_S
            return 0
        now, of_the_seed = (
            float(sign_up_rate(shop.sign_ups, size)[0]) for size in (per_day, ORDERS_PER_DAY)
        )
        self._size = now / of_the_seed
        return shop.sign_ups

    def pace(self) -> float:
        """Return the factor of the shop's size, and of the hour where the pace is curved."""
        if not self._curved:
            return self._size
        moment = np.array([self._clock().timestamp()])
        return self._size * float(demand_curves.multiplier(moment)[0])

    def later(self) -> Iterable[tuple[Event, Done]]:
        """Return the price changes and delistings that are due."""
        return self._changes.due() if self._changes else ()

    def close(self) -> None:
        """Remove the changes that were published last."""
        if self._changes:
            self._changes.close()

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return those who registered `ago` seconds before now."""
        ms = arrivals.instants(self._clock(), ago) // 1_000 - EPOCH_MS
        uniform = self._rng.random((len(ago), self._population.draws))
        return self._population.make(uniform, self._ids.at(ms))
