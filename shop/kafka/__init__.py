"""Kafka: clients, topics, their identity and their ends."""

from shop.kafka.clients import (
    ASK_S,
    FETCH_WAIT_MS,
    LONGEST_ASK_S,
    REQUEST_TIMEOUT_S,
    admin,
    client_config,
    cluster_id,
    consumer_config,
    producer,
    unreachable,
    wait_until_up,
)
from shop.kafka.offsets import Key, end_offsets, ends_of, list_offsets, read
from shop.kafka.topics import FOR_EVER, KEPT, TopicInfo, create_topics, describe_topics

__all__ = [
    "ASK_S",
    "FETCH_WAIT_MS",
    "FOR_EVER",
    "KEPT",
    "LONGEST_ASK_S",
    "REQUEST_TIMEOUT_S",
    "Key",
    "TopicInfo",
    "admin",
    "client_config",
    "cluster_id",
    "consumer_config",
    "create_topics",
    "describe_topics",
    "end_offsets",
    "ends_of",
    "list_offsets",
    "producer",
    "read",
    "unreachable",
    "wait_until_up",
]
