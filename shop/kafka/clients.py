"""Clients of Kafka: their configuration, and whether the cluster answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from shop.errors import UnreachableError
from shop.log import get_logger
from shop.settings import KafkaSettings

REQUEST_TIMEOUT_S: Final = 10.0
ASK_S: Final = 3
"""What a cluster gets to answer where it is asked again, with another client, until it does."""
LONGEST_ASK_S: Final = 12
"""The same where answers came later: enough where each takes two seconds, and a client's first
answer is its fourth."""
REFUSED_S: Final = 2.0
"""If every broker refuses the connection for this many seconds, a command gives up."""
FETCH_WAIT_MS: Final = 150
"""Longest time that a fetch of an ingest waits at the broker for a message."""
_ORDER_BYTES: Final = 75
"""Size of an order in the log, measured: 14,000 compressed ones in a fetch of 1 MiB."""


def _on_error(error: KafkaError) -> None:
    get_logger().debug("kafka client", error=error.str(), code=error.name())


class _Quiet:
    """Sends librdkafka's own lines to our log at debug level instead of to stderr."""

    def log(self, level: int, message: str, *args: Any) -> None:
        get_logger().debug("librdkafka", line=message % args if args else message, level_=level)


def client_config(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """Return what all our clients have in common: address, security, reconnects.

    Args:
        settings: SASL and TLS options are passed through unchanged.
        name: Kafka's tools show it as the client id ``jangteo-NAME``.
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

    It sends one request at a time per broker. With more, librdkafka 2.16.0 reports messages as
    acknowledged that are nowhere: a leader that is just being elected refuses a producer's very
    first request and accepts the second, because Kafka lets an unknown producer begin with any
    sequence number, and librdkafka then counts the first as accepted, too
    (`rd_kafka_dr_implicit_ack`).
    """
    return Producer(
        {
            **client_config(settings, name),
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight.requests.per.connection": 1,
            "compression.type": "lz4",
            # As Java's clients do: other producers of these keys use the same partitions.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            # No event is given up: an order that the shop took waits for Kafka to come back.
            "message.timeout.ms": 0,
            **overrides,
        }
    )


def consumer_config(
    settings: KafkaSettings,
    name: str,
    group: str,
    *,
    batch_size: int = 50_000,
    fetch_wait_ms: int = FETCH_WAIT_MS,
) -> dict[str, Any]:
    """Return the configuration of an ingest consumer.

    Fetching is tuned for batches: librdkafka's default of 500 ms fetch wait costs a factor of
    seven in throughput on a small cluster. An offset that the log no longer has is an error,
    never a silent jump. What is fetched ahead is bounded at 16 MiB, a batch of 50,000 orders: with
    32 MiB, and answers of 50 MB (the default), an ingest took 690 MB instead of 470.

    The client returns all that it fetched of one partition, some 14,000 orders of 1 MiB, before
    the next partition's. With batches of 200 on a busy machine that took 35 s, in which the other
    partitions stood still; so a small batch fetches less at a time.

    A fetch that finds nothing waits for `fetch.wait.max.ms`, and so does what comes next: in a
    backlog of one partition, whose queue is full, that is the others' empty fetch. 150 ms took as
    long for 600,000 orders of one partition as 50 ms, 250 ms a third longer. Of an idle shop's CPU,
    a broker that answers three consumers every 50 ms was the largest part.

    A full prefetch queue pauses a partition's fetches for `fetch.queue.backoff.ms`: 1 s by
    librdkafka's default, in which a reader that has emptied the queue waits in the midst of a
    backlog.

    Args:
        settings: address of Kafka.
        name: name of the client in the brokers' lists.
        group: consumer group that it joins.
        batch_size: maximum number of messages taken at once.
        fetch_wait_ms: longest time that a fetch waits at the broker for a message.
    """
    return {
        **client_config(settings, name),
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        # A message of a transaction counts when the transaction is committed, never before.
        "isolation.level": "read_committed",
        # Shows how far a partition was read where no message does: behind transaction markers,
        # aborted and compacted records.
        "enable.partition.eof": True,
        "partition.assignment.strategy": "range,roundrobin",
        # The least that brokers allow by default: a dead member's share is taken over soon.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 1_000,
        "max.poll.interval.ms": 300_000,
        # Partitions that are added to the topic are read from then on (default: after 5 minutes).
        "topic.metadata.refresh.interval.ms": 10_000,
        "fetch.wait.max.ms": fetch_wait_ms,
        "fetch.max.bytes": 8 << 20,
        "fetch.message.max.bytes": min(1 << 20, batch_size * _ORDER_BYTES),
        "fetch.queue.backoff.ms": 5,
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
            raise unreachable(settings, timeout, e) from None
    try:
        return len(client.list_topics(timeout=timeout - first).brokers)
    except KafkaException as e:
        raise unreachable(settings, timeout, e) from None


def _all_refused(errors: Iterable[KafkaError]) -> bool:
    """Return whether every broker refused the connection; librdkafka has no code for that."""
    why = [e.str() for e in errors if e.code() != KafkaError._ALL_BROKERS_DOWN]
    return bool(why) and all("Connection refused" in text for text in why)


def unreachable(settings: KafkaSettings, waited: float, error: KafkaException) -> UnreachableError:
    """Return what to raise when Kafka has not answered for `waited` seconds."""
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
