"""Days of the virtual clock: what a grader would have found, and going on from a snapshot."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from generators.history.plan import Day, Plan
from generators.history.simulation import Simulation
from shop.clock import KST, UTC
from shop.grading_policy import POLICY, months_before

PLAN = Plan(
    datetime(2025, 8, 25, tzinfo=KST), 203, 30,
    thresholds=[g.threshold for g in POLICY.grades[1:]],
)  # fmt: skip


STOPS = (3, 8, 190)
"""Days after which a snapshot is taken."""


@pytest.fixture(scope="module")
def simulated() -> tuple[list[Day], dict[int, io.BytesIO]]:
    """All days, and the snapshots."""
    simulation = Simulation(PLAN)
    days: list[Day] = []
    snapshots = {stop: io.BytesIO() for stop in STOPS}
    for day in simulation.days():
        days.append(day)
        if len(days) in snapshots:
            np.savez(snapshots[len(days)], **simulation.snapshot())
    return days, snapshots


@pytest.fixture
def days(simulated: tuple[list[Day], dict[int, io.BytesIO]]) -> list[Day]:
    return simulated[0]


def test_grades_are_those_that_a_grader_would_have_found(days: list[Day]):
    """From every order, at every seventh midnight, over the end of February."""
    orders = pl.concat(day.orders for day in days)
    names = [g.name for g in POLICY.grades]
    known: Counter[str] = Counter()
    grades: dict[int, str] = {}
    for day in days:
        assert (day.grades is not None) == (day.number % 7 == 0)
        if day.grades is None:
            continue
        now = day.start.astimezone(UTC)
        stays = (pl.col("status") == "PAID") | (pl.col("updated_at") > now)
        since = months_before(now, 6)
        counted = orders.filter(
            (pl.col("ordered_at") >= since) & (pl.col("ordered_at") < now) & stays
        )
        spend = dict(counted.group_by("user_id").agg(pl.col("amount").sum()).iter_rows())
        expected = []
        for user in sorted({*grades, *spend}):
            krw = spend.get(user, 0)
            earned = names[sum(krw >= g.threshold for g in POLICY.grades) - 1]
            before = grades.get(user, names[0])
            if earned != before:
                expected.append((user, before, earned, krw, now))
            grades[user] = earned
        assert day.grades.rows() == expected
        known["up"] += sum(names.index(r[2]) > names.index(r[1]) for r in expected)
        known["down"] += sum(names.index(r[2]) < names.index(r[1]) for r in expected)
    assert known["up"] > 100
    assert known["down"] > 10  # cancelled, or six months have passed


def rest(state: io.BytesIO) -> Iterator[Day]:
    state.seek(0)
    simulation = Simulation(PLAN)
    with np.load(state, allow_pickle=False) as arrays:
        simulation.restore(dict(arrays))
    return simulation.days()


@pytest.mark.parametrize("stop", STOPS)
def test_a_history_goes_on_from_a_snapshot(
    simulated: tuple[list[Day], dict[int, io.BytesIO]], stop: int
):
    days, snapshots = simulated
    for expected, found in zip(days[stop:], rest(snapshots[stop]), strict=True):
        assert (found.number, found.start) == (expected.number, expected.start)
        for table in ("users", "products", "orders"):
            assert getattr(found, table).equals(getattr(expected, table))
        if expected.grades is not None:
            assert found.grades is not None
            assert found.grades.equals(expected.grades)


def test_days_hold_every_customer_and_product_once_in_time(days: list[Day]):
    for table in ("users", "products"):
        frames = [getattr(day, table) for day in days]
        if table == "products":
            frames = [frame.filter(pl.col("rev") == 1) for frame in frames]
        assert pl.concat(frames)[f"{table[:-1]}_id"].n_unique() == sum(map(len, frames))
        for day, frame in zip(days[1:], frames[1:], strict=True):
            at = frame["created_at"]
            early = timedelta(milliseconds=1)  # ids are exact to the millisecond
            start, end = day.start.astimezone(UTC), day.end.astimezone(UTC)
            assert at.is_between(start - early, end).all()


def test_the_first_week_buys_in_turns(days: list[Day]):
    for day in days[:7]:
        assert day.orders["user_id"].value_counts()["count"].max() <= 2
