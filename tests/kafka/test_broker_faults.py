"""Faults of Kafka: brokers killed and restarted, partitions added, retention too short."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

from console.sources import CurrentSettings
from console.sources.kafka import TopicsSource
from jangteo.stack.kafka.cluster import Cluster
from shop import kafka
from shop.errors import ExitCode
from shop.settings import Settings
from tests.support.fault_stage import Stage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


def test_one_broker_of_three_killed(cluster: Cluster, stage: Stage) -> None:
    fleet = [stage.ingest() for _ in range(2)]
    stage.load(seed=51, rate=300)
    stage.wait_taken(500)
    source = TopicsSource(CurrentSettings(stage.settings, follow=False))
    whole = source.read()
    assert (whole.brokers, whole.away, whole.out_of_sync, whole.below_min) == (3, (), 0, 0)
    cluster.brokers[0].kill()
    stage.wait_taken(1_500)  # five seconds of load: leaders have moved
    partitions = sum(len(t.partitions) for t in whole.topics)

    def shows(*expected: object) -> None:
        def seen() -> bool:
            try:
                k = source.read()
            except KafkaException:  # no controller for a moment: the console reads again, too
                return False
            return (k.brokers, len(k.away), k.out_of_sync, k.below_min) == expected

        wait_until(seen, f"the console shows {expected}")

    shows(2, 1, partitions, 0)
    cluster.brokers[0].start()
    stage.wait_taken(500)
    shows(3, 0, 0, 0)
    source.reset()
    stage.settle()
    assert all(member.alive() for member in fleet)


def in_sync(settings: Settings) -> bool:
    """Tell whether every replica of the orders has what its leader has."""
    described = kafka.admin(settings.kafka)
    topic = described.describe_topics(TopicCollection(["orders"]))["orders"].result()
    return all(len(p.isr) == len(p.replicas) for p in topic.partitions)


def test_all_brokers_restarted_in_turn(cluster: Cluster, stage: Stage) -> None:
    fleet = [stage.ingest() for _ in range(2)]
    stage.load(seed=52, rate=300)
    stage.wait_taken(500)
    for broker in cluster.brokers:
        broker.stop()
        broker.start()
        # As every guide to a rolling restart has it: the next one goes when this one is back in
        # sync. Otherwise Kafka itself may lose what it acknowledged, before anybody reads it.
        wait_until(lambda: in_sync(stage.settings), "the replicas are in sync again")
        stage.wait_taken(200)
    stage.settle()
    assert all(member.alive() for member in fleet)


def test_partitions_added_while_running_are_read(stage: Stage) -> None:
    member = stage.ingest()
    stage.load(seed=53, rate=500)
    stage.wait_taken(300)
    client = kafka.admin(stage.settings.kafka)
    client.create_partitions([NewPartitions("orders", 16)])["orders"].result()
    # A producer that starts now knows of them, and every fourth customer or so moves to one.
    stage.loads[0].stop()
    stage.load(seed=54, rate=500)

    def read() -> bool:
        with stage.reading() as conn:
            query = "SELECT count(*) FROM ingest_offsets WHERE partition >= 12 AND stored > 0"
            return (conn.execute(query).fetchone() or (0,))[0] > 0

    wait_until(read, "orders of a new partition are stored")
    stage.settle()
    assert member.alive()


def test_retention_that_passes_a_slow_consumer_is_an_alarm_with_numbers(stage: Stage) -> None:
    first = stage.ingest()
    stage.load(seed=55, limit=400)
    stage.settle()
    assert first.stop() == 0
    stage.load(seed=56, limit=400)  # nobody reads them in time
    _expire(stage)
    late = stage.ingest()
    assert late.process.wait(60) == ExitCode.FAILED
    alarm = next(line for line in late.log().splitlines() if "ingest stopped" in line)
    assert "LostOffsetsError" in alarm
    assert "offsets were removed before they were read" in alarm
    assert "Traceback" not in late.log()
    with stage.reading() as conn:  # and nothing was skipped in silence
        taken = conn.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
    assert taken == (400,)


def _expire(stage: Stage) -> None:
    """Let retention remove all that is there."""
    settings = stage.settings.kafka
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        "orders",
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in (("retention.ms", "1"), ("segment.ms", "1"))
        ],
    )
    client = kafka.admin(settings)  # held: a collected client never answers
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    ends = {p: end for p, end in kafka.end_offsets(settings, "orders").items() if end}
    consumer = Consumer({**kafka.client_config(settings, "low"), "group.id": "jangteo-low"})

    def removed() -> bool:
        lows = {
            p: consumer.get_watermark_offsets(TopicPartition("orders", p), timeout=10)[0]
            for p in ends
        }
        return lows == ends

    try:
        wait_until(removed, "retention has removed everything")
    finally:
        consumer.close()
