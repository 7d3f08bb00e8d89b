"""The lifetime of a topic: what happens to offsets, on a real Apache Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions
from confluent_kafka.cimpl import NewTopic

from jangteo.cli import doctor_probes
from jangteo.cli.topics import command as topics
from jangteo.stack.consistency import check
from shop import command, kafka
from shop.clock import utc_now
from shop.errors import ExitCode
from shop.events import GROUPS
from shop.ingest_progress import ProgressReader
from shop.kafka.progress import TopicProgress
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.event_samples import Message, message, order
from tests.support.ingest_processes import Ingest, publish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("topics")

ORDERS_ONLY = {"INGEST_TOPICS": "orders"}


def orders(first: int, count: int) -> list[Message]:
    now = utc_now()
    return [
        message("orders", order(i, user_id=i, ordered_at=now, updated_at=now))
        for i in range(first, first + count)
    ]


def stored(pg: Connection) -> set[int]:
    return {i for (i,) in pg.execute("SELECT order_id FROM orders").fetchall()}


def wait_stored(pg: Connection, ids: Iterable[int]) -> None:
    wanted = set(ids)
    wait_until(lambda: wanted <= stored(pg), f"{len(wanted)} orders stored")
    assert stored(pg) == wanted
    assert check(pg) == []


def seen(settings: Settings) -> TopicProgress:
    progress = ProgressReader(settings, "test")
    try:
        return progress.look(["orders"]).topics["orders"]
    finally:
        progress.close()


def wait_lag_0(settings: Settings) -> None:
    """Require no lag in our figure and in Kafka's own tools: every end is committed."""

    def reached() -> bool:
        topic = seen(settings)
        return topic.lag == 0 and all(p.committed == p.end for p in topic.partitions)

    wait_until(reached, "lag 0, in PostgreSQL and in Kafka")


def counts(pg: Connection) -> dict[str, int]:
    """The counts of the newest incarnation of the topic."""
    row = pg.execute(
        "SELECT sum(next_offset), sum(stored), sum(rejected), sum(ignored), sum(gaps), sum(lost)"
        " FROM ingest_offsets WHERE log_id = (SELECT log_id FROM ingest_offsets"
        " ORDER BY updated_at DESC LIMIT 1)"
    ).fetchone()
    names = ("next", "stored", "rejected", "ignored", "gaps", "lost")
    return dict(zip(names, map(int, row or ()), strict=True))


def recreate(settings: Settings, partitions: int) -> None:
    client = kafka.admin(settings.kafka)
    client.delete_topics(["orders"])["orders"].result(30)
    wait_until(lambda: not kafka.describe_topics(client, ["orders"]), "the topic is gone")

    def created() -> bool:
        try:
            client.create_topics([NewTopic("orders", partitions, 1)])["orders"].result(30)
        except KafkaException:
            return False
        return True

    wait_until(created, "the topic is there again")


def transactional(settings: Settings) -> Producer:
    made = Producer(
        {**kafka.client_config(settings.kafka, "foreign"), "transactional.id": "foreign"}
    )
    made.init_transactions(30)
    return made


def send(producer: Producer, messages: Iterable[Message]) -> None:
    for key, payload in messages:
        producer.produce("orders", payload, key=key)
    assert producer.flush(30) == 0


def test_transactions_leave_no_lag_and_only_what_was_committed(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    producer = transactional(settings)
    with Ingest(env, tmp_path / "i.log", **ORDERS_ONLY) as ingest:
        for first, commits in ((1, True), (1_001, False), (2_001, True), (3_001, False)):
            producer.begin_transaction()
            send(producer, orders(first, 60))
            if commits:
                producer.commit_transaction(30)
            else:
                producer.abort_transaction(30)
        wait_stored(pg, [*range(1, 61), *range(2_001, 2_061)])
        wait_lag_0(settings)
        counted = counts(pg)
        assert (counted["stored"], counted["rejected"], counted["ignored"]) == (120, 0, 0)
        assert counted["next"] == 120 + counted["gaps"]  # markers, aborted records
        assert counted["gaps"] >= 120

        producer.begin_transaction()
        send(producer, orders(4_001, 30))
        publish(settings, "orders", orders(5_001, 30))  # behind an open transaction
        assert seen(settings).lag == 0, "nothing that a consumer could take is left"
        producer.commit_transaction(30)
        wait_stored(pg, [*range(1, 61), *range(2_001, 2_061), *range(4_001, 4_031),
                         *range(5_001, 5_031)])  # fmt: skip
        wait_lag_0(settings)
        assert ingest.stop() == 0


@pytest.mark.parametrize(
    "new", [(12, 300), (12, 5), (4, 300), (16, 300)],
    ids=["longer", "shorter", "fewer partitions", "more partitions"],
)  # fmt: skip
def test_a_topic_deleted_and_created_again_while_it_is_read(
    env: dict[str, str],
    settings: Settings,
    pg: Connection,
    tmp_path: Path,
    new: tuple[int, int],
) -> None:
    partitions, again = new
    with Ingest(env, tmp_path / "i.log", **ORDERS_ONLY) as ingest:
        publish(settings, "orders", orders(1, 60))
        wait_stored(pg, range(1, 61))
        recreate(settings, partitions)
        publish(settings, "orders", [*orders(1_001, again), (b"1", b"{")])
        wait_stored(pg, [*range(1, 61), *range(1_001, 1_001 + again)])
        wait_lag_0(settings)
        counted = counts(pg)
        assert (counted["next"], counted["stored"], counted["rejected"]) == (again + 1, again, 1)
        assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (1,)
        assert ingest.alive()
        assert ingest.log().count("the topic was recreated") == 1
        assert ingest.stop() == 0


def test_a_topic_deleted_and_created_again_while_nobody_reads(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    with Ingest(env, tmp_path / "1.log", **ORDERS_ONLY) as ingest:
        publish(settings, "orders", orders(1, 60))
        wait_stored(pg, range(1, 61))
        assert ingest.stop() == 0
    recreate(settings, 3)
    publish(settings, "orders", orders(1_001, 600))
    with Ingest(env, tmp_path / "2.log", **ORDERS_ONLY):
        wait_stored(pg, [*range(1, 61), *range(1_001, 1_601)])
        wait_lag_0(settings)


def _delete_group(client: AdminClient) -> None:
    client.delete_consumer_groups([GROUPS["orders"]])[GROUPS["orders"]].result(30)


def _reset_offsets(client: AdminClient) -> None:
    to = [TopicPartition("orders", p, 0) for p in range(6)]
    to += [TopicPartition("orders", p, 1) for p in range(6, 12)]
    asked = ConsumerGroupTopicPartitions(GROUPS["orders"], to)
    client.alter_consumer_group_offsets([asked])[GROUPS["orders"]].result(30)


@pytest.mark.parametrize("interfere", [_delete_group, _reset_offsets])
def test_what_an_operator_does_to_the_group_changes_nothing(
    env: dict[str, str],
    settings: Settings,
    pg: Connection,
    tmp_path: Path,
    interfere: Callable[[AdminClient], None],
) -> None:
    with Ingest(env, tmp_path / "1.log", **ORDERS_ONLY) as ingest:
        publish(settings, "orders", orders(1, 120))
        wait_stored(pg, range(1, 121))
        assert ingest.stop() == 0
    client = kafka.admin(settings.kafka)
    interfere(client)
    publish(settings, "orders", orders(1_001, 60))
    with Ingest(env, tmp_path / "2.log", **ORDERS_ONLY):
        wait_stored(pg, [*range(1, 121), *range(1_001, 1_061)])
        wait_lag_0(settings)
    counted = counts(pg)
    assert (counted["stored"], counted["ignored"]) == (180, 0), "nothing was read twice"


def test_partitions_that_are_added_are_read_by_a_running_ingest(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    with Ingest(env, tmp_path / "i.log", **ORDERS_ONLY):
        publish(settings, "orders", orders(1, 30))
        wait_stored(pg, range(1, 31))
        client = kafka.admin(settings.kafka)
        client.create_partitions([NewPartitions("orders", 20)])["orders"].result(30)
        wait_until(
            lambda: set(publish(settings, "orders", orders(1_001, 60))) - set(range(12)) != set(),
            "a producer uses the new partitions",
        )
        wait_stored(pg, [*range(1, 31), *range(1_001, 1_061)])
        wait_lag_0(settings)


def test_messages_removed_unread_stop_the_ingest_until_the_loss_is_accepted(
    env: dict[str, str],
    settings: Settings,
    pg: Connection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Ingest(env, tmp_path / "1.log", **ORDERS_ONLY) as ingest:
        publish(settings, "orders", orders(1, 60))
        wait_stored(pg, range(1, 61))
        assert ingest.stop() == 0
    publish(settings, "orders", orders(1_001, 60))  # nobody reads them
    client = kafka.admin(settings.kafka)
    ends = kafka.end_offsets(settings.kafka, "orders")
    before = {TopicPartition("orders", p, end) for p, end in ends.items()}
    for future in client.delete_records(list(before)).values():
        future.result(30)
    publish(settings, "orders", orders(2_001, 60))

    with Ingest(env, tmp_path / "2.log", **ORDERS_ONLY) as stopped:
        assert stopped.process.wait(60) == ExitCode.FAILED
        (alarm,) = [x for x in stopped.log().splitlines() if "ingest stopped" in x]
        assert "LostOffsetsError" in alarm
        assert "were removed before they were read" in alarm
        assert "jangteo topics accept-loss orders" in alarm
    assert counts(pg)["next"] == 60
    assert any("removed before" in f.text for f in doctor_probes.kafka_cluster(settings))

    def accept(*options: str) -> int:
        return topics_command(settings, "accept-loss", "orders", *options)

    assert accept() == 1
    assert "60 offsets" not in capsys.readouterr().err
    assert counts(pg)["next"] == 60, "only shown"
    assert accept("--yes") == 0
    assert "60 offsets skipped" in capsys.readouterr().out
    assert accept() == 0
    assert capsys.readouterr().out.startswith("nothing is lost")
    with Ingest(env, tmp_path / "3.log", **ORDERS_ONLY):
        wait_stored(pg, [*range(1, 61), *range(2_001, 2_061)])
        wait_lag_0(settings)
    counted = counts(pg)
    assert (counted["lost"], counted["stored"], counted["gaps"]) == (60, 120, 0)


def topics_command(settings: Settings, *words: str) -> int:
    parser = command.Parser()
    topics.configure(parser)
    return topics.run(parser.parse(words), settings)


def test_a_stranger_in_the_group_is_shown_everywhere(
    env: dict[str, str],
    settings: Settings,
    pg: Connection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Ingest(env, tmp_path / "i.log", **ORDERS_ONLY):
        publish(settings, "orders", orders(1, 12))
        wait_stored(pg, range(1, 13))
        stranger = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": GROUPS["orders"],
                "client.id": "kafka\x1b[31mcat",
                "partition.assignment.strategy": "range,roundrobin",
                "auto.offset.reset": "latest",
                "session.timeout.ms": 6_000,
            }
        )
        try:
            stranger.subscribe(["orders"])
            wait_until(lambda: not stranger.poll(0.2) and bool(stranger.assignment()), "it joined")
            publish(settings, "orders", orders(1_001, 120))
            wait_until(lambda: bool(seen(settings).lag), "what it has is not stored")
            found = doctor_probes.kafka_cluster(settings)
            assert any(f.level == "wrong" and "not an ingest of this shop" in f.text for f in found)
            assert not any("\x1b" in f.text for f in found)
            assert topics_command(settings, "describe", "--json", "orders") == 0
            (described,) = json.loads(capsys.readouterr().out)
            assert {p["holder"] for p in described["partitions"]} == {"ours", "foreign"}
            assert "kafka\\x1b[31mcat" in described["troubles"][0]
        finally:
            stranger.close()
        wait_stored(pg, [*range(1, 13), *range(1_001, 1_121)])
        wait_until(
            lambda: all(p.holder == "ours" for p in seen(settings).partitions), "all are ours again"
        )
