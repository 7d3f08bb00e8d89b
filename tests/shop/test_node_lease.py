"""Node leases: no node is shared by two living processes, and no id is made twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from shop import node_lease, postgres
from shop.errors import UnreachableError, UsageError
from shop.ids import EPOCH_MS, IdGenerator, time_of
from shop.node_lease import HISTORY_NODE, LIVE_NODES, SEED_NODE, LeaseLostError, NodeLease
from shop.postgres import Connection
from shop.postgres.node_leases import TTL_S, holders
from shop.settings import PostgresSettings, Settings
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from shop import node_lease as lease, log, settings
log.configure("holder")
held = lease.NodeLease(settings.load(use_stack=False).postgres, "orders", named=True)
held.take()
print(held.node, held.name, *[held.ids() for _ in range(int(sys.argv[1]))], flush=True)
sys.stdin.read()
held.release()
"""


@contextmanager
def held(where: PostgresSettings, name: str = "orders", **options: object) -> Iterator[NodeLease]:
    with node_lease.leased(where, name, **options) as made:
        assert made is not None
        yield made


class Other:
    """Another process that holds a lease and has made `count` ids."""

    def __init__(self, env: dict[str, str], count: int = 5) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(count)],
            cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout
        node, self.name, *ids = self.process.stdout.readline().split()
        self.node, self.ids = int(node), [int(i) for i in ids]

    def end(self, number: signal.Signals | None = None) -> None:
        if number:
            self.process.send_signal(number)
        self.process.communicate(timeout=30)


@pytest.fixture
def other(env: dict[str, str]) -> Iterator[Other]:
    made = Other(env)
    yield made
    made.process.kill()
    made.process.communicate()


def test_two_processes_have_two_nodes_and_two_names(settings: Settings, other: Other) -> None:
    with held(settings.postgres, named=True) as mine:
        assert (other.node, other.name) == (0, "orders")
        assert (mine.node, mine.name) == (1, "orders-1")


def test_a_node_that_is_taken_is_refused_with_who_has_it(settings: Settings, other: Other) -> None:
    with (
        pytest.raises(UsageError, match=rf"--node 0 is taken by orders \(pid {other.process.pid} "),
        held(settings.postgres, exact=0, named=True),
    ):
        pass
    other.end()  # released: to be had at once
    with held(settings.postgres, exact=0) as mine:
        assert mine.node == 0


def test_a_second_continuation_is_refused_with_who_runs(settings: Settings) -> None:
    with held(settings.postgres, "continuation", exact=HISTORY_NODE):
        for other in ("continuation", "backfill"):
            with pytest.raises(UsageError, match=r"need node 13, which continuation \(pid "):
                NodeLease(settings.postgres, other, exact=HISTORY_NODE).take()


def test_when_all_are_taken_it_says_by_whom(settings: Settings) -> None:
    leases = [NodeLease(settings.postgres, f"maker{n}") for n in LIVE_NODES]
    try:
        for each in leases:
            each.take()
        assert sorted(each.node for each in leases) == list(LIVE_NODES)
        with pytest.raises(UsageError, match=r"all 13 node numbers are taken.*0 maker0 \(pid"):
            NodeLease(settings.postgres, "late").take()
    finally:
        for each in leases:
            each.release()


def test_a_killed_holder_is_replaced_at_once_and_repeats_nothing(
    settings: Settings, other: Other
) -> None:
    other.end(signal.SIGKILL)
    with held(settings.postgres, exact=0) as mine:
        assert mine.name == "orders"
        assert mine.ids() > max(other.ids)


def test_a_holder_of_another_machine_is_left_alone_until_its_lease_ends(
    settings: Settings, other: Other, pg: Connection
) -> None:
    other.end(signal.SIGKILL)
    pg.execute("UPDATE node_leases SET host = 'elsewhere' WHERE node = 0")
    with pytest.raises(UsageError, match="is taken by orders"):
        NodeLease(settings.postgres, "orders", exact=0, named=True).take()
    pg.execute("UPDATE node_leases SET expires_at = now() WHERE node = 0")
    with held(settings.postgres, exact=0) as mine:
        assert mine.ids() > max(other.ids)


def test_ids_continue_above_the_high_water_mark_whatever_the_clocks_say(
    settings: Settings, pg: Connection
) -> None:
    with held(settings.postgres, exact=3) as first:
        made = [first.ids() for _ in range(10)]
    (left,) = pg.execute("SELECT ceiling_ms FROM node_leases WHERE node = 3").fetchone() or (0,)
    assert left > (max(made) >> 12)
    assert (left << 12) - max(made) < 60_000 << 12  # what was not used was given back
    # As if all clocks had been set back by eleven hours since.
    pg.execute("UPDATE node_leases SET ceiling_ms = ceiling_ms + 39600000 WHERE node = 3")
    with held(settings.postgres, exact=3) as second:
        ids = second.ids.at(np.array([5, 5, 6]))
        assert (np.diff(ids) > 0).all()
        assert int(ids[0]) >> 12 >= left + 39_600_000
    with held(settings.postgres, exact=3) as third:
        assert third.ids() > ids[-1]


def test_no_id_is_dated_so_far_ahead_that_the_ingest_would_reject_it(
    settings: Settings, pg: Connection
) -> None:
    """PostgreSQL's clock was days ahead for a while, and then set right."""
    days = 3 * 86_400_000
    pg.execute("UPDATE node_leases SET ceiling_ms = %s", (now_ms() + days,))
    with pytest.raises(
        UsageError, match=r"every free node .* 3.0 days ahead of PostgreSQL's clock"
    ):
        NodeLease(settings.postgres, "orders", named=True).take()
    with held(settings.postgres, "seed", exact=SEED_NODE) as fixed:
        assert fixed.trouble == ""
    pg.execute("UPDATE node_leases SET ceiling_ms = 0 WHERE node = 7")
    with pytest.raises(UsageError, match="leave --node out"):
        NodeLease(settings.postgres, "orders", exact=3, named=True).take()
    with held(settings.postgres, named=True) as mine:
        assert mine.node == 7
        mine.ids.move(7, now_ms() + days)  # the clock was set back while it ran
        assert "clock, which was set back" in mine.trouble
        with pytest.raises(LeaseLostError, match="set back"):
            mine.ids()


def now_ms() -> int:
    return int(time.time() * 1_000) - EPOCH_MS


def test_no_id_is_made_beyond_what_is_reserved_nor_after_the_lease(
    settings: Settings, pg: Connection
) -> None:
    seconds = [1_000.0]
    mine = NodeLease(settings.postgres, "orders", seconds=lambda: seconds[0])
    mine.take()
    try:
        (ceiling,) = pg.execute("SELECT ceiling_ms FROM node_leases WHERE node = 0").fetchone() or (
            0,
        )
        before = mine.ids()
        with pytest.raises(LeaseLostError, match="reserved"):
            mine.ids.at(np.array([ceiling]))
        assert mine.ids.at(np.array([ceiling - 1])).tolist()[0] > before
        seconds[0] += TTL_S - node_lease.MARGIN_S  # a suspended machine, a stopped process
        assert "lease" in mine.trouble
        with pytest.raises(LeaseLostError):
            mine.ids()
    finally:
        mine.release()
    with pytest.raises(LeaseLostError):
        mine.ids()


def test_a_zombie_that_lost_its_lease_takes_another(
    settings: Settings, pg: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_lease, "RENEW_EVERY_S", 0.05)
    with held(settings.postgres) as mine:
        made = mine.ids()
        pg.execute("UPDATE node_leases SET holder = 'another', host = 'elsewhere' WHERE node = 0")
        wait_until(lambda: mine.node and not mine.trouble, lambda: mine.trouble)
        assert mine.node == 1
        assert mine.ids() != made


def test_an_answer_that_was_lost_costs_no_node(settings: Settings) -> None:
    mine = NodeLease(settings.postgres, "orders")
    assert mine.take()
    assert mine.take()
    assert mine.node == 0
    mine.release()


def test_the_clock_is_postgresqls(settings: Settings, pg: Connection) -> None:
    with held(settings.postgres) as mine:
        (now,) = pg.execute("SELECT clock_timestamp()").fetchone() or (None,)
        assert abs((mine.clock() - now).total_seconds()) < 5
        assert abs((time_of(mine.ids()) - now).total_seconds()) < 5


def test_postgresql_away_is_waited_for_or_said(settings: Settings, env: dict[str, str]) -> None:
    nowhere = PostgresSettings("127.0.0.1", 1, "x", "x", "x", "disable", None)
    with pytest.raises(UnreachableError, match="leases the node numbers"):
        NodeLease(nowhere, "orders").take()
    stop = threading.Event()
    with pytest.raises(UnreachableError, match="leases the node numbers"):
        NodeLease(nowhere, "orders").take(stop, patience=0.3)
    threading.Timer(0.5, stop.set).start()
    assert not NodeLease(nowhere, "orders").take(stop)


def test_a_database_without_leases_says_what_to_do(settings: Settings, pg: Connection) -> None:
    pg.execute("DROP TABLE node_leases")
    with pytest.raises(node_lease.JangteoError, match="jangteo init"):
        NodeLease(settings.postgres, "orders").take()


def test_a_hundred_thousand_ids_a_second_are_possible() -> None:
    guarded = IdGenerator(1, guard=lambda _: None)
    assert len(set(guarded.at(np.arange(100_000) // 100).tolist())) == 100_000


def test_the_mark_of_a_database_with_orders_lies_above_them(
    servers: object, settings: Settings, pg: Connection
) -> None:
    script = next(text for _, name, text in postgres.migrations() if name == "node_leases")
    pg.execute("DROP TABLE node_leases")
    ahead = (int(time.time() * 1_000) - EPOCH_MS + 3_600_000) << 12
    pg.execute("INSERT INTO users (user_id) VALUES (%s), (%s)", (ahead, 5))
    pg.execute(script.encode())
    assert all(h.ceiling_ms == (ahead >> 12) + 1 for h in holders(pg))
    assert len(holders(pg)) == 16
