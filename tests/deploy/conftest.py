"""A shop with a history and every optional topic, which the tests of this folder only read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from shop import postgres
from shop.clock import utc_now
from shop.postgres import Connection
from tests.deploy.backfilled_shop import fill


@pytest.fixture(scope="package")
def filled_database(servers: Any) -> Iterator[str]:
    """The name of one backfilled database for all that only read it."""
    servers.revive()
    name = servers.create_database()
    fill({**servers.env, "POSTGRES_DB": name})
    yield name
    servers.drop_database(name)


@pytest.fixture(scope="module")
def shop(servers: Any, filled_database: str) -> Iterator[Connection]:
    """A connection to the backfilled database, as Grafana is to log in."""
    servers.revive()
    reached = servers.settings(POSTGRES_DB=filled_database).postgres
    with postgres.connect(reached, "test", autocommit=True) as conn:
        postgres.grant_roles(conn)
        conn.execute("SET ROLE jangteo_console")
        yield conn


@pytest.fixture(scope="module")
def now(shop: Connection) -> datetime:
    """A moment after everything in the shop."""
    return utc_now().replace(microsecond=0) + timedelta(seconds=1)
