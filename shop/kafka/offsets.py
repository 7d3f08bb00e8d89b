"""Offsets of partitions, and the messages up to them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it

from shop.kafka.clients import REQUEST_TIMEOUT_S, admin, client_config
from shop.settings import KafkaSettings

Key: TypeAlias = tuple[str, int]
"""Topic and partition."""
_MOVING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
"""Errors while a partition has no leader, or a new one that the broker does not know yet."""


def list_offsets(
    client: AdminClient, keys: Iterable[Key], spec: OffsetSpec, timeout: float = REQUEST_TIMEOUT_S
) -> dict[Key, int]:
    """Return an offset of each partition; all of one leader's partitions share a request.

    Partitions that were just created, or whose leader has just gone or come back, have no leader
    for a moment, or one that does not know yet that it leads: they are asked for again. The latest
    offset is that of a read_committed consumer: it does not advance while a transaction is open.

    Args:
        client: admin client of the cluster.
        keys: topics and partitions.
        spec: which offset: the earliest, the latest, or that of a time.
        timeout: seconds to wait for all answers.

    Raises:
        KafkaException: if the cluster does not answer within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    found: dict[Key, int] = {}
    left = list(keys)
    while left:
        futures: dict[TopicPartition, Future[Any]] = client.list_offsets(
            {TopicPartition(*key): spec for key in left},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=max(deadline - time.monotonic(), 0.1),
        )
        left = []
        for where, future in futures.items():
            try:
                if (offset := int(future.result().offset)) != OFFSET_INVALID:
                    found[where.topic, where.partition] = offset
                    continue
                # Seen on a busy machine, of topics that had just been created: no error, no offset.
                error = KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "no offset of a partition")
            except KafkaException as e:
                error = e.args[0]
            if error.code() not in _MOVING or time.monotonic() > deadline:
                raise KafkaException(error)
            left.append((where.topic, where.partition))
        if left:
            time.sleep(0.1)
            client.list_topics(timeout=timeout)  # the leaders that the client knew are not kept
    return found


def ends_of(
    client: AdminClient, partitions: Mapping[str, int], timeout: float = REQUEST_TIMEOUT_S
) -> dict[str, dict[int, int]]:
    """Return the offset after the last message of each partition of several topics.

    Args:
        client: admin client of the cluster.
        partitions: number of partitions by topic.
        timeout: seconds to wait for all answers.

    Raises:
        KafkaException: if the cluster does not answer within `timeout` seconds.
    """
    keys = [(topic, p) for topic, count in partitions.items() for p in range(count)]
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka has no types there
    found: dict[str, dict[int, int]] = {topic: {} for topic in partitions}
    for (topic, partition), end in list_offsets(client, keys, latest, timeout).items():
        found[topic][partition] = end
    return found


def end_offsets(settings: KafkaSettings, topic: str, *, timeout: float = 30.0) -> dict[int, int]:
    """Return the offset after the last message of each partition; none where there is no topic.

    Raises:
        KafkaException: if the cluster does not answer within `timeout` seconds.
    """
    client = admin(settings, "ends")
    metadata = client.list_topics(topic, timeout=timeout).topics[topic]
    if metadata.error is not None:
        return {}
    return ends_of(client, {topic: len(metadata.partitions)}, timeout)[topic]


def read(
    settings: KafkaSettings, topic: str, *, since_ms: int = 0, timeout: float = 30.0
) -> Iterator[Message]:
    """Yield the messages of a topic, partition by partition in order, up to its end as of now.

    Args:
        settings: address of Kafka.
        topic: name of the topic.
        since_ms: milliseconds since the Unix epoch; each partition begins at its first message of
            that time or later.
        timeout: seconds to wait for each message.

    Raises:
        KafkaException: if the cluster does not answer within `timeout`.
    """
    ends = end_offsets(settings, topic, timeout=timeout)
    consumer = Consumer(
        {
            **client_config(settings, "reader"),
            "group.id": "jangteo-reader",  # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        times = [TopicPartition(topic, partition, since_ms) for partition in ends]
        starts = {p.partition: p for p in consumer.offsets_for_times(times, timeout=timeout)}
        # For a partition without such a message the answer is its end, or -1.
        left = {p for p, start in starts.items() if 0 <= start.offset < ends[p]}
        consumer.assign([starts[p] for p in left])
        deadline = time.monotonic() + timeout
        while left:
            batch = consumer.consume(10_000, 0.2)
            if batch:
                deadline = time.monotonic() + timeout
            elif time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            for message in batch:
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                if message.error() is None and offset < ends[partition]:
                    yield message
                if offset + 1 >= ends[partition]:
                    left.discard(partition)
    finally:
        consumer.close()
