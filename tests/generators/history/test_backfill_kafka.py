"""A history replayed through Kafka and the ingest; an ingest next to an unfinished history."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime

import polars as pl
import pytest

from generators.history.history import HistorySimulation
from generators.history.request import HistoryRequest
from generators.history.targets.kafka import KafkaTarget
from generators.history.targets.postgres import PostgresTarget
from jangteo.stack import consistency
from shop.clock import UTC
from shop.grading_policy import POLICY
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.generator_processes import GeneratorProcess
from tests.support.waiting import wait_until

SIZE = ["--days", "9", "--orders-per-day", "150"]
END = ["--end", "2026-11-20"]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
ASKED = HistoryRequest(
    days=9, orders_per_day=150,
    end=datetime(2026, 11, 20, tzinfo=UTC).date(), policy=POLICY.as_json(),
)  # fmt: skip
START = Callable[..., GeneratorProcess]


def backfill(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "generators.backfill", *SIZE, *END, *words],
        env=env, capture_output=True, text=True, timeout=120
    )  # fmt: skip


def count(pg: Connection, table: str) -> int:
    row = pg.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return int(row[0])


@pytest.mark.usefixtures("topics")
def test_a_history_through_the_pipeline_is_the_history(
    env: dict[str, str], settings: Settings, pg: Connection, start: START
):
    end = ASKED.ends_at(NOW)
    history = HistorySimulation(ASKED.plan(end, POLICY), POLICY, end)
    days = list(history.days())
    expected = pl.concat(day.orders for day in days).sort("order_id")
    products = history.ending().products.sort("product_id")
    profiles = (sum(len(day.users) for day in days), len(products))
    assert products["rev"].max() > 1

    # Some days are published, the process is killed, the same command resumes.
    state = settings.data_dir / "backfill-kafka.json"
    target = KafkaTarget(settings.kafka, state, speed=None, truncate=False, stop=threading.Event())
    target.begin(ASKED, end)
    again = HistorySimulation(ASKED.plan(end, POLICY), POLICY, end)
    for _, day in zip(range(3), again.days(), strict=False):
        target.prepare(day)()
    target.close()
    other = backfill(env, "--to", "kafka", "--seed", "9")
    assert other.returncode == 2
    assert "a history is unfinished (3 of 9 days), with seed 1, not 9" in other.stderr

    start("bytewax.run", "flows.ingest")
    done = backfill(env, "--to", "kafka")
    assert done.returncode == 0, done.stderr
    changed = expected.filter(pl.col("rev") > 1)
    wait_until(  # topic by topic: a customer with orders begins as a stub
        lambda: (
            count(pg, "orders") == len(expected)
            and count(pg, "orders WHERE rev = 2") == len(changed)
            and count(pg, "users WHERE created_at IS NOT NULL") == profiles[0]
            and count(pg, "products WHERE created_at IS NOT NULL") == profiles[1]
            and count(pg, "products WHERE rev > 1") == len(products.filter(pl.col("rev") > 1))
        ),
        "all of it in PostgreSQL",
        60,
    )
    stored = pg.execute(f"SELECT {', '.join(expected.columns)} FROM orders ORDER BY order_id")
    assert stored.fetchall() == expected.rows()
    assert (count(pg, "users"), count(pg, "products")) == profiles
    stored = pg.execute(f"SELECT {', '.join(products.columns)} FROM products ORDER BY product_id")
    assert stored.fetchall() == products.rows()
    assert count(pg, "rejected_messages") == 0
    assert consistency.check(pg) == []


@pytest.mark.usefixtures("topics")
def test_an_ingest_waits_while_a_history_is_half_done(
    settings: Settings, pg: Connection, start: START
):
    target = PostgresTarget(settings.postgres, window_s=300, policy=POLICY, truncate=False)
    end = ASKED.ends_at(NOW)
    target.begin(ASKED, end)
    history = HistorySimulation(ASKED.plan(end, POLICY), POLICY, end)
    target.prepare(next(iter(history.days())))()
    orders = count(pg, "orders")

    ingest = start("bytewax.run", "flows.ingest")
    users = start("generators.users", "--rate", "200", "--limit", "300")
    assert users.popen.wait(60) == 0
    ingest.says("a backfill is half done")
    assert ingest.popen.poll() is None
    assert (count(pg, "users"), count(pg, "orders")) == (0, orders)
    assert target.discard()
    target.close()
    wait_until(lambda: count(pg, "users") == 300, "the sign-ups", 60)
    assert count(pg, "rejected_messages") == 0
    assert (count(pg, "orders"), consistency.check(pg)) == (0, [])
