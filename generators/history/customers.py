"""What the simulation knows of each customer: columns that grow, 55 bytes a customer in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from generators.behaviour import customer_model, order_events, population, propensity
from generators.behaviour.customer_model import NEVER
from generators.history.plan import Plan
from generators.random_streams import Floats, Ints

Column = npt.NDArray[Any]

_KINDS: Final[dict[str, tuple[type[np.generic], Any]]] = {
    "ids": (np.int64, 0), "gender": (np.int8, 2), "birth_year": (np.int16, 0),
    "metro": (np.bool_, False), "province": (np.int8, 0), "orders": (np.int32, 0),
    "last": (np.int64, 0), "due": (np.int64, NEVER), "spent": (np.int64, 0), "grade": (np.int8, 0),
    "soured": (np.bool_, False), "next_delay": (np.int64, 0), "score": (np.float32, 0),
}  # fmt: skip
"""Column -> its type, and what it is for a new customer."""
_KEPT: Final = ("orders", "last", "due", "spent", "grade", "soured")
"""What a snapshot holds; the others are drawn again."""
_FIRST_ROOM: Final = 1 << 14


class HistoryCustomers:
    """The customers of a history, in the order of their ids, as columns of equal length.

    Attributes:
        ids: user ids; they carry the time of sign-up.
        gender: 0 women, 1 men.
        birth_year: a year.
        metro: whether they live in the capital's region.
        province: place of their province in `korean_people.CITIES`.
        orders: orders so far.
        last: id of the last order, which carries its time; 0 if there is none.
        due: from when they buy, see `customer_model`.
        spent: KRW paid so far.
        grade: rank of the grade.
        soured: whether the last order was cancelled.
        next_delay: from their next order to the one after it; filled in for those who may buy.
        score: logarithm of their inclination today; likewise.
    """

    ids: Ints
    gender: Column
    birth_year: Column
    metro: npt.NDArray[np.bool_]
    province: npt.NDArray[np.int8]
    orders: Column
    last: Ints
    due: Ints
    spent: Ints
    grade: Column
    soured: npt.NDArray[np.bool_]
    next_delay: Ints
    score: Column

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count = 0
        self._room = {name: np.empty(0, kind) for name, (kind, _) in _KINDS.items()}
        self._show()

    def __len__(self) -> int:
        return self._count

    def _show(self) -> None:
        for name, room in self._room.items():
            setattr(self, name, room[: self._count])

    def add(self, ids: Ints, draws: Floats, due: Ints) -> None:
        """Take in customers who signed up.

        Args:
            ids: shape (n,), higher than all before.
            draws: shape (n, population.USER_DRAWS).
            due: from when they buy.
        """
        before, self._count = self._count, self._count + len(ids)
        if self._count > len(self._room["ids"]):
            size = max(_FIRST_ROOM, self._count + self._count // 4)
            for name, room in self._room.items():
                larger = np.empty(size, room.dtype)
                larger[:before] = room[:before]
                self._room[name] = larger
        for name, (_, new) in _KINDS.items():
            self._room[name][before : self._count] = new
        self._show()
        female, birth_year, metro, province = population.traits(draws, ids)
        self.ids[before:], self.due[before:] = ids, due
        self.gender[before:], self.birth_year[before:] = ~female, birth_year
        self.metro[before:], self.province[before:] = metro, province

    def take(self, places: Ints) -> order_events.Customers:
        """Return customers for the choice of goods."""
        return order_events.Customers(
            self.ids[places],
            self.gender[places].astype(np.int64),
            self.birth_year[places].astype(np.int64),
        )

    def traits(self, places: Ints) -> propensity.Traits:
        """Return customers for their scores."""
        orders = self.orders[places].astype(np.int64)
        last = population.times_of(self.last[places]) / 1_000
        return propensity.Traits(
            ids=self.ids[places],
            gender=self.gender[places].astype(np.int64),
            birth_year=self.birth_year[places].astype(np.int64),
            metro=self.metro[places],
            grade=self.grade[places].astype(np.int64),
            created=population.times_of(self.ids[places]) / 1_000,
            last=np.where(orders > 0, last, np.nan),
            orders=orders,
            spent=self.spent[places],
            soured=self.soured[places],
        )

    def look_ahead(self, places: Ints) -> None:
        """Draw what follows their next order."""
        self.next_delay[places] = customer_model.due_after_order(
            self._plan.customers, self._plan.seed, self.ids[places],
            self.orders[places].astype(np.int64) + 1, 0,
        )  # fmt: skip

    def snapshot(self) -> dict[str, Column]:
        """Return what is not drawn again."""
        return {f"customers_{name}": getattr(self, name) for name in _KEPT}

    def restore(self, state: Mapping[str, Column]) -> None:
        """Resume from a `snapshot`, with the same customers.

        Raises:
            KeyError, ValueError: if it is of others.
        """
        for name in _KEPT:
            value = state[f"customers_{name}"]
            if value.shape != (self._count,):
                raise ValueError("the customers are of another plan")
            getattr(self, name)[:] = value
