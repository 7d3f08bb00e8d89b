"""How long topics keep events: customers and products for ever, orders as the broker is configured.

A consumer that reads `users` and `products` from their beginning must know every customer that an
order names, so their first events may never expire. Not `cleanup.policy=compact`: a faulty event
with the key of a good one would replace it, a tombstone would remove it, and the broker would
refuse events without a key, which are for the ingest to reject. An event is smaller than its row in
PostgreSQL (250 bytes before compression), so these topics grow more slowly than the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType  # `admin` does not declare them

from shop import kafka
from shop.kafka import FOR_EVER, KEPT, REQUEST_TIMEOUT_S
from shop.log import get_logger
from shop.settings import KafkaSettings

_COMPACTED: Final = "compact"
"""A compacted topic deletes nothing by age or size, and stays as it is."""


def keep_profiles(
    settings: KafkaSettings, names: Iterable[str] = KEPT, timeout: float = REQUEST_TIMEOUT_S
) -> list[str]:
    """Let the topics of customers and products keep their events; return what was changed.

    A cluster that refuses is logged: everything else works without.

    Args:
        settings: address of the cluster.
        names: topics; those that have no such rule or do not exist are left out.
        timeout: seconds for each request.
    """
    client = kafka.admin(settings)
    try:
        there = kafka.describe_topics(client, [n for n in names if n in KEPT], timeout)
        if not there:
            return []
        asked = client.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in there],
            request_timeout=timeout,
        )
        wrong = {r.name: _differing(future.result()) for r, future in asked.items()}
        changes = [_change(name, entries) for name, entries in wrong.items() if entries]
        if changes:
            altered = client.incremental_alter_configs(changes, request_timeout=timeout)
            for future in altered.values():
                future.result()
    except KafkaException as e:
        get_logger().warning(
            "the topics of customers and products may lose events by retention: Kafka refuses to "
            "show or change their settings; set retention.ms=-1 and retention.bytes=-1 there",
            error=e.args[0].str(),
        )
        return []
    return [
        f"{name}: {', '.join(f'{k}={v}' for k, v in entries.items())}"
        for name, entries in wrong.items()
        if entries
    ]


def _differing(found: Mapping[str, ConfigEntry]) -> dict[str, str]:
    """Return the settings to change, with their new values."""
    policy = found.get("cleanup.policy")
    if policy is not None and policy.value == _COMPACTED:
        return {}
    now = {key: found[key].value for key in FOR_EVER if key in found}
    return {k: v for k, v in FOR_EVER.items() if k in now and now[k] != v}


def _change(name: str, entries: Mapping[str, str]) -> ConfigResource:
    return ConfigResource(
        ResourceType.TOPIC,
        name,
        incremental_configs=[
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in entries.items()
        ],
    )
