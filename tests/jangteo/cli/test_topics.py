"""`jangteo topics` on a real broker."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Consumer, TopicPartition

from jangteo.cli import main
from jangteo.cli.topics import command as topics
from shop import command, kafka
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.waiting import wait_until


def run(settings: Settings, *words: str) -> int:
    parser = command.Parser()
    topics.configure(parser)
    return topics.run(parser.parse(words), settings)


@pytest.fixture
def published(settings: Settings) -> dict[int, int]:
    """Messages in the partitions 0 to 2 of orders: how many."""
    counts = {0: 5, 1: 3, 2: 1}
    producer = kafka.producer(settings.kafka, "test")
    for partition, count in counts.items():
        for i in range(count):
            producer.produce("orders", key=str(i), value=b"{}", partition=partition)
    producer.flush()
    return counts


def _commit(settings: Settings, partition: int, offset: int) -> None:
    consumer = Consumer(kafka.consumer_config(settings.kafka, "test", "orders_group"))
    try:
        consumer.commit(offsets=[TopicPartition("orders", partition, offset)], asynchronous=False)
    finally:
        consumer.close()


def _apply(pg: Connection, log_id: str, partition: int, next_offset: int) -> None:
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset) "
        "VALUES ('orders', %s, %s, %s)",
        (partition, log_id, next_offset),
    )


@pytest.mark.usefixtures("topics")
def test_describe_tells_kafkas_commits_from_what_postgresql_applied(
    settings: Settings, pg: Connection, published: dict[int, int]
) -> None:
    log_id = kafka.describe_topics(kafka.admin(settings.kafka))["orders"].log_id
    _commit(settings, 0, 2)
    _apply(pg, log_id, 0, 4)
    _apply(pg, "a topic that was deleted", 1, 999)
    report = topics.describe(settings, ["orders"])
    described = report.topics["orders"]
    first, second, third, fourth = described.partitions[:4]
    assert (first.begin, first.end, first.committed) == (0, published[0], 2)
    assert (first.applied, first.pending) == (4, 1)
    # Nothing is committed of the second: that is not the same as nothing to do.
    assert (second.end, second.committed) == (published[1], None)
    assert (second.applied, second.pending) == (0, 3)
    assert (third.end, fourth.end) == (published[2], 0)
    assert (described.info.replication, len(described.partitions)) == (1, 12)
    words = topics.format_topic(described, report)
    assert words.splitlines()[2].split()[:7] == ["0", "0", "5", "2", "3", "4", "1"]
    assert words.splitlines()[3].split()[:7] == ["1", "0", "3", *["unknown"] * 2, "0", "3"]
    assert words.splitlines()[14].split() == ["sum", "3", "5"]


@pytest.mark.usefixtures("topics")
def test_describe_as_json(
    settings: Settings, published: dict[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "describe", "--json", "orders") == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert [p["end"] for p in described["partitions"][:4]] == [5, 3, 1, 0]
    assert described["partitions"][0]["lag"] is None


@pytest.mark.usefixtures("topics")
def test_describe_does_without_postgresql(settings: Settings, published: dict[int, int]) -> None:
    alone = shop_settings.load({**settings.env, "POSTGRES_PORT": "1"}, use_stack=False)
    described = topics.describe(alone, ["orders"]).topics["orders"]
    assert (described.partitions[0].end, described.partitions[0].applied) == (5, None)


@pytest.mark.usefixtures("kafka_broker")
def test_list_and_create(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = shop_settings.load({**settings.env, "KAFKA_PARTITIONS": "3"}, use_stack=False)
    assert run(fresh, "list") == 1
    assert "no topic users: `jangteo topics create` creates it" in capsys.readouterr().err
    assert run(fresh, "create", "orders") == 0
    assert capsys.readouterr().out.endswith("created orders\n")
    assert run(fresh, "describe", "users") == 1
    capsys.readouterr()
    assert run(fresh, "create") == 0
    assert capsys.readouterr().out.endswith("created users, products\n")
    assert run(fresh, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        [t, "3", "1"] for t in ("users", "products", "orders")
    ]


@pytest.mark.usefixtures("topics")
def test_a_consumer_is_a_member(settings: Settings, published: dict[int, int]) -> None:
    idle = topics.describe(settings, ["orders"]).topics["orders"]
    assert idle.members == ()
    consumer = Consumer(kafka.consumer_config(settings.kafka, "test", "orders_group"))
    try:
        consumer.subscribe(["orders"])
        wait_until(lambda: not consumer.poll(0.1) and consumer.assignment(), "it joined")
        described = topics.describe(settings, ["orders"]).topics["orders"]
    finally:
        consumer.close()
    assert described.members is not None
    assert [m.partitions for m in described.members] == [tuple(range(12))]


def test_the_overview_names_what_uses_them() -> None:
    assert "tail" in main.COMMANDS["topics"].help
