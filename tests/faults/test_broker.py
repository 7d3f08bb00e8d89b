"""Faults of a single broker: away at a stop, and replaced by another cluster."""

from __future__ import annotations

import signal
import sys

import pytest

from shop import kafka
from shop.clock import utc_now
from shop.postgres import Connection
from tests.support import python_process
from tests.support.event_samples import message, order, product, user
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import ROOT, publish, wait_caught_up
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


def orders(first: int, count: int) -> list[tuple[bytes | None, bytes | None]]:
    now = utc_now()
    made = (order(i, ordered_at=now, updated_at=now) for i in range(first, first + count))
    return [message("orders", o) for o in made]


def test_sigterm_while_kafka_is_away(stage: Stage, servers, pg: Connection) -> None:
    member = stage.ingest()
    publish(stage.settings, "orders", orders(1, 100))
    wait_caught_up(stage.settings, pg)
    servers.kafka.kill()
    assert member.stop() == 0  # within the promised 10 s
    assert "not drained" not in member.log()


def test_sigterm_with_offsets_that_kafka_was_still_to_be_told(
    stage: Stage, servers, pg: Connection
) -> None:
    """Kafka dies within half a second of a batch of every topic: that holds up no stop."""
    member = stage.ingest(INGEST_TOPICS="users,products,orders")
    producer = kafka.producer(stage.settings.kafka, "test")
    for turn in range(2):  # the first turn's offsets are committed at once, the second's wait
        for i in range(60):
            event = (user, product, order)[i % 3](turn * 60 + i + 1)
            topic = ("users", "products", "orders")[i % 3]
            key, payload = message(topic, event)
            producer.produce(topic, payload, key=key)
        assert producer.flush(30) == 0
        wait_until(
            lambda turn=turn: (
                pg.execute("SELECT sum(stored + rejected + ignored) FROM ingest_offsets").fetchone()
                == (60 * (turn + 1),)
            ),
            "all of it in PostgreSQL",
        )
    servers.kafka.kill()
    assert member.stop() == 0  # within the promised 10 s
    assert "not drained" not in member.log()


def test_a_killed_broker_loses_nothing_that_it_acknowledged(
    stage: Stage, servers, pg: Connection
) -> None:
    """Once with no ingest about, once under one that has to find the broker again."""
    member = stage.ingest()
    publish(stage.settings, "orders", orders(1, 50))
    wait_caught_up(stage.settings, pg)
    assert member.stop() == 0
    publish(stage.settings, "orders", orders(1_001, 1_000))
    servers.kafka.kill()
    servers.kafka.start()
    member = stage.ingest()
    wait_caught_up(stage.settings, pg)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (1_050,)
    publish(stage.settings, "orders", orders(5_001, 1_000))
    servers.kafka.kill()
    servers.kafka.start()
    wait_caught_up(stage.settings, pg)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (2_050,)
    assert member.alive()


def test_a_broker_without_memory_whose_new_log_is_longer_than_the_old(
    stage: Stage, servers, pg: Connection
) -> None:
    """The old position exists in the new log: reading on from there would skip what is below."""
    member = stage.ingest()
    publish(stage.settings, "orders", orders(1, 50))
    wait_caught_up(stage.settings, pg)
    member.signal(signal.SIGSTOP)  # so that it sees the new log only when it is long
    servers.kafka.start_without_memory()
    kafka.create_topics(stage.settings.kafka)
    publish(stage.settings, "orders", orders(1_001, 200))
    member.signal(signal.SIGCONT)
    wait_caught_up(stage.settings, pg)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (250,)
    assert member.alive()


def test_commits_that_postgresql_lost_are_read_again(stage: Stage, pg: Connection) -> None:
    """As after a restore from a backup: the ingest stops; its next start reads from there."""
    member = stage.ingest()
    publish(stage.settings, "orders", orders(1, 50))
    wait_caught_up(stage.settings, pg)
    pg.execute(
        "TRUNCATE orders, users, products, user_spend_windows, rejected_messages, ingest_offsets"
    )
    publish(stage.settings, "orders", orders(51, 50))
    assert member.process.wait(30) == 1
    assert "OffsetGapError" in member.log()
    assert "Traceback" not in member.log()
    stage.ingest()
    wait_caught_up(stage.settings, pg)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (100,)


def test_the_campaign_says_what_it_wants() -> None:
    done = python_process.run(
        [sys.executable, "-m", "tests.faults.campaign", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for word in ("--kills", "--seed", "--brokers"):
        assert word in done.stdout
