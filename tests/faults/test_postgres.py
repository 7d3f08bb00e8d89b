"""Faults of PostgreSQL: restart, crash, outage, full disk, locks; the ingest waits and resumes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from jangteo.stack import embedded
from shop import postgres
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import Ingest
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


def said(member: Ingest, words: str, after: int = 0) -> bool:
    return words in member.log()[after:]


def wait_said(member: Ingest, words: str, after: int = 0) -> None:
    wait_until(lambda: said(member, words, after), f"the ingest says {words!r}")


def end_sessions(conn: Connection, name: str) -> None:
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        " AND datname = current_database()",
        (name,),
    )


def away(stage: Stage, servers, member: Ingest, published: int) -> None:
    """Messages published while PostgreSQL is killed are stored when it is back."""
    before = len(member.log())
    load = stage.loads[0]
    servers.postgres.kill()
    goal = len(load.acknowledged) + published
    wait_until(lambda: len(load.acknowledged) >= goal, "published during the outage", timeout=240)
    wait_said(member, "waiting for server", before)
    servers.postgres.start()
    wait_said(member, "server is back", before)
    assert member.log()[before:].count("waiting for server") == 1  # one outage, one line


def test_postgres_restarted_and_killed_under_load(stage: Stage, servers) -> None:
    member = stage.ingest()
    stage.load(seed=11, rate=500)
    stage.wait_taken(300)
    servers.postgres.stop()  # fast shutdown: sessions are ended
    servers.postgres.start()
    stage.wait_taken(300)
    away(stage, servers, member, published=2_500)  # five seconds of it
    stage.wait_taken(300)
    stage.settle()
    assert member.alive()


@pytest.mark.slow
def test_postgres_away_for_a_minute(stage: Stage, servers) -> None:
    member = stage.ingest()
    stage.load(seed=12, rate=500)
    stage.wait_taken(300)
    away(stage, servers, member, published=30_000)
    stage.settle()
    assert member.alive()


def test_connections_exhausted(stage: Stage) -> None:
    member = stage.ingest()
    stage.load(seed=13, rate=500)
    stage.wait_taken(300)
    with stage.reading() as conn, ExitStack() as taken:
        # The ingest's sessions are ended while every connection there is, is ours.
        conn.execute(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(sql.Identifier("postgres"))
        )
        while True:
            try:
                taken.enter_context(postgres.connect(stage.settings.postgres, "greedy"))
            except psycopg.OperationalError:
                break
        end_sessions(conn, "jangteo-ingest-orders")
        # The free place is taken before the ingest comes back, or by it: then it lost nothing.
        for _ in range(3):
            with suppress(psycopg.OperationalError):
                taken.enter_context(postgres.connect(stage.settings.postgres, "greedy"))
        wait_said(member, "waiting for server")
    wait_said(member, "server is back")
    stage.wait_taken(300)
    stage.settle()
    assert member.alive()


def test_a_lock_held_on_a_hot_row_with_time_outs(stage: Stage) -> None:
    """Time-outs that a database is set to are for people's queries: they do not reach the ingest.

    It waits for the lock as long as that is held, without an error, and stores all afterwards.
    """
    member = stage.ingest()
    stage.load(seed=14, rate=500)
    stage.wait_taken(300)
    for setting in ("lock_timeout", "statement_timeout"):
        before = len(member.log())
        with stage.reading() as conn:
            database = sql.Identifier(stage.settings.postgres.db)
            name = sql.Identifier(setting)
            conn.execute(sql.SQL("ALTER DATABASE {} SET {} = '400ms'").format(database, name))
            end_sessions(conn, "jangteo-ingest-orders")  # its next session would have the time-out
            wait_said(member, "server is back", before)
            before = len(member.log())
            with conn.transaction(), stage.reading() as watcher:
                conn.execute("SELECT 1 FROM products ORDER BY order_count DESC LIMIT 1 FOR UPDATE")
                wait_until(
                    lambda: bool(
                        watcher.execute(
                            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                            " AND application_name = 'jangteo-ingest-orders'"
                            " AND clock_timestamp() - query_start > '1 second'"
                        ).fetchone()
                    ),
                    "the ingest waits for the lock for longer than the time-out",
                )
            conn.execute(sql.SQL("ALTER DATABASE {} RESET {}").format(database, name))
        assert "timeout" not in member.log()[before:]
    stage.wait_taken(300)
    stage.settle()
    assert member.alive()


def test_what_another_service_added_is_waited_for(stage: Stage) -> None:
    """No dead letter: the same process stores everything once the constraint is gone."""
    member = stage.ingest()
    stage.load(seed=16, rate=500)
    stage.wait_taken(300)
    with stage.reading() as conn:
        conn.execute("ALTER TABLE orders ADD CONSTRAINT one CHECK (quantity < 2) NOT VALID")
        wait_said(member, "refused: waiting until it is fixed")
        assert said(member, "constraint one")
        conn.execute("ALTER TABLE orders DROP CONSTRAINT one")
    wait_said(member, "no longer refused")
    stage.wait_taken(300)
    stage.settle()
    assert member.alive()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    if shutil.which("mount") is None:
        pytest.skip("no `mount` is on the PATH")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("topics")
def test_disk_full(
    small_disk: Path, env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    """53100 is waited for; when there is room again, every row is stored and none rejected."""
    server = embedded.EmbeddedPostgres(tmp_path / "own", durable=False)
    server.start()
    try:
        own = {**env, **server.env}
        own_settings = shop_settings.load(own, use_stack=False)
        space = small_disk / "space"
        space.mkdir(mode=0o700)
        if ":" in server.identity:
            uid, gid = map(int, server.identity.split(":"))
            os.chown(space, uid, gid)
        with postgres.connect(own_settings.postgres, "test", autocommit=True) as conn:
            postgres.migrate(conn)
            path = sql.Literal(str(space))
            conn.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(path))
            conn.execute("ALTER TABLE orders SET TABLESPACE small")
        with Stage(own, own_settings, tmp_path) as stage:
            member = stage.ingest()
            stage.load(seed=15, rate=500)
            stage.wait_taken(300)
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:  # all that is left of the disk
                    file.write(bytes(4096))
            wait_said(member, "No space left on device")
            assert said(member, "waiting for server")
            ballast.unlink(missing_ok=True)
            wait_said(member, "server is back")
            stage.wait_taken(300)
            stage.settle()
            assert member.alive()
    finally:
        server.kill()
