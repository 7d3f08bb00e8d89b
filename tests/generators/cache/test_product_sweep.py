"""All products on sale change, cached or not: the worker finds it, a generator publishes it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
import redis

from generators.behaviour import population, product_changes
from generators.cache import product_sweep
from generators.cache.worker import CacheWorker
from generators.live.registrations import RegistrationSource
from generators.publishing import pending_products
from generators.publishing.pending_products import PENDING_PRODUCTS, PendingProducts
from shop.clock import KST, UTC
from shop.events import SCHEMAS, Product
from shop.ids import EPOCH_MS, IdGenerator, ids_at
from shop.postgres import Connection
from shop.settings import Settings

LISTED_AT = datetime(2026, 1, 1, tzinfo=KST)
DAY = timedelta(days=1)
COLUMNS = list(SCHEMAS["products"])


def catalogue(n: int) -> pl.DataFrame:
    ms = np.full(n, int(LISTED_AT.timestamp() * 1_000) - EPOCH_MS) + np.arange(n)
    draws = np.random.default_rng(1).random((n, population.PRODUCT_DRAWS))
    return population.products(draws, ids_at(ms, 3))


def store(pg: Connection, products: pl.DataFrame) -> None:
    """Store products as the ingest would: the newest revision of each."""
    with pg.cursor() as cur:
        cur.executemany(
            f"INSERT INTO products ({', '.join(COLUMNS)})"
            f" VALUES ({', '.join(['%s'] * len(COLUMNS))})"
            " ON CONFLICT (product_id) DO UPDATE SET rev = excluded.rev, price = excluded.price,"
            " sale_status = excluded.sale_status, updated_at = excluded.updated_at"
            " WHERE excluded.rev > products.rev",
            products.select(COLUMNS).rows(),
        )


def until(products: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    return product_changes.due(products, int(moment.timestamp() * 1_000_000))


def as_events(revisions: pl.DataFrame) -> set[Product]:
    return {
        Product(v=1, **{**row, "updated_at": row["updated_at"].astimezone(UTC)})
        for row in revisions.iter_rows(named=True)
    }


class Clocks:
    """A wall clock and a monotonic one that move together."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now.astimezone(UTC)

    def monotonic(self) -> float:
        return self.now.timestamp()


def whole_sweep(worker: CacheWorker, clocks: Clocks) -> None:
    for _ in range(50):
        worker.sweep()
    clocks.now += timedelta(seconds=10)


def waiting(r: redis.Redis) -> set[Product]:
    return {msgspec.json.decode(text, type=Product) for text in r.smembers(PENDING_PRODUCTS)}


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(LISTED_AT + 40 * DAY)


@pytest.fixture
def worker(
    settings: Settings, redis_client: redis.Redis, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> CacheWorker:
    monkeypatch.setattr(product_sweep, "PAGE", 100)
    return CacheWorker(settings, redis_client, 50.0, clock=clocks, monotonic=clocks.monotonic)


def published(source: Any) -> list[tuple[Product, Any]]:
    return list(source.due())


def test_every_product_changes_as_in_a_history_of_the_same_days(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker, clocks: Clocks
) -> None:
    """The state after 40 days, then three days live: what a history of 43 days has, no more."""
    listed = catalogue(1_500)
    past = until(listed, clocks.now)
    store(pg, listed)
    store(pg, past)
    whole_sweep(worker, clocks)
    assert waiting(redis_client) == set()
    longer = until(listed, clocks.now + 3 * DAY)
    for _ in range(3):
        clocks.now += DAY
        whole_sweep(worker, clocks)
        generator = PendingProducts(redis_client, clocks.monotonic)
        events = published(generator)
        store(pg, pl.DataFrame([msgspec.structs.asdict(e) for e, _ in events], SCHEMAS["products"]))
        for _, done in events:
            done(None)
        generator.close()
        past = pl.concat(
            [
                past,
                pl.DataFrame([msgspec.structs.asdict(e) for e, _ in events], SCHEMAS["products"]),
            ]
        )
    assert len(past) > len(until(listed, LISTED_AT + 40 * DAY)) + 50
    assert as_events(past) == as_events(longer)
    assert len(past) == len(longer)


def test_a_day_is_looked_through_once(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker, clocks: Clocks
) -> None:
    store(pg, catalogue(250))
    whole_sweep(worker, clocks)
    assert waiting(redis_client) == as_events(until(catalogue(250), LISTED_AT + 40 * DAY))
    redis_client.delete(PENDING_PRODUCTS)
    for _ in range(20):
        whole_sweep(worker, clocks)
    assert waiting(redis_client) == set()
    clocks.now += timedelta(seconds=product_sweep.AGAIN_S)  # as Redis may have lost its memory
    whole_sweep(worker, clocks)
    assert waiting(redis_client) != set()


def test_a_generator_that_is_killed_leaves_the_changes_to_the_next(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker, clocks: Clocks
) -> None:
    store(pg, catalogue(200))
    whole_sweep(worker, clocks)

    def source() -> RegistrationSource:
        rng = np.random.default_rng(1)
        ids = IdGenerator(1)
        return RegistrationSource(
            "products", rng, ids, r=redis_client, clock=clocks, monotonic=clocks.monotonic
        )

    killed, following = source(), source()
    events = list(killed.later())
    assert {e for e, _ in events} == waiting(redis_client)
    clocks.now += timedelta(seconds=10)
    assert list(killed.later()) == []  # they are on their way
    half = events[: len(events) // 2]
    for _, done in half:
        done(None)  # type: ignore[arg-type]  # nobody looks at the message
    clocks.now += timedelta(seconds=10)
    assert list(killed.later()) == []
    left = {e for e, _ in events} - {e for e, _ in half}
    assert {e for e, _ in following.later()} == left == waiting(redis_client)


def test_while_nobody_publishes_the_sweep_waits(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker, clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pending_products, "MOST", 20)
    store(pg, catalogue(1_000))
    whole_sweep(worker, clocks)
    held = waiting(redis_client)
    assert 20 <= len(held) < len(until(catalogue(1_000), LISTED_AT + 40 * DAY)) / 2
    redis_client.delete(PENDING_PRODUCTS)
    whole_sweep(worker, clocks)
    assert waiting(redis_client) - held
