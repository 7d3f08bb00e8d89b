"""Keep the cache warm: every 50 s, 600 purchasers and 400 others, 700 popular and 300 new products.

Any number of cache workers may run: a lock in Redis lets one refresh at a time, and the others see
that it is done. While PostgreSQL is away the old cache stays.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import redis

from generators.cache.metrics import CacheMetrics
from generators.cache.shop_reader import ShopReader
from generators.scenarios import control, timetable
from shop import command, metrics_endpoint
from shop.clock import Clock
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.log import get_logger
from shop.redis import cache
from shop.redis.cache import CacheMeta
from shop.redis.control import ControlReader, RunRequests
from shop.redis.heartbeat import HeartbeatSender
from shop.retry import Outage, Refusal, first_line
from shop.server_clock import redis_time
from shop.settings import Settings, announce

if TYPE_CHECKING:
    from generators.cache.product_sweep import ProductSweep

NAME: Final = "cache"
"""Of its heartbeat and its connections: the name that the supervisor gives it."""
LOCK: Final = "cache:lock"
LOCK_S: Final = 10.0
"""A worker that dies holding the lock holds up the others for at most this time; a refresh takes
well under a second. Should one take longer, the swap is one step all the same."""
SHORTEST_S: Final = 1.0
EMPTY_S: Final = 2.0
"""While there is nothing to put in, the shop is just opening: look again soon."""
LOOK_S: Final = 0.5
"""How often the worker looks whether the cache is still there, and what the operator wants."""


class CacheWorker:
    """Refreshes the cache when it is due.

    Args:
        settings: where PostgreSQL is, and how much to cache.
        r: Redis.
        interval: seconds between two refreshes.
        clock: UTC; dates the cache. Redis's by default: workers anywhere agree on what is due.
        monotonic: seconds of a clock that never steps.

    Attributes:
        redis: the same.
    """

    def __init__(
        self,
        settings: Settings,
        r: redis.Redis,
        interval: float,
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redis = r
        self._interval = interval
        self._clock = clock or (lambda: redis_time(r))
        self._monotonic = monotonic
        self._reader = ShopReader(settings, NAME, monotonic)
        self._sweep: ProductSweep | None = None
        self._seed = settings.seed
        self._not_before = float("-inf")
        self.refreshes = 0
        self.meta = CacheMeta(interval=interval)

    def due_in(self) -> float:
        """Return seconds until the next refresh is due, whichever worker made the last one.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        if not self.refreshes:
            return 0.0
        meta = cache.read_meta(self.redis)
        full = self.redis.exists(cache.USERS, cache.PRODUCTS) == 2
        interval = self._interval if full else min(EMPTY_S, self._interval)
        lost = meta.version == 0 or (not full and meta.users > 0 and meta.products > 0)
        if meta.refreshed_at is None or lost:
            return 0.0
        age = (self._clock() - meta.refreshed_at).total_seconds()
        # An age below zero: Redis's clock was set back; the cache may be as old as it likes.
        by_age = interval - age if age >= 0 else 0.0
        return max(by_age, self._not_before - self._monotonic(), 0.0)

    def refresh(self) -> bool:
        """Refresh the cache; return False if another worker is at it.

        Raises:
            psycopg.Error: if it cannot be read; the old cache stays and its phase says so.
            redis.RedisError: if it cannot be written.
        """
        lock = self.redis.lock(LOCK, timeout=LOCK_S, blocking=False)
        if not lock.acquire():
            return False
        try:
            self._swap()
        except psycopg.Error as e:
            cache.update_meta(self.redis, phase="failed", error=explain(e))
            raise
        finally:
            _release(lock)
        return True

    def _win_back(self) -> datetime | None:
        """Return the time if a win-back campaign runs, of the calendar or of the operator."""
        now = self._clock()
        at = now.timestamp()
        spans = timetable.between(self._seed, at, at + 1)
        spans += control.spans(control.started(self.redis, now))
        running = any(s.name == "win_back" and s.start <= at < s.end for s in spans)
        return now if running else None

    def reconcile(self) -> None:
        """Count what was stored late, if it is time for that.

        Raises:
            psycopg.Error: if PostgreSQL does not answer.
        """
        self._reader.reconcile()

    def sweep(self) -> None:
        """Look through some of the products for changes that are due.

        Raises:
            psycopg.Error: if PostgreSQL does not answer.
            redis.RedisError: if Redis does not answer.
        """
        if self._sweep is None:
            # The worker's first refresh does not wait for polars and the client of Kafka.
            from generators.cache.product_sweep import ProductSweep  # noqa: PLC0415  (as above)

            self._sweep = ProductSweep(self.redis, self._clock, self._monotonic)
        if self._sweep.wanted():
            self._reader.lend(self._sweep.look)

    def _swap(self) -> None:
        began = self._monotonic()
        cache.update_meta(self.redis, phase="refreshing", interval=self._interval)
        clock, users, products, has_history = self._reader.read(self._win_back())
        due = [u.purchaser for u in users if u.due]

        def meta(version: int, replaced: int) -> CacheMeta:
            now = self._clock()
            empty = not users or not products
            wait = min(EMPTY_S, self._interval) if empty else self._interval
            return CacheMeta(
                version=version,
                refreshed_at=now,
                next_due_at=now + timedelta(seconds=wait),
                interval=self._interval,
                duration=round(self._monotonic() - began, 6),
                users=len(users),
                products=len(products),
                replaced=replaced,
                due_purchasers=sum(due),
                due_others=len(due) - sum(due),
                clock=clock.orders,
                sign_ups=clock.sign_ups,
                orders_per_day=clock.orders_per_day,
                has_history=has_history,
            )

        self.meta = cache.swap(self.redis, users, products, meta)
        self.refreshes += 1
        # However slow the database, it has at least half of the time for others.
        self._not_before = self._monotonic() + self.meta.duration
        get_logger().info(
            "refreshed",
            version=self.meta.version,
            users=len(users),
            purchasers=sum(u.purchaser for u in users),
            due=len(due),
            products=len(products),
            popular=sum(p.popular for p in products),
            replaced=self.meta.replaced,
            seconds=round(self.meta.duration, 3),
        )


def _release(lock: redis.lock.Lock) -> None:
    try:
        lock.release()
    except redis.RedisError:  # it has run out, or Redis is away: then it runs out by itself
        get_logger().debug("lock not released")


def explain(error: psycopg.Error) -> str:
    """Return one line on what is wrong with PostgreSQL, and what to do if that is known."""
    missing = psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn
    if isinstance(error, missing | psycopg.errors.InvalidSchemaName):
        return f"{first_line(error)}: run `jangteo init`"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{first_line(error)}: run `jangteo init --roles`"
    return first_line(error)


def serve(
    worker: CacheWorker,
    settings: Settings,
    heartbeat: HeartbeatSender,
    stop: threading.Event,
    asked: Callable[[], bool] = lambda: False,
    *,
    shown: CacheMetrics | None = None,
) -> None:
    """Refresh the cache whenever it is due or `asked`, until `stop`; outlast any outage.

    Raises:
        UnreachableError: if a wrong setting keeps Redis from us, and has since the start.
    """
    away_postgres = Outage(settings.postgres.where)
    away_redis = Outage("Redis")
    refused = Refusal("Redis")
    while not stop.is_set():
        wait, waiting_for = LOOK_S, ""
        try:
            wait = 0.0 if asked() else worker.due_in()
            if wait == 0.0:
                wait = 0.0 if worker.refresh() else LOOK_S
                worker.reconcile()
                away_postgres.over()
                if shown is not None:
                    shown.looked_up(*cache.read_lookups(worker.redis))
            worker.sweep()
            away_redis.over()
            refused.over()
        except psycopg.Error as e:
            wait, waiting_for = away_postgres.failed(psycopg.Error(explain(e))), "PostgreSQL"
        except redis.RedisError as e:
            if not worker.refreshes and cache.wrong_setting(e):
                raise cache.refusal(worker.redis, e) from None
            answers = not isinstance(e, redis.ConnectionError | redis.TimeoutError)
            outage = refused if answers else away_redis
            wait, waiting_for = outage.failed(redis.RedisError(cache.explain(e))), "Redis"
        if shown is not None:
            shown.turned(worker.meta)
        heartbeat(
            "waiting" if waiting_for else "running",
            refreshes=worker.refreshes,
            version=worker.meta.version,
            users=worker.meta.users,
            products=worker.meta.products,
            waiting_for=waiting_for,
        )
        stop.wait(min(wait, LOOK_S) if not waiting_for else wait)
    get_logger().info("stopped", refreshes=worker.refreshes)


def refresh_once(worker: CacheWorker, settings: Settings) -> None:
    """Refresh the cache now.

    Raises:
        UnreachableError: if PostgreSQL or Redis does not answer.
        JangteoError: if another worker holds the lock all the time.
    """
    deadline = time.monotonic() + LOCK_S
    try:
        while not worker.refresh():
            if time.monotonic() > deadline:
                raise JangteoError(f"another cache worker has been refreshing for {LOCK_S:g} s")
            time.sleep(0.1)
    except psycopg.OperationalError as e:
        raise UnreachableError(f"cannot reach {settings.postgres.where}: {explain(e)}") from None
    except psycopg.Error as e:
        raise JangteoError(f"cannot read the shop: {explain(e)}") from None
    except redis.RedisError as e:
        raise UnreachableError(f"cannot reach Redis: {cache.explain(e)}") from None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--once", action="store_true", help="refresh once, then exit")
    parser.add_argument(
        "--speed",
        type=command.positive,
        metavar="X",
        help="refresh X times as often (default: SHOP_SPEED, 1)",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Keep the cache warm until stopped, or refresh it once."""
    settings.require("cache")
    speed = settings.speed if args.speed is None else args.speed
    interval = max(SHORTEST_S, settings.cache_refresh_interval / speed)
    r = cache.client(settings.redis_url)
    worker = CacheWorker(settings, r, interval)
    if args.once:
        announce.servers_in_production(settings, "postgres", "redis")
        refresh_once(worker, settings)
        return ExitCode.OK
    where = settings.postgres.where  # a missing setting is reported before anything starts
    announce.servers(settings, "postgres", "redis")
    get_logger().info("started", interval=interval, size=settings.cache_batch_size, reads=where)
    stop = command.stop_on_signals()
    shown = CacheMetrics()
    metrics_endpoint.start(NAME, shown.registry, settings, healthy=shown.healthy, ready=shown.ready)
    serve(
        worker,
        settings,
        HeartbeatSender(r, NAME),
        stop,
        RunRequests(ControlReader(r, NAME)),
        shown=shown,
    )
    return ExitCode.OK
