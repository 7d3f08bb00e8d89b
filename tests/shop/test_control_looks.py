"""Reading the operator's settings does not count as a miss of the cache."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, cast

import redis

from generators.scenarios import control as scenarios_control
from shop.redis import control


def misses(r: redis.Redis) -> int:
    return int(cast("dict[str, Any]", r.info("stats"))["keyspace_misses"])


def test_looks_at_what_nobody_set_are_no_misses(redis_client: redis.Redis) -> None:
    r = redis_client
    now = datetime.now(timezone.utc)

    def look() -> None:
        for name in (*control.GENERATORS, *control.RUNNABLE):
            assert control.read(r, name) == control.Control()
        assert control.read_each(r, ("users", "cache"))["cache"] == control.Control()
        assert control.restarts(r) == {}
        assert scenarios_control.started(r, now) == {}

    look()
    before = misses(r)
    for _ in range(10):
        look()
    assert misses(r) == before


def test_what_is_set_is_read_whether_somebody_looked_before_or_not(
    redis_client: redis.Redis,
) -> None:
    r = redis_client
    control.set_rate(r, "users", 2)
    assert control.read(r, "users").rate == 2
    assert control.read(r, "orders") == control.Control()
    control.set_paused(r, "orders", paused=True)
    assert control.read(r, "orders").paused
    each = control.read_each(r, control.GENERATORS)
    assert each == {name: control.read(r, name) for name in control.GENERATORS}
    control.restarts(r)
    assert control.request_restart(r, "orders") == 1
    assert control.restarts(r) == {"orders": 1}
    r.flushall()
    assert control.read(r, "orders") == control.Control()
