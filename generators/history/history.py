"""A history up to its end: the days of the simulation, cut there, and their sums.

What the simulation knows of the time after the end is not in it yet: orders of the rest of the
last day are left out, and a cancellation or refund that is still to come waits with the pending
ones, its order being paid until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.history.plan import Day, Plan
from generators.history.registrations import longer
from generators.history.simulation import Simulation
from generators.history.state import pack
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.grading_policy import GradePolicy

NEVER: Final = np.iinfo(np.int64).min
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Ending:
    """The sums of all days.

    Attributes:
        users: `SCHEMAS["users"]` with grade, last_ordered_at, order_count and total_spent, as the
            table has them: PAID orders, but `last_ordered_at` of any.
        products: `SCHEMAS["products"]` with order_count.
        pending: orders of revision 2, `SCHEMAS["orders"]`, by `updated_at`: at the end or later.
        last_day: number of the day that holds the end.
        state: the simulation at the beginning of that day, `history_state.pack`; empty unless asked
            for.
    """

    users: pl.DataFrame
    products: pl.DataFrame
    pending: pl.DataFrame
    last_day: int = 0
    state: bytes = b""


def midnight(day: date) -> datetime:
    """Return the first moment of a business day, in UTC.

    >>> midnight(date(2026, 1, 1)).isoformat()
    '2025-12-31T15:00:00+00:00'
    """
    return datetime(day.year, day.month, day.day, tzinfo=KST).astimezone(UTC)


class HistorySimulation:
    """Simulates the days up to an end.

    Args:
        plan: what to simulate; the end may lie beyond its days.
        policy: the grades.
        end: UTC; nothing of this moment or later is in the history.
        keep_state: whether the ending has the state from which it can be continued.
    """

    def __init__(
        self, plan: Plan, policy: GradePolicy, end: datetime, *, keep_state: bool = False
    ) -> None:
        self._simulation = Simulation(plan)
        self._policy = policy
        self._end = end
        self._last_day = -((plan.start - end) // DAY) - 1
        self._keep_state = keep_state
        self._state = b""
        self._users: list[pl.DataFrame] = []
        self._products: list[pl.DataFrame] = []
        self._pending: list[pl.DataFrame] = []
        none = np.empty(0, np.int64)
        self._orders_of = self._spent = self._last = self._grade = self._sold = none
        self._make_room()

    def _make_room(self) -> None:
        """Have a place for each customer and product that the simulation knows."""
        self._user_ids = self._simulation.who.ids
        n = len(self._user_ids)
        self._orders_of, self._spent = longer(self._orders_of, n, 0), longer(self._spent, n, 0)
        self._last, self._grade = longer(self._last, n, NEVER), longer(self._grade, n, 0)
        self._sold = longer(self._sold, len(self._simulation.goods.ids), 0)

    def days(self) -> Iterator[Day]:
        """Return the days as they stand at the end, the last one cut there.

        When all are taken, `ending` is complete.
        """
        before = pl.col("created_at") < self._end
        for day in self._simulated():
            self._make_room()
            users, products = day.users.filter(before), day.products.filter(before)
            orders = self._as_it_stands(day.orders.filter(pl.col("ordered_at") < self._end))
            self._add_up(orders)
            self._users.append(users)
            self._products.append(products)
            if day.grades is not None:
                who = np.searchsorted(self._user_ids, day.grades["user_id"].to_numpy())
                ranks = day.grades["to_grade"].replace_strict(
                    self._policy.ranks, return_dtype=pl.Int64
                )
                self._grade[who] = ranks.to_numpy()
            end = min(day.end, self._end)
            yield replace(day, end=end, users=users, products=products, orders=orders)

    def _simulated(self) -> Iterator[Day]:
        yield from self._simulation.days(self._last_day)
        if self._keep_state:
            self._state = pack(self._simulation)
        yield from self._simulation.days(self._last_day + 1)

    def _as_it_stands(self, orders: pl.DataFrame) -> pl.DataFrame:
        later = (pl.col("rev") > 1) & (pl.col("updated_at") >= self._end)
        pending = orders.filter(later)
        if pending.is_empty():
            return orders
        self._pending.append(pending)
        return first_revisions(orders, later)

    def _add_up(self, orders: pl.DataFrame) -> None:
        # What is cut off lies behind the end, so it is the last ones.
        who, what = self._simulation.buyers[: len(orders)], self._simulation.bought[: len(orders)]
        paid = (orders["status"] == "PAID").to_numpy()
        self._orders_of += np.bincount(who[paid], minlength=len(self._orders_of))
        # Doubles hold sums of KRW exactly up to 2^53.
        amount = orders["amount"].to_numpy()[paid]
        self._spent += np.bincount(who[paid], amount, len(self._spent)).astype(np.int64)
        self._sold += np.bincount(what[paid], minlength=len(self._sold))
        # By ordered_at, so the last one of each customer is what stays.
        self._last[who] = orders["ordered_at"].dt.timestamp("us").to_numpy()

    def ending(self) -> Ending:
        """Return the sums of the days; call it when all have been taken."""
        users, products = pl.concat(self._users), pl.concat(self._products)
        n, m = len(users), len(products)
        last = pl.Series("last_ordered_at", self._last[:n])
        names = pl.Series("grade", self._policy.names, dtype=pl.String)
        none = pl.DataFrame(schema=SCHEMAS["orders"])
        return Ending(
            users.with_columns(
                names.gather(self._grade[:n]),
                last.set(last == NEVER, None).cast(pl.Datetime("us", "UTC")),
                _column("order_count", self._orders_of[:n]),
                _column("total_spent", self._spent[:n]),
            ),
            products.with_columns(_column("order_count", self._sold[:m])),
            pl.concat([none, *self._pending]).sort("updated_at"),
            self._last_day,
            self._state,
        )


def first_revisions(orders: pl.DataFrame, which: pl.Expr) -> pl.DataFrame:
    """Return orders with some of them as they were when they were placed.

    Args:
        orders: `SCHEMAS["orders"]`.
        which: true for those to set back.
    """

    def unless(name: str, first: pl.Expr) -> pl.Expr:
        return pl.when(which).then(first).otherwise(pl.col(name)).alias(name)

    return orders.with_columns(
        unless("rev", pl.lit(1, pl.Int64)),
        unless("status", pl.lit("PAID")),
        unless("updated_at", pl.col("ordered_at")),
    )


def _column(name: str, values: npt.NDArray[Any]) -> pl.Series:
    return pl.Series(name, values, dtype=pl.Int64)
