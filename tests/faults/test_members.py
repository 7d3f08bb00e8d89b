"""Faults of ingest processes: killed, paused, coming and going."""

from __future__ import annotations

import signal

import pytest

from tests.support.fault_stage import Stage, drain_time
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


def test_one_of_three_members_killed_the_others_take_over(stage: Stage) -> None:
    fleet = [stage.ingest() for _ in range(3)]
    stage.wait_shared(*fleet)
    stage.load(seed=1, rate=500)
    stage.wait_taken(500)
    fleet[0].kill()
    stage.wait_shared(*fleet[1:])
    stage.wait_taken(500)
    stage.settle()
    assert [m.alive() for m in fleet] == [False, True, True]


def test_a_zombie_that_wakes_up_after_losing_its_partitions_changes_nothing(stage: Stage) -> None:
    zombie, other = stage.ingest(), stage.ingest()
    stage.wait_shared(zombie, other)
    load = stage.load(seed=2, rate=500)
    stage.wait_taken(500)
    zombie.signal(signal.SIGSTOP)  # with batches in hand, perhaps in a transaction
    at = len(load.acknowledged)
    stage.wait_shared(other)
    # The other member waits for its locks, and continues its other partitions meanwhile.
    wait_until(lambda: stage.taken() > at - 2 * 200, "the other has read on")
    zombie.signal(signal.SIGCONT)
    stage.wait_shared(zombie, other)
    stage.settle()
    assert zombie.alive()
    assert other.alive()


def test_members_join_and_leave_under_load(stage: Stage) -> None:
    first = stage.ingest()
    stage.wait_shared(first)
    stage.load(seed=3, rate=500)
    stage.wait_taken(300)
    second = stage.ingest()
    stage.wait_shared(first, second)
    stage.wait_taken(300)
    print(f"drained under load in {drain_time(first):.2f} s")
    stage.wait_shared(second)  # at once: it left the group, no session has to time out
    stage.wait_taken(300)
    stage.settle()
    assert "Traceback" not in first.log() + second.log()


def test_the_leader_leaves_while_another_joins(stage: Stage) -> None:
    leader = stage.ingest()
    stage.wait_shared(leader)
    stage.load(seed=4, rate=500)
    stage.wait_taken(300)
    joins = stage.ingest()
    wait_until(lambda: "partitions revoked" in leader.log(), "the group begins to rebalance")
    drain_time(leader)
    stage.wait_shared(joins)
    stage.wait_taken(300)
    stage.settle()
