"""Events on their way to Kafka: sent, acknowledged, and what happens while Kafka is away."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shop.log import get_logger
from shop.model import Event, encode, key_of

STALL_S: Final = 3.0
"""Kafka counts as away when nothing was acknowledged for so long while something waits."""
RENEW_S: Final = 3.0
LONGEST_RENEW_S: Final = 60.0
"""A producer that gets nothing through for so long although a broker answers is replaced, the next
one after twice the time. librdkafka and a broker that lost its memory can otherwise exchange
"unknown producer id" and new epochs for ever (seen with the embedded broker, which keeps its
log in memory)."""
QUEUE_MESSAGES: Final = 100_000
QUEUE_KBYTES: Final = 64 << 10
"""Bounds of the queue in memory; at the usual 250 bytes an event the first one binds."""
REMEDY: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it with `jangteo topics create`",
    KafkaError._UNKNOWN_TOPIC: "create it with `jangteo topics create`",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user to write to the topic",
}
_HOPELESS: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG})

MakeProducer: TypeAlias = Callable[..., Producer]
Done: TypeAlias = Callable[[Message], None]
"""Called with what Kafka acknowledged: it knows its partition and offset."""
_Letter: TypeAlias = tuple["bytes | None", bytes, "Done | None"]


class Outbox:
    """Publishes events to one topic and counts what Kafka has acknowledged.

    Nothing is given up: an event that comes back is sent again (the ingest recognises a
    duplicate by its id), through a new producer if the old one is beyond repair, which happens
    when a cluster comes back without its memory of the producer.

    Args:
        topic: where to.
        make_producer: called with configuration overrides, once for each producer.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        topic: str,
        make_producer: MakeProducer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._make_producer = make_producer
        self._monotonic = monotonic
        self._again: deque[_Letter] = deque()
        self._broken = False
        self._progress = monotonic()
        self._renew_after = RENEW_S
        self._next_question = 0.0
        self._answering_since: float | None = None
        self._complaint = ""
        self.sent = 0
        self.acknowledged = 0
        self.refused = 0
        self._producer = self._new_producer()

    @property
    def pending(self) -> int:
        """Events that are neither acknowledged nor refused."""
        return self.sent - self.acknowledged - self.refused

    @property
    def full(self) -> bool:
        """Whether Kafka is behind by as much as may wait in memory."""
        return self.pending >= QUEUE_MESSAGES

    @property
    def trouble(self) -> str:
        """Why Kafka counts as away; empty if all is well."""
        if self.pending and self._monotonic() - self._progress > STALL_S:
            return self._complaint or "no acknowledgement"
        return ""

    def send(self, event: Event, done: Done | None = None) -> None:
        """Hand an event over; it is published in the background."""
        self.post(key_of(self._topic, event), encode(event), done)

    def post(self, key: bytes | None, value: bytes, done: Done | None = None) -> None:
        """Hand a message over; `done` is called when Kafka has acknowledged it."""
        if not self.pending:
            self._progress = self._monotonic()
        self.sent += 1
        self._produce((key, value, done))

    def poll(self, timeout: float = 0.0) -> None:
        """Take delivery reports, and send again what came back."""
        try:
            self._producer.poll(timeout)
        except KafkaException as e:  # the producer is beyond repair
            self._on_error(e.args[0])
        if self._broken or self._stuck():
            self._replace_producer()
        for _ in range(len(self._again)):
            self._produce(self._again.popleft())

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for acknowledgements; return how many are missing."""
        deadline = self._monotonic() + timeout
        while self.pending and (left := deadline - self._monotonic()) > 0:
            self.poll(min(left, 0.1))
        return self.pending

    def _new_producer(self) -> Producer:
        return self._make_producer(
            **{
                # Kafka's own limit for a batch: what is too large is for the ingest to say.
                "message.max.bytes": 1_048_588,
                "queue.buffering.max.messages": QUEUE_MESSAGES,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                "error_cb": self._on_error,
            }
        )

    def _stuck(self) -> bool:
        """Tell whether a broker has been answering for a while and takes nothing from us."""
        now = self._monotonic()
        if not self.pending or now - self._progress <= STALL_S:
            self._answering_since = None
            return False
        if now < self._next_question:
            return False
        self._next_question = now + 1.0
        try:
            self._producer.list_topics(self._topic, timeout=0.5)
        except KafkaException:
            self._answering_since = None
            return False
        if self._answering_since is None:
            self._answering_since = now
        return now - self._answering_since >= self._renew_after

    def _replace_producer(self) -> None:
        get_logger().warning("new kafka producer", topic=self._topic, reason=self._complaint)
        self._producer.purge()  # what it holds comes back through delivery reports
        while len(self._producer):
            with contextlib.suppress(KafkaException):  # it says again that it is broken
                self._producer.poll(0.1)
        self._broken = False
        self._answering_since = None
        self._renew_after = min(2 * self._renew_after, LONGEST_RENEW_S)
        self._producer = self._new_producer()

    def _produce(self, letter: _Letter) -> None:
        key, value, done = letter
        # The usual letter, of which nobody wants to know, costs no object of its own.
        report = self._on_delivery if done is None else partial(self._on_delivery, done=done)
        try:
            self._producer.produce(self._topic, value, key, on_delivery=report)
        except BufferError:
            self._again.append(letter)
        except KafkaException as e:
            self._failed(e.args[0], letter)

    def _on_delivery(
        self, error: KafkaError | None, message: Message, done: Done | None = None
    ) -> None:
        if error is None:
            self.acknowledged += 1
            self._progress = self._monotonic()
            self._renew_after = RENEW_S
            self._complaint = ""
            if done is not None:
                done(message)
            return
        self._failed(error, (message.key(), message.value() or b"", done))

    def _failed(self, error: KafkaError, letter: _Letter) -> None:
        self._on_error(error)
        if error.code() in _HOPELESS:
            self.refused += 1
            get_logger().error("event refused by kafka", topic=self._topic, error=error.str())
        else:
            self._again.append(letter)

    def _on_error(self, error: KafkaError) -> None:
        remedy = REMEDY.get(error.code())
        self._complaint = f"{error.str()}: {remedy}" if remedy else error.str()
        self._broken = self._broken or error.fatal() or error.code() == KafkaError._FATAL
        get_logger().debug("kafka client", error=error.str(), code=error.name())
