"""The shop on real Apache Kafka: topics, groups, end to end, and what Kafka's own tools show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from jangteo.stack.kafka.cluster import FOLDER, Cluster, read_layout
from shop import kafka
from shop.events import TOPICS
from shop.settings import Settings
from tests.support import python_process
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import ROOT
from tests.support.waiting import wait_until


def tool(cluster: Cluster, *words: str) -> str:
    """Run one of Kafka's own commands as the guide says it."""
    name, *arguments = words
    where = ["--bootstrap-server", cluster.layout.bootstrap]
    done = python_process.run(
        [sys.executable, "-m", "jangteo.stack.kafka.cluster", "tool", name, *where, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_topics_are_replicated_to_all_brokers(cluster: Cluster, kafka_settings: Settings) -> None:
    described = kafka.describe_topics(kafka.admin(kafka_settings.kafka))
    assert {n: (t.partitions, t.replication) for n, t in described.items()} == dict.fromkeys(
        TOPICS, (12, 3)
    )
    output = tool(cluster, "kafka-topics", "--describe", "--topic", "orders")
    assert "ReplicationFactor: 3" in output
    assert "min.insync.replicas=2" in output


def test_three_members_share_the_group_and_kafka_shows_no_lag(
    cluster: Cluster, stage: Stage
) -> None:
    fleet = [stage.ingest() for _ in range(3)]
    stage.load(seed=41, rate=2_000, limit=2_000)
    stage.wait_shared(*fleet)
    stage.settle()

    def caught_up() -> bool:
        output = tool(cluster, "consumer-groups", "--describe", "--group", "orders_group")
        rows = [line.split() for line in output.splitlines() if line.startswith("orders_group")]
        # GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
        lags = [row[5] for row in rows if row[4] != "0"]
        return len({row[6] for row in rows}) == 3 and set(lags) == {"0"}

    wait_until(caught_up, "three members with lag 0 in kafka-consumer-groups")
    for member in fleet:
        assert member.stop() == 0


def test_one_broker_up_detached_and_down(tmp_path: Path, cluster: Cluster) -> None:
    data_dir = tmp_path / "가게 둘"

    program = (sys.executable, "-m", "jangteo.stack.kafka.cluster")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return python_process.run(
            [*program, *words, "--data-dir", str(data_dir)],
            cwd=ROOT, capture_output=True, text=True, timeout=120
        )  # fmt: skip

    try:
        up = command("up", "--brokers", "1", "--detach")
        assert up.returncode == 0, up.stderr
        assert re.fullmatch(r"export KAFKA_BOOTSTRAP_SERVERS=127\.0\.0\.1:\d+\n", up.stdout)
        again = command("up", "--detach")
        assert again.returncode == 2
        assert "runs already" in again.stderr
        other = command("up", "--brokers", "3")
        assert other.returncode == 2
        assert other.stderr.count("\n") == 1
    finally:
        assert command("down").returncode == 0
    layout = read_layout(data_dir / FOLDER)
    assert layout is not None
    assert layout.pid is None
