"""The cache worker's HTTP endpoint."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import redis

from generators.cache.metrics import MOST_SILENT_S, CacheMetrics
from shop import metrics_endpoint
from shop.clock import UTC
from shop.postgres import Connection
from shop.redis import cache
from shop.redis.cache import CacheMeta
from shop.settings import Settings
from tests.support.waiting import wait_until

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def test_a_cache_worker_shows_its_refreshes_and_withdraws_when_it_ends(
    pg: Connection, redis_client: redis.Redis, settings: Settings, start: Callable[..., Any]
) -> None:
    pg.execute("INSERT INTO users (user_id, name, created_at) VALUES (1, '김', now())")
    pg.execute("INSERT INTO products (product_id, price, created_at) VALUES (1, 1000, now())")
    process = start("generators.cache_worker")
    wait_until(lambda: cache.read_meta(redis_client).version, "a refresh")
    (record,) = (settings.data_dir / metrics_endpoint.FOLDER).glob("cache-*.json")
    ((address,),) = [group["targets"] for group in json.loads(record.read_text())]

    def shown(path: str) -> str:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    wait_until(lambda: "jangteo_cache_refresh_seconds_count 1.0" in shown("/metrics"), "its count")
    assert 'jangteo_cache_entries{side="users"} 1.0' in shown("/metrics")
    assert "jangteo_cache_replaced_total 2.0" in shown("/metrics")
    assert json.loads(shown("/readyz")) == {"version": 1}
    assert json.loads(shown("/healthz"))["silent_s"] < MOST_SILENT_S
    assert process.stop() == 0
    assert not record.exists()


def test_a_refresh_is_counted_once_and_a_loop_that_stands_is_ill() -> None:
    now = 0.0
    shown = CacheMetrics(lambda: now)
    assert shown.healthy().well
    assert not shown.ready().well
    meta = CacheMeta(version=3, refreshed_at=NOW, interval=50, users=5, replaced=2, duration=0.5)
    for _ in range(2):
        shown.turned(meta)
    later = NOW + timedelta(seconds=50)
    shown.turned(CacheMeta(version=4, refreshed_at=later, interval=50, users=5, replaced=1))
    values = {s.name: s.value for m in shown.registry.collect() for s in m.samples}
    assert values["jangteo_cache_refresh_seconds_count"] == 2
    assert values["jangteo_cache_replaced_total"] == 3
    assert values["jangteo_cache_refreshed_timestamp_seconds"] == later.timestamp()
    assert shown.ready().well
    now = MOST_SILENT_S
    assert not shown.healthy().well
    assert not shown.ready().well
