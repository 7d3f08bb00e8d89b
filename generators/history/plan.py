"""What to simulate, and what a simulated day is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from generators.behaviour import propensity
from generators.behaviour.propensity import BgNbd
from shop.node_lease import HISTORY_NODE

BUSY: Final = BgNbd(r=0.55, alpha=4.414, a=0.55, b=3.0)
"""Of the gaps. CDNOW's customers made one repeat in 39 weeks; at 3 to 4 orders a customer its r
(.243) and a / (a + b) (.246) would give half of all orders to a few: measured, the Gini of orders
was .65 with them and the full rate in the score, .58 with these and `RATE_WEIGHT`."""
GRADE_CHANGES: Final = {
    "user_id": pl.Int64(), "from_grade": pl.String(), "to_grade": pl.String(),
    "cumulative_spend": pl.Int64(), "as_of": pl.Datetime("us", "UTC"),
}  # fmt: skip
"""Schema of `Day.grades`: KRW, sorted by customer."""


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        start: first moment, a midnight in Seoul.
        days: how many.
        users: customers by the end.
        products: by the end.
        orders: expected over the whole time.
        seed: of all streams.
        new_share: share of orders that should be a customer's first.
        thresholds: spend from which each grade after the first is held, KRW.
        grades: names of the grades, lowest first; one more than thresholds.
        months: calendar months whose spend counts.
        with_scenarios: whether scenarios run.
        model: of the gaps between purchases.
        node: of all ids.
    """

    start: datetime
    days: int
    users: int
    products: int
    orders: int
    seed: int = 1
    new_share: float = propensity.NEW_BUYER_SHARE
    thresholds: Sequence[int] = ()
    grades: Sequence[str] = propensity.GRADES
    months: int = 6
    with_scenarios: bool = True
    model: BgNbd = BUSY
    node: int = HISTORY_NODE


@dataclass(frozen=True)
class Day:
    """What a business day in Seoul added to the shop.

    Attributes:
        number: from 0.
        start: first moment, UTC.
        end: first moment after it, UTC.
        users: who signed up, `SCHEMAS["users"]`; with day 0 also those that were there before.
        products: what was listed, `SCHEMAS["products"]`; likewise.
        orders: `SCHEMAS["orders"]`, in the order of `ordered_at`, as they finally stand: revision
            2 with the `updated_at` of the cancellation or refund, even where that lies after the
            end of the history. At that moment those are still revision 1, PAID.
        grades: None, or `GRADE_CHANGES`: every customer whose grade changes at `start`.
        customers: how many there are at `start`: those a grading looks at.
    """

    number: int
    start: datetime
    end: datetime
    users: pl.DataFrame
    products: pl.DataFrame
    orders: pl.DataFrame
    grades: pl.DataFrame | None
    customers: int
