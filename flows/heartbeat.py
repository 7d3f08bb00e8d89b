"""The thread that reports once a second that the ingest is alive, and logs a summary."""

from __future__ import annotations

import threading
from typing import Any, Final

from flows.metrics import IngestMetrics
from shop.log import get_logger
from shop.redis import cache
from shop.redis.heartbeat import HeartbeatSender
from shop.settings import Settings

SUMMARY_EVERY_S: Final = 10


def name_of(settings: Settings) -> str:
    """Return the process's name: with the topic if it takes but one."""
    topics = settings.ingest_topics
    return "ingest" if len(topics) > 1 else f"ingest-{topics[0]}"


def report(
    metrics: IngestMetrics, settings: Settings, stop: threading.Event, url: str = ""
) -> None:
    """Start the thread; the heartbeat goes to Redis, if there is one.

    The ingest does not need Redis: without one, or while it is away, only the log reports.

    Args:
        metrics: what to report.
        settings: where Redis is, and the topics.
        stop: ends it.
        url: where the metrics are served, sent with every heartbeat.
    """
    client = cache.optional_client(settings)

    def run() -> None:
        pulse = HeartbeatSender(client, name_of(settings)) if client is not None else None
        reported: dict[str, int] = {}
        beats = 0
        while not stop.wait(1.0):
            counts: dict[str, Any] = {**metrics.counts()}
            if pulse is not None:
                away = metrics.away()
                why = "; ".join(f"{server}: {reason}" for server, (_, reason) in away.items())
                # In the list of heartbeats, the reason stands where people look for it.
                state = "waiting" if away else "running"
                partitions = sum(metrics.assigned().values())
                pulse(state, metrics=url, reason=why, partitions=partitions, **counts)
            beats += 1
            if beats % SUMMARY_EVERY_S == 0 and counts != reported:
                reported = counts
                get_logger().info("stored so far", **counts)

    threading.Thread(target=run, name="heartbeat", daemon=True).start()
