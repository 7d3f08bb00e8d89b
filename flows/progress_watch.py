"""The thread that looks at the progress of the topics that this process takes.

It looks at all of their partitions, not only at those that this process has: nobody else would
notice those that no ingest has, or that another service's consumer was given.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from confluent_kafka import KafkaException

from flows.metrics import KAFKA, IngestMetrics
from shop.errors import JangteoError
from shop.ingest_progress import ProgressReader
from shop.kafka.progress import ProgressReport
from shop.log import get_logger
from shop.retry import Outage
from shop.settings import Settings

EVERY_S: Final = 2.0
"""A look takes some 20 ms and ten requests, for all topics and partitions together."""
QUIET_S: Final = 5.0
"""Between two looks while all is well and nothing is left to apply."""


def watch(metrics: IngestMetrics, settings: Settings, stop: threading.Event) -> None:
    """Start the thread.

    Args:
        metrics: shown what is seen.
        settings: where the servers are, and the topics.
        stop: ends it.
    """
    progress = ProgressReader(settings, "ingest-progress", patient=True, commits=False)
    outage = Outage(settings.kafka.where, metrics.watch(KAFKA), of="progress")
    logged: set[str] = set()

    def run() -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                look = progress.look(settings.ingest_topics)
            except (KafkaException, JangteoError) as e:
                stop.wait(outage.failed(e))
                continue
            outage.over()
            metrics.see(look)
            _log_troubles(look, logged)
            every = EVERY_S if _is_moving(look) else QUIET_S
            stop.wait(max(EVERY_S / 2, began + every - time.monotonic()))
        progress.close()

    threading.Thread(target=run, name="progress", daemon=True).start()


def _is_moving(look: ProgressReport) -> bool:
    """Return whether anything is wrong, or anything is left to apply, as far as is known."""
    partitions = [p for topic in look.topics.values() for p in topic.partitions]
    return bool(look.troubles()) or any(p.pending != 0 or p.unheld_s for p in partitions)


def _log_troubles(look: ProgressReport, logged: set[str]) -> None:
    """Log a topic that stops advancing once, and once when it advances again."""
    troubles = look.troubles()
    for topic, lines in troubles.items():
        if topic not in logged:
            logged.add(topic)
            get_logger().warning("the ingest does not advance", topic=topic, why="; ".join(lines))
    for topic in [t for t in logged if t not in troubles]:
        logged.discard(topic)
        get_logger().info("the ingest advances again", topic=topic)
