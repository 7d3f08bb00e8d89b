"""The shop on a virtual clock: the same customers as live, days in milliseconds.

Sequential only where state forces it: who buys is chosen in blocks of 200 orders, as live; all
columns of a day's orders are made at once. Customers are those of `customer_model`, the cache of a
block is that of the cache worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import (
    arrivals,
    customer_model,
    order_events,
    outcomes,
    population,
    propensity,
    shelf,
)
from generators.behaviour.customer_model import NEVER
from generators.behaviour.order_events import Goods
from generators.history.buyers import DayOfBuyers
from generators.history.customers import HistoryCustomers
from generators.history.demand import DayRates, Demand, Stretch
from generators.history.grade_counting import GradeCounting
from generators.history.listings import HistoryListings
from generators.history.plan import DAY_S, GRADE_CHANGES, Day, Plan
from generators.history.sign_ups import HistorySignUps, SignUpsOfDay
from generators.random_streams import Floats, Ints, stream
from generators.scenarios.table import Segment
from generators.scenarios.timetable import ScenarioEffects
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, ids_at

SHELF: Final = 1_000
"""Products in the cache."""
OPENING_DAYS: Final = 7
"""In the first week, who has not bought is chosen from a seeded random pool."""
_KST_S: Final = 9 * 3_600
_STATE: Final = ("_sold", "clock", "fallback", "next_day")


class Simulation:
    """Simulates day after day; what is known at the end of each is in its attributes.

    Args:
        plan: what to simulate.
        profiles: whether the days have the names and addresses of their customers; otherwise only
            ids and times, which take a tenth of the time.

    Attributes:
        who: customers, in the order of their ids.
        sign_ups: number of the start population, then of each day so far.
        buyers: places of the customers of the last day's orders, in `who`.
        bought: places of their products, in `goods`.
        clock: orders so far: the time by which customers are due.
        fallback: orders of customers who were not due, see `DayOfBuyers`.
        order_ids: of the last day.
        keeps_morning: whether the next days set `morning`.
        morning: orders, last and due of all customers before the last day's orders.
    """

    def __init__(self, plan: Plan, *, profiles: bool = True) -> None:
        self.plan = plan
        self._profiles = profiles
        self._start = plan.start.timestamp()
        self._law = HistorySignUps(plan)
        self._listings = HistoryListings(plan)
        self.who = HistoryCustomers(plan)
        opening = self._law.opening()
        due = customer_model.due_at_opening(plan.customers, plan.seed, opening.ids)
        self.who.add(opening.ids, opening.draws, due)
        self.sign_ups = [len(opening.ids)]
        self._counting = GradeCounting(plan.start, plan.months)
        self._graded = self._counted = np.empty(0, np.int64)
        self._sold = np.zeros(len(self.goods.ids))
        self._demand = Demand(plan)
        self.buyers = self.bought = np.empty(0, np.int64)
        self.clock = self.fallback = self.next_day = 0
        self.order_ids = np.empty(0, np.int64)
        self.keeps_morning = False
        self.morning: tuple[npt.NDArray[Any], Ints, Ints] = (self.buyers, self.buyers, self.buyers)

    @property
    def goods(self) -> Goods:
        """Products."""
        return self._listings.goods

    def run(self) -> Iterator[pl.DataFrame]:
        """Return the orders of each day, in the order of their times, as they stand at its end.

        Cancelled and returned ones carry revision 2 and the time of it.
        """
        return (day.orders for day in self.days())

    def days(self, count: int | None = None) -> Iterator[Day]:
        """Return the days from the next one on.

        Args:
            count: number of days to reach; None for the end of the plan. Beyond it, customers and
                products keep coming and orders keep growing as they did.
        """
        count = self.plan.days if count is None else count
        while self.next_day < count:
            yield self._next()

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that the days so far have left, as `np.savez` takes it.

        >>> plan = Plan(datetime(2026, 1, 1, tzinfo=KST), 9, 100)
        >>> whole, half = Simulation(plan), Simulation(plan)
        >>> days = [next(half.days()) for _ in range(8)]
        >>> again = Simulation(plan)
        >>> again.restore(half.snapshot())
        >>> next(again.days()).orders.equals(list(whole.days())[8].orders)
        True
        """
        state = {name: np.array(getattr(self, name)) for name in _STATE}
        return {
            **state, "plan": self._plan_as_bytes(), "sign_ups": np.array(self.sign_ups),
            **self.who.snapshot(), **self._counting.snapshot(),
        }  # fmt: skip

    def _plan_as_bytes(self) -> npt.NDArray[np.uint8]:
        p = self.plan
        text = f"{p.start.isoformat()} {p.orders_per_day} {p.seed} {p.with_scenarios} {p.node}"
        return np.frombuffer(text.encode(), np.uint8)

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Resume from a `snapshot` of a simulation of the same plan.

        Args:
            state: the snapshot; this simulation is new, or at an earlier day.

        Raises:
            KeyError, ValueError: if it is not one of this plan.
        """
        if not np.array_equal(state["plan"], self._plan_as_bytes()):
            raise ValueError("it is of another plan")
        counts = state["sign_ups"].tolist()
        for day in range(self.next_day, int(state["next_day"])):
            self._grow(day, np.empty(0), self._demand.rates(day))
        if counts != self.sign_ups or state["_sold"].shape != self._sold.shape:
            raise ValueError("it is of another plan")
        for name in _STATE:
            value = state[name]
            setattr(self, name, value.copy() if value.ndim else value.item())
        self.who.restore(state)
        self._counting.restore(state)

    def _grow(self, day: int, at: Floats, demand: DayRates) -> SignUpsOfDay:
        """Take in who and what comes on a day; return the customers.

        Args:
            day: its number.
            at: times of its orders.
            demand: of the day.
        """
        edges, rates, _ = demand
        new = self._law.day(day, len(self.who), edges, rates * self._demand.scale)
        created = population.times_of(new.ids) / 1_000
        clock = self.clock + np.searchsorted(at, created)
        due = customer_model.due_after_sign_up(self.plan.customers, self.plan.seed, new.ids, clock)
        self.who.add(new.ids, new.draws, due)
        self.sign_ups.append(len(new.ids))
        self._listings.add(day)
        self._sold = np.pad(self._sold, (0, len(self.goods.ids) - len(self._sold)))
        return new

    def _next(self) -> Day:
        day = self.next_day
        start = self._start + day * DAY_S
        customers = len(self.who)
        rng = stream(self.plan.seed, f"simulate/{day}")
        edges, rates, stretches = demand = self._demand.rates(day)
        at = arrivals.poisson_times(edges, rates * self._demand.base, rng)
        new = self._grow(day, at, demand)
        orders = self._day(day, at, stretches, rng)
        self.next_day += 1
        since, end = 0.0 if day == 0 else start, start + DAY_S
        began = datetime.fromtimestamp(start, UTC)
        users = self._users(new)
        if day == 0:
            users = pl.concat([self._users(self._law.opening()), users])
        return Day(
            day, began, began + timedelta(days=1), users, self._listings.events(since, end),
            orders, self._changes(began) if day % 7 == 0 else None, customers,
            self.who.province[self.buyers],
        )  # fmt: skip

    def _users(self, new: SignUpsOfDay) -> pl.DataFrame:
        if self._profiles:
            return population.users(new.draws, new.ids)
        return population.sign_ups(new.ids)

    def _changes(self, as_of: datetime) -> pl.DataFrame:
        held = self.who.grade[: len(self._graded)]
        who = np.flatnonzero(held != self._graded)
        names = pl.Series(self.plan.grades, dtype=pl.String)
        return pl.DataFrame(
            {
                "user_id": self.who.ids[who],
                "from_grade": names.gather(self._graded[who]),
                "to_grade": names.gather(held[who]),
                "cumulative_spend": self._counted[who],
                "as_of": pl.Series([as_of], dtype=GRADE_CHANGES["as_of"]).new_from_index(
                    0, len(who)
                ),
            },
            schema=GRADE_CHANGES,
        )

    def _day(
        self, day: int, at: Floats, stretches: list[Stretch], rng: np.random.Generator
    ) -> pl.DataFrame:
        now = self._start + day * DAY_S
        effects = [e for _, _, e in stretches]
        self._win_back(now, effects)
        self._regrade(day)
        which = np.searchsorted([a for a, _, _ in stretches], at, side="right") - 1
        ids = ids_at((at * 1000).astype(np.int64) - EPOCH_MS, self.plan.node)
        chosen = self._buyers(day, ids, which, effects)
        u = rng.random((len(at), order_events.DRAWS))
        life = rng.random((len(at), outcomes.OUTCOME_DRAWS))
        sold = self._shelf(now)
        year = datetime.fromtimestamp(now, KST).year
        frames = []
        for i in np.unique(which).tolist():
            rows = np.flatnonzero(which == i)
            frame = order_events.orders(
                u[rows], ids[rows], self.who.take(chosen[rows]),
                order_events.draw_tables(sold, effects[i], now + DAY_S / 2),
                at_us=np.rint(at[rows] * 1e6).astype(np.int64), year=year,
            )  # fmt: skip
            frames.append(self._with_outcome(frame, life[rows], sold, effects[i]))
        orders = pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMAS["orders"])
        self._count_orders(day, chosen, orders)
        return orders

    def _with_outcome(
        self, orders: pl.DataFrame, u: Floats, sold: Goods, effects: ScenarioEffects
    ) -> pl.DataFrame:
        outcome = outcomes.outcome(u, orders, sold, effects)
        later = pl.col("ordered_at") + pl.Series(
            (np.where(outcome.cancelled | outcome.refunded, outcome.after_s, 0) * 1e6).astype(
                np.int64
            )
        ).cast(pl.Duration("us"))
        changed = pl.Series(outcome.cancelled | outcome.refunded)
        status = np.where(outcome.cancelled, 1, np.where(outcome.refunded, 2, 0))
        return orders.with_columns(
            order_events.words(("PAID", "CANCELLED", "REFUNDED"), status).alias("status"),
            pl.when(changed).then(2).otherwise(1).cast(pl.Int64).alias("rev"),
            later.alias("updated_at"),
        )

    # -- who buys --------------------------------------------------------------------------------

    def _buyers(self, day: int, ids: Ints, which: Ints, effects: list[ScenarioEffects]) -> Ints:
        """Return the place of the customer of each order, block by block."""
        noon = datetime.fromtimestamp(self._start + (day + 0.5) * DAY_S, KST)

        def score(places: Ints) -> Floats:
            return propensity.inclination(
                self.who.traits(places), noon, seed=self.plan.seed, leave_out=("spend",)
            )

        def lift(traits: propensity.Traits, segments: Sequence[Segment]) -> Floats:
            return propensity.scenario_term(traits, noon, segments)

        if self.keeps_morning:
            self.morning = self.who.orders.copy(), self.who.last.copy(), self.who.due.copy()
        self.order_ids = ids
        pool = DayOfBuyers(
            self.plan, self.who, self.clock, len(ids), day=day,
            random_pool=day < OPENING_DAYS, score=score, lift=lift,
        )  # fmt: skip
        chosen = np.empty(len(ids), np.int64)
        for begin in range(0, len(ids), self.plan.block):
            block = ids[begin : begin + self.plan.block]
            segments = effects[which[begin]].segments
            chosen[begin : begin + len(block)] = pool.block(len(block), segments, block)
        self.clock += len(ids)
        self.fallback += pool.fallback
        return chosen

    def _win_back(self, now: float, effects: list[ScenarioEffects]) -> None:
        if any("win_back" in e.running for e in effects):
            c = self.who
            before = int((now - customer_model.LEFT_DAYS * DAY_S) * 1_000) - EPOCH_MS
            left = np.flatnonzero((c.due == NEVER) & (c.orders > 0) & (c.last < before << 12))
            day = int((now + _KST_S) // DAY_S)
            back = left[customer_model.comes_back(self.plan.seed, c.ids[left], day)]
            c.due[back] = self.clock

    # -- what follows from the orders ------------------------------------------------------------

    def _shelf(self, now: float) -> Goods:
        """Return the products of the cache: those ordered most lately, then the newest others."""
        there = int(np.searchsorted(self._listings.listed, now))
        on_sale = np.flatnonzero(self._listings.on_sale[:there])
        return self.goods.take(on_sale[shelf.rows(self._sold[on_sale], SHELF)])

    def _count_orders(self, day: int, chosen: Ints, orders: pl.DataFrame) -> None:
        paid = (orders["status"] == "PAID").to_numpy()
        np.add.at(self.who.spent, chosen[paid], orders["amount"].to_numpy()[paid])
        self._counting.add(day, chosen, orders)
        self.who.soured[chosen] = (orders["status"] == "CANCELLED").to_numpy()
        self.buyers = chosen
        self.bought = np.searchsorted(self.goods.ids, orders["product_id"].to_numpy())
        self._sold = shelf.after_a_day(self._sold, self.bought)

    def _regrade(self, day: int) -> None:
        """Once a week: grades by the spend of the calendar months before this moment.

        As a grader would find them now: an order counts until its cancellation has come.
        """
        if day % 7:
            return
        n = len(self.who) - self.sign_ups[-1]  # those of today have not signed up yet
        self._graded, self._counted = self.who.grade[:n].copy(), self._counting.total(day, n)
        self.who.grade[:n] = np.searchsorted(
            np.array(self.plan.thresholds), self._counted, side="right"
        )
