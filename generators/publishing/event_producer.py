"""Events in flight to Kafka: sent, acknowledged, outstanding."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from generators.publishing.reliable_producer import Done, MakeProducer, ReliableProducer
from shop.events import Event, encode, key_of


class EventProducer:
    """Publishes events to one topic and knows what Kafka has acknowledged.

    Events whose acknowledgement is waited for go through a producer of their own, made when it is
    first needed, so that the others need not be reported one by one. The two keep no order between
    them: a fault or a cancellation may overtake an event of the last milliseconds, and the ingest
    takes either.

    Args:
        topic: where to.
        make_producer: called with configuration overrides, once for each producer.
        monotonic: seconds of a clock that never steps.
        stamp: see `ReliableProducer`.
    """

    def __init__(
        self,
        topic: str,
        make_producer: MakeProducer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stamp = stamp
        self._topic = topic
        self._make_producer = make_producer
        self._monotonic = monotonic
        self._plain = self._new_producer(report_all=False)
        self._producers = [self._plain]

    def _new_producer(self, *, report_all: bool) -> ReliableProducer:
        return ReliableProducer(
            self._topic, self._make_producer, report_all=report_all, monotonic=self._monotonic,
            stamp=self._stamp,
        )  # fmt: skip

    @property
    def _registered(self) -> ReliableProducer:
        """The producer that reports every acknowledgement."""
        if len(self._producers) == 1:
            self._producers.append(self._new_producer(report_all=True))
        return self._producers[1]

    @property
    def sent(self) -> int:
        """Events handed over so far."""
        return sum(producer.sent for producer in self._producers)

    @property
    def acknowledged(self) -> int:
        """Events that Kafka has; see `ReliableProducer.acknowledged`."""
        return sum(producer.acknowledged for producer in self._producers)

    @property
    def refused(self) -> int:
        """Events that Kafka will never take."""
        return sum(producer.refused for producer in self._producers)

    @property
    def pending(self) -> int:
        """Events that are neither acknowledged nor refused."""
        return sum(producer.pending for producer in self._producers)

    @property
    def room(self) -> int:
        """How many events may be handed over now: what waits in memory is bounded."""
        return min(producer.room for producer in self._producers)

    @property
    def full(self) -> bool:
        """Whether as many events wait for Kafka as memory is bounded to."""
        return not self.room

    @property
    def silent_s(self) -> float:
        """Seconds for which events have waited and none was acknowledged; 0 if none waits."""
        return max(producer.silent_s for producer in self._producers)

    @property
    def trouble(self) -> str:
        """Why Kafka counts as away; empty if all is well."""
        return next((producer.trouble for producer in self._producers if producer.trouble), "")

    def send(self, event: Event, done: Done | None = None) -> None:
        """Hand an event over; it is published in the background."""
        self.post(key_of(self._topic, event), encode(event), done)

    def post(self, key: bytes | None, value: bytes, done: Done | None = None) -> None:
        """Hand a message over; `done` is called when Kafka has acknowledged it."""
        producer = self._plain if done is None else self._registered
        producer.post((key, value, done))

    def post_all(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Hand over many messages whose acknowledgement is not waited for."""
        self._plain.post_all(keys, values)

    def poll(self, timeout: float = 0.0) -> None:
        """Take delivery reports, and send again what came back.

        Args:
            timeout: seconds to wait for one, at most.
        """
        busy = max(self._producers, key=lambda producer: producer.pending)
        for producer in self._producers:
            producer.poll(timeout if producer is busy else 0.0)

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for acknowledgements; return how many are missing."""
        deadline = self._monotonic() + timeout
        while self.pending and (left := deadline - self._monotonic()) > 0:
            self.poll(min(left, 0.1))
        return self.pending
