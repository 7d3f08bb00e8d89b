"""What the operator wants of one generator, looked at twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis

from shop.redis import control
from shop.redis.control import Control

LOOK_EVERY_S: Final = 0.4
"""An order of the operator takes effect within a second, the wait for Redis included."""
_REST_S: Final = 3.0
"""After a failure: a connection time-out must not be what a process does all day."""


class Steering:
    """Knows what was last set; while Redis is away, that stays in force.

    Args:
        r: Redis.
        name: the process.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self, r: redis.Redis, name: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = r
        self._name = name
        self._monotonic = monotonic
        self._next = float("-inf")
        self._known = Control()

    def __call__(self) -> Control:
        """Return what the process is to do."""
        now = self._monotonic()
        if now >= self._next:
            try:
                self._known = control.read(self._redis, self._name)
                self._next = now + LOOK_EVERY_S
            except redis.RedisError:
                self._next = now + _REST_S
        return self._known
