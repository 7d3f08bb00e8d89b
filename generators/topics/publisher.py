"""Publish what is due of optional topics, all of them in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import psycopg
import redis

from generators.publishing.loop import PublishingLoop, TopicOutput
from generators.topics.interface import LiveTopic
from shop.clock import Clock
from shop.redis.heartbeat import HeartbeatSender
from shop.retry import first_line

TICK_S: Final = 0.2
"""An event is published at most this long after its time, the looks of its source not included."""
AGAIN_S: Final = 3.0
"""Seconds until a source whose server did not answer is asked again."""


class OptionalPublisher(PublishingLoop):
    """Publishes what the live sources of topics return, until stopped.

    Args:
        sources: by topic.
        outputs: take the events of these topics to Kafka.
        clock: UTC.
        seconds: ends the run after this time; None for no end.
        limit: ends it when this number of events is handed over; None for no limit.
        heartbeat: of the process as a whole.
        where: Kafka's address, for people.
        hindered: returns why nothing may be published now; empty if it may.
    """

    def __init__(
        self,
        sources: Mapping[str, LiveTopic],
        outputs: Iterable[TopicOutput],
        *,
        clock: Clock,
        seconds: float | None = None,
        limit: int | None = None,
        heartbeat: HeartbeatSender | None = None,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(outputs, where=where, hindered=hindered)
        self._sources = sources
        self._clock = clock
        self._ends = time.monotonic() + seconds if seconds else float("inf")
        self._limit = limit
        self._made = 0
        self._heartbeat = heartbeat
        self._trouble = ""
        self._ask_again = 0.0

    def run(self, stop: threading.Event) -> int:
        """Publish until `stop` or the end; return how many events Kafka did not acknowledge."""
        try:
            missing = self._publish(stop, self._ends)
        finally:
            for source in self._sources.values():
                source.close()
        self._beat("stopped")
        return missing

    def _step(self, stop: threading.Event, began: float) -> None:
        more = self._publish_due()
        self._over = self._over or self._made == self._limit
        if not more and not self._over:
            stop.wait(max(0.0, min(began + TICK_S, self._ends) - time.monotonic()))

    def _publish_due(self) -> bool:
        """Publish what is due; return whether there was anything. Sets `_trouble`, or clears it."""
        before = self._made
        try:
            for output in self._outputs:
                if output.control.paused or not output.producer.room:
                    continue
                events = self._sources[output.topic].due(self._clock())
                if self._limit is not None:
                    events = events.head(self._limit - self._made)
                if not events.is_empty():
                    output.publish(events)
                    self._made += len(events)
        except (psycopg.Error, redis.RedisError) as e:
            server = "Redis" if isinstance(e, redis.RedisError) else "PostgreSQL"
            self._trouble = f"{server} ({first_line(e)})"
            self._ask_again = time.monotonic() + AGAIN_S
        else:
            self._trouble = ""
        return self._made > before

    def _lacks(self) -> str:
        if self._trouble and time.monotonic() >= self._ask_again:
            self._publish_due()
        return self._trouble

    def _has_end(self) -> bool:
        return self._limit is not None or time.monotonic() >= self._ends

    def _fields(self, output: TopicOutput) -> Mapping[str, str | float]:
        return self._sources[output.topic].status()

    def _beat(self, state: str = "") -> None:
        super()._beat(state)
        if self._heartbeat is not None:
            self._heartbeat(
                state or ("waiting" if self.waiting_for else "running"),
                force=state == "stopped",
                published=sum(output.producer.acknowledged for output in self._outputs),
                waiting_for=self.waiting_for,
            )
