"""How demand changes with the hour, the weekday, the month and the years; mean 1 each.

Sources: hours after Inicis (2007, 2008), Samsung Card (2013) and Criteo (2018): trough 05-06 h at
.4 %, peaks about 10 and 22 h, dip at 19 h. Weekdays: Samsung Card, 2013. Months: the monthly
online shopping statistics of Statistics Korea, rounded by us: a strong November and December, a
weak February. All in Seoul time.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.portable_math import power
from generators.random_streams import Floats, Ints
from generators.scenarios import korean_calendar

HOURS: Final = (
    3.2, 1.8, 1.0, 0.6, 0.5, 0.4, 0.7, 1.7, 3.3, 5.4, 6.6, 6.6,
    5.7, 6.0, 6.1, 6.0, 6.0, 5.4, 4.3, 4.3, 5.3, 6.5, 6.9, 6.0,
)  # fmt: skip
"""Percent of a day's orders, hour 0 to 23."""
WEEKDAYS: Final = (129, 119, 116, 113, 96, 60, 67)
"""Monday to Sunday, mean 100."""
MONTHS: Final = (0.97, 0.89, 0.99, 0.97, 1.00, 0.98, 1.00, 0.98, 0.99, 1.03, 1.11, 1.09)
"""January to December."""
DAYS_OF_MONTH: Final = {11: 1.2, 12: 1.2}
"""Day of the month -> factor on its orders; all others alike. After the second usual payday, the
10th; the first one, the 25th, is a scenario. Days 11, 12, 26 and 27 together have 18.4 % of
transactions (etnews 2008-04-30)."""
SUNDAY: Final = 6
"""A public holiday sells like this weekday; Seollal and Chuseok have scenarios of their own."""
YEARLY: Final = 1.10
"""Growth in a year: Korean online sales grew by 6 to 12 % a year from 2021 to 2024."""
STEP_S: Final = 300
"""The rate is constant for so long: scenarios begin and end on this grid."""

_HOUR: Final = np.array(HOURS) / np.mean(HOURS)
_WEEKDAY: Final = np.array(WEEKDAYS) / np.mean(WEEKDAYS)
_MONTH: Final = np.array(MONTHS) / np.mean(MONTHS)
_DAY_OF_MONTH: Final = np.array([DAYS_OF_MONTH.get(day, 1.0) for day in range(1, 32)]) / (
    1 + sum(factor - 1 for factor in DAYS_OF_MONTH.values()) / 30.4
)
_WITH_HOLIDAYS: Final = 0.986
"""Mean of the curves over the years 2018 to 2035: holidays take 1.4 % (0.8 to 1.6 %) of a year."""
_KST_S: Final = 9 * 3_600  # Korea has had no daylight saving time since 1988
_DAY_S: Final = 86_400
_YEAR_S: Final = 365.2425 * _DAY_S


def multiplier(at: Floats, anchor: float | None = None) -> Floats:
    """Return demand relative to its mean: hour * weekday * day of month * month * growth.

    Args:
        at: shape (n,), seconds since the Unix epoch.
        anchor: the moment at which growth is 1; None: no growth.

    >>> from datetime import datetime
    >>> from shop.clock import KST
    >>> noon, night = (datetime(2026, 11, 23, h, tzinfo=KST).timestamp() for h in (12, 5))
    >>> multiplier(np.array([noon, night])).round(2).tolist()
    [1.95, 0.14]
    """
    local = at + _KST_S
    day = np.floor_divide(local, _DAY_S).astype(np.int64)
    hour = ((local - day * _DAY_S) // 3_600).astype(np.int64)
    result: Floats = _HOUR[hour] * _days(day)
    return result if anchor is None else result * power(YEARLY, (at - anchor) / _YEAR_S)


def _days(day: Ints) -> Floats:
    """Return demand by day; `day` counts from 1970-01-01."""
    holiday = korean_calendar.is_public_holiday(day, but_family=True)
    weekday = np.where(holiday, SUNDAY, korean_calendar.weekday(day))
    dates = day.astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    of_month = (dates - month.astype("datetime64[D]")).astype(np.int64)
    result: Floats = (
        _WEEKDAY[weekday]
        / _WITH_HOLIDAYS
        * _DAY_OF_MONTH[of_month]
        * _MONTH[month.astype(np.int64) % 12]
    )
    return result


def is_ordinary(first: date, days: int) -> npt.NDArray[np.bool_]:
    """Return which days from a first one on are neither holidays nor special days of a month."""
    dates = np.datetime64(first) + np.arange(days)
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    holiday = korean_calendar.is_public_holiday(dates.astype(np.int64))
    result: npt.NDArray[np.bool_] = ~holiday & ~np.isin(of_month, list(DAYS_OF_MONTH))
    return result


def grid(start: float, end: float) -> Floats:
    """Return the edges of the steps between two moments, seconds since the Unix epoch.

    >>> grid(0, 1_000).tolist()
    [0.0, 300.0, 600.0, 900.0, 1000.0]
    """
    inner = np.arange(np.floor(start / STEP_S) * STEP_S + STEP_S, end, STEP_S)
    return np.concatenate([[float(start)], inner, [float(end)]])
