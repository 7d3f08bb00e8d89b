"""A process's heartbeat: at most one a second, and Redis being away never stops the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis

from shop.best_effort import BestEffort
from shop.redis import cache
from shop.server_clock import RedisClock

EVERY_S: Final = 1.0


class HeartbeatSender:
    """Reports once a second that the process is alive, with its counters.

    Args:
        r: Redis; its errors are ignored, as a heartbeat must not end the process.
        name: name of the process, such as ``orders``.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self, r: redis.Redis, name: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = RedisClock(r)
        self._redis = r
        self._name = name
        self._monotonic = monotonic
        self._next = float("-inf")
        self._writing = BestEffort("heartbeats to Redis", (redis.RedisError, OSError))

    def __call__(self, state: str, *, force: bool = False, **fields: str | float) -> None:
        """Beat if a second has passed since the last beat, or if `force`."""
        now = self._monotonic()
        if now < self._next and not force:
            return
        self._next = now + EVERY_S
        if not self._writing.attempt(
            lambda: cache.beat(self._redis, self._name, state, fields, clock=self._clock)
        ):
            self._next = now + 5 * EVERY_S  # away: no time-out every second
