"""What an ingest process has done so far: for its heartbeat and its log."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

import redis

from flows.store import Outcome
from shop import cache
from shop.errors import UsageError
from shop.log import get_logger
from shop.pulse import Pulse
from shop.settings import Settings

SUMMARY_EVERY_S: Final = 10


class Tally:
    """Thread-safe counters of a process, by topic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, topic: str, outcome: Outcome) -> None:
        """Count a committed batch."""
        with self._lock:
            self._counts["batches"] += 1
            self._counts[f"{topic}.stored"] += outcome.stored
            self._counts[f"{topic}.rejected"] += outcome.rejected
            self._counts[f"{topic}.ignored"] += outcome.ignored

    def counts(self) -> dict[str, int]:
        """Return the counters."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def report(tally: Tally, settings: Settings, stop: threading.Event) -> threading.Thread:
    """Start the thread that says once a second that the process lives, if there is a Redis.

    The ingest does not need Redis: without one, or while it is away, only the log tells.
    """
    try:
        client: redis.Redis | None = cache.client(settings.redis_url, timeout=1.0)
    except UsageError:
        client = None
    name = "ingest" if len(settings.ingest_topics) > 1 else f"ingest-{settings.ingest_topics[0]}"

    def run() -> None:
        pulse = Pulse(client, name) if client is not None else None
        told: dict[str, int] = {}
        beats = 0
        while not stop.wait(1.0):
            counts: dict[str, Any] = {**tally.counts()}
            if pulse is not None:
                pulse("running", **counts)
            beats += 1
            if beats % SUMMARY_EVERY_S == 0 and counts != told:
                told = counts
                get_logger().info("stored so far", **counts)

    thread = threading.Thread(target=run, name="tally", daemon=True)
    thread.start()
    return thread
