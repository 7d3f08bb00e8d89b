"""Tumbling windows of event time, aligned to the Unix epoch."""

from __future__ import annotations

from typing import Final

import polars as pl

_SEOUL_MIDNIGHT_S: Final = 15 * 3_600
"""A business day begins at 15:00 UTC."""


def window_start(window_s: int) -> pl.Expr:
    """Return the start of the window that `ordered_at` falls in.

    Args:
        window_s: length, seconds.
    """
    length = window_s * 1_000_000
    micros = pl.col("ordered_at").cast(pl.Int64)
    return (micros // length * length).cast(pl.Datetime("us", "UTC")).alias("window_start")


def fits_business_days(window_s: int) -> bool:
    """Return whether no window lies in two business days of Seoul.

    >>> fits_business_days(300), fits_business_days(86_400)
    (True, False)
    """
    return _SEOUL_MIDNIGHT_S % window_s == 0 and 86_400 % window_s == 0
