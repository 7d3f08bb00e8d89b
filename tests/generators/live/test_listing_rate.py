"""After a history products are listed at its rate: no jump where the live shop continues it."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import redis

from generators.behaviour.arrivals import Listings
from generators.history.listings import AT_OPENING, HistoryListings
from generators.history.plan import Plan
from generators.live.registrations import LOOK_EVERY_S, RegistrationSource, ShopSize
from generators.random_streams import stream
from shop.clock import KST, utc_now
from shop.ids import IdGenerator
from shop.redis import cache
from shop.redis.cache import CacheMeta
from tests.support.manual_clock import ManualClock

DAYS = 28


def refreshed(r: redis.Redis, *, orders_per_day: int, has_history: bool) -> None:
    cache.swap(
        r, [], [],
        lambda version, _: CacheMeta(
            version=version, refreshed_at=utc_now(), sign_ups=90_000,
            orders_per_day=orders_per_day, has_history=has_history,
        ),
    )  # fmt: skip


def live_per_day(source: RegistrationSource) -> float:
    """What the law of the seed gives at the pace and the count that the source states."""
    made = source.counted()
    gap = float(Listings().gap(0.5, np.int64(25_000 if made is None else made)))
    return 86_400 / gap * source.pace()


@pytest.mark.parametrize("orders_per_day", [5_400, 21_600])
def test_live_listings_continue_at_the_rate_of_the_history(
    redis_client: redis.Redis, orders_per_day: int
) -> None:
    history = HistoryListings(Plan(datetime(2026, 1, 5, tzinfo=KST), DAYS, orders_per_day))
    for day in range(DAYS):
        history.add(day)
    per_day = (len(history.listed) - AT_OPENING) / DAYS
    assert per_day > 15
    refreshed(redis_client, orders_per_day=orders_per_day, has_history=True)
    source = RegistrationSource("products", stream(1, "x"), IdGenerator(), r=redis_client)
    assert live_per_day(source) == pytest.approx(per_day, rel=0.25)  # of 560 at a quarter


def test_a_shop_without_a_history_lists_at_the_rate_of_the_seed(redis_client: redis.Redis) -> None:
    clock = ManualClock()
    refreshed(redis_client, orders_per_day=5_400, has_history=False)
    source = RegistrationSource(
        "products", stream(1, "x"), IdGenerator(), r=redis_client, monotonic=clock
    )
    assert source.counted() is None  # its own count decides
    assert source.pace() == 1.0
    refreshed(redis_client, orders_per_day=5_400, has_history=True)
    clock.now += LOOK_EVERY_S
    assert live_per_day(source) == pytest.approx(20, rel=0.01)


def test_the_rate_is_that_of_the_shop_before_the_cache_worker_has_described_it(
    redis_client: redis.Redis,
) -> None:
    size = ShopSize(sign_ups=90_000, orders_per_day=5_400, has_history=True)
    clock = ManualClock()
    source = RegistrationSource(
        "products", stream(1, "x"), IdGenerator(), r=redis_client, size=size, monotonic=clock
    )
    assert live_per_day(source) == pytest.approx(20, rel=0.01)
    clock.now += LOOK_EVERY_S
    assert source.counted() is None  # it stays
    assert source.pace() < 0.01
    users = RegistrationSource("users", stream(1, "x"), IdGenerator(), r=redis_client, size=size)
    assert users.counted() == 90_000
