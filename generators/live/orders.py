"""The orders that are placed now, by customers and of products in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Final

import numpy as np
import polars as pl
import redis

from generators.behaviour import arrivals, demand_curves, order_events
from generators.behaviour.customer_model import ORDERS_PER_DAY
from generators.live.buyers import Buyers
from generators.live.product_revisions import current
from generators.live.publisher import LiveSource
from generators.publishing.order_lifecycle import OrderLifecycle
from generators.publishing.reliable_producer import Done
from generators.random_streams import Floats, stream
from generators.scenarios import control, timetable
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.clock import KST, Clock, utc_now
from shop.events import Event
from shop.ids import EPOCH_MS, IdGenerator
from shop.redis import cache

LOOK_EVERY_S: Final = 0.5
"""How often the generator looks whether the cache or the scenarios have changed, seconds."""


class OrderSource(LiveSource):
    """Makes orders of what the cache holds.

    Args:
        r: Redis.
        seed: of the streams.
        name: of this process, for its streams.
        ids: order ids.
        speed: factor on the pace of the shop; delays of cancellations are divided by it.
        curved: whether the calendar's scenarios and the hours of a shop change the pace.
        scaled: whether the size of the shop does.
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
        speed: float = 1.0,
        curved: bool = False,
        scaled: bool = False,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = r
        self._seed = seed
        self._ids = ids
        self._curved = curved
        self._scaled = scaled
        self._size = 1.0
        self._clock = clock
        self._monotonic = monotonic
        self._buyers = Buyers(stream(seed, f"{name}/buyers"), seed=seed)
        self._baskets = stream(seed, f"{name}/baskets")
        self._life = OrderLifecycle(
            r,
            stream(seed, f"{name}/life"),
            speed=speed,
            clock=clock,
            monotonic=monotonic,
            cancelled=self._buyers.disappointed,
        )
        self._goods = order_events.goods(())
        self._tables: order_events.DrawTables | None = None
        self._effects = NONE
        self._users: list[cache.CachedUser] = []
        self._read: tuple[int, datetime | None, date] | None = None
        self._next_look = float("-inf")
        self._lacks = ""
        self._served = False

    def lacks(self) -> str:
        """Return what is missing; looks at Redis at most twice a second.

        Raises:
            UnreachableError: if a wrong setting has kept Redis from us since the start.
        """
        now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            try:
                self._lacks = self._look()
                self._served = True
            except redis.RedisError as e:
                if not self._served and cache.wrong_setting(e):
                    raise cache.refusal(self._redis, e) from None
                self._lacks = f"Redis ({cache.explain(e)})"
        return self._lacks

    def _look(self) -> str:
        """Read the cache and the scenarios where they have changed."""
        self._life.check()
        effects = self._running()
        meta = cache.read_meta(self._redis)
        self._size = (meta.orders_per_day or ORDERS_PER_DAY) / ORDERS_PER_DAY
        now = self._clock()
        filled = (meta.version, meta.refreshed_at, now.astimezone(KST).date())
        there = self._redis.exists(cache.USERS, cache.PRODUCTS) == 2
        if self._read == filled and there and effects == self._effects:
            return ""
        if self._read != filled or not there:
            self._users = cache.read_users(self._redis)
            products = cache.read_products(self._redis)
            if not self._users or not products:
                self._read = None
                held = (("users", self._users), ("products", products))
                empty = " and ".join(k for k, v in held if not v)
                return f"the cache (no {empty} in it yet)"
            self._goods = order_events.goods(current(products, now))
        self._effects = effects
        self._buyers.load(self._users, self._clock(), effects)
        self._tables = order_events.draw_tables(self._goods, effects, self._clock().timestamp())
        self._read = filled
        return ""

    def _running(self) -> ScenarioEffects:
        """Return what the scenarios of this moment do."""
        now = self._clock()
        at = now.timestamp()
        spans = timetable.between(self._seed, at, at + 1)
        spans += control.spans(control.started(self._redis, now))
        return timetable.compose(s for s in spans if s.start <= at < s.end)

    def pace(self) -> float:
        """Return the factor of the shop's size, the scenarios, and the hour where it is curved.

        At the seed's law the calendar changes what is bought, not how often: an order every 3
        to 5 s. What the operator starts is felt at any law.
        """
        size = self._size if self._scaled else 1.0
        if not self._curved:
            return size * self._effects.manual_rate
        hour = float(demand_curves.multiplier(np.array([self._clock().timestamp()]))[0])
        return size * min(hour * self._effects.rate, timetable.MAX_RATE)

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return the orders that were placed `ago` seconds before now."""
        if self._tables is None:
            raise RuntimeError("nothing to sell yet: `lacks` says so")
        now = self._clock()
        at_us = arrivals.instants(now, ago)
        who = self._buyers.take(at_us)
        orders = order_events.orders(
            self._baskets.random((len(ago), order_events.DRAWS)),
            self._ids.at(at_us // 1_000 - EPOCH_MS),
            who,
            self._tables,
            at_us=at_us,
            year=now.astimezone(KST).year,
        )
        self._life.plan(orders, self._goods, self._effects)
        return orders

    def later(self) -> Iterable[tuple[Event, Done]]:
        """Return the cancellations and refunds that are due."""
        return self._life.due()

    def close(self) -> None:
        """Store what becomes of the last orders."""
        self._life.close()

    def status(self) -> Mapping[str, str | float]:
        """Return the heartbeat's fields on scenarios and first-time buyers."""
        return {
            "scenarios": ",".join(self._effects.running),
            "first_orders": self._buyers.first_orders,
            "fallback_orders": self._buyers.fallback_orders,
            "life_waiting": self._life.waiting,
        }
