"""One producer's messages in flight to Kafka, and what happens while Kafka is away.

What is outstanding is what the client still holds plus what came back; nothing is counted message
by message. librdkafka's delivery reports cost 1.2 microseconds of Python each, a third of all that
publishing an event costs, so a producer whose messages nobody waits for asks for reports of
failures only.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shop.log import get_logger

STALL_S: Final = 3.0
"""Kafka counts as away when nothing was acknowledged for this time while messages wait."""
QUEUE_MESSAGES: Final = 100_000
QUEUE_KBYTES: Final = 64 << 10
"""Bounds of the queue in memory; at the usual 250 bytes an event the first one binds."""
REMEDY: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it with `jangteo topics create`",
    KafkaError._UNKNOWN_TOPIC: "create it with `jangteo topics create`",
    KafkaError.INVALID_TIMESTAMP: "set the clock of the broker, or of PostgreSQL, right (NTP)",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user to write to the topic",
}
_HOPELESS: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG})

MakeProducer: TypeAlias = Callable[..., Producer]
Done: TypeAlias = Callable[[Message], None]
"""Called with what Kafka acknowledged: it knows its partition and offset."""
Outgoing: TypeAlias = tuple["bytes | None", bytes, "Done | None"]


class ReliableProducer:
    """Publishes messages to one topic through one producer.

    Nothing is given up: a message that comes back is sent again (the ingest recognises a
    duplicate by its id), through a new producer if the old one is beyond repair: an idempotent
    producer stops for good where the log no longer continues what it had acknowledged.

    Args:
        topic: where to.
        make_producer: called with configuration overrides, once for each producer.
        report_all: whether every acknowledgement is reported, or failures only.
        monotonic: seconds of a clock that never steps.
        stamp: the time that messages carry, milliseconds; 0: this machine's.

    Attributes:
        sent: messages handed over.
        refused: of those, what Kafka will never take.
    """

    def __init__(
        self,
        topic: str,
        make_producer: MakeProducer,
        *,
        report_all: bool,
        monotonic: Callable[[], float] = time.monotonic,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stamp = stamp
        self._topic = topic
        self._make_producer = make_producer
        self._report_all = report_all
        self._monotonic = monotonic
        self._again: deque[Outgoing] = deque()
        self._broken = False
        self._progress = monotonic()
        self._complaint = ""
        self._acknowledged = 0
        self.sent = 0
        self.refused = 0
        self._producer = self._new_producer()

    @property
    def pending(self) -> int:
        """Messages that are neither acknowledged nor refused."""
        return len(self._producer) + len(self._again)

    @property
    def acknowledged(self) -> int:
        """Messages that Kafka has. Never less than before, and exact when nothing is pending.

        The client counts its own notices among what it holds until they are taken, so this may
        lag behind by a few.
        """
        self._acknowledged = max(self._acknowledged, self.sent - self.refused - self.pending)
        return self._acknowledged

    @property
    def room(self) -> int:
        """How many messages may be handed over now; none while some came back."""
        return 0 if self._again else max(0, QUEUE_MESSAGES - self.pending)

    @property
    def silent_s(self) -> float:
        """Seconds for which messages have waited and none was acknowledged; 0 if none waits."""
        return self._monotonic() - self._progress if self.pending else 0.0

    @property
    def trouble(self) -> str:
        """Why Kafka counts as away; empty if all is well."""
        return (self._complaint or "no acknowledgement") if self.silent_s > STALL_S else ""

    def post(self, outgoing: Outgoing) -> None:
        """Hand a message over; its `done` is called when Kafka has acknowledged it."""
        self._begin(1)
        self._produce(outgoing)

    def post_all(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Hand over many messages that nobody waits for."""
        self._begin(len(keys))
        produce, topic, count = self._producer.produce, self._topic, 0
        stamp = self._stamp()
        try:
            for key, value in zip(keys, values, strict=True):
                produce(topic, value, key, timestamp=stamp)
                count += 1
        except (BufferError, KafkaException):  # from here on with care
            for key, value in islice(zip(keys, values, strict=True), count, None):
                self._produce((key, value, None))

    def poll(self, timeout: float = 0.0) -> None:
        """Take delivery reports, and send again what came back."""
        before = self._acknowledged
        try:
            self._producer.poll(timeout)
        except KafkaException as e:  # the producer is beyond repair
            self._on_error(e.args[0])
        if self.acknowledged > before:
            self._progress = self._monotonic()
            self._complaint = ""
        if self._broken:
            self._replace_producer()
        for _ in range(len(self._again)):
            self._produce(self._again.popleft())

    def _begin(self, count: int) -> None:
        if not self.pending:
            self._progress = self._monotonic()
        self.sent += count

    def _new_producer(self) -> Producer:
        return self._make_producer(
            **{
                # Kafka's own limit for a batch: what is too large is for the ingest to say.
                "message.max.bytes": 1_048_588,
                "queue.buffering.max.messages": QUEUE_MESSAGES,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                "delivery.report.only.error": not self._report_all,
                "on_delivery": self._on_delivery,
                "error_cb": self._on_error,
            }
        )

    def _replace_producer(self) -> None:
        get_logger().warning("new kafka producer", topic=self._topic, reason=self._complaint)
        self._producer.purge()  # what it holds comes back through delivery reports
        while len(self._producer):
            with contextlib.suppress(KafkaException):  # it says again that it is broken
                self._producer.poll(0.1)
        self._broken = False
        self._producer = self._new_producer()

    def _produce(self, outgoing: Outgoing) -> None:
        key, value, done = outgoing
        try:
            if done is None:
                self._producer.produce(self._topic, value, key, timestamp=self._stamp())
            else:
                reported = partial(self._on_delivery, done=done)
                self._producer.produce(
                    self._topic, value, key, on_delivery=reported, timestamp=self._stamp()
                )
        except BufferError:
            self._again.append(outgoing)
        except KafkaException as e:
            self._failed(e.args[0], outgoing)

    def _on_delivery(
        self, error: KafkaError | None, message: Message, done: Done | None = None
    ) -> None:
        if error is not None:
            self._failed(error, (message.key(), message.value() or b"", done))
        elif done is not None:
            done(message)

    def _failed(self, error: KafkaError, outgoing: Outgoing) -> None:
        self._on_error(error)
        if error.code() in _HOPELESS:
            self.refused += 1
            get_logger().error("event refused by kafka", topic=self._topic, error=error.str())
        else:
            self._again.append(outgoing)

    def _on_error(self, error: KafkaError) -> None:
        remedy = REMEDY.get(error.code())
        self._complaint = f"{error.str()}: {remedy}" if remedy else error.str()
        self._broken = self._broken or error.fatal() or error.code() == KafkaError._FATAL
        get_logger().debug("kafka client", error=error.str(), code=error.name())
