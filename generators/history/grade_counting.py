"""Customers' spend of the last months, day by day, from which a history's grades follow.

A grading is at a midnight in Seoul and looks at months before it, so whole days are exact: an
order counts if its day lies in the period and it was not undone before the midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.random_streams import Ints
from shop.grading_policy import months_before

NEVER: Final = np.iinfo(np.int16).max
TOGETHER: Final = 32
"""Days that are summed at a time: one by one costs four times as much, all at once 100 MB."""
_DAY_US: Final = 86_400_000_000
_KINDS: Final = {
    "counting_day": np.int16, "counting_who": np.int32,
    "counting_amount": np.int64, "counting_until": np.int16,
}  # fmt: skip


class GradeCounting:
    """Orders, and until when each is paid.

    Args:
        start: of day 0, a midnight in Seoul.
        months: calendar months that count.
    """

    def __init__(self, start: datetime, months: int) -> None:
        self._start = start
        self._start_us = round(start.timestamp() * 1e6)
        self._months = months
        # Of each day: number, customers, KRW, first day at whose beginning it is undone.
        self._days: list[tuple[int, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]] = []

    def add(self, day: int, who: Ints, orders: pl.DataFrame) -> None:
        """Take in the orders of a day, with the place of the customer of each."""
        changed = orders["updated_at"].dt.timestamp("us").to_numpy() - self._start_us
        paid = (orders["status"] == "PAID").to_numpy()
        until = np.where(paid, NEVER, -(-changed // _DAY_US)).astype(np.int16)
        self._days.append((day, who.astype(np.int32), orders["amount"].to_numpy(), until))

    def total(self, day: int, customers: int) -> Ints:
        """Return what each customer had paid at the beginning of a day, KRW.

        As a grader would find it then: an order counts until its cancellation has come. Days
        before the period are forgotten.
        """
        as_of = self._start + timedelta(days=day)
        since = (months_before(as_of, self._months) - self._start) // timedelta(days=1)
        self._days = [part for part in self._days if part[0] >= since]
        total = np.zeros(customers, np.int64)
        for first in range(0, len(self._days), TOGETHER):
            parts = self._days[first : first + TOGETHER]
            who, amount, until = (np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
            counts = until > day
            # Doubles hold sums of KRW exactly up to 2^53.
            total += np.bincount(who[counts], amount[counts], customers).astype(np.int64)
        return total

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Return all of it, column by column."""
        columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
        for number, *parts in self._days:
            columns[0].append(np.full(len(parts[0]), number, np.int16))
            for column, part in zip(columns[1:], parts, strict=True):
                column.append(part)
        return {
            name: np.concatenate([np.empty(0, kind), *parts])
            for (name, kind), parts in zip(_KINDS.items(), columns, strict=True)
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Resume from a `snapshot`."""
        day, who, amount, until = (state[name] for name in _KINDS)
        numbers, first = np.unique(day, return_index=True)
        whose, krw, undone = (np.split(column, first[1:]) for column in (who, amount, until))
        # strict=False: without a day, there is one empty part
        self._days = list(zip(numbers.tolist(), whose, krw, undone, strict=False))
