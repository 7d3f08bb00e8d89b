"""The metrics of the cache worker, and when it is healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shop.metrics_endpoint import HealthAnswer
from shop.redis.cache import CacheMeta

_PREFIX: Final = "jangteo_cache"
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
MOST_SILENT_S: Final = 60.0
"""The loop turns twice a second; while a server is away it waits 10 s at most between attempts,
and one attempt takes a connection time-out of a few seconds."""


class CacheMetrics:
    """Counts a cache worker's own refreshes, on a registry of its own.

    Args:
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._turned_at = monotonic()
        self._version = 0
        self._entries = Gauge(
            f"{_PREFIX}_entries", "Entries that the last refresh wrote: users, products",
            ("side",), registry=self.registry,
        )  # fmt: skip
        self._due = Gauge(
            f"{_PREFIX}_due",
            "Customers in the cache who are due to buy, again (purchasers) or for the first time "
            "(others)",
            ("side",), registry=self.registry,
        )  # fmt: skip
        self._clock = Gauge(
            f"{_PREFIX}_clock_orders", "Orders counted: the clock by which customers are due",
            registry=self.registry,
        )  # fmt: skip
        self._customers = Gauge(
            f"{_PREFIX}_customers", "Customers counted; the rate of sign-ups depends on them",
            registry=self.registry,
        )  # fmt: skip
        self._replaced = Counter(
            f"{_PREFIX}_replaced", "Entries that refreshes wrote and that were not cached before",
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{_PREFIX}_refresh_seconds",
            "Seconds of a refresh; its count is the number of refreshes",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._refreshed = Gauge(
            f"{_PREFIX}_refreshed_timestamp_seconds", "When the last refresh ended, Unix time",
            registry=self.registry,
        )  # fmt: skip

        self._lookups = Gauge(
            f"{_PREFIX}_lookups",
            "Look-ups of customers and products since Redis was emptied, by all processes, as of "
            "the last refresh: hit (found any), miss (none)",
            ("result",), registry=self.registry,
        )  # fmt: skip

    def looked_up(self, hits: int, misses: int) -> None:
        """Show what `cache.read_lookups` counted."""
        self._lookups.labels("hit").set(hits)
        self._lookups.labels("miss").set(misses)

    def turned(self, meta: CacheMeta) -> None:
        """Note that the loop turned, and count the worker's last refresh if it is a new one."""
        self._turned_at = self._monotonic()
        if meta.refreshed_at is None or meta.version == self._version:
            return
        self._version = meta.version
        self._entries.labels("users").set(meta.users)
        self._entries.labels("products").set(meta.products)
        self._due.labels("purchasers").set(meta.due_purchasers)
        self._due.labels("others").set(meta.due_others)
        self._clock.set(meta.clock)
        self._customers.set(meta.sign_ups)
        self._replaced.inc(meta.replaced)
        self._seconds.observe(meta.duration)
        self._refreshed.set(meta.refreshed_at.timestamp())

    def healthy(self) -> HealthAnswer:
        """Tell whether the loop turns; it does so while a server is away, too."""
        silent = self._monotonic() - self._turned_at
        return HealthAnswer(silent < MOST_SILENT_S, {"silent_s": round(silent, 3)})

    def ready(self) -> HealthAnswer:
        """Tell whether the loop turns and this worker has filled the cache once."""
        well = self._version > 0 and self.healthy().well
        return HealthAnswer(well, {"version": self._version})
