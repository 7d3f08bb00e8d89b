"""Which days people in Korea have off.

From the package `holidays`, which works offline and computes the lunar holidays of any year
(Seollal, Chuseok, Buddha's Birthday), substitutes and election days included.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

_SATURDAY: Final = 5
_MONDAY: Final = 3
"""1970-01-01 was a Thursday, three days after a Monday."""
_FAMILY: Final = ("Korean New Year", "Chuseok")
"""Holidays that scenarios of their own are about."""

Days = npt.NDArray[np.int64]
"""Days since 1970-01-01, in Seoul."""


@cache
def holidays_of(year: int) -> Mapping[date, str]:
    """Return a year's public holidays, with their names joined by semicolons."""
    from holidays import country_holidays  # noqa: PLC0415  (50 ms to import, only for a calendar)

    return dict(country_holidays("KR", years=year, language="en_US").items())


def named(name: str, year: int) -> tuple[date, ...]:
    """Return the days of a year on which there is a holiday of a name.

    >>> named("Chuseok", 2026)
    (datetime.date(2026, 9, 25),)
    """
    return tuple(d for d, names in holidays_of(year).items() if name in names.split("; "))


def weekday(day: Days) -> Days:
    """Return 0 for Monday to 6 for Sunday."""
    found: Days = (day + _MONDAY) % 7
    return found


def is_public_holiday(day: Days, *, but_family: bool = False) -> npt.NDArray[np.bool_]:
    """Return whether days are public holidays.

    Args:
        day: shape (n,).
        but_family: leave out Seollal and Chuseok.

    >>> christmas = (date(2026, 12, 25) - date(1970, 1, 1)).days
    >>> is_public_holiday(np.array([christmas, christmas + 1])).tolist()
    [True, False]
    """
    if not len(day):
        return np.zeros(0, np.bool_)
    first, last = (
        int(d.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)) + 1970
        for d in (day.min(), day.max())
    )
    start, off = _span(first, last, but_family=but_family)
    found: npt.NDArray[np.bool_] = off[day - start]
    return found


@cache
def _span(first: int, last: int, *, but_family: bool) -> tuple[int, npt.NDArray[np.bool_]]:
    """Return the number of the first day of a span of years, and which of its days are off."""
    epoch = date(1970, 1, 1)
    start = (date(first, 1, 1) - epoch).days
    off = np.zeros((date(last, 12, 31) - epoch).days - start + 1, np.bool_)
    for year in range(first, last + 1):
        for day, names in holidays_of(year).items():
            if not (but_family and any(name in names for name in _FAMILY)):
                off[(day - epoch).days - start] = True
    return start, off


def next_workday(day: Days) -> Days:
    """Return each day itself if it is a working day, else the first one after it.

    >>> saturday = (date(2026, 9, 19) - date(1970, 1, 1)).days  # Chuseok begins on Thursday
    >>> next_workday(np.array([saturday, saturday + 5])) - saturday
    array([2, 9])
    """
    day = day.copy()
    while (rest := np.flatnonzero((weekday(day) >= _SATURDAY) | is_public_holiday(day))).size:
        day[rest] += 1
    return day
