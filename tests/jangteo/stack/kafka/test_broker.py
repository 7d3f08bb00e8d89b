"""The embedded Kafka: it keeps what it has, ends with its parent, and says why it cannot start."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import redis
from confluent_kafka.admin import ConfigResource

from jangteo.cli import servers
from jangteo.stack.embedded import Broker, EmbeddedRedis
from jangteo.stack.kafka import jars, java
from jangteo.stack.kafka.broker import (
    RETENTION_BYTES,
    RETENTION_CHECK_MS,
    RETENTION_HOURS,
    SEGMENT_BYTES,
    jvm,
)
from jangteo.stack.ports import PortTakenError, free_port
from jangteo.stack.server import StartError
from shop import kafka
from shop import settings as shop_settings
from shop.errors import UsageError
from shop.settings import KafkaSettings
from tests.support.guide_commands import ROOT
from tests.support.waiting import wait_until


@pytest.fixture
def own_broker(apache_kafka: None, tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path)
    yield server
    server.kill()


def reached(server: Broker) -> KafkaSettings:
    return shop_settings.load(server.env, use_stack=False).kafka


def publish(server: Broker, count: int) -> None:
    producer = kafka.producer(reached(server), "test")
    for n in range(count):
        producer.produce("orders", key=str(n), value=str(n).encode())
    assert producer.flush(30) == 0


def test_kafka_keeps_messages_topics_and_address(own_broker: Broker) -> None:
    """Messages survive a crash and the shop's next run; no second broker can start meanwhile."""
    own_broker.start()
    before = dict(own_broker.env)
    kafka.create_topics(reached(own_broker))
    client = kafka.admin(reached(own_broker))
    log_id = kafka.describe_topics(client)["orders"].log_id
    publish(own_broker, 1_000)

    pid = own_broker.pid
    with pytest.raises(UsageError, match=rf"runs in .* already \(pid {pid}") as caught:
        Broker(own_broker.data_dir).start()
    assert "\n" not in str(caught.value)
    assert own_broker.alive
    assert kafka.wait_until_up(reached(own_broker)) == 1

    own_broker.kill()
    assert own_broker.pid is None
    unpacked = list((own_broker.home / "tmp").glob("*.so"))
    assert unpacked  # the libraries of the codecs, which a killed broker leaves
    own_broker.start(move=False)
    assert not any(path.exists() for path in unpacked)
    assert own_broker.env == before
    assert kafka.describe_topics(client)["orders"].log_id == log_id
    publish(own_broker, 1)
    own_broker.stop()

    again = Broker(own_broker.data_dir)
    try:
        again.start()
        assert again.env == before
        publish(again, 1)  # its partitions have their leaders again
        found = sorted(m.value() for m in kafka.read(reached(again), "orders"))
        assert found == sorted(str(n).encode() for n in (0, 0, *range(1_000)))
        assert kafka.describe_topics(client)["orders"].log_id == log_id
    finally:
        again.kill()


def broker_settings(server: Broker, *names: str) -> list[int]:
    """Return the settings that the broker itself reports."""
    asked = ConfigResource(ConfigResource.Type.BROKER, str(server.node))
    client = kafka.admin(reached(server))  # held: a collected client never answers
    (future,) = client.describe_configs([asked]).values()
    found: dict[str, Any] = future.result()
    return [int(found[name].value) for name in names]


LIMITS = (
    *("log.retention.bytes", "log.segment.bytes", "log.retention.hours"),
    "log.retention.check.interval.ms",
)


def test_what_kafka_keeps_is_bounded_as_the_guide_says(kafka_broker: Any) -> None:
    found = broker_settings(kafka_broker.server, *LIMITS)
    assert found == [RETENTION_BYTES, SEGMENT_BYTES, RETENTION_HOURS, RETENTION_CHECK_MS]
    guide = " ".join((ROOT / "docs" / "kafka.md").read_text(encoding="utf-8").split())
    bound = 12 * (RETENTION_BYTES + SEGMENT_BYTES) / 2**30
    assert f"{RETENTION_HOURS // 24} days, and at most {RETENTION_BYTES >> 20} MiB" in guide
    assert f"the topic takes {bound:.1f} GiB" in guide
    assert f"within {RETENTION_CHECK_MS // 1000} s" in guide


@pytest.mark.usefixtures("apache_kafka")
@pytest.mark.slow
def test_a_shop_left_running_stays_below_the_bound(tmp_path: Path) -> None:
    """With limits of a hundredth: thirty times as much is published as may stay."""
    kept, segment = 4 << 20, 1 << 20
    own = Broker(
        tmp_path,
        properties={
            "log.retention.bytes": str(kept),
            "log.segment.bytes": str(segment),
            "log.retention.check.interval.ms": "500",
            "log.initial.task.delay.ms": "500",
        },
    )
    try:
        own.start()
        kafka.create_topics(replace(reached(own), partitions=2), ["orders"])
        producer = kafka.producer(reached(own), "test")
        random = Random(7)
        for n in range(4_000):
            producer.produce("orders", random.randbytes(60_000), key=str(n))
            producer.poll(0)
            if n % 200 == 199:
                assert producer.flush(60) == 0

        def taken() -> int:
            total = 0
            for log in (own.home / "data").glob("orders-*/*.log"):
                with suppress(FileNotFoundError):  # Kafka has deleted it since
                    total += log.stat().st_size
            return total

        wait_until(lambda: 0 < taken() <= 2 * (kept + segment), taken, 120)
        ends = kafka.end_offsets(reached(own), "orders")
        assert sum(ends.values()) == 4_000, "nothing else was deleted than the oldest"
    finally:
        own.kill()


_CARELESS = """
import os, signal, sys, time
from pathlib import Path
from jangteo.stack.kafka.broker import Broker
class Orphan(Broker):
    death_signal = 0  # what dies with its parent elsewhere stays here
broker = Orphan(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its parent's death is a signal")
def test_a_kafka_that_outlived_its_parent_is_ended_first(own_broker: Broker) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _CARELESS, str(own_broker.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        assert orphan.is_running()
        own_broker.start()
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert kafka.wait_until_up(reached(own_broker)) == 1
    finally:
        if orphan.is_running():
            orphan.kill()


@pytest.mark.usefixtures("apache_kafka")
def test_kafka_runs_below_any_path(tmp_path: Path) -> None:
    """Even where an earlier start was interrupted while it formatted the storage."""
    server = Broker(tmp_path / '가게 둘/it\'s 100 % "quoted" #1 = ; \\n' / ("long/" * 40))
    half = server.home / "data.new"
    half.mkdir(parents=True)
    (half / "meta.properties").write_text("version=1\n")
    try:
        server.start()
        kafka.create_topics(reached(server))
        publish(server, 5)
        assert any((server.home / "data").glob("orders-*"))
        assert not half.exists()
        assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    finally:
        server.kill()


def test_kafka_looks_at_both_ports_before_it_starts(own_broker: Broker) -> None:
    kept = {"kafka": free_port(), "kafka-controller": free_port()}
    (own_broker.data_dir / "ports.json").write_text(json.dumps(kept))
    with socket.create_server(("127.0.0.1", kept["kafka-controller"])):
        with pytest.raises(PortTakenError, match=f"took its port {kept['kafka-controller']}"):
            own_broker.start(move=False)
        own_broker.start()
    assert own_broker.port == kept["kafka"]
    chosen = json.loads((own_broker.data_dir / "ports.json").read_text())
    listening = psutil.Process(own_broker.pid).net_connections("tcp")
    ports = {c.laddr.port for c in listening if c.status == psutil.CONN_LISTEN}
    assert ports == set(chosen.values()), "no port that nobody chose"


def test_a_server_that_is_slow_to_start_is_not_waited_for_after_a_stop(tmp_path: Path) -> None:
    class Slow(EmbeddedRedis):
        def _probe(self) -> None:
            raise redis.BusyLoadingError

    server = Slow(tmp_path)
    looks = iter([False] * 5)
    try:
        server.launch()
        assert not server.await_ready(stopped=lambda: next(looks, True))
        assert server.alive, "the one that started it stops it"
    finally:
        server.stop()


def test_a_cache_that_java_cannot_use_does_not_stop_kafka(
    own_broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JANGTEO_KAFKA_HOME", str(jars.home()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert java.why_unused(jvm()) == "there is none"
    assert java.cache_options() == []
    java.cache().parent.mkdir(parents=True)
    java.cache().write_bytes(b"cut short")
    assert java.cache_options() == [f"-XX:AOTCache={java.cache()}"]
    assert "AOT" in java.why_unused(jvm())
    own_broker.start()
    assert kafka.wait_until_up(reached(own_broker)) == 1


@pytest.mark.usefixtures("apache_kafka")
@pytest.mark.slow
def test_the_cache_is_made_once_and_java_uses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JANGTEO_KAFKA_HOME", str(jars.home()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "캐시 1"))
    lines: list[str] = []
    servers.prepare(lines.append)
    assert len(lines) == 2, lines
    assert java.why_unused(jvm()) == ""
    made = java.cache().stat()
    servers.prepare(lines.append)
    assert len(lines) == 2, "nothing was missing"
    assert java.cache().stat().st_ino == made.st_ino
    files = [p.name for p in jars.cache_root().rglob("*") if p.is_file()]
    assert sorted(files) == [".lock", java.cache().name]


def test_storage_that_cannot_be_formatted_says_why(
    own_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broker(own_broker.data_dir, properties={"process.roles": "nonsense"})
    with pytest.raises(StartError, match=r"cannot format the storage .*process\.roles") as caught:
        broken.start()
    assert "\n" not in str(caught.value)
    assert "\tat " not in str(caught.value)
