"""The grades as data: names, thresholds, and the period whose spend counts."""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shop.clock import UTC


@dataclass(frozen=True)
class Grade:
    """One grade: who has spent at least `threshold` KRW in the period holds it or a higher one."""

    name: str
    threshold: int


@dataclass(frozen=True)
class Policy:
    """The grades, lowest first, and the calendar months whose paid spend counts.

    Raises:
        ValueError: if the thresholds do not ascend from 0, a name stands twice or is empty, or
            the period is not at least one month.
    """

    grades: tuple[Grade, ...]
    months: int = 6

    def __post_init__(self) -> None:
        thresholds = [g.threshold for g in self.grades]
        if not thresholds or thresholds[0] != 0:
            raise ValueError("the first grade must begin at 0, or somebody has no grade")
        if any(high <= low for low, high in itertools.pairwise(thresholds)):
            raise ValueError(f"thresholds must ascend: {thresholds}")
        names = [g.name for g in self.grades]
        if not all(names) or len(set(names)) != len(names):
            raise ValueError(f"grades need names that differ: {names}")
        if self.months < 1:
            raise ValueError(f"the period must be at least one month, not {self.months}")

    def __iter__(self) -> Iterator[Grade]:
        """Return the grades, lowest first."""
        return iter(self.grades)

    @property
    def lowest(self) -> str:
        """The grade of somebody who bought nothing in the period."""
        return self.grades[0].name

    def rank(self, name: str) -> int:
        """Return a grade's position from 0; -1 for a name of some earlier policy.

        >>> POLICY.rank("BRONZE"), POLICY.rank("VVIP"), POLICY.rank("PLATINUM")
        (0, 4, -1)
        """
        return next((i for i, g in enumerate(self.grades) if g.name == name), -1)

    def window(self, as_of: datetime) -> tuple[datetime, datetime]:
        """Return the period that counts at `as_of`: an order is in it if start <= time < end.

        Half open, so that the periods of two runs differ by exactly what entered and what left.
        """
        return months_before(as_of, self.months), as_of


POLICY: Final = Policy(
    (
        Grade("BRONZE", 0),
        Grade("SILVER", 100_000),
        Grade("GOLD", 400_000),
        Grade("VIP", 1_000_000),
        Grade("VVIP", 2_000_000),
    )
)
"""KRW paid in six calendar months, after published Korean programmes: Olive Young (six months,
since 2025-07) has steps at 100,000, 400,000, 700,000 and 1,000,000; 11st (2009, six months) VIP
at 800,000 and VVIP at 2,000,000. At ten orders a customer and year of 45,000 on average this gives
56.9 / 23.8 / 11.7 / 5.8 / 1.9 % (simulated)."""


def months_before(as_of: datetime, months: int) -> datetime:
    """Return the same time of day `months` calendar months earlier, in UTC.

    Where that month has no such day, its last day is meant: the rule of PostgreSQL's
    ``timestamptz - interval '6 months'`` in a session whose time zone is UTC.

    Args:
        as_of: aware.
        months: at least 0.

    >>> months_before(datetime(2024, 8, 31, 12, tzinfo=UTC), 6).isoformat()
    '2024-02-29T12:00:00+00:00'
    """
    as_of = as_of.astimezone(UTC)
    year, month0 = divmod(as_of.year * 12 + as_of.month - 1 - months, 12)
    last_day = calendar.monthrange(year, month0 + 1)[1]
    return as_of.replace(year=year, month=month0 + 1, day=min(as_of.day, last_day))
