"""The life of a topic, the parts that take long: codecs of Java, compaction, retention, many."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from jangteo.cli import doctor
from jangteo.cli.topics import command as topics
from jangteo.cli.topics import loss
from jangteo.stack.kafka import java
from jangteo.stack.kafka.cluster import Cluster
from jangteo.stack.kafka.jars import TOOLS
from shop import kafka, postgres
from shop.clock import utc_now
from shop.errors import ExitCode
from shop.settings import Settings
from tests.support.event_samples import message, order
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import publish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def configure(settings: Settings, **entries: str) -> None:
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        "orders",
        incremental_configs=[
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in entries.items()
        ],
    )
    client = kafka.admin(settings.kafka)
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)


def lines(first: int, count: int) -> bytes:
    now = utc_now()
    made = (message("orders", order(i, ordered_at=now, updated_at=now)) for i in
            range(first, first + count))  # fmt: skip
    return b"".join(b"%s\t%s\n" % pair for pair in made)


def test_every_codec_of_a_java_producer_is_read(cluster: Cluster, stage: Stage) -> None:
    stage.ingest()
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for n, codec in enumerate(codecs):
        argv = java.command_line(
            TOOLS["kafka-console-producer"], "--topic", "orders", "--compression-codec", codec,
            "--bootstrap-server", cluster.layout.bootstrap, "--reader-property", "parse.key=true",
            options=["-Xmx256m"],
        )  # fmt: skip
        subprocess.run(argv, input=lines(1 + 1_000 * n, 200), check=True, capture_output=True)

    def stored() -> bool:
        with stage.reading() as conn:
            row = conn.execute("SELECT count(*) FROM orders").fetchone()
            return row == (200 * len(codecs),)

    wait_until(stored, "all of it stored")
    wait_until(stage.caught_up, "and nothing else counted")


def test_compaction_leaves_no_lag(stage: Stage) -> None:
    settings = stage.settings
    configure(settings, cleanup_policy="compact", segment_ms="100", max_compaction_lag_ms="100",
              min_cleanable_dirty_ratio="0.001", delete_retention_ms="100")  # fmt: skip
    now = utc_now()
    for turn in range(30):  # the same few keys, again and again, in many segments
        made = [
            message("orders", order(turn * 10 + i, user_id=i, ordered_at=now)) for i in range(1, 10)
        ]
        publish(settings, "orders", made)
        time.sleep(0.15)
    ends = kafka.end_offsets(settings.kafka, "orders")

    def compacted() -> bool:
        return sum(1 for _ in kafka.read(settings.kafka, "orders")) < sum(ends.values()) // 2

    wait_until(compacted, "compaction has removed records", 120)
    stage.ingest()

    def caught_up() -> bool:
        report = topics.describe(settings, ["orders"])
        return report.topics["orders"].lag == 0

    wait_until(caught_up, "lag 0")
    with stage.reading() as conn:
        row = conn.execute(
            "SELECT sum(gaps) > 0, sum(next_offset) = sum(stored + rejected + ignored + gaps)"
            " FROM ingest_offsets"
        ).fetchone()
    assert row == (True, True)


def test_records_removed_under_load_stop_the_ingest_until_the_loss_is_accepted(
    stage: Stage,
) -> None:
    settings = stage.settings
    first = stage.ingest()
    load = stage.load(seed=61, rate=500)
    stage.wait_taken(500)
    assert first.stop() == 0
    taken = stage.taken()
    wait_until(lambda: len(load.acknowledged) > taken + 1_500, "published unread")
    client = kafka.admin(settings.kafka)
    ends = kafka.end_offsets(settings.kafka, "orders")
    before = [TopicPartition("orders", p, end) for p, end in ends.items()]
    for future in client.delete_records(before).values():
        future.result(30)
    assert stage.ingest().process.wait(60) == ExitCode.FAILED
    with postgres.connect(settings.postgres, "test") as conn:
        found = loss.find(topics.describe(settings, ["orders"]))
        assert {x.partition for x in loss.accept(conn, found)} == {x.partition for x in found}
    member = stage.ingest()
    load.stop()
    wait_until(lambda: topics.describe(settings, ["orders"]).topics["orders"].lag == 0, "lag 0")
    with stage.reading() as conn:
        row = conn.execute(
            "SELECT sum(lost), sum(stored + rejected + ignored + gaps + lost) = sum(next_offset)"
            " FROM ingest_offsets"
        ).fetchone()
    assert row == (sum(x.offsets for x in found), True)
    assert member.alive()


def test_doctor_and_describe_take_hundreds_of_partitions_side_by_side(
    stage: Stage, tmp_path: Path
) -> None:
    settings = stage.settings
    client = kafka.admin(settings.kafka)
    client.delete_topics(["orders"])["orders"].result(30)
    wait_until(lambda: not kafka.describe_topics(client, ["orders"]), "gone")
    client.create_topics([NewTopic("orders", 500, 1)])["orders"].result(60)

    def led() -> bool:
        try:
            return len(kafka.end_offsets(settings.kafka, "orders", timeout=5)) == 500
        except KafkaException:  # 500 leaders take seconds to be appointed
            return False

    wait_until(led, "500 partitions have a leader", 120)
    for what in (lambda: topics.describe(settings), lambda: doctor.examine(settings)):
        began = time.monotonic()
        assert what()
        print(f"{time.monotonic() - began:.2f} s")
