"""The clock by which the ingest rejects events dated in the future: PostgreSQL's, not its own."""

from __future__ import annotations

import threading

from shop.redis import cache
from shop.server_clock import ClockWatch
from shop.settings import Settings


def watch(settings: Settings, stop: threading.Event) -> ClockWatch:
    """Start to follow PostgreSQL's clock, with Redis's as a second opinion where there is one.

    Args:
        settings: where they are.
        stop: ends it.
    """
    clocks = ClockWatch(settings.postgres, cache.optional_client(settings), stop)
    clocks.start()
    return clocks
