"""The shop on a virtual clock: the same behaviour as the live generators, days in milliseconds.

Sequential only where state forces it: who buys is drawn in blocks of 200, as live; all columns of
a day's orders are made at once. The pools are those of the cache: 600 purchasers, least recently
ordered first, and 400 others, newest first.

Two things the live cache cannot know make the pools truer here. A purchaser is in the queue
only when due: at each purchase the next gap is drawn from the model (Lomax, as the gamma-mixed
Poisson customer of BG/NBD shows to an observer), and the demand of a day takes those due first.
And after each repeat a customer may be gone for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import arrivals, order_events, outcomes, propensity, shelf
from generators.behaviour.cache_segments import PURCHASER_SHARE
from generators.behaviour.order_events import Customers, Goods
from generators.behaviour.propensity import Traits
from generators.history.day_pool import DayPool
from generators.history.demand import DAY_S, Demand
from generators.history.grade_counting import GradeCounting
from generators.history.plan import GRADE_CHANGES, Day, Plan
from generators.history.registrations import Registrations, longer
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, exponential, least, stream
from generators.scenarios.timetable import ScenarioEffects
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, ids_at

CACHE: Final = 1_000
OPENING: Final = timedelta(days=7)
"""At first the buyers are a seeded random pool, as nobody has bought yet."""
OPENING_POOL: Final = 1_000
OPENING_DAYS: Final = 3
"""The pool has at least as many customers as this many mean days have orders: 1,000 would have to
order twenty times a day at the seed's rate."""
REACTIVATED: Final = 0.01
"""Of the customers that are gone for 90 days: share that a day of a win-back brings back."""
RATE_WEIGHT: Final = 0.3
"""Of the expected rate in the score: the due gate has chosen by it already."""
_WEEK_S: Final = 7 * DAY_S
_PER_CUSTOMER: Final = {
    "orders_of": 0, "_first": np.nan, "_last": np.nan, "_due": np.inf, "_gone": 0, "_spent": 0,
    "_grade": 0, "_soured": 0,
}  # fmt: skip
"""What is known of each customer, and what of one who is new."""
_STATE: Final = (*_PER_CUSTOMER, "_sold", "_correction", "_seen", "_seen_first", "next_day")


class Simulation:
    """Simulates day after day; what is known at the end of each is in its attributes.

    Attributes:
        orders_of: orders of each customer so far.
        buyers: places of the customers of the last day's orders, in `who`.
        bought: places of their products, in `goods`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._start = plan.start.timestamp()
        self._registrations = Registrations(plan)
        n = len(self.who.ids)
        self.orders_of = np.zeros(n, np.int64)
        self._first, self._last = np.full(n, np.nan), np.full(n, np.nan)
        self._due = np.full(n, np.inf)
        self._gone = np.zeros(n, np.bool_)
        self._spent = np.zeros(n, np.int64)
        self._counting = GradeCounting(plan.start, plan.months)
        self._grade = np.zeros(n, np.int64)
        self._graded, self._counted = self._grade, self._spent
        self._soured = np.zeros(n, np.bool_)
        self._sold = np.zeros(len(self.goods.ids))
        self._correction = 0.0
        self._seen = self._seen_first = 0
        self._demand = Demand(plan)
        self.buyers = self.bought = np.empty(0, np.int64)
        self.next_day = 0

    @property
    def who(self) -> Customers:
        """Customers, for the choice of goods."""
        return self._registrations.who

    @property
    def goods(self) -> Goods:
        """Products."""
        return self._registrations.goods

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

        >>> plan = Plan(datetime(2026, 1, 1, tzinfo=KST), 9, 1_500, 1_100, 900)
        >>> whole, half = Simulation(plan), Simulation(plan)
        >>> days = [next(half.days()) for _ in range(8)]
        >>> again = Simulation(plan)
        >>> again.restore(half.snapshot())
        >>> next(again.days()).orders.equals(list(whole.days())[8].orders)
        True
        """
        state = {name: np.array(getattr(self, name)) for name in _STATE}
        return {**state, **self._counting.snapshot()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Resume from a `snapshot` of a simulation of the same plan.

        Args:
            state: the snapshot; this simulation is new, or at an earlier day.

        Raises:
            KeyError, ValueError: if it is not one of this plan.
        """
        for day in range(max(self.plan.days, self.next_day), int(state["next_day"])):
            self._grow(day)
        for name in _STATE:
            value, there = state[name], np.array(getattr(self, name))
            if value.shape != there.shape:
                raise ValueError(f"{name} is of another plan")
            setattr(self, name, value.copy() if value.ndim else value.item())
        self._counting.restore(state)

    def _grow(self, day: int) -> None:
        """Take in who and what comes on a day beyond the plan's."""
        self._registrations.add(day)
        for name, new in _PER_CUSTOMER.items():
            setattr(self, name, longer(getattr(self, name), len(self.who.ids), new))
        self._sold = longer(self._sold, len(self.goods.ids), 0)

    def _next(self) -> Day:
        day = self.next_day
        start = self._start + day * DAY_S
        if day >= self.plan.days:
            self._grow(day)
        orders = self._day(day)
        self.next_day += 1
        since, end = 0.0 if day == 0 else start, start + DAY_S
        began = datetime.fromtimestamp(start, UTC)
        return Day(
            day, began, began + timedelta(days=1),
            self._registrations.users(since, end), self._registrations.products(since, end),
            orders, self._changes(began) if day % 7 == 0 else None,
            int(np.searchsorted(self._registrations.created, start)),
        )  # fmt: skip

    def _changes(self, as_of: datetime) -> pl.DataFrame:
        who = np.flatnonzero(self._grade != self._graded)
        names = pl.Series(self.plan.grades, dtype=pl.String)
        return pl.DataFrame(
            {
                "user_id": self.who.ids[who],
                "from_grade": names.gather(self._graded[who]),
                "to_grade": names.gather(self._grade[who]),
                "cumulative_spend": self._counted[who],
                "as_of": pl.Series([as_of], dtype=GRADE_CHANGES["as_of"]).new_from_index(
                    0, len(who)
                ),
            },
            schema=GRADE_CHANGES,
        )

    def _day(self, day: int) -> pl.DataFrame:
        rng = stream(self.plan.seed, f"simulate/{day}")
        edges, rates, stretches = self._demand.rates(day)
        at = arrivals.poisson_times(edges, rates * self._demand.base, rng)
        now = self._start + day * DAY_S
        effects = [e for _, _, e in stretches]
        self._win_back(now, effects, rng)
        self._regrade(day)
        which = np.searchsorted([a for a, _, _ in stretches], at, side="right") - 1
        chosen = self._buyers(now, at, which, effects, rng)
        ids = ids_at((at * 1000).astype(np.int64) - EPOCH_MS, self.plan.node)
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

    def _buyers(
        self,
        now: float,
        at: Floats,
        which: Ints,
        effects: list[ScenarioEffects],
        rng: np.random.Generator,
    ) -> Ints:
        """Return the customer of each order, block by block."""
        if now < self._start + OPENING.total_seconds():
            return self._opening(at, rng)
        there = np.searchsorted(self._registrations.created, now)
        buyers = np.flatnonzero(~np.isnan(self._last[:there]) & ~self._gone[:there])
        others = np.flatnonzero(np.isnan(self._last[:there]))
        wanted = len(at) + CACHE
        buyers = buyers[least(self._due[buyers], wanted)]
        queue = buyers[np.argsort(self._last[buyers], kind="stable")]
        fresh = others[least(-self._registrations.freshness[others], wanted)]
        fresh = fresh[np.argsort(-self._registrations.freshness[fresh], kind="stable")]
        who = np.concatenate([queue, fresh])
        pool = DayPool(
            self._traits(who), datetime.fromtimestamp(now + DAY_S / 2, KST), old=len(queue),
            rate_weight=RATE_WEIGHT, cache=CACHE, buyers=round(CACHE * PURCHASER_SHARE),
        )  # fmt: skip
        chosen = np.empty(len(at), np.int64)
        for begin in range(0, len(at), propensity.CHOSEN):
            size = min(propensity.CHOSEN, len(at) - begin)
            block = self._block(pool, effects[which[begin]], rng, size)
            chosen[begin : begin + len(block)] = who[block]
            if len(block) < size:  # fewer customers than orders: some buy twice
                again = who[block] if len(block) else chosen[:begin]
                chosen[begin + len(block) : begin + size] = np.resize(again, size - len(block))
        self._bought(chosen, at, rng)
        return chosen

    def _opening(self, at: Floats, rng: np.random.Generator) -> Ints:
        pool = stream(self.plan.seed, "simulate/opening")
        there = int(np.searchsorted(self._registrations.created, self._start))
        size = max(OPENING_POOL, round(OPENING_DAYS * self.plan.orders / self.plan.days))
        first = np.argsort(pool.random(there), kind="stable")[:size]
        chosen = np.empty(len(at), np.int64)
        for begin in range(0, len(at), len(first)):
            end = min(begin + len(first), len(at))
            # Everybody once before anybody twice.
            chosen[begin:end] = first[np.argsort(rng.random(len(first)), kind="stable")][
                : end - begin
            ]
            self._bought(chosen[begin:end], at[begin:end], rng)
        return chosen

    def _block(
        self, pool: DayPool, effects: ScenarioEffects, rng: np.random.Generator, size: int
    ) -> Ints:
        """Return the places in the pool of those who buy next."""
        block, target = pool.block(
            effects.segments, rng.random(CACHE), size, self.plan.new_share, self._correction
        )
        self._seen += len(block)
        self._seen_first += int((block >= pool.old).sum())
        if self._seen >= propensity.CHOSEN and pool.mixed:
            observed = self._seen_first / self._seen
            self._correction = propensity.steer(self._correction, target, observed)
            self._seen = self._seen_first = 0
        return block

    def _traits(self, pool: Ints) -> Traits:
        return Traits(
            ids=self.who.ids[pool],
            gender=self.who.gender[pool],
            birth_year=self.who.birth_year[pool],
            metro=self._registrations.metro[pool],
            grade=self._grade[pool],
            created=self._registrations.created[pool],
            last=self._last[pool],
            orders=self.orders_of[pool],
            spent=self._spent[pool],
            soured=self._soured[pool],
        )

    def _bought(self, who: Ints, at: Floats, rng: np.random.Generator) -> None:
        """Each has placed an order: draw the gap to the next one, and whether there will be one.

        Args:
            who: customers, in the order of `at`; who is there twice buys twice.
            at: when.
            rng: two numbers for each.
        """
        m = self.plan.model
        u = rng.random((len(who), 2))
        rows = np.arange(len(who))
        while len(rows):
            _, first = np.unique(who[rows], return_index=True)
            now, rows = rows[np.sort(first)], np.delete(rows, first)
            c, t = who[now], at[now]
            self._first[c] = np.where(np.isnan(self._first[c]), t, self._first[c])
            self._last[c] = t
            self.orders_of[c] += 1
            repeats = self.orders_of[c] - 1
            gap = lomax(u[now, 0], m.r + repeats, m.alpha + (t - self._first[c]) / _WEEK_S)
            self._due[c] = t + np.minimum(gap, 1e6) * _WEEK_S
            self._gone[c] = (repeats > 0) & (u[now, 1] < m.a / (m.a + m.b + repeats - 1))

    def _win_back(
        self, now: float, effects: list[ScenarioEffects], rng: np.random.Generator
    ) -> None:
        if any("win_back" in e.running for e in effects):
            idle = np.flatnonzero(self._gone & (now - self._last > 90 * DAY_S))
            back = idle[rng.random(len(idle)) < REACTIVATED]
            self._gone[back] = False
            self._due[back] = now

    # -- what follows from the orders ------------------------------------------------------------

    def _shelf(self, now: float) -> Goods:
        """Return the products of the cache: those ordered most lately, then the newest others."""
        there = int(np.searchsorted(self._registrations.listed, now))
        return self.goods.take(shelf.rows(self._sold[:there], CACHE))

    def _count_orders(self, day: int, chosen: Ints, orders: pl.DataFrame) -> None:
        paid = (orders["status"] == "PAID").to_numpy()
        amount = orders["amount"].to_numpy()[paid]
        spent = np.bincount(chosen[paid], amount, len(self._spent)).astype(np.int64)
        self._spent += spent
        self._counting.add(day, chosen, orders)
        self._soured[chosen] = (orders["status"] == "CANCELLED").to_numpy()
        self.buyers = chosen
        self.bought = np.searchsorted(self.goods.ids, orders["product_id"].to_numpy())
        self._sold = shelf.after_a_day(self._sold, self.bought)

    def _regrade(self, day: int) -> None:
        """Once a week: grades by the spend of the calendar months before this moment.

        As a grader would find them now: an order counts until its cancellation has come.
        """
        if day % 7:
            return
        total = self._counting.total(day, len(self._grade))
        self._graded, self._counted = self._grade, total
        self._grade = np.searchsorted(np.array(self.plan.thresholds), total, side="right")


def lomax(u: Floats, shape: npt.NDArray[Any], scale: npt.NDArray[Any]) -> Floats:
    """Return gaps of a Poisson customer whose rate is gamma distributed: scale (U^(-1/shape) - 1).

    >>> lomax(np.array([0.75]), np.array([1.0]), np.array([2.0])).tolist()
    [6.0]
    """
    result: Floats = scale * (exp(exponential(u) / shape) - 1.0)
    return result
