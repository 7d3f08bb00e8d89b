"""A continuation in this process, at a time that the test sets."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import redis

from generators.continuation import resume
from generators.history.resume import store
from generators.history.resume.publisher import ResumePublisher
from generators.history.resume.store import POSITION, Left, Position
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import TopicOutput
from generators.publishing.order_lifecycle import OrderLifecycle
from generators.random_streams import stream
from shop import kafka
from shop.clock import UTC
from shop.events import TOPICS
from shop.postgres import Connection
from shop.redis import cache
from shop.redis.control import ControlReader
from shop.redis.heartbeat import HeartbeatSender
from shop.settings import Settings
from tests.support.waiting import wait_until

T = datetime(2026, 11, 20, 5, 20, tzinfo=UTC)
"""In the afternoon of the last day; the evening of it is in `EVENING`."""


def reached(r: redis.Redis, topic: str) -> datetime:
    text = r.hget(POSITION, topic)
    return datetime.fromisoformat(str(text)) if text else datetime.min.replace(tzinfo=UTC)


# -- the operator --------------------------------------------------------------------------------


class SteppedContinuation:
    """Resumes a history in this process, at any time that the test sets."""

    def __init__(self, settings: Settings, pg: Connection, r: redis.Redis, **how: Any) -> None:
        self.now = T
        self.redis = r
        self._stop = threading.Event()
        self.left: Left = store.find(pg)
        self.sequel = resume(
            pg, self.left, Position(r, self.left.name), T, stop=self._stop
        )  # fmt: skip
        self.publisher = ResumePublisher(
            self.sequel,
            Position(r, self.left.name),
            OrderLifecycle(r, stream(1, "test"), clock=self.clock),
            [
                TopicOutput(
                    topic,
                    EventProducer(topic, lambda **o: kafka.producer(settings.kafka, "test", **o)),
                    ControlReader(r, topic),
                    HeartbeatSender(r, topic),
                )
                for topic in TOPICS
            ],
            clock=self.clock,
            heartbeat=HeartbeatSender(r, "continuation"),
            **how,
        )
        self._thread = threading.Thread(target=self.publisher.run, args=(self._stop,))
        self._thread.start()

    def clock(self) -> datetime:
        return self.now

    def until(self, moment: datetime) -> None:
        """Let time pass until a moment, and all of it be remembered."""
        self.now = moment
        wait_until(lambda: reached(self.redis, "orders") >= moment, "the moment")

    def beats(self, name: str, field: str, value: str) -> None:
        def seen() -> bool:
            beats = {b.name: {**b.fields, "state": b.state} for b in cache.heartbeats(self.redis)}
            return beats.get(name, {}).get(field) == value

        wait_until(seen, f"{name} {field}={value}")

    def ends(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
