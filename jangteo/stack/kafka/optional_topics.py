"""Which optional topics a shop has: those that exist in Kafka, created when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

from shop import kafka
from shop.events import TOPICS
from shop.optional.registry import OPTIONAL, switches_of
from shop.settings import KafkaSettings

PROCESS: Final = "optional"
"""The process that publishes all of them."""


def switched_on(settings: KafkaSettings, environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Return the optional topics that exist, and let the ingest read them.

    Args:
        settings: address of Kafka.
        environ: of the processes; INGEST_TOPICS is changed.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    found = kafka.describe_topics(kafka.admin(settings, "up"), OPTIONAL)
    topics = tuple(name for name in OPTIONAL if name in found)
    if topics:
        environ["INGEST_TOPICS"] = ingest_topics(environ.get("INGEST_TOPICS", ""), topics)
    return topics


def ingest_topics(given: str, topics: Sequence[str]) -> str:
    """Return the value of INGEST_TOPICS with which the ingest reads optional topics, too.

    >>> ingest_topics("", ["shipments"]), ingest_topics("orders", ["shipments"])
    ('users,products,orders,shipments', 'orders,shipments')
    """
    names = [name.strip() for name in given.split(",") if name.strip()] or list(TOPICS)
    return ",".join(dict.fromkeys([*names, *topics]))


def commands(topics: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the process that publishes topics, by its name."""
    return {PROCESS: ("generators.optional", "--with", switches_of(topics))}
