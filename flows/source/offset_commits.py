"""Commits of offsets to Kafka: they follow PostgreSQL's and serve only monitoring."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flows.in_flight import InFlightWindow
from shop.log import get_logger
from shop.retry import first_line

COMMIT_EVERY_S: Final = 0.5


class OffsetCommits:
    """Commits to Kafka what PostgreSQL has applied of the assigned partitions.

    Args:
        topic: users, products or orders.
        in_flight: where the sink notes what it has applied.

    Attributes:
        applied: the next offset to be applied, by assigned partition.
    """

    def __init__(self, topic: str, in_flight: InFlightWindow) -> None:
        self._topic = topic
        self._in_flight = in_flight
        self.applied: dict[int, int] = {}
        self._pending: dict[int, int] = {}
        self._due_at = 0.0

    def begin(self, consumer: Consumer, log_id: str, start: Mapping[int, int]) -> None:
        """Take over newly assigned partitions, of which `start` has the next offsets."""
        self.applied = dict(start)
        self._pending = dict(start)  # tools then know the lag of idle partitions too
        self.commit(consumer, log_id)
        self._due_at = 0.0  # the first batch's commit does not wait: a stop may come soon

    def forget(self) -> None:
        """Have no partitions."""
        self.applied, self._pending = {}, {}

    def commit(self, consumer: Consumer, log_id: str, *, now: bool = False) -> None:
        """Commit what was applied since the last call, at most every `COMMIT_EVERY_S`.

        Args:
            consumer: holds the partitions.
            log_id: the incarnation of the topic that it reads.
            now: commit at once, and wait for the answer.
        """
        for p, offset in self._in_flight.take_applied(log_id).items():
            # A batch from before the last assignment may be committed after it.
            if p in self.applied and offset > self.applied[p]:
                self.applied[p] = self._pending[p] = offset
        if not self._pending or (time.monotonic() < self._due_at and not now):
            return
        self._due_at = time.monotonic() + COMMIT_EVERY_S
        offsets = [TopicPartition(self._topic, p, o) for p, o in self._pending.items()]
        self._pending.clear()
        try:
            if now:
                consumer.commit(offsets=offsets, asynchronous=False)
            else:
                consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as e:  # only monitoring suffers, until the next commit
            get_logger().debug("offset commit failed", topic=self._topic, error=first_line(e))
