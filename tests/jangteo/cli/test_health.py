from __future__ import annotations

import redis
from prometheus_client import CollectorRegistry

from jangteo.cli import health
from shop import metrics_endpoint
from shop import settings as shop_settings
from shop.metrics_endpoint import HealthAnswer
from shop.redis import cache


def test_a_heartbeat_is_health_and_none_is_not(
    env: dict[str, str], redis_client: redis.Redis
) -> None:
    cache.beat(redis_client, "orders", "running")
    assert health.check(["orders"], env) == ""
    assert health.check(["orders", "products"], env) == "no heartbeat of products"


def test_redis_away_is_said_without_its_password() -> None:
    said = health.check(["orders"], {"REDIS_URL": "redis://:hidden@127.0.0.1:1/0"})
    assert said.startswith("Redis does not answer")
    assert "hidden" not in said


def test_the_endpoint_is_asked(env: dict[str, str]) -> None:
    well = True
    settings = shop_settings.load(env, use_stack=False)
    endpoint = metrics_endpoint.start(
        "t", CollectorRegistry(), settings, healthy=lambda: HealthAnswer(well, {})
    )
    assert endpoint is not None
    port = endpoint.url.rpartition(":")[2]
    try:
        assert health.check(["http"], {"METRICS_PORT": port}) == ""
        well = False
        assert "503" in health.check(["http"], {"METRICS_PORT": port})
    finally:
        endpoint.close()
    assert health.check(["http"], {"METRICS_PORT": port})
