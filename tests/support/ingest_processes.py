"""Real ingest processes, and what must be true when they have caught up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from jangteo.stack.consistency import check
from shop import kafka
from shop.kafka import TopicInfo
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.event_samples import Message
from tests.support.waiting import wait_until

Answer = TypeVar("Answer")
ROOT = Path(__file__).parents[2]


_CLIENT_AGE_S = 5.0
"""Seconds for which a client is kept: a test may replace the cluster by another one."""
_clients: dict[str, tuple[float, AdminClient]] = {}


class Ingest:
    """`python -m bytewax.run flows.ingest`, started as a user would."""

    def __init__(self, env: dict[str, str], log: Path, **extra_env: str) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = python_process.Popen(
                [sys.executable, "-m", "bytewax.run", "flows.ingest"],
                cwd=ROOT,
                env={**env, "LOG_LEVEL": "debug", **extra_env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if error is not None:
            print(self.log()[-6000:])

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code. Ten seconds are the promised limit."""
        self.process.terminate()
        return self.process.wait(timeout=10)


def publish(settings: Settings, topic: str, messages: Iterable[Message]) -> dict[int, list[int]]:
    """Publish and wait for every acknowledgement; return each message's offsets by partition."""
    acknowledged: dict[int, list[int]] = {}
    failed: list[str] = []

    def delivered(error: object, message: object) -> None:
        if error is not None:
            failed.append(str(error))
        else:
            acknowledged.setdefault(message.partition(), []).append(message.offset())  # type: ignore[attr-defined]  # typed as optional; a delivered message has one

    producer = kafka.producer(settings.kafka, "test", **{"message.max.bytes": 4_000_000})
    for key, payload in messages:
        producer.produce(topic, payload, key=key, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed
    return acknowledged


def applied(pg: Connection, topic: str, log_id: str) -> dict[int, tuple[int, int]]:
    """Partition -> (next offset, messages accounted for), where there are any."""
    rows = pg.execute(
        "SELECT partition, next_offset, stored + rejected + ignored FROM ingest_offsets"
        " WHERE topic = %s AND log_id = %s AND next_offset > 0",
        (topic, log_id),
    )
    return {p: (n, total) for p, n, total in rows}


def ask(settings: Settings, question: Callable[[AdminClient], Answer]) -> Answer:
    """Query Kafka with a kept client: a new one for each query costs the broker 15 ms of CPU.

    Where that is not answered, as after its broker was killed, with a new one.
    """
    where = settings.kafka.bootstrap_servers
    made, client = _clients.get(where, (0.0, None))
    if client is not None and time.monotonic() - made < _CLIENT_AGE_S:
        with suppress(KafkaException):
            return question(client)
    _clients.clear()  # those of brokers of earlier tests, too
    client = kafka.admin(settings.kafka, "asking")
    _clients[where] = time.monotonic(), client
    return question(client)


def log_id(settings: Settings, topic: str) -> str:
    return ask(settings, lambda client: kafka.describe_topics(client, [topic]))[topic].log_id


def caught_up(settings: Settings, pg: Connection, topics: Iterable[str] = ("orders",)) -> bool:
    """Every offset of the topics applied, each message counted exactly once."""
    wanted = tuple(topics)

    def look(client: AdminClient) -> tuple[dict[str, TopicInfo], dict[str, dict[int, int]]]:
        found = kafka.describe_topics(client, wanted)
        return found, kafka.ends_of(client, {n: info.partitions for n, info in found.items()})

    found, ends_of = ask(settings, look)
    for topic in wanted:
        ends = {p: end for p, end in ends_of[topic].items() if end}
        if {p: (end, end) for p, end in ends.items()} != applied(pg, topic, found[topic].log_id):
            return False
    return True


def wait_caught_up(
    settings: Settings, pg: Connection, topics: Iterable[str] = ("orders",), timeout: float = 60.0
) -> None:
    wanted = tuple(topics)
    wait_until(lambda: caught_up(settings, pg, wanted), f"{wanted} applied", timeout)
    assert check(pg) == []
