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

from generators.behaviour import customer_model, product_changes
from generators.history.plan import Day, Plan
from generators.history.sign_ups import CustomerRows
from generators.history.simulation import Simulation
from generators.history.state import pack
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.grading_policy import GradePolicy

NEVER: Final = np.iinfo(np.int64).min
DAY: Final = timedelta(days=1)
_TOTALS: Final = np.dtype(
    [("orders", np.int32), ("spent", np.int64), ("last", np.int64), ("grade", np.int8)]
)
"""What is known of each customer at the end: 21 bytes."""


@dataclass(frozen=True)
class Ending:
    """The sums of all days.

    Attributes:
        users: `SCHEMAS["users"]` with grade, last_ordered_at, order_count and total_spent, as the
            table has them: PAID orders, but `last_ordered_at` of any. In parts.
        products: `SCHEMAS["products"]` with order_count.
        pending: orders of revision 2, `SCHEMAS["orders"]`, by `updated_at`: at the end or later.
        last_day: number of the day that holds the end.
        state: the simulation at the beginning of that day, `state.pack`; empty unless asked for.
        shop: what the live shop needs to know of the customers to continue; None unless asked for.
    """

    users: CustomerRows
    products: pl.DataFrame
    pending: pl.DataFrame
    last_day: int = 0
    state: bytes = b""
    shop: ShopState | None = None


@dataclass(frozen=True)
class ShopState:
    """The customers' side of a shop at the end of a history, see `customer_model`.

    Attributes:
        customers: user_id, orders, last_order_id and due of all customers, by id; null for no
            order, and for never.
        orders: taken so far: the clock.
        orders_per_day: mean.
        seed: of the shop.
    """

    customers: pl.DataFrame
    orders: int
    orders_per_day: int
    seed: int


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
        keep_state: whether the ending has the states from which it can be continued.
        profiles: whether the days have names and addresses, see `Simulation`.
    """

    def __init__(
        self,
        plan: Plan,
        policy: GradePolicy,
        end: datetime,
        *,
        keep_state: bool = False,
        profiles: bool = True,
    ) -> None:
        self._plan = plan
        self._simulation = Simulation(plan, profiles=profiles)
        self._policy = policy
        self._end = end
        self._last_day = -((plan.start - end) // DAY) - 1
        self._keep_state = keep_state
        self._state = b""
        self._counts = list(self._simulation.sign_ups)
        self._products: list[pl.DataFrame] = []
        self._pending: list[pl.DataFrame] = []
        self._totals: npt.NDArray[Any] = np.zeros(0, _TOTALS)
        self._sold = np.empty(0, np.int64)
        self._taken = 0
        self._make_room()

    def _make_room(self) -> None:
        """Make room for each customer and product that the simulation knows."""
        n = len(self._simulation.who)
        if n > len(self._totals):
            more = np.zeros(n + n // 4, _TOTALS)
            more["last"] = NEVER
            more[: len(self._totals)] = self._totals
            self._totals = more
        missing = len(self._simulation.goods.ids) - len(self._sold)
        self._sold = np.pad(self._sold, (0, missing))

    def days(self) -> Iterator[Day]:
        """Return the days as they stand at the end, the last one cut there.

        When all are taken, `ending` is complete.
        """
        before = pl.col("created_at") < self._end
        for day in self._simulated():
            self._make_room()
            users = day.users.filter(before)
            products = day.products.filter(pl.col("updated_at") < self._end)
            orders = day.orders.filter(pl.col("ordered_at") < self._end)
            orders, pending = self._as_it_stands(orders)
            self._add_up(orders)
            self._counts.append(self._simulation.sign_ups[-1] - (len(day.users) - len(users)))
            self._products.append(products)
            if day.grades is not None:
                who = np.searchsorted(self._simulation.who.ids, day.grades["user_id"].to_numpy())
                ranks = day.grades["to_grade"].replace_strict(
                    self._policy.ranks, return_dtype=pl.Int8
                )
                self._totals["grade"][who] = ranks.to_numpy()
            end = min(day.end, self._end)
            yield replace(
                day, end=end, users=users, products=products, orders=orders, pending=pending,
                province=day.province[: len(orders)],  # what is cut off are the last ones
            )  # fmt: skip

    def _simulated(self) -> Iterator[Day]:
        yield from self._simulation.days(self._last_day)
        if self._keep_state:
            self._state = pack(self._simulation)
        self._simulation.keeps_morning = self._keep_state
        yield from self._simulation.days(self._last_day + 1)

    def _as_it_stands(self, orders: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        later = (pl.col("rev") > 1) & (pl.col("updated_at") >= self._end)
        pending = orders.filter(later)
        if pending.is_empty():
            return orders, None
        self._pending.append(pending)
        return first_revisions(orders, later), pending

    def _add_up(self, orders: pl.DataFrame) -> None:
        # What is cut off lies behind the end, so it is the last ones.
        who, what = self._simulation.buyers[: len(orders)], self._simulation.bought[: len(orders)]
        self._taken = len(orders)
        paid = (orders["status"] == "PAID").to_numpy()
        totals = self._totals
        np.add.at(totals["orders"], who[paid], 1)
        np.add.at(totals["spent"], who[paid], orders["amount"].to_numpy()[paid])
        np.add.at(self._sold, what[paid], 1)
        # By ordered_at, so the last one of each customer is what stays.
        totals["last"][who] = orders["ordered_at"].dt.timestamp("us").to_numpy()

    def ending(self) -> Ending:
        """Return the sums of the days; call it when all have been taken."""
        n = sum(self._counts)
        totals = self._totals[:n]
        last = pl.Series("last_ordered_at", totals["last"])
        names = pl.Series("grade", self._policy.names, dtype=pl.String)
        columns = pl.DataFrame(
            [
                _column("user_id", self._simulation.who.ids[:n]),
                names.gather(totals["grade"].astype(np.int64)),
                last.set(last == NEVER, None).cast(pl.Datetime("us", "UTC")),
                _column("order_count", totals["orders"]),
                _column("total_spent", totals["spent"]),
            ]
        )
        states = pl.concat(self._products)
        products = product_changes.latest(
            states.filter(pl.col("rev") == 1), states.filter(pl.col("rev") > 1)
        )
        none = pl.DataFrame(schema=SCHEMAS["orders"])
        return Ending(
            CustomerRows(self._plan, self._counts, columns),
            products.with_columns(_column("order_count", self._sold[: len(products)])),
            pl.concat([none, *self._pending]).sort("updated_at"),
            self._last_day,
            self._state,
            self._shop_state(n) if self._keep_state else None,
        )

    def _shop_state(self, n: int) -> ShopState:
        """Return where the first n customers are after the orders that the last day has."""
        simulation, plan = self._simulation, self._plan
        orders, last, due = (column[:n] for column in simulation.morning)
        who, ids = simulation.buyers[: self._taken], simulation.order_ids[: self._taken]
        numbers = simulation.clock - len(simulation.buyers) + 1 + np.arange(len(who))
        np.add.at(orders, who, 1)
        last[who] = ids
        # Of a customer's several orders, the last one says when the next one comes.
        _, back = np.unique(who[::-1], return_index=True)
        latest = len(who) - 1 - back
        buyers = who[latest]
        due[buyers] = customer_model.due_after_order(
            plan.customers, plan.seed, simulation.who.ids[buyers],
            orders[buyers].astype(np.int64), numbers[latest],
        )  # fmt: skip
        never_bought, never = pl.Series(orders == 0), pl.Series(due >= customer_model.NEVER)
        customers = pl.DataFrame(
            [
                _column("user_id", simulation.who.ids[:n]),
                _column("orders", orders),
                _column("last_order_id", last).set(never_bought, None),
                _column("due", due).set(never, None),
            ]
        )
        clock = simulation.clock - len(simulation.buyers) + len(who)
        return ShopState(customers, clock, plan.orders_per_day, plan.seed)


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
