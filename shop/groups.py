"""Consumer groups: who is in them, what they have committed, what is left to them.

A group is asked of at its coordinator, and librdkafka (2.16.0) must not be the one who gives such
a request up: while the coordinator is away it keeps the request although it has given it up, and
when the coordinator is back it reports to memory that it has freed and aborts the whole process
(`rd_kafka_admin_coord_request`, "Assertion `eonce->refcnt > 0' failed"). So librdkafka is given
an hour, and we stop waiting when we want to. A client that was not answered should be let go, not
asked again: it takes its open requests with it, and it may wait for ever for a coordinator that has
long been back.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass
from typing import Final, TypeVar

from confluent_kafka import (
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import AdminClient

from shop import kafka
from shop.commits import Commits
from shop.kafka import REQUEST_TIMEOUT_S
from shop.log import get_logger
from shop.settings import KafkaSettings

HELD_S: Final = 3600.0
"""The longest that librdkafka holds a request."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Member:
    """A consumer of the group and the partitions that it has."""

    client_id: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class GroupLag:
    """How far a consumer group is behind on one partition; None where it has not committed."""

    partition: int
    end: int
    committed: int | None

    @property
    def lag(self) -> int | None:
        """Messages not yet committed, None if unknown.

        >>> GroupLag(0, end=10, committed=7).lag, GroupLag(0, end=10, committed=None).lag
        (3, None)
        """
        return None if self.committed is None else max(0, self.end - self.committed)


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


def lag(settings: KafkaSettings, topic: str, group: str) -> list[GroupLag]:
    """Return a group's lag per partition; commits are read before ends, so lag is never negative.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    partitions = kafka.end_offsets(settings, topic)
    commits = Commits(settings, "lag")
    try:
        answer = commits.read({group: [(topic, p) for p in partitions]})[group]
    finally:
        commits.close()
    if isinstance(answer, KafkaException):
        raise answer
    ends = kafka.end_offsets(settings, topic)
    return [GroupLag(p, end, answer.get((topic, p))) for p, end in sorted(ends.items())]


def members(
    client: AdminClient, group: str, topic: str, timeout: float = REQUEST_TIMEOUT_S
) -> tuple[Member, ...] | None:
    """Return who consumes a topic; None where the cluster does not say within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    try:
        futures = client.describe_consumer_groups([group], request_timeout=HELD_S)
        described = _answer(futures[group], deadline)
    except KafkaException as e:
        get_logger().debug("group not described", group=group, error=e.args[0].str())
        return None
    return tuple(
        Member(
            client_id=m.client_id,
            host=m.host,
            partitions=tuple(
                sorted(p.partition for p in m.assignment.topic_partitions if p.topic == topic)
            ),
        )
        for m in described.members
    )
