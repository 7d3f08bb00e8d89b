"""What consumer groups have committed, asked in a way that outlives a coordinator's return.

An admin client must not ask for them: when a broker answers that it is not the coordinator, as a
broker does that has just started, librdkafka (2.16.1) treats the admin client as a consumer and
ends the whole process with a segmentation fault (its issue 5040). So each group is queried by a
consumer that never joins it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from shop import kafka
from shop.events import GROUPS
from shop.kafka.clients import REQUEST_TIMEOUT_S
from shop.kafka.daemon_pool import DaemonPool
from shop.kafka.offsets import Key
from shop.settings import KafkaSettings

Committed = dict[Key, int]
"""The next offset to read, where something was committed."""
_MOVING: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._WAIT_COORD,
    }
)
"""Errors while a group has no coordinator, or a new one on another broker."""


class CommittedOffsets:
    """Asks for the committed offsets of groups; a member of none.

    Args:
        settings: address of Kafka.
        name: name of the clients in Kafka's tools.
    """

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._consumers: dict[str, Consumer] = {}
        self._pool: DaemonPool | None = None

    def read(
        self, asked: Mapping[str, Iterable[Key]], timeout: float = REQUEST_TIMEOUT_S
    ) -> dict[str, Committed | KafkaException]:
        """Return what each group has committed, or why its coordinator does not answer.

        All are asked at once: the silence of one coordinator does not hide the others, and is
        `_TIMED_OUT` after `timeout` seconds. A group that does not exist has committed nothing.

        Args:
            asked: topics and partitions by group.
            timeout: seconds to wait for all answers.
        """
        deadline = time.monotonic() + timeout
        pool = self._pool = self._pool or DaemonPool(len(GROUPS), "commits")
        futures = {
            group: pool.submit(self._ask, self._consumer(group), list(keys), deadline)
            for group, keys in asked.items()
        }
        return {group: future.result() for group, future in futures.items()}

    def close(self) -> None:
        """Close the clients; they are created again when they are needed."""
        while self._consumers:
            self._consumers.popitem()[1].close()
        if self._pool is not None:
            self._pool.close()
        self._pool = None

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            config = kafka.client_config(self._settings, self._name)
            self._consumers[group] = Consumer(
                {**config, "group.id": group, "enable.auto.commit": False}
            )
        return self._consumers[group]

    @staticmethod
    def _ask(consumer: Consumer, keys: list[Key], deadline: float) -> Committed | KafkaException:
        if not keys:
            return {}
        where = [TopicPartition(*key) for key in keys]
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = consumer.committed(where, timeout=left)
            except KafkaException as e:
                if e.args[0].code() in _MOVING:
                    time.sleep(min(0.1, left))
                elif e.args[0].code() != KafkaError._TIMED_OUT:
                    return e
            else:
                # An offset below 0 means that nothing is committed there.
                return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}
        why = "the group's coordinator does not answer"
        return KafkaException(KafkaError(KafkaError._TIMED_OUT, why))
