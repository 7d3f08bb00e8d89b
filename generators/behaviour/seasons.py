"""What sells when: the factor of each season of the catalogue at a moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import numpy as np

from generators.behaviour import catalogue
from generators.random_streams import Floats, Ints
from shop.clock import KST

_KEYS: Final = ("", *catalogue.SEASONS)
OF_MONTH: Final[Floats] = np.array([(1.0,) * 12, *catalogue.SEASONS.values()])
"""Shape (seasons, 12): factors in the middle of each month; season 0 is no season."""
_ITEMS: Final = {
    item.name: _KEYS.index(item.season) for kind in catalogue.CATEGORIES for item in kind.items
}
_ITEM_PLACE: Final = 2
"""Of the words of a product's name: brand, quality, item."""
_LONGEST_MONTH: Final = 31
_LEAD_MS: Final = 15 * 86_400_000
"""Products are listed for the season that comes, half a month ahead."""
_KST_MS: Final = 9 * 3_600_000


def index_of(season: str) -> int:
    """Return the place of a season's letter in `OF_MONTH`; 0 for none."""
    return _KEYS.index(season)


def of_names(names: Iterable[str | None]) -> Ints:
    """Return the season of products by their names; 0 for what the catalogue does not know.

    >>> of_names(["하늘전자 저소음 선풍기 WHITE", "somebody's fan"]).tolist()
    [1, 0]
    """
    words = ((name or "").split() for name in names)
    found = [_ITEMS.get(w[_ITEM_PLACE], 0) if len(w) > _ITEM_PLACE else 0 for w in words]
    return np.array(found, dtype=np.int64)


def factors(at: float) -> Floats:
    """Return the factor of each season, on a line between the middles of two months.

    Args:
        at: seconds since the Unix epoch.

    >>> factors(datetime(2026, 7, 16, tzinfo=KST).timestamp()).round(2).tolist()
    [1.0, 2.4, 0.2, 0.5, 1.3, 0.5]
    """
    day = datetime.fromtimestamp(at, KST)
    months = day.month - 1 + (day.day - 1) / _LONGEST_MONTH - 0.5
    before = int(months // 1)
    part = months - before
    result: Floats = OF_MONTH[:, before % 12] * (1 - part)
    result += OF_MONTH[:, (before + 1) % 12] * part
    return result


def month_of(listed_ms: Ints) -> Ints:
    """Return the month, 0 to 11, whose goods are listed at moments (ms since the Unix epoch)."""
    month = (listed_ms + _KST_MS + _LEAD_MS).astype("datetime64[ms]").astype("datetime64[M]")
    found: Ints = month.astype(np.int64) % 12
    return found
