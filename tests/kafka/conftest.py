"""One Apache Kafka of three brokers for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jangteo.stack.kafka.cluster import Cluster
from shop import kafka
from shop import settings as shop_settings
from shop.events import TOPICS
from shop.settings import Settings
from tests.support.fault_stage import Stage
from tests.support.waiting import wait_until

# Scripts of the client matrix, each run by the Python that has its client: no tests.
collect_ignore = ["clients"]
# Retention is looked at every half second instead of every five minutes.
QUICK_RETENTION = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def cluster(apache_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("kafka"), 3, properties=QUICK_RETENTION)
    made.start()
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def kafka_env(cluster: Cluster, env: dict[str, str]) -> dict[str, str]:
    """The environment of subprocesses, with Apache Kafka as the broker and empty topics."""
    cluster.start()
    given = {**env, **cluster.env}
    settings = shop_settings.load(given, use_stack=False).kafka
    client = kafka.admin(settings)
    if old := list(kafka.describe_topics(client)):
        for future in client.delete_topics(old).values():
            future.result()
        wait_until(lambda: not kafka.describe_topics(client), "the old topics are gone")
    kafka.create_topics(settings)
    wait_until(lambda: len(kafka.describe_topics(client)) == len(TOPICS), "topics everywhere")
    return given


@pytest.fixture
def kafka_settings(kafka_env: dict[str, str]) -> Settings:
    """The settings of `kafka_env`."""
    return shop_settings.load(kafka_env, use_stack=False)


@pytest.fixture
def stage(kafka_env: dict[str, str], kafka_settings: Settings, tmp_path: Path) -> Iterator[Stage]:
    """Ingest processes and a load of orders, on Apache Kafka."""
    with Stage(kafka_env, kafka_settings, tmp_path) as made:
        yield made
