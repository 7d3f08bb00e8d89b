"""The grader as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from shop import postgres
from shop.clock import UTC
from shop.redis import cache
from shop.settings import Settings
from tests.support import python_process
from tests.support.waiting import wait_until

COMMAND = (sys.executable, "-m", "grading.updater")


@pytest.fixture
def a_silver_customer(shop: Any) -> None:
    shop.user(1)
    shop.order(1, 100_000, datetime.now(UTC) - timedelta(days=1))


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*args: str, **extra: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f"grader{len(started)}.log"
        with log.open("wb") as stderr:
            process = python_process.Popen(
                [*COMMAND, *args], env={**env, **extra}, stderr=stderr, stdout=subprocess.PIPE
            )
        started.append(process)
        return process, log

    yield run
    for process in started:
        process.kill()
        process.communicate()


@contextmanager
def blocked(settings: Settings, user_id: int) -> Iterator[None]:
    """Hold a customer's row, so that a grader stands still in the middle of its transaction."""
    with postgres.connect(settings.postgres, "blocker") as blocker:
        blocker.execute("SELECT FROM users WHERE user_id = %s FOR UPDATE", (user_id,))
        yield


def _run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return python_process.run([*COMMAND, *args], env=env, capture_output=True, text=True)


@pytest.mark.usefixtures("a_silver_customer")
def test_once_prints_a_table_or_json(env: dict[str, str]) -> None:
    table = _run(env, "--once")
    assert table.returncode == 0, table.stderr
    lines = table.stdout.splitlines()
    assert lines[2].split() == ["SILVER", "1", "100.0%"]
    assert lines[-1].startswith("1 changed (1 up, 0 down)")
    as_json = _run(env, "--once", "--json")
    record = json.loads(as_json.stdout)
    assert (record["changed"], record["distribution"]["SILVER"]) == (0, 1)
    assert record["mode"] == "incremental"
    assert "event=graded" in as_json.stderr
    full = json.loads(_run(env, "--once", "--full", "--json").stdout)
    assert (full["mode"], full["changed"], full["disagreed"]) == ("full", 0, 0)


def test_mistakes_are_one_line(env: dict[str, str]) -> None:
    for args, extra, code, words in (
        (["--json"], {}, 2, "--once"),
        (["--twice"], {}, 2, "--twice"),
        (["--once"], {"GRADE_INTERVAL": "soon"}, 2, "GRADE_INTERVAL='soon'"),
        (["--once"], {"GRADE_POLICY": "/none.json"}, 2, "GRADE_POLICY: cannot read /none.json"),
        ([], {"GRADE_POLICY": "/none.json"}, 2, "GRADE_POLICY: cannot read /none.json"),
        (["--once"], {"POSTGRES_PORT": "1"}, 3, "cannot reach PostgreSQL at 127.0.0.1:1"),
        (["--once"], {"POSTGRES_DB": "postgres"}, 1, "jangteo init"),
        ([], {"POSTGRES_DB": "postgres"}, 1, "jangteo init"),
    ):
        done = _run({**env, **extra}, *args)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, words in last, done.stdout) == (code, True, ""), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("a_silver_customer")
def test_the_process_grades_beats_and_stops_on_sigterm(
    start: Callable[..., Any],
    shop: Any,
    redis_client: redis.Redis,
) -> None:
    process, log = start(GRADE_INTERVAL="1")
    wait_until(lambda: len(shop.runs()) >= 2, "two runs")
    wait_until(
        lambda: any("last_run" in b.fields for b in cache.heartbeats(redis_client)),
        "the last run in the heartbeat",
    )
    beat = next(b for b in cache.heartbeats(redis_client) if b.name == "grader")
    assert beat.pid == process.pid
    assert {"last_run", "changed", "duration"} <= set(beat.fields)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert shop.history() == [(1, "BRONZE", "SILVER", 100_000)]
    assert "SILVER=1" in log.read_text()


@pytest.mark.usefixtures("a_silver_customer")
def test_sigterm_in_the_middle_of_a_run_ends_it_without_a_trace(
    start: Callable[..., Any], shop: Any, settings: Settings
) -> None:
    process, log = start()
    with blocked(settings, 1):
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        wait_until(lambda: not shop.graders(), "no grader is left")
    assert (shop.grades(), shop.history(), shop.runs()) == ({1: "BRONZE"}, [], [])
    assert "Traceback" not in log.read_text()


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_killed_half_way_nothing_is_half_done(
    mode: str,
    start: Callable[..., Any],
    shop: Any,
    settings: Settings,
    env: dict[str, str],
) -> None:
    now = datetime.now(UTC)
    shop.user(1)
    shop.user(2)
    if mode == "incremental":
        assert _run(env, "--once").returncode == 0
    shop.order(1, 100_000, now - timedelta(days=1))
    shop.order(2, 5_000_000, now - timedelta(days=1))
    shop.order(2, 7_000_000, now - timedelta(days=400))
    before = _written(shop)
    with blocked(settings, 2):  # customer 1 is locked by the grader already
        process, _ = start("--once")
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
        process.kill()
        process.wait(30)
    wait_until(lambda: not shop.graders(), "no grader is left")
    assert _written(shop) == before
    assert shop.grades() == {1: "BRONZE", 2: "BRONZE"}
    after = json.loads(_run(env, "--once", "--json").stdout)
    assert (after["mode"], after["changed"]) == (mode, 2)
    assert shop.grades() == {1: "SILVER", 2: "VVIP"}
    assert json.loads(_run(env, "--once", "--full", "--json").stdout)["disagreed"] == 0


def _written(shop: Any) -> list[Any]:
    """Return all that a run writes."""
    tables = ("grade_runs", "grade_history")
    kept = "SELECT as_of, period_start, snapshot::text, place FROM grade_state"
    return [
        shop.grades(),
        shop.pg.execute(kept).fetchall(),
        *(shop.pg.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables),
    ]


@pytest.mark.usefixtures("a_silver_customer")
def test_a_second_grader_leaves_the_first_alone(
    start: Callable[..., Any], shop: Any, settings: Settings
) -> None:
    with blocked(settings, 1):
        start("--once")
        wait_until(lambda: shop.graders("transactionid"), "a grader waits for the row")
        second, log = start()
        wait_until(
            lambda: "another grader is at work" in log.read_text(), "the second says why it waits"
        )
        assert second.poll() is None
    wait_until(lambda: shop.runs() == [("full", 1, 1, 1, 0)], "the run")


@pytest.mark.fault
@pytest.mark.usefixtures("a_silver_customer")
def test_postgresql_away_is_said_once_and_survived(
    start: Callable[..., Any], shop: Any, servers: Any, settings: Settings
) -> None:
    process, log = start(GRADE_INTERVAL="1")
    wait_until(shop.runs, "a run")
    servers.postgres.kill()
    wait_until(lambda: "waiting for server" in log.read_text(), log.read_text)
    servers.postgres.start()
    wait_until(lambda: "server is back" in log.read_text(), log.read_text)
    assert log.read_text().count("waiting for server") == 1
    assert process.poll() is None
    with postgres.connect(settings.postgres, "test", autocommit=True) as conn:
        seen = conn.execute("SELECT count(*) FROM grade_runs").fetchone()
        wait_until(
            lambda: conn.execute("SELECT count(*) FROM grade_runs").fetchone() != seen,
            "another run",
        )
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
