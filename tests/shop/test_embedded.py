"""The embedded servers: start, answer, die, come back where they were."""

from __future__ import annotations

import pytest
import redis

from shop import kafka, postgres
from shop.model import TOPICS
from shop.postgres import Connection
from shop.settings import Settings


@pytest.mark.parametrize("time", range(3))
def test_fixtures_are_fresh(
    settings: Settings, pg: Connection, redis_client: redis.Redis, time: int
) -> None:
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert redis_client.dbsize() == 0
    assert set(kafka.describe_topics(kafka.admin(settings.kafka))) == set(TOPICS)
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    redis_client.set("left", "over")
    assert postgres.schema_version(pg) == len(postgres.migrations())
