"""How the cache is filled: 600 purchasers and 400 others, 700 popular products and 300 new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

PURCHASER_SHARE: Final = 0.6
"""Of the cached customers, those who have bought, least recently first."""
POPULAR_SHARE: Final = 0.7
"""Of the cached products, those ordered most often."""

Row = TypeVar("Row")


def fill(
    size: int, share: float, first: Sequence[Row], second: Sequence[Row]
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Take `share` of `size` from the first rows and the rest from the second ones.

    Where one side has too few, the other fills up, so that the whole has `size` rows if there
    are that many.

    >>> fill(10, 0.6, "aaaaaaaaaa", "bbbbbbbbbb"), fill(10, 0.6, "aaaaaaaaaa", "b")
    (('aaaaaa', 'bbbb'), ('aaaaaaaaa', 'b'))
    """
    wanted = round(size * share)
    from_first = min(len(first), max(wanted, size - len(second)))
    return first[:from_first], second[: size - from_first]
