"""HIT is of the cache: look-ups of customers and products, and nothing else that asks Redis."""

from __future__ import annotations

import re

import redis

from shop.clock import utc_now
from shop.redis import cache, cache_line, control
from shop.redis.cache import CachedProduct, CacheMeta


def shown(r: redis.Redis) -> str:
    (rate,) = re.findall(r"HIT: ([\d.]+%)", cache_line.read(r, utc_now()))
    return str(rate)


def test_look_ups_are_counted_and_nothing_else(redis_client: redis.Redis) -> None:
    r = redis_client
    assert cache.read_users(r) == []
    assert cache.read_lookups(r) == (0, 1)
    pen = CachedProduct(product_id=1, popular=False, name="pen", category=None, brand=None, price=1,
                        created_at=None, order_count=0)  # fmt: skip
    cache.swap(r, [], [pen], lambda *_: CacheMeta(version=1))
    for _ in range(3):
        assert cache.read_products(r) == [pen]
    assert cache.read_lookups(r) == (3, 1)
    assert shown(r) == "75.0%"
    for _ in range(50):  # each of these is a miss of Redis
        r.get("control:nobody")
        r.hgetall("heartbeat:nobody")
        control.read(r, "orders")
        cache.read_meta(r)
    assert shown(r) == "75.0%"


def test_before_the_first_look_up_there_is_no_miss(redis_client: redis.Redis) -> None:
    assert shown(redis_client) == "100.0%"
