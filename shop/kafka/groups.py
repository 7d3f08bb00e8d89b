"""Consumer groups and their members.

A group's coordinator answers for it, and such a request must not time out inside librdkafka
(2.16.0): while the coordinator is away, librdkafka keeps a request that has timed out; when the
coordinator is back, it reports to memory that it has freed and aborts the whole process
(`rd_kafka_admin_coord_request`, "Assertion `eonce->refcnt > 0' failed"). So librdkafka's time-out
is an hour, and this module stops waiting earlier. A client that got no answer should be closed, not
used again: that ends its open requests, and it may wait for ever for a coordinator that has long
been back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass
from typing import Final, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import AdminClient

from shop.events import GROUPS
from shop.kafka.clients import REQUEST_TIMEOUT_S

_MOVING: Final = frozenset(
    {ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING}
)
HELD_S: Final = 3600.0
"""Time-out of a request in librdkafka, seconds."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class GroupMember:
    """A consumer of the group and the partitions that it has."""

    client_id: str
    host: str
    partitions: tuple[int, ...]


def _answer(future: Future[_T], deadline: float) -> _T:
    """Return the coordinator's answer.

    Raises:
        KafkaException: its error, or `_TIMED_OUT` at the deadline.
    """
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except NotYetError:
        late = KafkaError(KafkaError._TIMED_OUT, "the group's coordinator does not answer")
        raise KafkaException(late) from None


@dataclass(frozen=True)
class ConsumerGroup:
    """A consumer group.

    Attributes:
        members: members that consume the topic; None if the coordinator does not answer.
        moves: whether a rebalance is in progress.
        error: why nothing is known.
    """

    members: tuple[GroupMember, ...] | None
    moves: bool = False
    error: str = ""


def describe(
    client: AdminClient, topics: Iterable[str], timeout: float = REQUEST_TIMEOUT_S
) -> dict[str, ConsumerGroup]:
    """Return the consumer group of each topic; all coordinators are asked at once.

    Args:
        client: admin client of the cluster.
        topics: names of topics.
        timeout: seconds to wait for all answers.
    """
    deadline = time.monotonic() + timeout
    futures = {
        name: client.describe_consumer_groups([GROUPS[name]], request_timeout=HELD_S)[GROUPS[name]]
        for name in topics
    }
    found = {}
    for topic, future in futures.items():
        try:
            described = _answer(future, deadline)
        except KafkaException as e:
            none = e.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND
            found[topic] = ConsumerGroup(()) if none else ConsumerGroup(None, error=e.args[0].str())
            continue
        members = tuple(
            GroupMember(
                client_id=m.client_id,
                host=m.host,
                partitions=tuple(
                    sorted(p.partition for p in m.assignment.topic_partitions if p.topic == topic)
                ),
            )
            for m in described.members
        )
        found[topic] = ConsumerGroup(members, moves=described.state in _MOVING)
    return found
