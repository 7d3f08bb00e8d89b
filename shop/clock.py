"""Time: UTC inside, Asia/Seoul for business days, and clocks that can be replaced.

A clock is any callable that returns an aware UTC `datetime`; code that needs the time takes one
as an argument, so that tests and the backfill can run on a virtual clock.
"""

from __future__ import annotations

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
