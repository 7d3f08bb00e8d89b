"""Real servers for every test: one PostgreSQL, one Redis and at most one Kafka per worker.

`env`, `settings`, `pg` and `redis_client` are a database and a Redis of the test's own, without
Kafka. A test that needs Kafka says so, by `topics` among its fixtures or as
`@pytest.mark.usefixtures("topics")`: then `env` and `settings` name a broker with empty topics.

The tables are plain ones. `--layout partitioned` gives every test tables in the layout by month; a
test that is held against both is parametrised by `layout`.
"""

from __future__ import annotations

import gc
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql
from xdist.scheduler.loadfile import LoadFileScheduling

from jangteo.stack import embedded
from jangteo.stack.kafka import jars
from shop import log, postgres
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import KAFKA_HOME, Settings
from tests.support import python_process
from tests.support.broker import WorkerBroker, clients_end, need_apache_kafka
from tests.support.outside_servers import outside
from tests.support.server_directory import server_directory

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

_TEMPLATES = {"plain": "shop_template", "partitioned": "shop_template_by_month"}
_KAFKA = "tests/kafka/"
_LONGEST = (
    *("/tests/kafka/", "/tests/faults/", "/test_up.py", "/test_backfill.py", "/test_profiles.py"),
    *("/test_continuation.py", "/test_ingest.py", "/test_updater.py", "/test_embedded.py"),
    *("/test_positions.py", "/test_guides.py", "/test_broker.py", "/test_roles.py"),
    *("/test_publishing.py", "/flows/test_environment.py", "/test_incremental.py"),
)
"""Files whose tests take more than half a minute together, as measured; the longest first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the layout of the databases of all tests that do not choose one."""
    parser.addoption("--layout", choices=tuple(_TEMPLATES), default="plain", help="of the tables")


def pytest_report_header() -> str | None:
    """Report what is skipped if Apache Kafka is missing."""
    if os.environ.get(KAFKA_HOME) or not jars.absent():
        return None
    return (
        f"Apache Kafka {jars.version()} is not in {jars.home()}: tests that need it "
        "are skipped if it cannot be fetched; a shop on the in-memory broker is tested all the same"
    )


class Servers:
    """The worker's private servers; `kafka` starts when a test asks for it."""

    def __init__(self, directory: Path, layout: str = "plain") -> None:
        self._numbers = itertools.count(1)
        self._layout = layout
        self._templates: set[str] = set()
        self.postgres = embedded.EmbeddedPostgres(directory, durable=False)
        self.redis = embedded.EmbeddedRedis(directory)
        self.kafka = WorkerBroker(directory)
        self._admin: psycopg.Connection[tuple[object, ...]] | None = None

    def start(self) -> None:
        self.postgres.start()
        self.redis.start()
        self._quick_log_in()

    def stop(self) -> None:
        self.kafka.kill()  # nothing of it is needed again
        if self._admin is not None:
            self._admin.close()
        for server in (self.redis, self.postgres):
            server.stop()  # PostgreSQL killed for good would leave a shared memory segment behind

    @property
    def pids(self) -> set[int]:
        """The processes of the running servers, which a test does not end."""
        servers = {s.pid for s in (self.postgres, self.redis, self.kafka) if s.pid is not None}
        return servers | python_process.server_pids()

    @property
    def env(self) -> dict[str, str]:
        """Variables for subprocesses, with `initdb`'s own database, which has no schema.

        Without Kafka: `{**servers.env, **servers.kafka.env}` has it, and starts it.
        """
        return {
            **outside(),
            **self.postgres.env,
            **self.redis.env,
            "DB_TYPE": "local",
            "LANG": "C.UTF-8",
        }

    def settings(self, **extra_env: str) -> Settings:
        return shop_settings.load({**self.env, **extra_env}, use_stack=False)

    def revive(self) -> None:
        """Restart servers that an earlier test left dead or broken."""
        self.postgres.start()
        self.redis.start()

    def create_database(self, layout: str | None = None) -> str:
        """Copy the template, file by file: page by page through the WAL costs the server more.

        Args:
            layout: `plain` or `partitioned`; that of the session by default.
        """
        layout = layout or self._layout
        if layout not in self._templates:
            self._make_template(layout)
        name = f"shop_{next(self._numbers)}"
        self._copy(_TEMPLATES[layout], name)
        return name

    def replace_database(self, name: str, model: str) -> None:
        """Replace a database by a copy of another one, to which nobody is connected."""
        self.drop_database(name)
        self._copy(model, name)

    def drop_database(self, name: str) -> None:
        self.revive()
        self._administer(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _copy(self, model: str, name: str) -> None:
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(model)
            )
        )

    def _administer(self, statement: sql.Composed) -> None:
        """Execute on a kept connection: a new one costs both sides 6 ms of CPU.

        Where a test ended the server or the connection, on a new one.
        """
        for kept in (self._admin is not None, False):
            if self._admin is None:
                self._admin = self._postgres()
            try:
                self._admin.execute(statement)
            except psycopg.OperationalError:
                self._admin.close()
                self._admin = None
                if not kept:
                    raise
            else:
                return

    def _postgres(self) -> psycopg.Connection[tuple[object, ...]]:
        reached = self.settings(POSTGRES_DB="postgres").postgres
        return postgres.connect(reached, "tests", autocommit=True)

    def _quick_log_in(self) -> None:
        """Hash the password once instead of 4,096 times: 3 ms of CPU of each connection.

        The tests make thousands; how the password is asked for stays the same.
        """
        with self._postgres() as conn:
            conn.execute("SET scram_iterations = 1")
            password = sql.Literal(self.postgres.env["POSTGRES_PASSWORD"])
            conn.execute(sql.SQL("ALTER USER postgres PASSWORD {}").format(password))

    def _make_template(self, layout: str) -> None:
        name = _TEMPLATES[layout]
        with self._postgres() as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with postgres.connect(self.settings(POSTGRES_DB=name).postgres, "tests") as conn:
            postgres.migrate(conn, partitioned=layout == "partitioned")
        self._templates.add(layout)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files: as a file runs on one worker, a late long one delays the end.

    `--no-loadscope-reorder` keeps this order; xdist's own is by the number of a file's tests.
    """

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((i for i, part in enumerate(_LONGEST) if part in path), len(_LONGEST))

    items.sort(key=place)


def pytest_collection() -> None:
    """Collect tests without looking for garbage, of which there is none yet."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep garbage collection from what the imports and the collection made: a million objects.

    Without this a full collection takes 0.2 s of CPU, and `clients_end` has one after each test.
    """
    gc.enable()
    gc.freeze()


class _ByFile(LoadFileScheduling):
    """Give whole files to a worker, and all tests that share the three brokers to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return _KAFKA if nodeid.startswith(_KAFKA) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Replace the scheduler of `--dist loadfile`."""
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def log_to_stderr() -> None:
    """Undo the logging of a command that an earlier test ran in this process."""
    log.configure("test")


@pytest.fixture(scope="session")
def servers(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Servers]:
    with server_directory(lambda: tmp_path_factory.mktemp("servers")) as directory:
        made = Servers(directory, pytestconfig.getoption("layout"))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="session")
def apache_kafka() -> None:
    """The jars, for a test that starts a broker of its own; skips it if they cannot be fetched."""
    need_apache_kafka()


@pytest.fixture
def kafka_broker(
    request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerBroker]:
    """The worker's Kafka, without a topic or a group."""
    servers.kafka.empty(but_new="topics" in request.fixturenames)
    with clients_end(monkeypatch, lambda: servers.pids):
        yield servers.kafka


@pytest.fixture
def topics(kafka_broker: WorkerBroker) -> WorkerBroker:
    """The worker's Kafka with the shop's topics, empty; `env` names it."""
    kafka_broker.create_topics()
    return kafka_broker


@pytest.fixture
def layout(pytestconfig: pytest.Config) -> str:
    """The layout of the test's tables; a test parametrises it to be held against both."""
    return str(pytestconfig.getoption("layout"))


@pytest.fixture
def env(
    request: pytest.FixtureRequest, servers: Servers, layout: str, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """An environment for subprocesses: a fresh database, an empty Redis, Kafka if asked for."""
    # Fixtures that depend on `env` see Kafka, however the test asks for it.
    asked = [name for name in ("topics", "kafka_broker") if name in request.fixturenames]
    with_kafka = request.getfixturevalue(asked[0]).env if asked else {}
    servers.revive()
    name = servers.create_database(layout)
    try:
        given = {
            **servers.env,
            **with_kafka,
            "POSTGRES_DB": name,
            "JANGTEO_DATA_DIR": str(tmp_path / "data"),
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        (tmp_path / "data").mkdir()
        with cache.client(given["REDIS_URL"]) as client:
            client.flushall()
        yield given
    finally:
        servers.drop_database(name)


@pytest.fixture
def database(servers: Servers, layout: str) -> Iterator[Settings]:
    """A database with the schema, and no broker: ten times faster to make than `env`."""
    servers.revive()
    name = servers.create_database(layout)
    try:
        yield servers.settings(POSTGRES_DB=name)
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
