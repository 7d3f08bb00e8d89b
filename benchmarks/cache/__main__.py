"""What the cache saves: "98 % fewer queries, look-ups 100 times faster", measured.

    python -m benchmarks.cache [--customers N ...] [--rates R ...] [--json FILE]

The same traffic runs with the cache and without it: the orders of one refresh interval (50 s), as
fast as they go, each of which reads its customer and its product by key, or reads all 2,000 that
it may choose from. PostgreSQL's own log counts the statements of both, those of the refresh
included. Then single look-ups are timed, 1,000 at once, and the segments as a whole; and how old
and how wrong the cache becomes before its next refresh. PostgreSQL (fsync on) and Redis are the
embedded ones, reached over loopback.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import common
from benchmarks.cache.filled_shop import INTERVAL_S, FilledShop
from benchmarks.common import Result
from flows.statements import BY_INDEX
from generators.cache import reading
from generators.cache.customers import ShopClock
from generators.cache.lately_sold import LatelySold
from generators.cache.worker import CacheWorker, serve
from generators.live.buyers import Buyers
from jangteo.stack.embedded import EmbeddedRedis
from shop.clock import utc_now
from shop.postgres import Connection
from shop.redis import cache
from shop.redis.cache import CachedUser
from shop.redis.heartbeat import HeartbeatSender

CLAIMED_FEWER: Final = 98
"""Per cent."""
CLAIMED_FASTER: Final = 100
REFRESH_GOAL_MS: Final = 50
AT_ONCE: Final = 1_000
REFRESHES: Final = 15
LOOK_UPS: Final = 2_000
SEGMENT_ORDERS: Final = 10
"""Orders for which the segments are read; each needs the same number of queries."""
AGE_INTERVAL_S: Final = 2.0
"""Interval of the refreshes while the age of the cache is sampled."""
_USER: Final = msgspec.json.Decoder(CachedUser)
_BY_KEY: Final = (
    "SELECT user_id, gender, birth_year, city, grade, created_at, last_ordered_at, order_count,"
    " total_spent FROM users WHERE user_id = %s"
)
_PRODUCT_BY_KEY: Final = (
    "SELECT product_id, name, category, brand, price, created_at, order_count, rev, sale_status,"
    " updated_at FROM products WHERE product_id = %s"
)
_MANY_BY_KEY: Final = _BY_KEY.replace("= %s", "= ANY(%s)")
_BUY: Final = """
UPDATE users AS u SET order_count = order_count + 1, last_ordered_at = now(),
    total_spent = total_spent + 10000
FROM unnest(%s::bigint[]) AS bought (user_id) WHERE u.user_id = bought.user_id
"""


def segments(conn: Connection, clock: ShopClock, sold: LatelySold) -> int:
    """Read all customers and products to choose from out of PostgreSQL; return their number."""
    with conn.transaction():  # in the order of a refresh
        products = reading.read_products(conn, AT_ONCE, sold.read(conn, clock.orders))
        conn.execute(BY_INDEX)
        users = reading.read_users(conn, AT_ONCE, clock)
    return len(users) + len(products)


def refreshes(shop: FilledShop) -> list[Result]:
    """Time refreshes."""
    durations = []
    for _ in range(REFRESHES):
        shop.worker.refresh()
        durations.append(1000 * shop.worker.meta.duration)
    return [
        Result(
            f"a refresh, {shop.customers:,} customers", statistics.median(durations), "ms",
            goal=f"<= {REFRESH_GOAL_MS}",
            note=f"median of {REFRESHES}, {min(durations):.0f} to {max(durations):.0f}",
        )
    ]  # fmt: skip


def median_us(work: Callable[[int], object], times: int) -> float:
    """Return the median time of a call, microseconds; called with 0, 1, 2, ..."""
    for i in range(10):
        work(i)
    taken = []
    for i in range(times):
        began = time.perf_counter()
        work(i)
        taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)


def look_ups(shop: FilledShop) -> list[Result]:
    """Time reads of Redis against those of PostgreSQL that give the same."""
    r, ids = shop.redis, [u.user_id for u in cache.read_users(shop.redis)]
    few = LOOK_UPS // 100
    with shop.session("look-ups") as conn:
        clock, sold = shop.clock(), LatelySold()

        def one(i: int) -> object:
            return _USER.decode(str(r.hget(cache.USERS, str(ids[i % len(ids)]))))

        def many(_: int) -> object:
            found = r.hmget(cache.USERS, [str(i) for i in ids])
            return [_USER.decode(str(text)) for text in found]

        def by_key(i: int) -> object:
            return conn.execute(_BY_KEY, (ids[i % len(ids)],), prepare=True).fetchone()

        def many_by_key(_: int) -> object:
            return conn.execute(_MANY_BY_KEY, (ids,), prepare=True).fetchall()

        one_us, key_us = median_us(one, LOOK_UPS), median_us(by_key, LOOK_UPS)
        many_us, many_key_us = median_us(many, few), median_us(many_by_key, few)
        all_us = median_us(lambda _: (cache.read_users(r), cache.read_products(r)), few)
        segments_us = median_us(lambda _: segments(conn, clock, sold), few)
    pairs = (
        ("one by its key", one_us, key_us, "SELECT by primary key, prepared"),
        (f"{len(ids):,} by key at once", many_us, many_key_us, "SELECT ... = ANY, prepared"),
        ("one, instead of the queries for the segments", one_us, segments_us, "those queries"),
        ("all of the cache, instead of those queries", all_us, segments_us, "those queries"),
    )
    chart = f"Look-ups: times faster than PostgreSQL, {shop.customers:,} customers"
    return [
        Result(
            f"look-up faster by, {name}, {shop.customers:,} customers", theirs / ours, "times",
            goal=f">= {CLAIMED_FASTER}", chart=chart,
            note=f"{_time(ours)} instead of {_time(theirs)} ({what})",
        )
        for name, ours, theirs, what in pairs
    ]  # fmt: skip


def _time(us: float) -> str:
    return f"{us:,.0f} us" if us < 1_000 else f"{us / 1_000:,.1f} ms"


def queries(shop: FilledShop, rates: Sequence[float]) -> list[Result]:
    """Count statements with the cache and without it, at several rates of orders."""
    shop.log_statements()
    users = [u.user_id for u in cache.read_users(shop.redis)]
    products = [p.product_id for p in cache.read_products(shop.redis)]
    with shop.statements() as refresh:
        shop.worker.refresh()
    found = [Result(f"statements of a refresh, {shop.customers:,} customers", len(refresh), "")]
    with shop.session("traffic") as conn:
        clock, sold = shop.clock(), LatelySold()
        segments(conn, clock, sold)  # adds up what sold in past days, once
        with shop.statements() as whole:
            for _ in range(SEGMENT_ORDERS):
                segments(conn, clock, sold)
    for rate in rates:
        n = max(1, round(rate * INTERVAL_S))
        rng = np.random.default_rng(1)
        drawn = [(int(rng.choice(users)), int(rng.choice(products))) for _ in range(n)]
        with shop.statements() as cached:
            for user, product in drawn:
                shop.redis.hget(cache.USERS, str(user))
                shop.redis.hget(cache.PRODUCTS, str(product))
            shop.worker.refresh()
        with shop.session("traffic") as conn, shop.statements() as uncached:
            for user, product in drawn:
                conn.execute(_BY_KEY, (user,))
                conn.execute(_PRODUCT_BY_KEY, (product,))
        for kind, without in (
            ("customer and product by key", len(uncached)),
            ("the segments for each order", len(whole) * n // SEGMENT_ORDERS),
        ):
            found.append(
                Result(
                    f"fewer queries, {kind}, {rate:g} orders/s, {shop.customers:,} customers",
                    100 * (1 - len(cached) / without), "%", goal=f">= {CLAIMED_FEWER}",
                    chart=f"Fewer queries, {kind}, %",
                    note=f"{len(cached):,} instead of {without:,} in {INTERVAL_S:g} s",
                )
            )  # fmt: skip
    return found


def wrong_entries(shop: FilledShop, rates: Sequence[float]) -> list[Result]:
    """Count the cached customers that differ from their row just before the next refresh."""
    found = []
    for rate in rates:
        shop.worker.refresh()
        held = cache.read_users(shop.redis)
        buyers = Buyers(np.random.default_rng(1))
        buyers.load(held, utc_now())
        at_us = np.full(max(1, round(rate * INTERVAL_S)), int(utc_now().timestamp() * 1e6))
        bought = buyers.take(at_us).ids.tolist()
        with shop.session("staleness") as conn:
            conn.execute(_BUY, (bought,))
            rows = dict(
                conn.execute(
                    "SELECT user_id, order_count FROM users WHERE user_id = ANY(%s)",
                    ([u.user_id for u in held],),
                ).fetchall()
            )
        wrong = sum(rows[u.user_id] != u.order_count for u in held)
        found.append(
            Result(
                f"stale before the next refresh, {rate:g} orders/s, {shop.customers:,} customers",
                100 * wrong / len(held), "%", note=f"{wrong} of {len(held)} cached customers",
            )
        )  # fmt: skip
    return found


def age(shop: FilledShop) -> Result:
    """Sample how old the cache becomes while a worker refreshes it."""
    stop, ages = threading.Event(), []
    worker = CacheWorker(shop.settings, shop.redis, AGE_INTERVAL_S)
    thread = threading.Thread(
        target=serve, args=(worker, shop.settings, HeartbeatSender(shop.redis, "cache"), stop)
    )
    thread.start()
    try:
        ends = time.monotonic() + 4 * AGE_INTERVAL_S
        while time.monotonic() < ends:
            time.sleep(0.02)
            refreshed = cache.read_meta(shop.redis).refreshed_at
            if worker.refreshes > 1 and refreshed is not None:
                ages.append((utc_now() - refreshed).total_seconds())
    finally:
        stop.set()
        thread.join()
    return Result(
        f"oldest cache beyond its interval, {shop.customers:,} customers",
        1000 * (max(ages) - AGE_INTERVAL_S), "ms",
        note=f"{max(ages):.2f} s at an interval of {AGE_INTERVAL_S:g} s; on average "
        f"{statistics.mean(ages):.2f} s",
    )  # fmt: skip


@contextmanager
def servers() -> Iterator[tuple[common.Rig, EmbeddedRedis]]:
    """Start PostgreSQL and Redis, and end them."""
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        rig, server = common.Rig(Path(name)), EmbeddedRedis(Path(name))
        try:
            rig.postgres.start()
            server.start()
            yield rig, server
        finally:
            server.kill()
            rig.postgres.kill()


def measure(sizes: Sequence[int], rates: Sequence[float]) -> list[Result]:
    """Measure shops of several sizes, one after the other."""
    found: list[Result] = []
    with servers() as (rig, server):
        for customers in sizes:
            rig.drop_databases()
            began = time.perf_counter()
            shop = FilledShop(rig, server, customers)
            seconds = time.perf_counter() - began
            print(f"{customers:,} customers: filled in {seconds:.0f} s", flush=True)
            found += refreshes(shop)
            found += look_ups(shop)
            found += wrong_entries(shop, rates)
            found.append(age(shop))
            found += queries(shop, rates)
            shop.close()
    return found


def show(found: Sequence[Result]) -> None:
    """Print a table."""
    table = Table("what", "figure", "goal", "", title="What the cache saves")
    for r in found:
        goal = "" if r.met is None else f"{r.goal}: {'met' if r.met else 'missed'}"
        table.add_row(r.name, f"{r.value:,.1f} {r.unit}", goal, r.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--customers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N"
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.25, 10.0, 200.0], metavar="R",
        help="orders per second; the shop's own pace is 0.25",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    found = measure(args.customers, args.rates)
    show(found)
    if args.json:
        common.save(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
