"""Real servers for every test: one PostgreSQL, Redis and Kafka per session."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql

from shop import cache, embedded, kafka, kafka_jars, log, postgres
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.settings import Settings

# On a busy machine the first example of a regular expression takes seconds; and a change is not
# to be held up by an example that no change of its own brought up.
hypothesis.settings.register_profile(
    "jangteo",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("jangteo")

# A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_OURS = ("KAFKA_", "POSTGRES_", "REDIS_", "JANGTEO_", "CACHE_", "INGEST_", "SHOP_", "GRADE_")
_TEMPLATE = "shop_template"


class Servers:
    """The session's private servers; one of each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self.postgres = embedded.Postgres(directory, durable=False)
        self.redis = embedded.Redis(directory)
        self.kafka = embedded.Broker(directory)

    def start(self) -> None:
        kafka_jars.fetch()
        self.postgres.start()
        self.redis.start()
        self.kafka.start()
        self._make_template()

    def stop(self) -> None:
        for server in (self.kafka, self.redis, self.postgres):
            server.stop()  # PostgreSQL killed for good would leave a shared memory segment behind

    @property
    def env(self) -> dict[str, str]:
        """Variables for subprocesses; of the database that `initdb` made, without a schema."""
        outside = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return {
            **outside,
            **self.postgres.env,
            **self.redis.env,
            **self.kafka.env,
            "DB_TYPE": "local",
            "LANG": "C.UTF-8",
        }

    def settings(self, **extra_env: str) -> Settings:
        return shop_settings.load({**self.env, **extra_env}, use_stack=False)

    def revive(self) -> None:
        """Bring back what an earlier test left dead or broken."""
        self.postgres.start()
        self.redis.start()

    def fresh_broker(self) -> None:
        """Delete all topics, so that the next test begins with none."""
        self.kafka.start()
        client = kafka.admin(self.settings().kafka)
        names = [t for t in client.list_topics(timeout=30).topics if not t.startswith("__")]
        for future in (client.delete_topics(names) if names else {}).values():
            future.result(30)
        deadline = time.monotonic() + 30
        while kafka.describe_topics(client, names) if names else {}:
            assert time.monotonic() < deadline, "the old topics are not gone"
            time.sleep(0.05)

    def create_database(self) -> str:
        """Copy the template, file by file: page by page through the WAL costs the server more."""
        name = f"shop_{next(self._numbers)}"
        with self._postgres() as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(_TEMPLATE)
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        self.revive()
        with self._postgres() as conn:
            conn.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _postgres(self) -> psycopg.Connection[tuple[object, ...]]:
        reached = self.settings(POSTGRES_DB="postgres").postgres
        return postgres.connect(reached, "tests", autocommit=True)

    def _make_template(self) -> None:
        with self._postgres() as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        with postgres.connect(self.settings(POSTGRES_DB=_TEMPLATE).postgres, "tests") as conn:
            postgres.migrate(conn)


@pytest.fixture(autouse=True)
def log_to_stderr() -> None:
    """Undo the logging of a command that an earlier test ran in this process."""
    log.configure("test")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("servers"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def env(servers: Servers, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A complete environment for subprocesses: a fresh database, empty Redis, empty topics."""
    servers.revive()
    servers.fresh_broker()
    name = servers.create_database()
    try:
        given = {
            **servers.env,
            "POSTGRES_DB": name,
            "JANGTEO_DATA_DIR": str(tmp_path / "data"),
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        (tmp_path / "data").mkdir()
        with cache.client(given["REDIS_URL"]) as client:
            client.flushall()
        kafka.create_topics(shop_settings.load(given, use_stack=False).kafka)
        yield given
    finally:
        servers.drop_database(name)


@pytest.fixture
def settings(env: dict[str, str]) -> Settings:
    """The settings of `env`."""
    return shop_settings.load(env, use_stack=False)


@pytest.fixture
def pg(settings: Settings) -> Iterator[Connection]:
    """An autocommit connection to the test's database."""
    with postgres.connect(settings.postgres, "test", autocommit=True) as conn:
        yield conn


@pytest.fixture
def redis_client(settings: Settings) -> Iterator[redis.Redis]:
    """A client of the test's Redis."""
    with cache.client(settings.redis_url) as client:
        yield client
