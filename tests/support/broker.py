"""The Apache Kafka of one test worker: started by the first test that asks, emptied for each.

A broker costs two seconds of CPU and 150 MB, so the tests of a worker share one. What a fresh one
gave them is kept in other ways: consumer groups are deleted, topics are deleted and created again
unless they are as new, and the clients that a test forgot end with it, so that none can write into
the topics of the next.
"""

from __future__ import annotations

import functools
import gc
import itertools
import shutil
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import psutil
import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it

from jangteo.stack import embedded
from jangteo.stack.kafka import jars
from shop import kafka
from shop import settings as shop_settings
from shop.events import TOPICS
from shop.kafka import clients
from shop.settings import KafkaSettings
from tests.support.waiting import wait_until

PROPERTIES: Final = {
    # Created and deleted by the hundred: the index of a partition takes 10 MB by default.
    "log.index.size.max.bytes": "65536",
    "file.delete.delay.ms": "1000",
    # An idle broker writes an empty record to its metadata every 500 ms, which is half of the CPU
    # that it takes: 25 ms a second, 14 without.
    "metadata.max.idle.interval.ms": "0",
}
ANSWERS_S: Final = 10.0
"""Seconds after which a broker that does not answer is replaced: an earlier test stopped it."""
_ATTEMPTS: Final = 3
_LEAVE_GROUP: Final = 13  # of Kafka's protocol
_OWN: Final = "__"  # how the names of Kafka's internal topics begin


@functools.lru_cache
def _why_missing() -> str:
    try:
        jars.fetch()
    except jars.FetchError as e:
        return str(e)
    return ""


def need_apache_kafka() -> None:
    """Skip a test that needs Apache Kafka if it cannot be fetched, which is tried once."""
    if reason := _why_missing():
        pytest.skip(f"needs Apache Kafka: {reason}")


class WorkerBroker:
    """One broker for all tests of a worker; a server that tests may kill and start.

    Args:
        directory: for its data.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._server: embedded.Broker | None = None
        self._admin: AdminClient | None = None
        self._asks: int | None = None
        self._made: dict[str, object] = {}

    @property
    def server(self) -> embedded.Broker:
        """The broker, started when it is asked for the first time."""
        if self._server is None:
            self._replace()
        assert self._server is not None
        return self._server

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS."""
        return self.server.env

    @property
    def settings(self) -> KafkaSettings:
        """The same as settings."""
        return shop_settings.load(self.env, use_stack=False).kafka

    @property
    def pid(self) -> int | None:
        """Pid of its process while it runs; does not start it."""
        return self._server.pid if self._server else None

    def start(self) -> None:
        """Start it again after `kill` or `stop`, with what it has on disk."""
        self.server.start()

    def stop(self) -> None:
        """Stop it gracefully."""
        if self._server:
            self._server.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._server:
            self._server.kill()

    def start_without_memory(self) -> None:
        """Start another cluster on the same port, as after its disk was replaced; no topics."""
        self._replace(self.server.port)

    def empty(self, *, but_new: bool = False) -> None:
        """Remove topics and groups of earlier tests; start the broker if one of them killed it.

        Args:
            but_new: leave those of the shop's topics that are as `create_topics` made them. To
                create all of them costs the broker 0.2 s of CPU.
        """
        self._revive()
        if self._end_groups():
            self._delete_topics(self._unchanged() if but_new else frozenset())
        else:  # a consumer of this process that no one closed: it keeps the old address
            self._replace()

    def create_topics(self) -> None:
        """Create the shop's topics and wait until each partition has a leader."""
        if self._made and self._unchanged() == set(TOPICS):
            return
        kafka.create_topics(self.settings)

        def answer() -> bool:
            self._made = self._looks()
            return set(self._made) == set(TOPICS)

        wait_until(answer, "the leaders of the topics answer")

    # -- the server ----------------------------------------------------------------------------

    def _replace(self, port: int | None = None) -> None:
        if self._server:
            self._server.kill()
            shutil.rmtree(self._server.data_dir)
        need_apache_kafka()
        self._admin = None
        self._server = embedded.Broker(
            self._directory / f"broker-{next(self._numbers)}", properties=PROPERTIES
        )
        self._server.port = port
        self._server.start()
        self._warm()
        self._end_groups()
        self._delete_topics()

    def _warm(self) -> None:
        """Make it assign a first producer id and open its groups, which takes a second each."""
        settings = self.settings
        kafka.create_topics(settings, ["warm"])
        producer = kafka.producer(settings, "warm")
        producer.produce("warm", b"up")
        assert producer.flush(60) == 0
        consumer = confluent_kafka.Consumer(kafka.consumer_config(settings, "warm", "warm"))
        try:
            consumer.commit(offsets=[TopicPartition("warm", 0, 1)], asynchronous=False)
        finally:
            consumer.close()

    def _revive(self) -> None:
        self.server.start()
        try:
            self._client().list_topics(timeout=ANSWERS_S)
        except KafkaException:
            self._replace()

    def _client(self) -> AdminClient:
        # One that knew the broker before it was killed may wait for its coordinator for ever.
        if self._admin is None or self._asks != self.pid:
            self._admin, self._asks = kafka.admin(self.settings, "tests"), self.pid
        return self._admin

    # -- what is in it -------------------------------------------------------------------------

    def _topics(self) -> dict[str, Any]:
        found = self._client().list_topics(timeout=ANSWERS_S).topics
        return {name: topic for name, topic in found.items() if not name.startswith(_OWN)}

    def _unchanged(self) -> set[str]:
        """Return the shop's topics that did not change since they were created."""
        return {name for name, look in self._looks().items() if self._made.get(name) == look}

    def _looks(self) -> dict[str, object]:
        """Return the identity of each empty topic of the shop; others are left out."""
        client = self._client()
        there = kafka.describe_topics(client)
        if not there:
            return {}
        self._topics()  # the client then knows their leaders
        asked = {
            TopicPartition(name, partition): OffsetSpec.latest()
            for name, info in there.items()
            for partition in range(info.partitions)
        }
        ends = client.list_offsets(asked)  # of messages in open transactions, too
        configs = client.describe_configs([ConfigResource(ResourceType.TOPIC, n) for n in there])
        found: dict[str, object] = {
            resource.name: (there[resource.name], {k: e.value for k, e in future.result().items()})
            for resource, future in configs.items()
        }
        for where, future in ends.items():
            if future.exception() or future.result().offset:
                found.pop(where.topic, None)
        return found

    def _delete_topics(self, keep: Set[str] = frozenset()) -> None:
        if names := list(self._topics().keys() - keep):
            for future in self._client().delete_topics(names, operation_timeout=30).values():
                future.result()
            wait_until(lambda: not self._topics().keys() - keep, "the topics are gone")

    def _end_groups(self) -> bool:
        """Delete every group; False if one of them has a member that joins again."""
        client = self._client()
        deadline = time.monotonic() + ANSWERS_S
        for attempt in itertools.count():
            found = client.list_consumer_groups().result()
            if not found.valid and not found.errors:
                return True
            if attempt > _ATTEMPTS and (found.valid or time.monotonic() > deadline):
                return False
            _delete_groups(client, [group.group_id for group in found.valid])
            time.sleep(0.02 if found.valid else 0.2)  # a coordinator that just started reads first
        raise AssertionError


def _delete_groups(client: AdminClient, names: list[str]) -> None:
    """Delete groups; members that were killed leave, as their sessions would last for 6 s."""
    if not names:
        return
    with suppress(KafkaException):  # whether it is gone is looked at, not how
        for name, future in client.describe_consumer_groups(names).items():
            described = future.result()
            members = [member.member_id for member in described.members]
            _leave(described.coordinator.host, described.coordinator.port, name, members)
        for future in client.delete_consumer_groups(names).values():
            future.result()


def _leave(host: str, port: int, group: str, members: list[str]) -> None:
    """Remove members from a group in their name; client libraries do it only for themselves."""
    with socket.create_connection((host, port), timeout=ANSWERS_S) as connection:
        for number, member in enumerate(members):
            body = struct.pack(">hhih", _LEAVE_GROUP, 0, number, -1)
            for text in (group.encode(), member.encode()):
                body += struct.pack(">h", len(text)) + text
            connection.sendall(struct.pack(">i", len(body)) + body)
            assert connection.recv(64), f"{group} does not let {member} go"


@contextmanager
def clients_end(monkeypatch: pytest.MonkeyPatch, servers: Callable[[], set[int]]) -> Iterator[None]:
    """End processes and producers that a test left behind and that could still write.

    Args:
        monkeypatch: lets the producers be known.
        servers: pids of processes that stay.
    """
    made: weakref.WeakSet[confluent_kafka.Producer] = weakref.WeakSet()

    class Known(confluent_kafka.Producer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.add(self)

    monkeypatch.setattr(clients, "Producer", Known)
    before = set(psutil.Process().children())
    try:
        yield
    finally:
        for child in psutil.Process().children():
            if child not in before and child.pid not in servers():
                _kill(child)
        gc.collect()  # callbacks tie most clients into cycles
        for producer in list(made):  # held by the traceback of a failed test
            producer.purge()
            producer.close()


def _kill(process: psutil.Process) -> None:
    family = [process]
    with suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=5)
