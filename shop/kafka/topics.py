"""Topics: their description and creation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shop.events import TOPICS
from shop.kafka.clients import REQUEST_TIMEOUT_S, admin, cluster_id, wait_until_up
from shop.optional.registry import OPTIONAL
from shop.settings import KafkaSettings

KEPT: Final = ("users", "products")
"""The topics whose events must not expire; see `jangteo topics create`."""
FOR_EVER: Final = {"retention.ms": "-1", "retention.bytes": "-1"}


@dataclass(frozen=True)
class TopicInfo:
    """The cluster's description of one topic."""

    name: str
    partitions: int
    replication: int
    log_id: str
    """Cluster id and topic id: a different value means that the topic was recreated."""


def describe_topics(
    client: AdminClient,
    names: Iterable[str] = tuple(TOPICS),
    timeout: float = REQUEST_TIMEOUT_S,
) -> dict[str, TopicInfo]:
    """Describe those of the topics that exist, within `timeout` seconds.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    asked = list(names)
    if not asked:
        return {}
    cluster = cluster_id(client, timeout)  # first: an answer without brokers is an error here
    described = client.describe_topics(TopicCollection(asked), request_timeout=timeout)
    found = {}
    for name, future in described.items():
        try:
            topic = future.result()
        except KafkaException as e:
            code = e.args[0].code()
            # A user of a shop without optional topics need have no right to ask for them.
            hidden = name in OPTIONAL and code == KafkaError.TOPIC_AUTHORIZATION_FAILED
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART or hidden:
                continue
            raise
        found[name] = TopicInfo(
            name=name,
            partitions=len(topic.partitions),
            replication=min((len(p.replicas) for p in topic.partitions), default=0),
            log_id=f"{cluster}/{topic.topic_id}",
        )
    return found


def _kept(name: str) -> Mapping[str, str]:
    """Return how long a topic keeps its events; empty: as the brokers are configured."""
    if name in OPTIONAL:
        return OPTIONAL[name].config
    return FOR_EVER if name in KEPT else {}


def create_topics(settings: KafkaSettings, names: Iterable[str] = tuple(TOPICS)) -> list[str]:
    """Create the topics that are missing; return their names.

    Replication is 3 with `min.insync.replicas=2` where there are 3 brokers, else 1.

    Raises:
        UnreachableError: if no broker answers.
        KafkaException: if the cluster refuses.
    """
    brokers = wait_until_up(settings)
    client = admin(settings)
    replication = settings.replication or (3 if brokers >= 3 else 1)
    safety = {"min.insync.replicas": "2"} if replication >= 3 else {}
    wanted = list(names)
    there = describe_topics(client, wanted)
    missing = [n for n in wanted if n not in there]
    if not missing:
        return []
    futures = client.create_topics(
        [
            NewTopic(
                n,
                settings.partitions,
                replication,
                config={**safety, **_kept(n)},
            )
            for n in missing
        ],
        request_timeout=REQUEST_TIMEOUT_S,
    )
    created = []
    for name, future in futures.items():
        try:
            future.result()
            created.append(name)
        except KafkaException as e:
            if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created
