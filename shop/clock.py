"""Time: UTC inside, Asia/Seoul for business days, and clocks that can be replaced.

A clock is any callable that returns an aware UTC `datetime`; code that needs the time takes one
as an argument, so that tests and the backfill can run on a virtual clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
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


def parse_time(text: str, *, zone: tzinfo | None = None) -> datetime:
    """Read an RFC 3339 time.

    Args:
        text: a time such as 2026-03-04T05:06:07Z.
        zone: zone of a time that names none.

    Raises:
        ValueError: if it is not an RFC 3339 time, or names no zone and `zone` is None.

    >>> parse_time("2026-03-04T10:00:00+09:00").isoformat()
    '2026-03-04T01:00:00+00:00'
    """
    at = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))  # Python 3.10 knows no Z
    if at.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} names no time zone")
        at = at.replace(tzinfo=zone)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the calendar") from None


def parse_time_or_ago(text: str, now: datetime, *, zone: tzinfo | None = None) -> datetime:
    """Read an RFC 3339 time, or how long ago it was: 90s, 15m, 2h, 3d.

    Raises:
        ValueError: if it is neither; see `parse_time`.

    >>> parse_time_or_ago("2h", datetime(2026, 3, 4, 12, tzinfo=UTC)).isoformat()
    '2026-03-04T10:00:00+00:00'
    """
    if text[-1:] not in ("s", "m", "h", "d"):
        return parse_time(text, zone=zone)
    try:
        return now - timedelta(seconds=seconds_of(text))
    except OverflowError:
        raise ValueError(f"{text!r} is outside the calendar") from None


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
