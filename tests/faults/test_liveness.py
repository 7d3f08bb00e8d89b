"""If a process vanishes, the others continue within a bound; health reports what waits."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jangteo.cli import doctor_probes
from shop.settings import Settings
from tests.support.fault_stage import Stage, drain_time
from tests.support.ingest_processes import Ingest
from tests.support.network_proxy import Proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

TAKE_OVER_S = 60.0
"""The bound that docs/faults.md states."""


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    """Stands between an ingest and PostgreSQL."""
    with Proxy(settings.postgres.port) as made:
        yield made


def health(member: Ingest) -> tuple[int, list[str]]:
    """What /healthz says: its status, and the troubles."""
    url = next(w for w in member.log().split() if w.startswith("url="))[4:]
    try:
        with urllib.request.urlopen(url.replace("/metrics", "/healthz"), timeout=10) as answer:
            return answer.status, json.load(answer)["troubles"]
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)["troubles"]


@pytest.mark.parametrize("where", ["cut_before", "cut_after"])
def test_the_connection_is_cut_at_commit(stage: Stage, proxy: Proxy, where: str) -> None:
    """The offsets show whether COMMIT arrived: nothing is lost or stored twice."""
    member = stage.ingest(POSTGRES_PORT=str(proxy.port))
    stage.load(seed=71, rate=500)
    stage.wait_taken(300)
    for _ in range(3):
        setattr(proxy, where, 1)
        wait_until(lambda: getattr(proxy, where) == 0, "a COMMIT is cut")
        stage.wait_taken(100)
    stage.settle()
    assert proxy.cuts == 3
    assert member.alive()


def test_a_slow_way_to_postgresql(stage: Stage, proxy: Proxy) -> None:
    stage.ingest(POSTGRES_PORT=str(proxy.port))
    stage.load(seed=72, rate=200)
    stage.wait_taken(100)
    proxy.delay = 0.05
    stage.wait_taken(200)
    proxy.delay = 0.0
    stage.settle()


def test_who_waits_for_a_lock_can_still_stop_and_says_who_holds_it(stage: Stage) -> None:
    member = stage.ingest(INGEST_STALL_AFTER="3")
    stage.load(seed=73, rate=300)
    stage.wait_taken(300)
    wait_until(lambda: health(member)[0] == 200, "healthy")
    with stage.reading() as conn, conn.transaction():
        conn.execute("SET LOCAL application_name = 'a_client'; LOCK orders")

        def red() -> bool:
            status, troubles = health(member)
            return status == 503 and any("(a_client, " in line for line in troubles)

        wait_until(red, "/healthz is red and names the holder")
        hasty = replace(stage.settings, env={**stage.settings.env, "INGEST_STALL_AFTER": "1"})
        wait_until(  # it allows for a slow database, and a busy machine makes it one
            lambda: any("a_client" in f.text for f in doctor_probes.kafka_cluster(hasty)),
            "doctor names the holder",
        )
        assert drain_time(member) < 10
    other = stage.ingest()
    stage.settle()
    assert other.alive()


def test_a_read_only_database_turns_health_red_until_it_is_writable(stage: Stage) -> None:
    member = stage.ingest(INGEST_STALL_AFTER="3")
    stage.load(seed=74, rate=300)
    stage.wait_taken(300)
    name = stage.settings.postgres.db
    with stage.reading() as conn:
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: health(member)[0] == 503, "/healthz is red")
        wait_until(lambda: any("read-only" in t for t in health(member)[1]), "and says why")
        conn.execute(
            "SET default_transaction_read_only = off;"
            f"ALTER DATABASE {name} RESET default_transaction_read_only".encode()
        )
    wait_until(lambda: health(member)[0] == 200, "/healthz is green again")
    stage.settle()


@pytest.mark.slow
@pytest.mark.parametrize("in_copy", [False, True], ids=["between statements", "in a COPY"])
def test_a_host_vanishes_inside_a_transaction(stage: Stage, proxy: Proxy, in_copy: bool) -> None:
    """Its locks are let go although no packet says that it is gone."""
    first = stage.ingest(POSTGRES_PORT=str(proxy.port))
    stage.load(seed=75, rate=500)
    stage.wait_taken(300)
    if in_copy:
        proxy.hold_after = b"COPY "
    else:
        proxy.hold_after = b"FOR UPDATE"
    wait_until(lambda: proxy.holds, "the transaction is held")
    first.kill()
    proxy.vanish()
    other = stage.ingest()
    began = time.monotonic()
    stage.wait_taken(300, timeout=TAKE_OVER_S)
    print(f"taken over within {time.monotonic() - began:.1f} s")
    stage.settle()
    assert other.alive()


@pytest.mark.slow
def test_a_way_that_stalls_is_given_up(stage: Stage, proxy: Proxy) -> None:
    """Both kernels acknowledge, nothing arrives: only another connection can notice it."""
    member = stage.ingest(POSTGRES_PORT=str(proxy.port))
    stage.load(seed=76, rate=300)
    stage.wait_taken(300)
    proxy.stalled = True
    wait_until(lambda: "connection given up" in member.log(), "given up", TAKE_OVER_S + 20)
    proxy.stalled = False
    stage.wait_taken(300)
    stage.settle()
    assert member.alive()
