"""Faults of a single broker: away at a stop, and back without its memory."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from processes import ROOT, publish, wait_caught_up
from samples import message, order
from stage import Stage

from shop import kafka
from shop.clock import utc_now
from shop.postgres import Connection

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


def test_a_broker_without_memory_whose_new_log_is_longer_than_the_old(
    stage: Stage, servers, pg: Connection
) -> None:
    """The old position exists in the new log: reading on from there would skip what is below."""
    member = stage.ingest()
    publish(stage.settings, "orders", orders(1, 50))
    wait_caught_up(stage.settings, pg)
    member.signal(signal.SIGSTOP)  # so that it sees the new log only when it is long
    servers.kafka.kill()
    servers.kafka.start()
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
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaign", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for word in ("--kills", "--seed", "--kafka"):
        assert word in done.stdout
