"""Customers and products stay in their topics, with any settings at creation."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from jangteo.cli.init import init_topics
from jangteo.stack import retention
from shop import kafka
from shop.settings import Settings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("topics")


def alter(client: AdminClient, topic: str, **entries: str) -> None:
    names = {k.replace("_", "."): v for k, v in entries.items()}
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in names.items()
        ],
    )
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    wait_for_config(client, topic, names)


def wait_for_config(client: AdminClient, topic: str, names: dict[str, str]) -> None:
    """The broker shows a change of the controller a moment later."""
    wanted = list(names.values())
    wait_until(
        lambda: config(client, topic, *names) == wanted, lambda: config(client, topic, *names)
    )


def config(client: AdminClient, topic: str, *names: str) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (future,) = client.describe_configs([resource]).values()
    found: dict[str, Any] = future.result()
    return [found[name].value for name in names]


LIMITS = ("cleanup.policy", "retention.ms", "retention.bytes")
FOR_EVER = ["delete", "-1", "-1"]


def test_topics_are_made_and_mended_so_that_nobody_is_forgotten(settings: Settings) -> None:
    client = kafka.admin(settings.kafka)
    assert config(client, "users", *LIMITS) == FOR_EVER
    assert config(client, "products", *LIMITS) == FOR_EVER
    assert config(client, "orders", *LIMITS) != FOR_EVER
    assert init_topics(settings.kafka).endswith("topics: all there")
    alter(client, "users", retention_ms="1000")
    alter(client, "orders", retention_ms="1000")
    assert init_topics(settings.kafka).endswith("all there; changed users: retention.ms=-1")
    wait_for_config(client, "users", dict(zip(LIMITS, FOR_EVER, strict=True)))
    assert config(client, "orders", "retention.ms") == ["1000"]
    assert retention.keep_profiles(settings.kafka) == []


def test_a_compacted_topic_stays_as_its_owner_made_it(settings: Settings) -> None:
    client = kafka.admin(settings.kafka)
    alter(client, "products", cleanup_policy="compact", retention_ms="1000")
    assert retention.keep_profiles(settings.kafka) == []
    alter(client, "products", cleanup_policy="compact,delete")
    assert retention.keep_profiles(settings.kafka) == ["products: retention.ms=-1"]


def test_a_cluster_that_does_not_answer_is_logged(
    servers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    away = servers.settings(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert retention.keep_profiles(away.kafka, timeout=0.5) == []
    assert "retention.ms=-1" in capsys.readouterr().err
