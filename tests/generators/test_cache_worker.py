"""The cache worker on real PostgreSQL and Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import cache_segments
from generators.cache import worker as cache_worker
from generators.cache.worker import CacheWorker
from shop.clock import utc_now
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.support.generator_processes import NOW
from tests.support.waiting import wait_until

Start = Callable[..., Any]


def add_users(pg: Connection, purchasers: int, others: int) -> None:
    """Purchasers 1..n, 1 the least recent; others from 1,000,001, the highest the newest."""
    pg.execute(
        "INSERT INTO users (user_id, name, created_at, last_ordered_at, order_count)"
        " SELECT i, '김', %(now)s - interval '1 year',"
        " %(now)s - interval '1 day' + i * interval '1 s', 1"
        " FROM generate_series(1, %(n)s) i",
        {"now": NOW, "n": purchasers},
    )
    pg.execute(
        "INSERT INTO users (user_id, name, created_at)"
        " SELECT 1000000 + i, '이', %(now)s - interval '9 day' + i * interval '1 s'"
        " FROM generate_series(1, %(n)s) i",
        {"now": NOW, "n": others},
    )


def add_products(pg: Connection, n: int) -> None:
    """Products 1..n, n the newest; the order counts fall with the number up to 2,000."""
    pg.execute(
        "INSERT INTO products (product_id, name, price, created_at, order_count)"
        " SELECT i, '책', 1000, %(now)s - interval '9 day' + i * interval '1 s',"
        " greatest(0, 2000 - i)"
        " FROM generate_series(1, %(n)s) i",
        {"now": NOW, "n": n},
    )


@pytest.fixture
def worker(settings: Settings, redis_client: redis.Redis) -> CacheWorker:
    return CacheWorker(settings, redis_client, 50.0)


def users_in(r: redis.Redis) -> tuple[set[int], set[int]]:
    cached = cache.read_users(r)
    return (
        {u.user_id for u in cached if u.purchaser},
        {u.user_id for u in cached if not u.purchaser},
    )


def products_in(r: redis.Redis) -> tuple[set[int], set[int]]:
    cached = cache.read_products(r)
    return (
        {p.product_id for p in cached if p.popular},
        {p.product_id for p in cached if not p.popular},
    )


def test_the_rule_of_600_400_700_300(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker
):
    add_users(pg, 1_500, 1_500)
    add_products(pg, 3_000)
    assert worker.refresh()
    purchasers, others = users_in(redis_client)
    assert purchasers == set(range(1, 601))  # least recently ordered
    assert others == {1_000_000 + i for i in range(1_101, 1_501)}  # newest
    popular, new = products_in(redis_client)
    assert popular == set(range(1, 701))  # most ordered
    assert new == set(range(2_701, 3_001))  # newest
    meta = cache.read_meta(redis_client)
    assert (meta.version, meta.users, meta.products, meta.replaced) == (1, 1_000, 1_000, 2_000)
    assert (meta.phase, meta.error, meta.interval) == ("waiting", "", 50.0)
    assert meta.refreshed_at is not None
    assert meta.next_due_at == meta.refreshed_at + timedelta(seconds=50)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [((0, 1_500), (0, 1_000)), ((1_500, 0), (1_000, 0)), ((100, 2_000), (100, 900)),
     ((2_000, 100), (900, 100)), ((300, 200), (300, 200))],
)  # fmt: skip
def test_one_side_fills_up_for_the_other(
    pg: Connection,
    redis_client: redis.Redis,
    worker: CacheWorker,
    stored: tuple[int, int],
    expected: tuple[int, int],
):
    add_users(pg, *stored)
    add_products(pg, 10)
    worker.refresh()
    a, b = users_in(redis_client)
    assert (len(a), len(b)) == expected


@pytest.mark.parametrize(
    ("n", "expected"), [(300, (300, 0)), (900, (700, 200)), (1_000, (700, 300))]
)
def test_new_products_are_none_of_the_popular_ones(
    pg: Connection,
    redis_client: redis.Redis,
    worker: CacheWorker,
    n: int,
    expected: tuple[int, int],
):
    add_products(pg, n)
    worker.refresh()
    popular, new = products_in(redis_client)
    assert (len(popular), len(new)) == expected
    assert not popular & new


def test_the_batch_size_scales_every_part(
    pg: Connection, redis_client: redis.Redis, settings: Settings
):
    add_users(pg, 500, 500)
    add_products(pg, 500)
    CacheWorker(
        replace(settings, env={**settings.env, "CACHE_BATCH_SIZE": "50"}), redis_client, 50.0
    ).refresh()
    assert [len(s) for s in users_in(redis_client)] == [30, 20]
    assert [len(s) for s in products_in(redis_client)] == [35, 15]


def test_stubs_stay_out(pg: Connection, redis_client: redis.Redis, worker: CacheWorker):
    add_users(pg, 2, 2)
    add_products(pg, 2)
    pg.execute("INSERT INTO users (user_id, last_ordered_at, order_count) VALUES (77, now(), 1)")
    pg.execute("INSERT INTO products (product_id, order_count) VALUES (77, 99)")
    worker.refresh()
    assert users_in(redis_client) == ({1, 2}, {1_000_001, 1_000_002})
    assert set.union(*products_in(redis_client)) == {1, 2}


def test_what_is_cached_is_what_is_stored(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker
):
    pg.execute(
        "INSERT INTO users VALUES (5, '김민준', 'm@example.com', 'M', 1991, '서울 노원구', 'GOLD',"
        " %(t)s, %(t)s, 3, 450000)",
        {"t": NOW},
    )
    pg.execute(
        "INSERT INTO products VALUES (6, '하루핏 셔츠', '패션', '하루핏', 39900, %s, 12)", (NOW,)
    )
    worker.refresh()
    assert cache.read_users(redis_client) == [
        cache.CachedUser(
            user_id=5, purchaser=True, gender="M", birth_year=1991, city="서울 노원구",
            grade="GOLD", created_at=NOW, last_ordered_at=NOW, order_count=3, total_spent=450_000,
        )
    ]  # fmt: skip
    assert cache.read_products(redis_client) == [
        cache.CachedProduct(
            product_id=6, popular=True, name="하루핏 셔츠", category="패션", brand="하루핏",
            price=39_900, created_at=NOW, order_count=12,
        )
    ]  # fmt: skip


def test_readers_never_see_half_a_cache(
    pg: Connection, redis_client: redis.Redis, worker: CacheWorker, settings: Settings
):
    add_users(pg, 800, 800)
    add_products(pg, 2_000)
    worker.refresh()
    done, wrong, seen = threading.Event(), [], set()

    def read() -> None:
        with cache.client(settings.redis_url) as r:
            while not done.is_set():
                pipe = r.pipeline(transaction=True)
                pipe.hlen(cache.USERS)
                pipe.hlen(cache.PRODUCTS)
                pipe.hgetall(cache.META)
                users, products, meta = pipe.execute()
                seen.add(meta["version"])
                if (users, products) != (1_000, 1_000) or meta["users"] != "1000":
                    wrong.append((users, products, meta))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(30):
            pg.execute(
                "UPDATE users SET last_ordered_at = now(), order_count = order_count + 1"
                " WHERE user_id IN (SELECT user_id FROM users ORDER BY last_ordered_at LIMIT 300)"
            )
            worker.refresh()
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert len(seen) > 1


def test_two_workers_take_turns(pg: Connection, settings: Settings, redis_client: redis.Redis):
    add_users(pg, 20, 20)
    add_products(pg, 20)
    workers = [CacheWorker(settings, cache.client(settings.redis_url), 50.0) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda w=w: [w.refresh() for _ in range(10)]) for w in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.read_meta(redis_client).version == sum(w.refreshes for w in workers) >= 10
    keys = set(redis_client.scan_iter("cache:*"))
    assert keys == {cache.USERS, cache.PRODUCTS, cache.META}  # no lock, nothing half built


def test_a_locked_cache_is_left_alone(redis_client: redis.Redis, worker: CacheWorker):
    redis_client.set(cache_worker.LOCK, "another worker", px=60_000)
    assert not worker.refresh()
    assert redis_client.get(cache_worker.LOCK) == "another worker"
    assert cache.read_meta(redis_client).version == 0


def test_due_once_an_interval_whoever_refreshes(
    pg: Connection, settings: Settings, redis_client: redis.Redis
):
    add_users(pg, 5, 5)
    add_products(pg, 5)
    now = utc_now()
    first, second = (CacheWorker(settings, redis_client, 50.0, clock=lambda: now) for _ in range(2))
    assert first.due_in() == 0
    first.refresh()
    second.refresh()
    assert first.due_in() == pytest.approx(50)
    now += timedelta(seconds=49)
    assert first.due_in() == pytest.approx(1)
    second.refresh()
    assert first.due_in() == pytest.approx(50)
    now -= timedelta(days=1)  # the clock was set back
    assert first.due_in() < 1
    now += timedelta(days=1)
    redis_client.flushall()
    assert first.due_in() < 1


def test_an_empty_shop_is_looked_at_soon(settings: Settings, redis_client: redis.Redis):
    worker = CacheWorker(settings, redis_client, 50.0)
    worker.refresh()
    meta = cache.read_meta(redis_client)
    assert (meta.version, meta.users, meta.products) == (1, 0, 0)
    assert 0 < worker.due_in() <= cache_worker.EMPTY_S


def test_postgresql_away_keeps_the_old_cache(
    pg: Connection, servers: Any, redis_client: redis.Redis, worker: CacheWorker
):
    add_users(pg, 5, 5)
    add_products(pg, 5)
    worker.refresh()
    pg.close()
    servers.postgres.kill()

    def fails() -> bool:
        try:
            worker.refresh()
        except psycopg.OperationalError:
            return True
        return False

    wait_until(fails, "the worker's backend ends a moment after its server")
    meta = cache.read_meta(redis_client)
    assert (meta.phase, bool(meta.error)) == ("failed", True)
    kept = meta.version
    assert len(cache.read_users(redis_client)) == 10
    servers.postgres.start()
    assert worker.refresh()
    meta = cache.read_meta(redis_client)
    assert (meta.phase, meta.error, meta.version) == ("waiting", "", kept + 1)


def test_the_process_outlasts_both_servers_and_ends_on_sigterm(
    pg: Connection, servers: Any, redis_client: redis.Redis, start: Start, settings: Settings
):
    add_users(pg, 5, 5)
    add_products(pg, 5)
    process = start("generators.cache_worker", "--speed", "1000")
    wait_until(lambda: cache.read_meta(redis_client).version >= 2, "two refreshes, one a second")
    pg.close()
    servers.postgres.kill()
    process.says("waiting for server")
    servers.postgres.start()
    process.says("server is back")
    servers.redis.kill()
    process.says("waiting for server", times=2)
    servers.redis.start()
    process.says("server is back", times=2)
    wait_until(lambda: cache.read_meta(redis_client).version >= 1, "a refresh of the empty Redis")
    wait_until(lambda: cache.heartbeats(redis_client), "a heartbeat")
    assert cache.heartbeats(redis_client)[0].name == cache_worker.NAME
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_once_refreshes_and_ends(pg: Connection, redis_client: redis.Redis, start: Start):
    add_users(pg, 5, 5)
    add_products(pg, 5)
    assert start("generators.cache_worker", "--once").popen.wait(timeout=30) == 0
    assert cache.read_meta(redis_client).version == 1


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        ({"POSTGRES_PORT": "1"}, 3, "cannot reach PostgreSQL"),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, 3, "cannot reach Redis"),
        ({"POSTGRES_DB": "postgres"}, 1, "jangteo init"),
    ],
)
def test_once_says_in_one_line_what_is_wrong(
    start: Start, extra: dict[str, str], code: int, said: str
):
    process = start("generators.cache_worker", "--once", **extra)
    assert process.popen.wait(timeout=30) == code
    assert said in process.log
    assert process.log.count("\n") == 1


@given(
    st.integers(1, 2_000),
    st.sampled_from([cache_segments.PURCHASER_SHARE, cache_segments.POPULAR_SHARE]),
    st.integers(0, 3_000),
    st.integers(0, 3_000),
)
def test_fill(size: int, share: float, first: int, second: int):
    a, b = cache_segments.fill(size, share, range(first), range(second))
    assert len(a) + len(b) == min(size, first + second)
    wanted = round(size * share)
    if first >= wanted and second >= size - wanted:
        assert len(a) == wanted
    assert (a, b) == (range(len(a)), range(len(b)))
