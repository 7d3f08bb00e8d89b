"""Prices with the endings that Korean shops use."""

from __future__ import annotations

from typing import Final

import numpy as np

from generators.behaviour import catalogue
from generators.random_streams import Floats, Ints, cumulative, pick

_DEAR: Final = 100_000
_ENDINGS: Final = cumulative([share for _, share in catalogue.ENDINGS])
_LAST: Final = np.array([-1 if e is None else e for e, _ in catalogue.ENDINGS], dtype=np.int64)
_DEAR_SHARES: Final = cumulative([0.40, 0.35, 0.25])
"""Of 9,000, 9,900 and 0,000 won; our estimate."""


def with_ending(price: Floats, u: Floats) -> Ints:
    """Return prices in whole KRW near those given, with a usual ending.

    Args:
        price: shape (n,), KRW.
        u: shape (n,), uniform in [0, 1): chooses the ending.

    >>> with_ending(np.array([12_345.0, 12_345.0, 234_567.0]), np.array([0.1, 0.7, 0.1])).tolist()
    [11900, 12000, 239000]
    """
    price = np.clip(price, catalogue.CHEAPEST, catalogue.DEAREST)
    last = _LAST[pick(u, _ENDINGS)]
    hundreds = np.rint(price / 100).astype(np.int64) * 100
    # The nearest number with that ending: a 900 above or below is as near as a 000.
    cheap = np.rint((price - last) / 1_000).astype(np.int64) * 1_000 + last
    cheap = np.where((last < 0) | (cheap < catalogue.CHEAPEST), hundreds, cheap)
    under = np.array([1_000, 100, 0])[pick(u, _DEAR_SHARES)]
    dear = np.rint((price + under) / 10_000).astype(np.int64) * 10_000 - under
    result: Ints = np.where(price < _DEAR, cheap, dear)
    return result
