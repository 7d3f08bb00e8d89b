"""What to simulate, and what a simulated day is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import customer_model, propensity
from generators.behaviour.customer_model import CustomerModel
from generators.topics.history import TopicDay
from generators.topics.interface import HistoryBlock
from shop.node_lease import HISTORY_NODE

DAY_S: Final = 86_400.0
BLOCKS: Final = 108
"""Blocks in a mean day: of 200 orders at the seed's rate, 13 minutes of the shop."""
FEWER_BLOCKS: Final = 24
"""Likewise of a shop below `FULL_FROM`, to which an order comes every minute at most."""
FULL_FROM: Final = 2_160
"""Orders a day from which the cache has its full size. A purchaser waits for 600 orders on average:
a quarter of a day there, and with fewer orders the cache shrinks with the shop."""
GRADE_CHANGES: Final = {
    "user_id": pl.Int64(), "from_grade": pl.String(), "to_grade": pl.String(),
    "cumulative_spend": pl.Int64(), "as_of": pl.Datetime("us", "UTC"),
}  # fmt: skip
"""Schema of `Day.grades`: KRW, sorted by customer."""


LEAST_BLOCK: Final = 4


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        start: first moment, a midnight in Seoul.
        days: how many.
        orders_per_day: mean number of orders in a day of the plan; all other sizes follow from it.
        seed: of all streams.
        thresholds: spend from which each grade after the first is held, KRW.
        grades: names of the grades, lowest first; one more than thresholds.
        months: calendar months whose spend counts.
        with_scenarios: whether scenarios run.
        node: of all ids.
    """

    start: datetime
    days: int
    orders_per_day: int = customer_model.ORDERS_PER_DAY
    seed: int = 1
    thresholds: Sequence[int] = ()
    grades: Sequence[str] = propensity.GRADES
    months: int = 6
    with_scenarios: bool = True
    node: int = HISTORY_NODE

    @property
    def customers(self) -> CustomerModel:
        """How its customers behave."""
        return CustomerModel(orders_per_day=self.orders_per_day)

    @property
    def purchasers(self) -> int:
        """Purchasers in its cache."""
        return self._scaled(customer_model.POOL)

    @property
    def others(self) -> int:
        """Customers in its cache who have not bought."""
        return self._scaled(customer_model.OTHERS)

    @property
    def block(self) -> int:
        """Orders of a block: the cache is looked at again after each."""
        blocks = BLOCKS if self.orders_per_day >= FULL_FROM else FEWER_BLOCKS
        wanted = max(LEAST_BLOCK, self.orders_per_day // blocks)
        return min(self._scaled(customer_model.CHOSEN), wanted)

    def _scaled(self, size: int) -> int:
        return max(size // 50, min(size, size * self.orders_per_day // FULL_FROM))


@dataclass(frozen=True)
class Day:
    """What a business day in Seoul added to the shop.

    Attributes:
        number: from 0.
        start: first moment, UTC.
        end: first moment after it, UTC.
        users: who signed up, `SCHEMAS["users"]`; with day 0 also those that were there before.
        products: what changed, with revisions from 2 on, and what was listed, likewise; in the
            order of `updated_at`: `SCHEMAS["products"]`.
        orders: `SCHEMAS["orders"]`, in the order of `ordered_at`, as they finally stand: revision
            2 with the `updated_at` of the cancellation or refund, even where that lies after the
            end of the history. At that moment those are still revision 1, PAID.
        grades: None, or `GRADE_CHANGES`: every customer whose grade changes at `start`.
        customers: how many there are at `start`: those a grading looks at.
        province: of the customer of each order, a place in `korean_people.CITIES`.
        pending: the orders that are revision 2 only after the end of the history, as they finally
            stand; among `orders` they are as they stand at its end.
        topics: what the day adds to optional topics, by name.
    """

    number: int
    start: datetime
    end: datetime
    users: pl.DataFrame
    products: pl.DataFrame
    orders: pl.DataFrame
    grades: pl.DataFrame | None
    customers: int
    province: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    pending: pl.DataFrame | None = None
    topics: Mapping[str, TopicDay] = field(default_factory=dict)

    def block(self) -> HistoryBlock:
        """Return it for the histories of optional topics, with orders as they finally stand."""
        orders = self.orders
        if self.pending is not None:
            final = self.pending.select("order_id", "rev", "status", "updated_at")
            orders = orders.join(
                final, on="order_id", how="left", maintain_order="left", suffix="_"
            ).select(
                pl.coalesce(f"{c}_", c).alias(c) if c in final.columns[1:] else c
                for c in orders.columns
            )
        return HistoryBlock(self.start, self.end, self.users, self.products, orders, self.province)
