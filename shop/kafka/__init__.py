"""Kafka: client configuration, topics, their identity and their ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it
from confluent_kafka.cimpl import NewTopic

from shop.errors import UnreachableError
from shop.events import TOPICS
from shop.log import get_logger
from shop.settings import KafkaSettings

Key: TypeAlias = tuple[str, int]
"""Topic and partition."""
REQUEST_TIMEOUT_S: Final = 10.0
REFUSED_S: Final = 2.0
"""Where every broker refuses the connection for this long, a command gives up: nothing listens."""
_ORDER_BYTES: Final = 75
"""Of the log that an order takes, measured: 14,000 compressed ones in a fetch of 1 MiB."""
KEPT: Final = ("users", "products")
"""The topics whose events must not expire; see `jangteo.stack.retention`."""
FOR_EVER: Final = {"retention.ms": "-1", "retention.bytes": "-1"}
_MOVING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
"""What brokers answer while a partition has no leader, or not yet the one that they know of."""


def _on_error(error: KafkaError) -> None:
    get_logger().debug("kafka client", error=error.str(), code=error.name())


class _Quiet:
    """Takes librdkafka's own lines into our log at debug level instead of raw on stderr."""

    def log(self, level: int, message: str, *args: Any) -> None:
        get_logger().debug("librdkafka", line=message % args if args else message, level_=level)


def client_config(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """Return what every client of ours has in common: address, security, reconnects.

    Args:
        settings: SASL and TLS options are passed through as they are.
        name: shown by Kafka tools as client id ``jangteo-NAME``.
    """
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": f"jangteo-{name}",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,  # a broker that is back is used within 2 s
        "socket.keepalive.enable": True,
        "error_cb": _on_error,
        "logger": _Quiet(),
        **settings.client,
    }


def producer(settings: KafkaSettings, name: str, **overrides: Any) -> Producer:
    """Return an idempotent producer with `acks=all`: an acknowledged event is in the log once.

    One request at a time per broker. With more, librdkafka 2.16.0 takes messages for acknowledged
    that are nowhere: a leader that is just being appointed refuses a producer's first request of
    all and takes the second, because Kafka lets an unknown producer begin with any number, and
    then librdkafka counts the first as taken, too (`rd_kafka_dr_implicit_ack`).
    """
    return Producer(
        {
            **client_config(settings, name),
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight.requests.per.connection": 1,
            "compression.type": "lz4",
            # As Java's clients do: whoever else produces these keys meets the same partitions.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            # No event is given up: an order that the shop took waits for Kafka to come back.
            "message.timeout.ms": 0,
            **overrides,
        }
    )


def consumer_config(
    settings: KafkaSettings, name: str, group: str, *, batch_size: int = 50_000
) -> dict[str, Any]:
    """Return the configuration of an ingest consumer.

    Fetching is tuned for batches: librdkafka's default of 500 ms fetch wait costs a factor of
    seven in throughput on a small cluster. An offset that the log no longer has is an error,
    never a silent jump. What is fetched ahead is bounded at 16 MiB, a batch of 50,000 orders: with
    32 MiB, and answers of 50 MB (the default), an ingest took 690 MB instead of 470.

    The client hands out what it was given for one partition, some 14,000 orders of 1 MiB, before
    that of the next. With batches of 200 on a busy machine that took 35 s, in which the other
    partitions stood still; so a small batch fetches less at a time.

    Args:
        settings: where Kafka is.
        name: of the client, in the brokers' lists.
        group: that it joins.
        batch_size: messages that are taken at once, at most.
    """
    return {
        **client_config(settings, name),
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        # A message of a transaction counts when the transaction is committed, never before.
        "isolation.level": "read_committed",
        # Says how far a partition was read where no message says it: behind transaction markers,
        # aborted and compacted records.
        "enable.partition.eof": True,
        "partition.assignment.strategy": "range,roundrobin",
        # The least that brokers allow by default: a dead member's share is taken over soon.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 1_000,
        "max.poll.interval.ms": 300_000,
        # Partitions that are added to the topic are read from then on (default: after 5 minutes).
        "topic.metadata.refresh.interval.ms": 10_000,
        "fetch.wait.max.ms": 50,
        "fetch.max.bytes": 8 << 20,
        "fetch.message.max.bytes": min(1 << 20, batch_size * _ORDER_BYTES),
        "queued.min.messages": 50_000,
        "queued.max.messages.kbytes": 16 << 10,
    }


def admin(settings: KafkaSettings, name: str = "admin") -> AdminClient:
    """Return an admin client."""
    return AdminClient(client_config(settings, name))


def wait_until_up(settings: KafkaSettings, timeout: float = REQUEST_TIMEOUT_S) -> int:
    """Return the number of brokers once one answers.

    Raises:
        UnreachableError: if none does within `timeout` seconds, or all refuse the connection for
            `REFUSED_S` seconds: then nothing listens there.
    """
    errors: list[KafkaError] = []
    config = client_config(settings, "admin")
    config["error_cb"] = errors.append
    client = AdminClient(config)
    first = min(timeout, REFUSED_S)
    try:
        return len(client.list_topics(timeout=first).brokers)
    except KafkaException as e:
        client.poll(0)  # calls `error_cb`
        if _all_refused(errors):
            raise UnreachableError(
                f"cannot reach {settings.where}: the connection was refused for {first:g} s"
            ) from None
        if first == timeout:
            raise _unreachable(settings, timeout, e) from None
    try:
        return len(client.list_topics(timeout=timeout - first).brokers)
    except KafkaException as e:
        raise _unreachable(settings, timeout, e) from None


def _all_refused(errors: Iterable[KafkaError]) -> bool:
    """Return whether every broker refused the connection; librdkafka has no code for that."""
    why = [e.str() for e in errors if e.code() != KafkaError._ALL_BROKERS_DOWN]
    return bool(why) and all("Connection refused" in text for text in why)


def _unreachable(settings: KafkaSettings, waited: float, error: KafkaException) -> UnreachableError:
    why = error.args[0].str()
    return UnreachableError(f"cannot reach {settings.where} within {waited:g} s: {why}")


def cluster_id(client: AdminClient, timeout: float = REQUEST_TIMEOUT_S) -> str:
    """Return the cluster's id.

    Raises:
        KafkaException: if the cluster does not answer within `timeout` seconds.
    """
    # Not `describe_cluster`: librdkafka 2.16 aborts the process (an assertion in rdkafka_admin.c)
    # where the answer names no broker, as a busy single broker's does while its controller has
    # fenced it off.
    return str(client.list_topics(timeout=timeout).cluster_id)


@dataclass(frozen=True)
class TopicInfo:
    """What the cluster says of one topic."""

    name: str
    partitions: int
    replication: int
    log_id: str
    """Cluster id and topic id: another one means that the topic was made anew."""


def describe_topics(
    client: AdminClient,
    names: Iterable[str] = tuple(TOPICS),
    timeout: float = REQUEST_TIMEOUT_S,
) -> dict[str, TopicInfo]:
    """Describe those of the topics that exist, within `timeout` seconds.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    asked = list(names)
    if not asked:
        return {}
    cluster = cluster_id(client, timeout)  # first: an answer without brokers is an error here
    described = client.describe_topics(TopicCollection(asked), request_timeout=timeout)
    found = {}
    for name, future in described.items():
        try:
            topic = future.result()
        except KafkaException as e:
            if e.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise
        found[name] = TopicInfo(
            name=name,
            partitions=len(topic.partitions),
            replication=min((len(p.replicas) for p in topic.partitions), default=0),
            log_id=f"{cluster}/{topic.topic_id}",
        )
    return found


def create_topics(settings: KafkaSettings, names: Iterable[str] = tuple(TOPICS)) -> list[str]:
    """Create the topics that are missing; return their names.

    Replication is 3 with `min.insync.replicas=2` where there are 3 brokers, else 1.

    Raises:
        UnreachableError: if no broker answers.
        KafkaException: if the cluster refuses.
    """
    brokers = wait_until_up(settings)
    client = admin(settings)
    replication = settings.replication or (3 if brokers >= 3 else 1)
    safety = {"min.insync.replicas": "2"} if replication >= 3 else {}
    wanted = list(names)
    there = describe_topics(client, wanted)
    missing = [n for n in wanted if n not in there]
    if not missing:
        return []
    futures = client.create_topics(
        [
            NewTopic(
                n,
                settings.partitions,
                replication,
                config={**safety, **(FOR_EVER if n in KEPT else {})},
            )
            for n in missing
        ],
        request_timeout=REQUEST_TIMEOUT_S,
    )
    created = []
    for name, future in futures.items():
        try:
            future.result()
            created.append(name)
        except KafkaException as e:
            if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def list_offsets(
    client: AdminClient, keys: Iterable[Key], spec: OffsetSpec, timeout: float = REQUEST_TIMEOUT_S
) -> dict[Key, int]:
    """Return an offset of each partition; all of one leader's partitions share a request.

    Partitions that were created just now, or whose leader has just gone or come back, have no
    leader for a moment, or one that does not yet know that it is: they are asked for again. The
    latest offset is that of a read_committed consumer: it stands still while a transaction is open.

    Args:
        client: of the cluster.
        keys: topic and partition.
        spec: which offset: the earliest, the latest, that of a time.
        timeout: seconds.

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
                found[where.topic, where.partition] = int(future.result().offset)
            except KafkaException as e:
                if e.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise
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
        client: of the cluster.
        partitions: the number of each topic's.
        timeout: seconds.

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
        settings: Kafka's.
        topic: which.
        since_ms: milliseconds since the Unix epoch; partitions begin at the first message that
            is as new.
        timeout: seconds without a message.

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
        # A partition that has nothing as new is answered with its end, or with -1.
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
