"""The source: each worker owns one consumer of the topic's group and polls micro-batches.

It *subscribes*: Kafka assigns the partitions, moves them when a process dies or joins, and shows
members and lag in every tool. Where reading begins is PostgreSQL's word, never Kafka's; Kafka's
committed offsets follow after the PostgreSQL commit, for monitoring.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final, cast

import psycopg
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows import lifecycle
from flows.batch import RawBatch, Span
from flows.lane import Lane, Lanes
from flows.positions import Positions, StoppedError
from flows.tally import Tally
from shop import kafka
from shop.clock import UTC
from shop.errors import ExitCode, JangteoError
from shop.log import get_logger
from shop.model import GROUPS
from shop.outage import first_line
from shop.settings import KafkaSettings, PostgresSettings

IDLE: Final = 0.1
"""Seconds between two polls while little is there: what arrives meanwhile shares a transaction,
which costs some 5 ms of CPU however few its messages are."""
SOON: Final = 0.005
"""Seconds, while the writer is busy: it must not wait for us when it is done."""
BUSY: Final = 1_000
"""A poll that gave as many messages is followed by the next at once."""
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
COMMIT_EVERY_S: Final = 0.5
LAG_EVERY_S: Final = 1.0
_AWAY: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT,
                          KafkaError._RESOLVE, KafkaError._TIMED_OUT})  # fmt: skip
_REFUSED: Final = frozenset({
    KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip


class LostOffsetsError(JangteoError):
    """The log no longer has messages that PostgreSQL has not got."""


class KafkaRefusesError(JangteoError):
    """Kafka does not let us in, or the client cannot go on."""


class Reader(StatelessSourcePartition[RawBatch]):
    """One worker's consumer of one topic.

    Args:
        topic: users, products or orders.
        kafka_settings: where Kafka is.
        postgres_settings: where the offsets are.
        lane: shared with the sink.
        tally: told that we poll, how far we are behind, and of outages.
        batch_size: messages that one batch takes at most.
    """

    busy_at: ClassVar[float] = float("-inf")
    """When a reader of this process last had as much as it could take; monotonic seconds."""

    def __init__(
        self,
        topic: str,
        kafka_settings: KafkaSettings,
        postgres_settings: PostgresSettings,
        lane: Lane,
        tally: Tally,
        *,
        batch_size: int,
    ) -> None:
        self._topic = topic
        self._lane = lane
        self._batch_size = batch_size
        self._where = kafka_settings.where
        self._positions = Positions(
            topic,
            postgres_settings,
            lambda: kafka.admin(kafka_settings, f"ingest-{topic}"),
            lane.stop,
            tally,
        )
        self._tally = tally
        self._state = tally.reader(topic)
        self._log_id = ""
        self._next: dict[int, int] = {}
        self._applied: dict[int, int] = {}
        self._to_commit: dict[int, int] = {}
        self._lag_at = 0.0
        self._commit_at = 0.0
        self._told: set[int] = set()
        self._turn = 0
        self._doubt = False
        self._awake: float | None = None
        self._leaving: threading.Thread | None = None
        config = kafka.consumer_config(kafka_settings, f"ingest-{topic}", GROUPS[topic])
        self._consumer = Consumer({**config, "error_cb": self._on_client_error})
        self._consumer.subscribe(
            [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def next_batch(self) -> Sequence[RawBatch]:
        """Return at most one batch; never blocks for long while servers answer."""
        return self._next_batch() if self._due() else []

    def _next_batch(self) -> Sequence[RawBatch]:
        self._awake = time.monotonic() + IDLE
        if self._leaving is not None:
            return self._left(self._leaving)
        self._commit_to_kafka()
        self._tell()
        if self._lane.stop.is_set():
            if self._lane.idle:
                self._leaving = threading.Thread(target=self._leave, name="leave", daemon=True)
                self._leaving.start()
            self._awake = time.monotonic() + SOON
            return []
        if not self._lane.has_room:
            self._awake = time.monotonic() + SOON
            return []
        try:
            raw = self._poll()
        except StoppedError:
            return []
        except (LostOffsetsError, KafkaRefusesError, KafkaException) as e:
            lifecycle.fail(e, what="ingest stopped")
        except psycopg.Error as e:
            lifecycle.fail(
                e,
                what="ingest stopped: PostgreSQL refuses to tell the offsets; "
                "run `jangteo init` and check the rights of the user",
            )
        except Exception as e:
            lifecycle.fail(e, what="ingest stopped by a defect", code=ExitCode.CRASH)
        if raw is None:
            return []
        self._lane.handed_out()
        if len(raw) >= min(BUSY, self._batch_size):
            self._awake = None
        return [raw]

    def next_awake(self) -> datetime:
        """Return that it is time to look again: `next_batch` waits, by a clock that never steps.

        Bytewax compares with the wall clock, and would sleep for as long as that was set back.
        """
        return _LONG_AGO

    def _due(self) -> bool:
        """Wait a moment; return whether it is time to poll again.

        Where another topic of this worker is busy, an idle one does not hold it up.
        """
        now = time.monotonic()
        if self._awake is None:
            Reader.busy_at = now
            return True
        left = self._awake - now
        if left <= 0:
            return True
        if left <= SOON or now - Reader.busy_at > IDLE:
            time.sleep(min(left, SOON))
        return left <= SOON

    # -- reading -----------------------------------------------------------------------------

    def _poll(self) -> RawBatch | None:
        turn = self._turn
        messages = []
        for message in self._consumer.consume(self._batch_size, 0):
            error = message.error()
            if error is None:
                messages.append(message)
            else:
                self._on_error(error, message)
        if not messages:
            return None
        if self._doubt:
            self._check_identity()
        if self._turn != turn:
            # Assigned anew meanwhile: these may be from before. Read again from where we are to.
            if self._next:
                self._seek()
            return None
        if self._told:
            self._told.clear()
            get_logger().info("Kafka delivers again", server=self._where, topic=self._topic)
        return self._batch(messages)

    def _batch(self, messages: Sequence[Message]) -> RawBatch | None:
        # The stubs allow None for a partition and an offset; a message without error has both.
        partitions: list[int] = [m.partition() for m in messages]  # type: ignore[misc]  # typed as optional; a delivered message has them
        offsets: list[int] = [m.offset() for m in messages]  # type: ignore[misc]  # typed as optional; a delivered message has them
        # In offset order within a partition, so the last one seen of each is its newest.
        ends = {p: o + 1 for p, o in zip(partitions, offsets, strict=True)}
        spans = {}
        for partition, end in ends.items():
            if partition not in self._next:
                return None  # revoked between fetching and now: its new owner reads it
            spans[partition] = Span(self._next[partition], end)
        self._next.update(ends)
        return RawBatch(
            topic=self._topic,
            log_id=self._log_id,
            spans=spans,
            partitions=partitions,
            offsets=offsets,
            # Without a deserializer both are bytes or None, whatever the stubs allow.
            keys=cast("list[bytes | None]", [m.key() for m in messages]),
            payloads=cast("list[bytes | None]", [m.value() for m in messages]),
        )

    def _on_client_error(self, error: KafkaError) -> None:
        """Take note of a lost connection: what answers next may be another log of that name."""
        self._doubt = True
        get_logger().debug("kafka client", error=error.str(), code=error.name())

    def _check_identity(self) -> None:
        """Begin anew if the topic is another one; asked after a fetch that may be from it.

        Another cluster on the same address, or a recreated topic, may already have more messages
        than the old one had: our position exists there, and nothing but the identity tells.
        """
        self._doubt = False
        if self._positions.log_id() != self._log_id:
            self._begin_anew()

    def _begin_anew(self) -> None:
        get_logger().warning("the topic was made anew: reading it from its beginning",
                             topic=self._topic, was=self._log_id)  # fmt: skip
        self._on_assign(self._consumer, self._consumer.assignment())

    # -- membership --------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._turn += 1
        ids = [p.partition for p in partitions]
        try:
            self._log_id = self._positions.log_id()
            self._next = self._positions.load(self._log_id, ids)
            self._applied = dict(self._next)
        except StoppedError:
            self._next = {}
            consumer.assign([])
            return
        self._seek()
        self._to_commit = dict(self._next)  # tools then know the lag of idle partitions too
        self._commit_to_kafka()
        self._commit_at = 0.0  # the first batch's commit does not wait: a stop may come soon
        get_logger().info("partitions assigned", topic=self._topic, partitions=len(ids),
                          log_id=self._log_id, resume_at=sum(self._next.values()))  # fmt: skip

    def _seek(self) -> None:
        """Read on from `_next`; what the client has fetched before is dropped."""
        self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in self._next.items()])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._turn += 1
        # What is under way is still committed, or trimmed by the offset lock if the next owner
        # was faster: no need to wait here.
        self._commit_to_kafka(now=True)
        self._next, self._applied = {}, {}
        consumer.unassign()
        get_logger().info("partitions revoked", topic=self._topic, partitions=len(partitions))

    def _on_error(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._AUTO_OFFSET_RESET:
            self._on_offset_out_of_range(message)
        elif code in _REFUSED or error.fatal():
            raise KafkaRefusesError(f"{self._where}: {error.str()}")
        elif code not in self._told:
            self._told.add(code)
            what = "waiting for Kafka" if code in _AWAY else "Kafka reports"
            get_logger().warning(what, server=self._where, topic=self._topic, error=error.str())

    def _on_offset_out_of_range(self, message: Message) -> None:
        """Begin anew if the topic is a new one; otherwise messages are lost: stop and say so."""
        if self._positions.log_id() != self._log_id:
            self._begin_anew()
            return
        partition = int(message.partition() or 0)
        wanted = self._next.get(partition, 0)
        where = TopicPartition(self._topic, partition)
        low, high = self._consumer.get_watermark_offsets(where, timeout=kafka.REQUEST_TIMEOUT_S)
        raise LostOffsetsError(
            f"{self._topic}[{partition}]: PostgreSQL has applied up to offset {wanted}, but the "
            f"log holds {low} to {high}: {max(0, low - wanted)} messages were removed before they "
            "were read (retention?); raise retention.ms, and see the troubleshooting guide"
        )

    # -- Kafka's own offsets, for monitoring ---------------------------------------------------

    def _commit_to_kafka(self, *, now: bool = False) -> None:
        taken = self._lane.take_applied()
        self._to_commit.update(taken)
        self._applied.update({p: o for p, o in taken.items() if p in self._next})
        if not self._to_commit or (time.monotonic() < self._commit_at and not now):
            return
        self._commit_at = time.monotonic() + COMMIT_EVERY_S
        owned = [TopicPartition(self._topic, p, o) for p, o in self._to_commit.items()
                 if p in self._next]  # fmt: skip
        self._to_commit.clear()
        if not owned:
            return
        try:
            if now:
                self._consumer.commit(offsets=owned, asynchronous=False)
            else:
                self._consumer.commit(offsets=owned, asynchronous=True)
        except KafkaException as e:  # only monitoring suffers, until the next commit
            get_logger().debug("offset commit failed", topic=self._topic, error=first_line(e))

    def _tell(self) -> None:
        """Say that we poll, and once a second how far we are behind, from what the client knows."""
        self._state.polled_at = now = time.monotonic()
        if now < self._lag_at and self._state.lag.keys() == self._applied.keys():
            return
        self._lag_at = now + LAG_EVERY_S
        lag: dict[int, int | None] = {}
        for partition, applied in self._applied.items():
            where = TopicPartition(self._topic, partition)
            ends = self._consumer.get_watermark_offsets(where, cached=True)  # asks nobody
            lag[partition] = max(0, ends[1] - applied) if ends and ends[1] >= 0 else None
        self._state.lag = lag

    def _left(self, leaving: threading.Thread) -> list[RawBatch]:
        """Return nothing until we have left.

        Raises:
            StopIteration: we have.
        """
        if leaving.is_alive():
            self._awake = time.monotonic() + SOON
            return []
        self._tally.ended(self._state)
        raise StopIteration

    def _leave(self) -> None:
        """Tell Kafka how far we came, and leave the group, so that others take over at once.

        The consumer is this thread's now. Where Kafka is dead, the client waits 6 s for somebody to
        tell it to: one topic after the other that would be longer than a stop may take.
        """
        self._commit_to_kafka(now=True)
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as e:
            get_logger().debug("consumer did not close", topic=self._topic, error=first_line(e))


class KafkaSource(DynamicSource[RawBatch]):
    """Micro-batches of one topic; every worker is a member of the topic's group."""

    def __init__(
        self,
        topic: str,
        kafka_settings: KafkaSettings,
        postgres_settings: PostgresSettings,
        lanes: Lanes,
        tally: Tally,
        *,
        batch_size: int,
    ) -> None:
        self._topic = topic
        self._tally = tally
        self._kafka = kafka_settings
        self._postgres = postgres_settings
        self._lanes = lanes
        self._batch_size = batch_size

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Reader:  # noqa: ARG002  (the signature is Bytewax's)
        """Build the worker's consumer (called by Bytewax)."""
        lane = self._lanes.get(self._topic, worker_index)
        return Reader(
            self._topic,
            self._kafka,
            self._postgres,
            lane,
            self._tally,
            batch_size=self._batch_size,
        )
