"""Who buys in a history: everybody who is due has one place, and the end leaves a shop to open."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from generators.behaviour import customer_model
from generators.behaviour.customer_model import NEVER
from generators.history import simulation
from generators.history.buyers import DayOfBuyers
from generators.history.history import HistorySimulation
from generators.history.plan import Plan
from generators.history.request import HistoryRequest
from generators.random_streams import Ints
from shop.clock import KST, UTC
from shop.grading_policy import POLICY

START = datetime(2025, 11, 1, tzinfo=KST)


class CheckedDay(DayOfBuyers):
    """Looks after every block where everybody is who is due."""

    blocks = 0

    def block(self, *args: object) -> Ints:
        begin = getattr(self, "_first_clock", self._clock)
        self._first_clock = begin
        chosen = super().block(*args)  # type: ignore[arg-type]  # as `DayOfBuyers` takes them
        waiting, coming, again, others, future = self.places()
        there = np.concatenate([waiting, coming, again, others, future])
        c = self._customers
        interested = (c.orders > 0) | (c.due > begin - self._plan.customers.patience)
        due = np.flatnonzero((c.due <= self._end) & interested)
        assert np.array_equal(np.sort(there), due)  # each exactly once
        assert (c.due[np.concatenate([waiting, others])] <= self._clock).all()
        assert (c.due[np.concatenate([coming, again, future])] > self._clock).all()
        assert (c.orders[np.concatenate([waiting, coming, again])] > 0).all()
        assert (np.diff(c.last[waiting]) >= 0).all()
        assert (np.diff(c.due[others]) >= 0).all()
        CheckedDay.blocks += 1
        return chosen


@pytest.mark.parametrize("seed", [1, 2])
def test_everybody_who_is_due_is_in_exactly_one_place(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Over the first week, a sale that brings five times the orders, and the ends of days."""
    monkeypatch.setattr(simulation, "DayOfBuyers", CheckedDay)
    CheckedDay.blocks = 0
    shop = simulation.Simulation(Plan(START, 13, 120, seed), profiles=False)
    for _ in shop.days():
        pass
    assert CheckedDay.blocks > 200
    assert shop.fallback == 0


def test_a_shop_without_customers_sells_to_those_who_are_not_due() -> None:
    """And counts them; nobody is asked for whom there is nobody."""
    plan = Plan(START, 1, 60)
    shop = simulation.Simulation(plan, profiles=False)
    shop.who.due[:] = NEVER
    ids = np.arange(1, 21) << 12
    pool = DayOfBuyers(
        plan, shop.who, 0, 20, day=0, random_pool=True,
        score=lambda places: np.zeros(len(places)), lift=lambda t, _: np.zeros(len(t.ids)),
    )  # fmt: skip
    chosen = [pool.block(2, (), ids[i : i + 2]) for i in range(0, 20, 2)]
    assert pool.fallback > 0
    assert shop.who.orders.sum() == 20 == len(np.concatenate(chosen))


def test_the_first_week_is_a_random_pool_and_then_the_latest_wish_comes_first() -> None:
    """Of those who have not bought: how far back in the queue the buyers stand."""
    depth: dict[bool, list[float]] = {True: [], False: []}
    shop = simulation.Simulation(Plan(START, 9, 400, with_scenarios=False), profiles=False)
    for day in shop.days():
        before = shop.who.orders[shop.buyers] == 1
        wish = shop.who.ids[shop.buyers[before]] >> 12
        age = (day.end.timestamp() * 1_000 - 1_577_836_800_000 - wish) / 3_600_000
        depth[day.number < 7].append(float(np.median(age)))
    assert np.mean(depth[True][-2:]) > 1.5 * np.mean(depth[False])


def test_the_end_leaves_the_customers_as_their_orders_say() -> None:
    """In the middle of a day: what was ordered later has not happened."""
    end = datetime(2026, 11, 20, 5, 20, tzinfo=UTC)
    asked = HistoryRequest(days=10, orders_per_day=300, seed=4)
    plan = asked.plan(end, POLICY)
    history = HistorySimulation(plan, POLICY, end, keep_state=True, profiles=False)
    orders = pl.concat([day.orders for day in history.days()]).with_row_index("number", 1)
    ending = history.ending()
    assert ending.shop is not None
    left = ending.shop.customers
    assert ending.shop.orders == orders.height
    assert left["user_id"].equals(ending.users.frame()["user_id"])
    known = orders.group_by("user_id").agg(
        pl.len().alias("n"), pl.col("order_id").last(), pl.col("number").last()
    )
    both = left.join(known, on="user_id", how="left").sort("user_id")
    assert both["orders"].to_list() == both["n"].fill_null(0).to_list()
    assert both["last_order_id"].to_list() == both["order_id"].to_list()
    bought = both.drop_nulls("n")
    expected = customer_model.due_after_order(
        plan.customers, plan.seed, bought["user_id"].to_numpy(), bought["n"].to_numpy(),
        bought["number"].to_numpy().astype(np.int64),
    )  # fmt: skip
    assert bought["due"].fill_null(NEVER).to_list() == expected.tolist()
    others = both.filter(pl.col("n").is_null())["due"].drop_nulls()
    assert 0.2 < (others <= orders.height).mean() < 1.0


def test_sign_ups_follow_one_law_from_the_first_day_to_beyond_the_last() -> None:
    """With orders of the same hours; no step where the plan ends."""
    plan = Plan(START, 30, 400, with_scenarios=False)
    shop = simulation.Simulation(plan, profiles=False)
    days = list(shop.days(44))
    signed_up = np.array([len(day.users) for day in days])
    signed_up[0] -= shop.sign_ups[0]
    orders = np.array([len(day.orders) for day in days])
    per_order = signed_up / orders  # weekdays and months cancel out
    weeks = per_order[:42].reshape(6, 7).mean(axis=1)
    assert (np.diff(weeks) < 0.05 * weeks[:-1]).all()
    assert weeks[4] / weeks[3] > 0.85  # the plan ends within it
    at = pl.concat([day.users for day in days])["created_at"][shop.sign_ups[0] :]
    hour = at.dt.convert_time_zone("Asia/Seoul").dt.hour()
    assert hour.is_between(9, 23).mean() == pytest.approx(0.87, abs=0.03)
    assert days[29].end - days[0].start == timedelta(days=30)
