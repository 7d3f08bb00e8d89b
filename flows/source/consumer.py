"""The consumer of one topic in one worker: polls micro-batches as a member of the topic's group.

It *subscribes*: Kafka assigns the partitions, moves them when a process dies or joins, and shows
members and lag in every tool. PostgreSQL's offsets decide where reading begins, never Kafka's;
those committed to Kafka follow after the PostgreSQL commit, for monitoring.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from bytewax.inputs import StatelessSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows import shutdown
from flows.batch import OffsetRange, RawBatch
from flows.in_flight import InFlightWindow
from flows.metrics import IngestMetrics
from flows.source.kafka_errors import AWAY, REFUSED, UNREADABLE, KafkaRefusesError, close
from flows.source.offset_commits import OffsetCommits
from flows.source.start_offsets import LostOffsetsError, StartOffsets, StoppedError, lost_offsets
from flows.source.topic_incarnation import DELETED, TopicIncarnationWatch
from flows.source.turns import IDLE, SOON, Turns
from shop import kafka
from shop.clock import UTC
from shop.errors import ExitCode
from shop.events import GROUPS
from shop.log import get_logger
from shop.postgres.session import SessionError
from shop.settings import KafkaSettings, PostgresSettings

BUSY: Final = 1_000
"""A poll that returned this many messages is followed by the next at once."""
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
IDENTITY_EVERY_S: Final = 5.0
"""Between two questions whether a quiet topic is still the same; what arrives asks at once."""
IDENTITY_WAIT_S: Final = 0.02
"""For the answer, which takes 2 ms; the worker's other topics wait meanwhile."""
LEAVE_S: Final = 3.0
"""For the last commit to Kafka and for leaving the group, which take milliseconds where it answers.
Where it does not, librdkafka waits for some 6 s in each, and on a busy machine longer than a stop
may last. PostgreSQL has everything by then; the group misses us 6 s later."""
QUIET_FETCH_WAIT_MS: Final = 500
"""Of topics whose backlogs are small. A fetch that waits ends with the first message, so a message
that comes alone is not late; see `consumer_config` for what a long wait costs in a backlog of one
partition. It takes a third from what the broker of an idle shop needs."""
FORGOTTEN_S: Final = 15.0
"""A member without partitions joins again after this long, if partitions have no owner."""


class TopicConsumer(StatelessSourcePartition[RawBatch]):
    """One worker's consumer of one topic.

    Args:
        topic: users, products or orders.
        kafka_settings: where Kafka is.
        postgres_settings: where the offsets are.
        in_flight: shared with the sink.
        metrics: records that the consumer polls, its offsets, and outages.
        batch_size: messages that one batch takes at most.
    """

    def __init__(
        self,
        topic: str,
        kafka_settings: KafkaSettings,
        postgres_settings: PostgresSettings,
        in_flight: InFlightWindow,
        metrics: IngestMetrics,
        *,
        batch_size: int,
    ) -> None:
        self._topic = topic
        self._in_flight = in_flight
        self._batch_size = batch_size
        self._where = kafka_settings.where
        self._start_offsets = StartOffsets(
            topic,
            postgres_settings,
            lambda: kafka.admin(kafka_settings, f"ingest-{topic}"),
            in_flight.stop,
            metrics,
        )
        self._watch = TopicIncarnationWatch(
            topic, lambda: kafka.admin(kafka_settings, f"ingest-{topic}-id")
        )
        self._metrics = metrics
        self._state = metrics.reader(topic)
        self._log_id = ""
        self._held: RawBatch | None = None
        self._ask_at = 0.0
        self._idle_since = time.monotonic()
        self._deleted = False
        self._next: dict[int, int] = {}
        self._commits = OffsetCommits(topic, in_flight)
        self._logged: set[int] = set()
        self._turn = 0
        self._turns = Turns(in_flight)
        self._leaving: threading.Thread | None = None
        self._leave_by = 0.0
        self._config: dict[str, Any] = {
            **kafka.consumer_config(
                kafka_settings,
                f"ingest-{topic}",
                GROUPS[topic],
                batch_size=batch_size,
                fetch_wait_ms=kafka.FETCH_WAIT_MS if topic == "orders" else QUIET_FETCH_WAIT_MS,
            ),
            "error_cb": self._on_client_error,
        }
        self._consumer = self._joined()

    def _joined(self) -> Consumer:
        consumer = Consumer(self._config)
        consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        return consumer

    def next_batch(self) -> Sequence[RawBatch]:
        """Return at most one batch; never blocks for long while servers answer."""
        return self._next_batch() if self._turns.due() else []

    def _next_batch(self) -> Sequence[RawBatch]:
        self._turns.again(IDLE)
        if self._leaving is not None:
            return self._left(self._leaving)
        self._commits.commit(self._consumer, self._log_id)
        self._state.polled_at = time.monotonic()
        self._state.applied = dict(self._commits.applied)
        if self._in_flight.stop.is_set():
            if self._in_flight.idle:
                self._leaving = threading.Thread(target=self._leave, name="leave", daemon=True)
                self._leaving.start()
                self._leave_by = time.monotonic() + LEAVE_S
            self._turns.again(SOON)
            return []
        if not self._in_flight.has_room:
            self._turns.again(SOON)
            return []
        try:
            raw = self._verified()
        except StoppedError:
            return []
        except (LostOffsetsError, KafkaRefusesError, KafkaException, SessionError) as e:
            shutdown.fail(e, what="ingest stopped")
        except Exception as e:
            shutdown.fail(e, what="ingest stopped by a defect", code=ExitCode.CRASH)
        if raw is None:
            return []
        self._in_flight.handed_out(len(raw))
        if len(raw) >= min(BUSY, self._batch_size):
            self._turns.again(0)
        return [raw]

    def next_awake(self) -> datetime:
        """Return that it is time to look again: `next_batch` waits, by a clock that never steps.

        Bytewax compares with the wall clock, and would sleep for as long as that was set back.
        """
        return _LONG_AGO

    # -- reading -----------------------------------------------------------------------------

    def _verified(self) -> RawBatch | None:
        """Return what was fetched, once Kafka has confirmed the topic's incarnation."""
        if self._held is None:
            self._held = self._poll()
            if self._held is not None or time.monotonic() >= self._ask_at:
                self._ask_at = time.monotonic() + IDENTITY_EVERY_S
                self._watch.ask()
        answer = self._watch.answer(0.0 if self._held is None else IDENTITY_WAIT_S)
        if answer is None:
            if self._held is not None:
                self._turns.again(SOON)
            return None
        held, self._held = self._held, None
        if answer == DELETED:  # what is in hand was acknowledged by the topic that was
            if not self._deleted:
                get_logger().warning("the topic does not exist: waiting for it", topic=self._topic)
            self._deleted = True
        elif self._log_id and not self._log_id.endswith(f"/{answer}"):
            get_logger().warning("the topic was recreated: reading it from its beginning",
                                 topic=self._topic, was=self._log_id)  # fmt: skip
            self._begin_again()
            return None
        elif self._is_forgotten():
            get_logger().warning("partitions are free and this member has none: joining again",
                                 topic=self._topic)  # fmt: skip
            self._begin_again()
        return held

    def _poll(self) -> RawBatch | None:
        turn = self._turn
        messages: list[Message] = []
        ends: dict[int, int] = {}
        for message in self._consumer.consume(self._batch_size, 0):
            error = message.error()
            if error is None:
                messages.append(message)
                # In offset order within a partition, so the last one seen of each is its newest.
                ends[int(message.partition() or 0)] = int(message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Markers and aborted records may follow the last message.
                ends[int(message.partition() or 0)] = int(message.offset() or 0)
            else:
                self._on_error(error, message)
            if self._turn != turn:
                break  # what follows is of a consumer that was replaced
        if self._turn != turn or any(m.partition() not in self._next for m in messages):
            # Assigned again meanwhile: these may be from before. Read again from where we are.
            if self._next:
                self._seek()
            return None
        passed = {p: end for p, end in ends.items() if end > self._next.get(p, end)}
        if not passed:
            return None
        if self._logged and messages:
            self._logged.clear()
            get_logger().info("Kafka delivers again", server=self._where, topic=self._topic)
        return self._batch(messages, passed)

    def _batch(self, messages: Sequence[Message], ends: Mapping[int, int]) -> RawBatch:
        # The stubs allow None for a partition and an offset; a message without error has both.
        partitions: list[int] = [m.partition() for m in messages]  # type: ignore[misc]  # typed as optional; a delivered message has them
        offsets: list[int] = [m.offset() for m in messages]  # type: ignore[misc]  # typed as optional; a delivered message has them
        spans = {p: OffsetRange(self._next[p], end) for p, end in ends.items()}
        self._next.update(ends)
        return RawBatch(
            topic=self._topic,
            log_id=self._log_id,
            spans=spans,
            partitions=partitions,
            offsets=offsets,
            # Without a deserializer both are bytes or None, although the stubs allow more.
            keys=cast("list[bytes | None]", [m.key() for m in messages]),
            payloads=cast("list[bytes | None]", [m.value() for m in messages]),
        )

    def _on_client_error(self, error: KafkaError) -> None:
        """Ask soon which topic it is: what answers next may be another log of that name."""
        self._ask_at = 0.0
        get_logger().debug("kafka client", error=error.str(), code=error.name())

    def _begin_again(self) -> None:
        """Read the topic that has this name now, from its beginning, with another consumer.

        The one that read the topic before it keeps its leaders, epochs and positions, and may
        never fetch again: librdkafka does not support the recreation of a topic.
        """
        former, self._consumer = self._consumer, self._joined()
        self._forget()
        self._log_id, self._deleted = "", False
        self._idle_since = time.monotonic()
        threading.Thread(
            target=close, args=(former, self._topic), name="former", daemon=True
        ).start()

    def _is_forgotten(self) -> bool:
        """Tell whether Kafka gave us nothing of what nobody has, for longer than joining takes.

        A group's leader that knew of no partitions, because the topic was not there yet or a broker
        came back without its memory, may keep to that.
        """
        if self._next:
            self._idle_since = time.monotonic()
        seen = self._metrics.look().topics.get(self._topic)
        return (
            seen is not None
            and time.monotonic() - self._idle_since > FORGOTTEN_S
            and any(p.holder == "none" and p.unheld_s > FORGOTTEN_S for p in seen.partitions)
        )

    def _forget(self) -> None:
        """Have no partitions."""
        self._turn += 1
        self._next, self._held = {}, None
        self._commits.forget()

    # -- membership --------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            consumer.assign([])
            return
        self._turn += 1
        try:
            topic = self._start_offsets.topic()
            # The group's leader may still go by the partitions of a topic that was deleted.
            ids = [p.partition for p in partitions if p.partition < topic.partitions]
            self._log_id = topic.log_id
            self._next = self._start_offsets.load(topic.log_id, ids)
        except StoppedError:
            self._forget()
            consumer.assign([])
            return
        self._seek()
        self._commits.begin(consumer, self._log_id, self._next)
        get_logger().info("partitions assigned", topic=self._topic, partitions=len(ids),
                          log_id=self._log_id, resume_at=sum(self._next.values()))  # fmt: skip

    def _seek(self) -> None:
        """Continue from `_next`; what the client has fetched before is dropped."""
        self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in self._next.items()])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            # What is under way is still committed, or trimmed by the offset lock if the next owner
            # was faster: no need to wait here.
            self._commits.commit(self._consumer, self._log_id, now=True)
            self._forget()
            get_logger().info("partitions revoked", topic=self._topic, partitions=len(partitions))
        consumer.unassign()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others may have them already: a commit would be refused, or wait for a dead broker."""
        if consumer is self._consumer:
            self._forget()
            get_logger().info("partitions revoked", topic=self._topic, partitions=len(partitions),
                              lost=True)  # fmt: skip
        consumer.unassign()

    def _on_error(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code in UNREADABLE:
            self._on_unreadable(int(message.partition() or 0))
        elif code in REFUSED or error.fatal():
            raise KafkaRefusesError(f"{self._where}: {error.str()}")
        elif code not in self._logged:
            self._logged.add(code)
            what = "waiting for Kafka" if code in AWAY else "Kafka reports"
            get_logger().warning(what, server=self._where, topic=self._topic, error=error.str())

    def _on_unreadable(self, partition: int) -> None:
        """Continue where the topic is another one or the log is there again; else stop.

        Raises:
            LostOffsetsError: names how many offsets are missing, and what to do.
        """
        low, high = self._start_offsets.bounds(partition)
        # Asked last: the log whose bounds these are is then the one that we know.
        if self._start_offsets.topic().log_id != self._log_id:
            get_logger().warning("the topic was recreated: reading it from its beginning",
                                 topic=self._topic, was=self._log_id)  # fmt: skip
            self._begin_again()
            return
        wanted = self._next.get(partition)
        if wanted is None:
            return
        if low <= wanted <= high:
            get_logger().info("reading again", topic=self._topic, partition=partition, at=wanted)
            self._seek()
            return
        raise lost_offsets(self._topic, partition, wanted, low, high)

    def _left(self, leaving: threading.Thread) -> list[RawBatch]:
        """Return nothing until we have left, or `LEAVE_S` have passed.

        Raises:
            StopIteration: we have.
        """
        if leaving.is_alive() and time.monotonic() < self._leave_by:
            self._turns.again(SOON)
            return []
        if leaving.is_alive():
            get_logger().info("Kafka does not answer: ending without leaving the group",
                              server=self._where, topic=self._topic)  # fmt: skip
        self._metrics.ended(self._state)
        raise StopIteration

    def _leave(self) -> None:
        """Commit the offsets to Kafka, and leave the group, so that others take over at once.

        The consumer is this thread's now; see `LEAVE_S` for why it has one of its own.
        """
        self._commits.commit(self._consumer, self._log_id, now=True)
        close(self._consumer, self._topic)
