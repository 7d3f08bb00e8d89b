"""A shop as it is observed, and its statistics: the same code for a history and the live stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks import shapes
from benchmarks.realism import items
from benchmarks.targets import Statistic

YEAR_DAYS = 300
"""A window longer than this is measured as a year."""
QUARTER_DAYS = 60
"""A window shorter than this is measured as some hours: nobody has been watched for a month."""


@dataclass(frozen=True)
class Observed:
    """Orders, and the customers and products that they name.

    Attributes:
        orders: of a window, `SCHEMAS["orders"]`, as they stand at its end.
        users: user_id, created_at and birth_year of those who signed up in the window.
        products: `SCHEMAS["products"]`, those listed before the window included.
        fallback: orders of customers who were not due.
        changes: user_id, from_grade, to_grade, as_of of every grading; empty if there was none.
        held: shape (grades,), customers by grade at the end, lowest first; empty if not known.
    """

    orders: pl.DataFrame
    users: pl.DataFrame
    products: pl.DataFrame
    fallback: int
    changes: pl.DataFrame = field(default_factory=pl.DataFrame)
    held: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def window(self) -> tuple[datetime, datetime]:
        """First and last order."""
        begin, end = self.orders["ordered_at"].min(), self.orders["ordered_at"].max()
        assert isinstance(begin, datetime)
        assert isinstance(end, datetime)
        return begin, end

    @property
    def days(self) -> float:
        """Days from the first to the last order."""
        begin, end = self.window
        return (end - begin) / timedelta(days=1)


def statistics(shop: Observed) -> list[Statistic]:
    """Return what the orders, customers and products of a window of any length show."""
    orders, products = shop.orders, shop.products
    found = [
        *shapes.values(orders),
        *shapes.outcomes(orders),
        *items.prices(products),
        *items.payment(orders),
        *items.quantities(orders, products),
        *items.ages(shop.users),
    ]
    if shop.days < QUARTER_DAYS:
        return found
    found = [
        *shapes.loyalty(orders),
        *shapes.clientele(orders, shop.users, shop.fallback),
        *found,
        *shapes.goods(orders, products.height),
        *items.baseline(orders),
        *items.refunds(orders),
        *items.sales_by_age(orders, products, *shop.window),
        *items.holidays(orders),
    ]
    if shop.days > YEAR_DAYS:
        found += items.calendar_of_goods(orders, products)
    if len(shop.held):
        found += items.grades(shop.changes, shop.held)
    return found
