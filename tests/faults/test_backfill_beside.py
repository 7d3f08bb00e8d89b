"""A backfill next to a running ingest and grader: one lock order, so no deadlock."""

from __future__ import annotations

import sys
import threading

import psycopg

from grading.store import grade_users
from jangteo.stack.consistency import check
from shop import postgres
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.fault_stage import Stage
from tests.support.waiting import wait_until

SIZE = ["--days", "9", "--orders-per-day", "120"]
ROUNDS = 3


def deadlocks(pg: Connection) -> int:
    row = pg.execute(
        "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database"
        " WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[1])


def grade_until(stop: threading.Event, settings: Settings, done: list[int]) -> None:
    with postgres.connect(settings.postgres, "grader", autocommit=True) as conn:
        while not stop.wait(0.02):
            try:
                grade_users(conn, wait=False)
            except psycopg.errors.LockNotAvailable:  # half a history: nobody else may write
                continue
            done.append(1)


def test_a_backfill_while_the_shop_runs_deadlocks_with_nobody(
    stage: Stage, env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    member = stage.ingest()
    stage.load(seed=41, rate=800)
    stage.wait_taken(300)
    stop, graded = threading.Event(), []
    grader = threading.Thread(target=grade_until, args=(stop, settings, graded))
    grader.start()
    try:
        for _ in range(ROUNDS):
            stage.wait_taken(300)
            done = python_process.run(
                [sys.executable, "-m", "generators.backfill", *SIZE, "--truncate"],
                env=env, capture_output=True, text=True, timeout=120
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            assert "rolled back" not in done.stderr
    finally:
        stop.set()
        grader.join()
    stage.wait_taken(300)
    for load in stage.loads:
        load.stop()
    wait_until(stage.caught_up, "everything applied")
    assert graded
    assert member.alive()
    assert check(pg) == []
    assert deadlocks(pg) == 0
