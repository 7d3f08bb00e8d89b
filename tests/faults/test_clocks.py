"""Clock steps of every process, both ways: nothing is lost, rejected, graded or stalled by them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from shop import boot_clock
from shop.clock import utc_now
from shop.ids import time_of
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.faults.clocks import DAY_S, WallClock
from tests.support import python_process
from tests.support.event_samples import message, order
from tests.support.fault_stage import drain_time
from tests.support.ingest_processes import ROOT, Ingest, caught_up, publish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault
HOUR_S = 3_600


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


def start(env: dict[str, str], module: str, *args: str) -> subprocess.Popen[str]:
    return python_process.Popen(
        [sys.executable, "-m", module, *args], cwd=ROOT, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], expected: int = 0, timeout: float = 60) -> str:
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == expected, err
    return out + err


def counts(pg: Connection) -> tuple[int, int]:
    row = pg.execute("SELECT (SELECT count(*) FROM orders), count(*) FROM rejected_messages")
    stored, rejected = row.fetchone() or (0, 0)
    return stored, rejected


def publish_orders(settings: Settings, first: int, number: int) -> None:
    at = utc_now()
    orders = [order(first + i, ordered_at=at, updated_at=at) for i in range(number)]
    publish(settings, "orders", [message("orders", o) for o in orders])


@pytest.mark.parametrize("wrong", [DAY_S + HOUR_S, -DAY_S - HOUR_S])
@pytest.mark.usefixtures("topics")
def test_an_ingest_whose_clock_is_a_day_off_stores_all_and_stops(
    env: dict[str, str], settings: Settings, pg: Connection, clock: WallClock, wrong: int
) -> None:
    log = Path(env["JANGTEO_DATA_DIR"]) / "log"
    clock.set(wrong)
    publish_orders(settings, 1, 200)
    with Ingest(env, log, **clock.env) as ingest:
        wait_until(lambda: caught_up(settings, pg), "200 orders")
        clock.set(0)
        publish_orders(settings, 1_000, 100)
        wait_until(lambda: counts(pg)[0] == 300, "orders after the first step")
        clock.set(-wrong)
        publish_orders(settings, 2_000, 100)
        wait_until(lambda: counts(pg)[0] == 400, "orders after the second step")
        assert counts(pg) == (400, 0)
        assert "this machine's clock is" in ingest.log()
        assert drain_time(ingest) < 10


@pytest.mark.usefixtures("topics")
def test_ids_do_not_repeat_when_the_clock_is_set_back_and_the_process_restarted(
    env: dict[str, str], settings: Settings, pg: Connection, clock: WallClock
) -> None:
    def run(*args: str) -> list[int]:
        made = start(env | clock.env, "generators.users", "--rate", "500", "--limit", "300", *args)
        finish(made)
        row = pg.execute("SELECT ceiling_ms FROM node_leases WHERE node = 1").fetchone()
        assert row is not None
        return [row[0]]

    for offset in (0, -HOUR_S, DAY_S, 0):
        clock.set(offset)
        run("--node", "1")
    with Ingest(env, Path(env["JANGTEO_DATA_DIR"]) / "log", INGEST_TOPICS="users"):
        wait_until(lambda: caught_up(settings, pg, ["users"]), "all users")
    ids = [i for (i,) in pg.execute("SELECT user_id FROM users").fetchall()]
    assert len(ids) == 1_200
    now = utc_now()
    assert all(abs(now - time_of(i)) < timedelta(minutes=10) for i in ids)


def test_a_grader_400_days_ahead_changes_nothing(
    env: dict[str, str], pg: Connection, redis_client: redis.Redis, clock: WallClock
) -> None:
    pg.execute("INSERT INTO users (user_id, grade) VALUES (1, 'VIP')")
    pg.execute(
        "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,"
        " amount, payment_method, status, ordered_at, updated_at)"
        " VALUES (1, 1, 1, 1, 1, 90000000, 0, 90000000, 'CARD', 'PAID', now(), now())"
    )
    clock.set(400 * DAY_S)
    said = finish(start(env | clock.env, "grading.updater", "--once"), expected=1)
    assert "400.0 days ahead of that of PostgreSQL" in said
    assert "Traceback" not in said
    grader = start(env | clock.env, "grading.updater")
    try:
        wait_until(
            lambda: [b.state for b in cache.heartbeats(redis_client)] == ["clocks differ"],
            "the grader to compare the clocks", 60,
        )  # fmt: skip
        assert pg.execute("SELECT count(*) FROM grade_runs").fetchone() == (0,)
        grader.send_signal(signal.SIGTERM)
        assert "not grading" in finish(grader)
    finally:
        grader.kill()
    assert pg.execute("SELECT grade FROM users").fetchone() == ("VIP",)
    clock.set(0)
    finish(start(env | clock.env, "grading.updater", "--once"))


def test_two_cache_workers_two_hours_apart_refresh_once_an_interval(
    env: dict[str, str], redis_client: redis.Redis, tmp_path: Path
) -> None:
    behind, ahead = WallClock(tmp_path, "behind"), WallClock(tmp_path, "ahead")
    behind.set(-HOUR_S)
    ahead.set(HOUR_S)
    given = env | {"CACHE_REFRESH_INTERVAL": "100"}
    workers = [start(given | c.env, "generators.cache_worker") for c in (behind, ahead)]
    try:
        wait_until(lambda: cache.read_meta(redis_client).version >= 2, "both have begun")
        cache.update_meta(redis_client, users=1, products=1)
        redis_client.hset(cache.USERS, "1", "{}")
        redis_client.hset(cache.PRODUCTS, "1", "{}")
        version = cache.read_meta(redis_client).version
        time.sleep(5)
        behind.set(HOUR_S)  # steps change nothing either
        ahead.set(-HOUR_S)
        time.sleep(3)
        assert cache.read_meta(redis_client).version <= version + 1
        beats = {b.name: b for b in cache.heartbeats(redis_client)}
        assert abs((beats["cache"].at - utc_now()).total_seconds()) < 60
    finally:
        for worker in workers:
            worker.terminate()
            finish(worker)


def test_a_process_is_known_whatever_its_clock_says(env: dict[str, str], clock: WallClock) -> None:
    code = (
        "import os, sys, time; from shop import boot_clock as boot; "
        "print(boot.process_started(os.getpid()), time.time(), flush=True); sys.stdin.read()"
    )
    clock.set(-2 * HOUR_S)
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=env | clock.env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout
        started, said = process.stdout.readline().rsplit(" ", 1)
        assert abs(time.time() - float(said)) > HOUR_S  # the clock is moved indeed
        assert boot_clock.same_process(process.pid, started)
        assert not boot_clock.same_process(process.pid, started + "0")
    finally:
        process.kill()
        process.communicate()
    assert boot_clock.process_started(process.pid) is None


@pytest.mark.usefixtures("topics")
def test_the_doctor_says_that_clocks_differ(env: dict[str, str], clock: WallClock) -> None:
    clock.set(2 * HOUR_S)
    done = start(env | clock.env, "jangteo.cli.doctor", "--json")
    out, _ = done.communicate(timeout=60)
    found = {f["subject"]: f for f in json.loads(out)["findings"]}
    assert found["clock of PostgreSQL"]["level"] == "wrong"
    assert "2.0 h ahead" in found["clock of PostgreSQL"]["text"]
    assert found["clock of Redis"]["level"] == "wrong"
    assert done.returncode == 1
