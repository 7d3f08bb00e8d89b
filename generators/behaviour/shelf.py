"""Which products the cache shows: those ordered most lately, and the newest others.

An order counts less by half after 14 days, so that what sold well last year leaves the shelf.
Equal counts are ordered by product id. What is on neither shelf is not sold.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from generators.behaviour.cache_segments import POPULAR_SHARE
from generators.portable_math import power
from generators.random_streams import Floats, Ints, least

HALF_LIFE_DAYS: Final = 14.0

_DAY: Final = float(power(0.5, 1 / HALF_LIFE_DAYS))


def rows(sold: Floats, size: int) -> Ints:
    """Return the places of the products to show: popular ones, then the newest others.

    Args:
        sold: shape (n,), orders of each lately, in the order of the product ids.
        size: of the cache.
    """
    popular = least(-sold, round(size * POPULAR_SHARE))
    rest = np.ones(len(sold), np.bool_)
    rest[popular] = False
    newest = np.flatnonzero(rest)[max(0, int(rest.sum()) - (size - len(popular))) :]
    return np.concatenate([popular, newest])


def after_a_day(sold: Floats, bought: Ints) -> Floats:
    """Return the orders of each product lately, after one more day.

    Args:
        sold: shape (n,), before.
        bought: places of the products of the day's orders.

    >>> after_a_day(np.array([2.0, 0.0]), np.array([1, 1])).round(3).tolist()
    [1.903, 2.0]
    """
    result: Floats = sold * _DAY + np.bincount(bought, minlength=len(sold))
    return result
