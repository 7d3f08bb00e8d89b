"""The broker that tests share behaves like a new one for each of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from shop import kafka
from shop.events import TOPICS
from shop.settings import Settings
from tests.support.broker import clients_end
from tests.support.waiting import wait_until


def sizes(broker: Any) -> dict[str, int]:
    return {t: sum(kafka.end_offsets(broker.settings, t).values()) for t in TOPICS}


def produced(broker: Any) -> Any:
    producer = kafka.producer(broker.settings, "test")
    producer.produce("orders", b"{}")
    assert producer.flush(30) == 0
    return producer


def groups(broker: Any) -> list[str]:
    client = kafka.admin(broker.settings)
    return [group.group_id for group in client.list_consumer_groups().result().valid]


def test_without_asking_there_is_no_kafka(env: dict[str, str], settings: Settings) -> None:
    assert not [name for name in env if name.startswith("KAFKA_")]
    assert settings.postgres.db == env["POSTGRES_DB"]


def test_a_broker_that_was_asked_for_has_nothing(kafka_broker: Any, env: dict[str, str]) -> None:
    assert env["KAFKA_BOOTSTRAP_SERVERS"] == kafka_broker.env["KAFKA_BOOTSTRAP_SERVERS"]
    assert kafka.describe_topics(kafka.admin(kafka_broker.settings)) == {}


def test_a_producer_that_a_test_forgot_writes_nothing_later(
    topics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clients_end(monkeypatch, set):
        forgotten = produced(topics)
        topics.kill()
        for _ in range(100):  # for as long as it lives it tries to get rid of them
            forgotten.produce("orders", b"late")
        topics.start()
    topics.empty()
    topics.create_topics()
    produced(topics)
    with pytest.raises(RuntimeError):
        forgotten.produce("orders", b"later still")
    assert sizes(topics) == {"users": 0, "products": 0, "orders": 1}


def test_a_process_that_a_test_forgot_ends(
    topics: Any, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clients_end(monkeypatch, lambda: servers.pids):
        forgotten = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert not psutil.pid_exists(forgotten.pid) or forgotten.wait(5) < 0
    assert all(psutil.pid_exists(pid) for pid in servers.pids)


def test_groups_go_with_members_that_cannot_leave(topics: Any) -> None:
    member = Consumer(kafka.consumer_config(topics.settings, "test", "orders_group"))
    member.subscribe(["orders"])
    wait_until(lambda: not member.poll(0.1) and member.assignment(), "it joined")
    assert groups(topics) == ["orders_group"]
    topics.empty()
    assert groups(topics) == []
    member.close()


@pytest.mark.parametrize("end", ["kill", "start_without_memory"])
def test_whatever_was_done_to_it_the_next_test_has_it(topics: Any, end: str) -> None:
    produced(topics)
    getattr(topics, end)()
    topics.empty()
    topics.create_topics()
    assert sizes(topics) == dict.fromkeys(TOPICS, 0)
    produced(topics)


def test_topics_of_the_same_name_are_others(topics: Any) -> None:
    before = kafka.describe_topics(kafka.admin(topics.settings))
    topics.empty()
    topics.create_topics()
    after = kafka.describe_topics(kafka.admin(topics.settings))
    assert all(before[t].log_id != after[t].log_id for t in TOPICS)


def test_only_topics_that_are_as_new_are_left_to_the_next_test(topics: Any) -> None:
    def ids() -> dict[str, str]:
        return {n: i.log_id for n, i in kafka.describe_topics(client).items()}

    client = kafka.admin(topics.settings)
    before = ids()
    produced(topics)
    short = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    products = ConfigResource(ResourceType.TOPIC, "products", incremental_configs=[short])
    for future in client.incremental_alter_configs([products]).values():
        future.result()
    topics.empty(but_new=True)
    assert ids() == {"users": before["users"]}
    topics.create_topics()
    assert sizes(topics) == dict.fromkeys(TOPICS, 0)
    before = ids()
    for future in client.create_partitions([NewPartitions("orders", 13)]).values():
        future.result()
    opened = kafka.producer(topics.settings, "test", **{"transactional.id": "open"})
    opened.init_transactions(30)
    opened.begin_transaction()
    opened.produce("users", b"{}")
    opened.flush(30)
    topics.empty(but_new=True)
    assert ids() == {"products": before["products"]}
    opened.abort_transaction(30)


def test_a_broker_started_again_keeps_what_it_had(topics: Any) -> None:
    produced(topics)
    topics.kill()
    with pytest.raises(KafkaException):
        kafka.admin(topics.settings).list_topics(timeout=0.5)
    topics.start()
    assert sizes(topics)["orders"] == 1
