"""Redis: the cache with its countdown, memory, work, hits, refreshes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import redis

from console import rules
from console.snapshot.model import Redis, Refresh
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from shop.clock import Clock, utc_now
from shop.redis import cache
from shop.redis.cache import CacheMeta
from shop.server_clock import RedisClock

RATE_S: Final = 60.0
"""The generators look the cache up once every refresh, which is every 50 s, or more often."""
KEPT: Final = 20
"""Refreshes that are remembered."""


class RedisSource:
    """Reads INFO and the cache's meta data in one round trip and a half.

    Args:
        current: where Redis is.
        interval: seconds between two readings.
        clock: UTC; dates a refresh that failed.
        monotonic: seconds of a clock that never steps.
    """

    name = "redis"

    def __init__(
        self,
        current: CurrentSettings,
        *,
        interval: float = 1.0,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self.interval = interval
        self.deadline = LONGEST_DEADLINE_S
        self._current = current
        self._client: redis.Redis | None = None
        self._counted: deque[tuple[float, int, int]] = deque()
        self._redis_clock: RedisClock | None = None
        self._refreshes: deque[Refresh] = deque(maxlen=KEPT)
        self._last: tuple[int, datetime | None, str] | None = None
        self._good: tuple[int, datetime | None] | None = None

    def read(self) -> Redis:
        """Return the state of Redis.

        Raises:
            redis.RedisError: if it does not answer.
        """
        if self._client is None:
            self._client = cache.client(self._current.settings.redis_url, timeout=self.deadline)
        client = self._client
        self._redis_clock = self._redis_clock or RedisClock(client)
        pipe = client.pipeline(transaction=False)
        pipe.info()
        pipe.hlen(cache.USERS)
        pipe.hlen(cache.PRODUCTS)
        info, users, products = _replies(pipe.execute(raise_on_error=False))
        ahead = clock_ahead(self._redis_clock)
        theirs = cache.read_meta(client)
        meta = by_our_clock(theirs, ahead)
        self._remember(meta, (theirs.version, theirs.refreshed_at))
        hits, misses = cache.read_lookups(client)
        return Redis(
            meta=meta,
            users=users,
            products=products,
            memory=int(info.get("used_memory", 0)),
            memory_human=str(info.get("used_memory_human", "?")),
            max_memory=int(info.get("maxmemory", 0)) or None,
            ops=int(info.get("instantaneous_ops_per_sec", 0)),
            hits=hits,
            misses=misses,
            hit_rate=self._hit_rate(hits, misses),
            evicted=int(info.get("evicted_keys", 0)),
            clients=int(info.get("connected_clients", 0)),
            version=str(info.get("redis_version", "?")),
            refreshes=tuple(self._refreshes),
            clock_ahead=ahead,
        )

    def reset(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._redis_clock = None
        self._counted.clear()

    def _hit_rate(self, hits: int, misses: int) -> float | None:
        """Return the share of hits in the last minute; None where nothing was looked up."""
        now = self._monotonic()
        seen = self._counted
        if seen and (hits < seen[-1][1] or misses < seen[-1][2]):
            seen.clear()  # the counters were reset
        seen.append((now, hits, misses))
        while len(seen) > 2 and seen[1][0] <= now - RATE_S:
            seen.popleft()
        _, hits_then, misses_then = seen[0]
        hit, missed = hits - hits_then, misses - misses_then
        return rules.share(hit, hit + missed)

    def _remember(self, meta: CacheMeta, which: tuple[int, datetime | None]) -> None:
        """Keep a refresh once.

        Args:
            meta: by this machine's clock, which may differ from Redis's by more at each look.
            which: version and time by Redis's clock, which stay the same.
        """
        if meta.refreshed_at is None:
            return
        failed = meta.error if meta.phase == rules.Phase.FAILED.value else ""
        before, self._last = self._last, (*which, failed)
        if before == self._last or (not failed and which == self._good):
            return  # the next attempt after a failed one is of the same version, too
        if not failed:
            self._good = which
        self._refreshes.append(
            Refresh(
                version=meta.version,
                # The worker reports the last good one's time and figures with the error.
                at=self._clock() if failed else meta.refreshed_at,
                duration=meta.duration,
                users=meta.users,
                products=meta.products,
                replaced=meta.replaced,
                error=failed,
            )
        )


def _replies(found: list[Any]) -> tuple[dict[str, Any], int, int]:
    """Return INFO and the two counts; INFO is empty for an ACL user who may not ask for it."""
    info, users, products = found
    for reply in (users, products):
        if isinstance(reply, Exception):
            raise reply
    return ({} if isinstance(info, Exception) else info), int(users), int(products)


def clock_ahead(clock: RedisClock) -> float:
    """Return by how many seconds this machine's clock is ahead of Redis's; 0 within a second.

    Raises:
        redis.RedisError: if it does not answer.
    """
    apart = clock.apart
    return round(apart, 1) if abs(apart) > 1.0 else 0.0


def by_our_clock(meta: CacheMeta, ahead: float) -> CacheMeta:
    """Return the state of the cache, with its times by this machine's clock."""
    shift = timedelta(seconds=ahead)
    return msgspec.structs.replace(
        meta,
        refreshed_at=meta.refreshed_at and meta.refreshed_at + shift,
        next_due_at=meta.next_due_at and meta.next_due_at + shift,
    )
