"""Time: UTC inside, Asia/Seoul for business days, and clocks that can be replaced.

A clock is any callable that returns an aware UTC `datetime`; code that needs the time takes one
as an argument, so that tests and the backfill can run on a virtual clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

UTC = timezone.utc
KST = ZoneInfo("Asia/Seoul")

SAID_S: Final = 5.0
"""Clocks of machines that differ by more are reported; NTP keeps them within milliseconds."""

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the wall clock as an aware UTC datetime, to the microsecond."""
    return datetime.now(UTC)


_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> float:
    """Read a duration: a number of seconds, or a number with the unit s, m, h or d.

    Raises:
        ValueError: if it is not one.

    >>> [seconds_of(text) for text in ("300", "300s", "1.5 m", "2d")]
    [300.0, 300.0, 90.0, 172800.0]
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([smhd]?)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(match[1]) * _UNITS[match[2]]
