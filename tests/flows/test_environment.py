"""The ingest stores the same in a hostile environment, without descriptors, on a full disk."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from shop.clock import utc_now
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.event_samples import message, order, product, user
from tests.support.ingest_processes import Ingest, publish, wait_caught_up
from tests.support.surroundings import ENVIRONMENT, polluted
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("topics")


def a_bit_of_everything(settings: Settings, first: int = 1) -> None:
    now = utc_now().replace(microsecond=123_000)
    orders = [order(first + i, ordered_at=now, updated_at=now) for i in range(50)]
    messages = [message("orders", o) for o in orders]
    # Copies take the path through savepoint and staging table.
    publish(settings, "orders", [*messages, *messages[:5], (b"k", b"no json \xff")])
    publish(settings, "users", [message("users", user(7))])
    publish(settings, "products", [message("products", product(70))])


def test_an_ingest_under_polluted_surroundings_stores_the_same(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    with polluted(settings.postgres):
        a_bit_of_everything(settings)
        with Ingest({**env, **ENVIRONMENT}, tmp_path / "log", LANG="C", TZ="Asia/Seoul") as ingest:
            wait_caught_up(settings, pg, ("orders", "users", "products"))
            assert ingest.stop() == 0
    rows = pg.execute(
        "SELECT count(*), count(DISTINCT ordered_at), bool_and(abs(extract(epoch FROM"
        " now() - ordered_at)) < 600) FROM public.orders"
    ).fetchone()
    assert rows == (50, 1, True)
    assert pg.execute("SELECT payload FROM rejected_messages").fetchall() == [(b"no json \xff",)]


def test_an_ingest_out_of_descriptors_waits_and_resumes(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    with Ingest(env, tmp_path / "log") as ingest:
        a_bit_of_everything(settings)
        wait_caught_up(settings, pg, ("orders",))
        pid = ingest.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # The descriptors that are open stay; none is to be had for a new connection.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'jangteo-ingest-%'"
        )
        a_bit_of_everything(settings, first=1_000)
        wait_until(lambda: "waiting for server" in ingest.log(), "it says that it waits")
        assert ingest.alive()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        wait_caught_up(settings, pg, ("orders", "users"))
        assert ingest.log().count("waiting for server") <= 6
        assert "Traceback" not in ingest.log()
        assert ingest.stop() == 0


@pytest.mark.parametrize("where", ["/dev/full", "nobody reads"])
def test_an_ingest_whose_log_cannot_be_written_stores_all(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path, where: str
) -> None:
    if where == "/dev/full":
        descriptor = os.open(where, os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    process = python_process.Popen(
        [sys.executable, "-m", "bytewax.run", "flows.ingest"],
        env={**env, "LOG_LEVEL": "debug"}, stdout=descriptor, stderr=descriptor,
    )  # fmt: skip
    os.close(descriptor)
    try:
        a_bit_of_everything(settings)
        wait_caught_up(settings, pg, ("orders", "users", "products"))
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def test_a_disk_that_is_full_for_postgresql_is_waited_for(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    # A server's real "disk full" (53100): the session may use no temporary file and no more disk
    # than a trigger that raises what PostgreSQL raises says.
    pg.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )
    pg.execute("CREATE TRIGGER f BEFORE INSERT ON orders EXECUTE FUNCTION full_disk()")
    with Ingest(env, tmp_path / "log") as ingest:
        a_bit_of_everything(settings)
        wait_until(lambda: "No space left on device" in ingest.log(), "it says why it waits")
        time.sleep(1)
        assert ingest.alive()
        pg.execute("DROP TRIGGER f ON orders")
        wait_caught_up(settings, pg, ("orders", "users", "products"))
        assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (1,)
        assert ingest.stop() == 0
