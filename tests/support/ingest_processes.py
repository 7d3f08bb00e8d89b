"""Real ingest processes, and what must be true when they have caught up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from jangteo.stack.consistency import check
from shop import kafka
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.event_samples import Message

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.05)


class Ingest:
    """`python -m bytewax.run flows.ingest`, started as a user would."""

    def __init__(self, env: dict[str, str], log: Path, **extra_env: str) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
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
        """SIGTERM; return the exit code. Ten seconds are what was promised."""
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


def log_id(settings: Settings, topic: str) -> str:
    return kafka.describe_topics(kafka.admin(settings.kafka), [topic])[topic].log_id


def caught_up(settings: Settings, pg: Connection, topics: Iterable[str] = ("orders",)) -> bool:
    """Every offset of the topics applied, each message counted exactly once."""
    for topic in topics:
        ends = {p: end for p, end in kafka.end_offsets(settings.kafka, topic).items() if end}
        done = applied(pg, topic, log_id(settings, topic))
        if {p: (end, end) for p, end in ends.items()} != done:
            return False
    return True


def wait_caught_up(
    settings: Settings, pg: Connection, topics: Iterable[str] = ("orders",), timeout: float = 60.0
) -> None:
    wanted = tuple(topics)
    wait_until(lambda: caught_up(settings, pg, wanted), f"{wanted} applied", timeout)
    assert check(pg) == []
