"""Faults that Kafka's client library makes of a broker that comes and goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from shop import kafka
from shop.settings import Settings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

ASKS = """
import sys
from confluent_kafka import KafkaException
from shop import kafka, settings
from shop.kafka import groups
from shop.kafka.committed_offsets import CommittedOffsets

where = settings.load(use_stack=False).kafka
asked = {f"{topic}_group": [(topic, 0)] for topic in ("orders", "users")}
clients = [(kafka.admin(where), CommittedOffsets(where, "asks"))]
for line in sys.stdin:
    if line == "new\\n":
        clients.append((kafka.admin(where), CommittedOffsets(where, "asks")))
    client, commits = clients[-1]
    said = [groups.describe(client, ["orders"], 0.5)["orders"].members]
    said += commits.read(asked, 0.5).values()
    silent = [answer for answer in said if answer is None or isinstance(answer, KafkaException)]
    print("unanswered", len(silent), flush=True)
"""
"""Asks whenever it gets a line, with a new client for the line `new`, and prints the number of
unanswered requests. It keeps its former clients, and their open requests with them."""
RECONNECTED_S = 4.0
"""A client tries every two seconds at least to reach a broker that was away."""


def test_the_coordinator_comes_back_to_a_client_that_waited_in_vain(
    env: dict[str, str], topics: Any
) -> None:
    # In a process of its own: librdkafka's way to fail is to abort all of it.
    asks = subprocess.Popen(
        [sys.executable, "-c", ASKS],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def unanswered(word: str = "again") -> int:
        assert asks.stdin is not None
        assert asks.stdout is not None
        asks.stdin.write(f"{word}\n")
        asks.stdin.flush()
        for line in asks.stdout:  # of its log, too
            if line.startswith("unanswered"):
                return int(line.split()[1])
        pytest.fail(f"the client's process ended with {asks.wait(10)}")

    with asks:
        wait_until(lambda: unanswered("new") == 0, "a client is connected")
        topics.kill()
        assert [unanswered() for _ in range(3)] == [3] * 3
        topics.start()
        wait_until(lambda: unanswered("new") == 0, "the coordinator answers again")
        time.sleep(RECONNECTED_S)
        assert unanswered() == 0
    assert asks.returncode == 0


@pytest.mark.usefixtures("topics")
def test_one_request_at_a_time(servers, settings: Settings) -> None:
    # With a second one on its way librdkafka may count as taken what was refused.
    waiting: list[int] = []

    def collect(statistics: str) -> None:
        brokers: dict[str, dict[str, Any]] = json.loads(statistics)["brokers"]
        waiting.extend(broker["waitresp_cnt"] for broker in brokers.values())

    producer = kafka.producer(
        settings.kafka,
        "test",
        **{"statistics.interval.ms": 20, "stats_cb": collect, "linger.ms": 0},
    )
    producer.produce("orders", b"first", partition=0)
    assert producer.flush(30) == 0
    pid = servers.kafka.pid
    assert pid is not None
    waiting.clear()
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(50):
            producer.produce("orders", b"more", partition=0)
            producer.poll(0.01)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert producer.flush(30) == 0
    assert waiting
    assert max(waiting) == 1
