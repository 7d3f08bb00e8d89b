"""The operator's settings take effect within a second, survive restarts and show in heartbeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from generators.behaviour import arrivals
from generators.random_streams import stream
from shop.redis import cache, control
from tests.support.waiting import wait_until

Start = Callable[..., Any]


def beat(r: redis.Redis, name: str) -> dict[str, str]:
    return next(({**h.fields, "state": h.state} for h in cache.heartbeats(r) if h.name == name), {})


@pytest.mark.usefixtures("topics")
def test_a_generator_pauses_resumes_and_remembers(redis_client: redis.Redis, start: Start):
    process = start("generators.users", "--rate", "100")
    wait_until(lambda: int(beat(redis_client, "users").get("published", 0)) > 0, "sign-ups")
    control.set_paused(redis_client, "users", paused=True)
    process.says("paused")
    wait_until(lambda: beat(redis_client, "users")["state"] == "paused", "the pause to show")
    assert process.stop() == 0
    again = start("generators.users", "--rate", "100")
    again.says("paused")  # what was set outlives the process
    # Not the last heartbeat of the former process, which was paused as well.
    wait_until(lambda: beat(redis_client, "users")["published"] == "0", "its own heartbeat")
    assert beat(redis_client, "users")["paused"] == "true"
    control.set_paused(redis_client, "users", paused=False)
    again.says("resumed")
    wait_until(lambda: int(beat(redis_client, "users").get("published", 0)) > 0, "sign-ups")
    assert again.stop() == 0


@pytest.mark.usefixtures("topics")
def test_a_rate_factor_is_obeyed_at_once(redis_client: redis.Redis, start: Start):
    """One product in a hundred seconds, until the operator wants a thousand times as many."""
    process = start("generators.products", "--rate", "0.01", "--limit", "50")
    wait_until(lambda: beat(redis_client, "products"), "a heartbeat")
    control.set_rate(redis_client, "products", 1_000)
    wait_until(lambda: beat(redis_client, "products").get("factor") == "1000.0", "the factor")
    assert process.popen.wait(30) == 0


@pytest.mark.usefixtures("topics")
def test_an_odd_rate_in_redis_is_no_rate(redis_client: redis.Redis, start: Start):
    redis_client.hset(control.CONTROL + "users", "rate", "-3")
    assert start("generators.users", "--rate", "500", "--limit", "20").popen.wait(30) == 0


def test_the_cache_worker_refreshes_when_asked(redis_client: redis.Redis, start: Start):
    process = start("generators.cache_worker")
    wait_until(lambda: beat(redis_client, "cache"), "a heartbeat")
    wait_until(lambda: cache.read_meta(redis_client).version >= 2, "the worker at its work")
    for _ in range(2):
        before = cache.read_meta(redis_client).version
        control.request_run(redis_client, "cache")
        wait_until(lambda b=before: cache.read_meta(redis_client).version > b, "a refresh")
    assert process.stop() == 0


@pytest.mark.parametrize("law", [arrivals.ORDERS, arrivals.Constant(0.5)])
def test_a_factor_rescales_what_is_left_of_the_gap(law: arrivals.Law):
    now = [0.0]
    pacer = arrivals.Pacer(law, stream(1, "p"), monotonic=lambda: now[0])
    left = pacer.wait()
    pacer.factor = 4.0
    assert pacer.wait() == pytest.approx(left / 4)
    now[0] = left / 8
    pacer.factor = 1.0
    assert pacer.wait() == pytest.approx(left / 2)
