"""A history with changes in PostgreSQL, and the live shop that continues it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import redis

from generators.history.history import HistorySimulation
from generators.history.request import HistoryRequest
from generators.history.targets.postgres import PostgresTarget
from generators.topics.customer_changes import LiveCustomerChanges
from generators.topics.history import TopicHistories
from generators.topics.interface import RunningShop
from jangteo.stack import consistency
from shop import postgres
from shop.events import SCHEMAS
from shop.grading_policy import POLICY
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.manual_clock import ManualClock

TOPIC = "customer_changes"
END = datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.fixture
def shop(settings: Settings, pg: Connection) -> Connection:
    """Write a history of 75 days."""
    target = PostgresTarget(
        settings.postgres, window_s=settings.spend_window, policy=POLICY, truncate=False
    )
    asked = HistoryRequest(days=75, orders_per_day=120, policy=POLICY.as_json(), topics=(TOPIC,))
    target.begin(asked, END)
    simulation = HistorySimulation(asked.plan(END, POLICY), POLICY, END, keep_state=True)
    topics = TopicHistories((TOPIC,), asked.seed, END)
    for day in simulation.days():
        target.prepare(replace(day, topics=topics.of(day.block())))()
    target.finish(simulation.ending())
    target.close()
    return pg


def number(pg: Connection, query: str) -> int:
    row = pg.execute(query).fetchone()
    return int(row[0]) if row else 0


def due_then(running: RunningShop, now: datetime) -> pl.DataFrame:
    """Return what a process publishes that is started then."""
    source = LiveCustomerChanges(running, ManualClock())
    found = [pl.DataFrame(schema=SCHEMAS[TOPIC])]
    while not (part := source.due(now)).is_empty():
        found.append(part)
    source.close()
    return pl.concat(found)


@pytest.mark.slow
def test_a_history_has_its_changes_and_is_continued(
    settings: Settings, shop: Connection, redis_client: redis.Redis
) -> None:
    pg = shop
    assert consistency.check(pg) == []
    users = number(pg, "SELECT count(*) FROM users")
    assert users == number(pg, "SELECT count(*) FROM users_history WHERE current")
    assert users == number(pg, "SELECT count(DISTINCT user_id) FROM users_history")
    # Each version ends where the next one begins; closed accounts have nothing left.
    assert not number(
        pg,
        """
        SELECT count(*) FROM (SELECT valid_to, lead(valid_from) OVER (
            PARTITION BY user_id ORDER BY valid_from, rev) AS next FROM users_history) AS v
        WHERE valid_to IS DISTINCT FROM next""",
    )
    closed = number(pg, "SELECT count(*) FROM users_history WHERE kind = 'CLOSED'")
    assert closed > 5
    assert closed == number(
        pg,
        """
        SELECT count(*) FROM users AS u JOIN users_history AS h USING (user_id)
        WHERE h.kind = 'CLOSED' AND u.created_at IS NOT NULL
          AND num_nonnulls(u.name, u.email, u.gender, u.birth_year, u.city) = 0""",
    )
    assert closed == number(pg, "SELECT count(*) FROM users WHERE name IS NULL")
    assert not number(
        pg,
        """
        SELECT count(*) FROM users_history AS h JOIN users_history AS c USING (user_id)
        WHERE c.kind = 'CLOSED' AND num_nonnulls(h.name, h.city, h.marketing_consent) > 0""",
    )
    # Each order has the price of its time.
    assert number(pg, "SELECT count(*) FROM order_prices") > 5_000
    assert not number(
        pg, "SELECT count(*) FROM order_prices WHERE unit_price IS DISTINCT FROM list_price"
    )

    # The live shop repeats nothing, and continues a month later.
    running = RunningShop(
        1, 1.0, lambda: postgres.connect(settings.postgres, "test", autocommit=True), redis_client
    )
    assert due_then(running, END).is_empty()
    later = END + timedelta(days=30)
    new = due_then(running, later)
    assert set(new["kind"]) >= {"MOVED", "CONSENT", "CLOSED"}
    assert new["updated_at"].min() >= END
    with pg.cursor() as cur:
        postgres.copy_frame(cur, TOPIC, new)
    assert due_then(running, later).is_empty()
    closed += len(new.filter(kind="CLOSED"))
    assert closed == number(pg, "SELECT count(*) FROM users WHERE name IS NULL")
    assert consistency.check(pg) == []
