"""What the tests of the flows share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shop import postgres
from shop.postgres import Connection
from shop.settings import Settings
from tests.flows.ingesting import TOPICS, Ingesting


@pytest.fixture
def conn(settings: Settings) -> Iterator[Connection]:
    with postgres.connect(settings.postgres, "store") as connection:
        yield connection


@pytest.fixture
def ingesting(settings: Settings, pg: Connection) -> Iterator[dict[str, Ingesting]]:
    for topic in TOPICS:
        pg.execute(
            "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
            " VALUES (%s, 0, 'log-1', 0)",
            (topic,),
        )
    members = {topic: Ingesting(settings, topic) for topic in TOPICS}
    try:
        yield members
    finally:
        for member in members.values():
            member.end()
