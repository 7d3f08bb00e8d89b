"""Anchors of visits, the ids that follow from them, and the products that visitors see.

Ids of views are 53-bit integers like all others, but of another layout: 39 bits of the anchor's
milliseconds (until June 2037), 4 bits of its node, 2 bits of its sequence, 4 bits for the number of
the visit and 4 for the view. The id is unique because the anchor's is. From the fifth anchor that a
node makes in a millisecond on, anchors have no visits: nobody reads 100,000 orders a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.random_streams import Floats, Ints
from shop.ids import IDS_PER_MS, NODE_BITS, SEQUENCE_BITS

LAGS: Final = 29
"""Days from an anchor to its visits are 0 to 28."""
SOONEST_S: Final = 45 * 60.0
"""A visit of the anchor's own day begins this long after it at the earliest; those of later days at
the anchor's time of day, one hour before or after: the hours of visits are those of orders."""
SPREAD_S: Final = 2 * 3_600.0
POOL: Final = 1_024
"""The products that customers look at are those of as many orders before: what sells is seen."""
SETTLED_S: Final = 3_600.0
"""These orders were placed this long before the anchor's hour: all of them are stored."""
AFTER_ORDER: Final = {
    1: (0, 0), 2: (1, 1), 3: (2, 2), 4: (3, 3), 5: (4, 5),
    6: (6, 7), 7: (8, 10), 8: (11, 14), 9: (15, 20), 10: (21, 28),
}  # fmt: skip
SIGN_UP: Final = 11
AFTER_SIGN_UP: Final = {12: (0, 0), 13: (1, 2), 14: (3, 7), 15: (8, 28)}
"""Number of a visit -> the days after its anchor on one of which it is, so that no two are on one
day. Number 0 places the order, `SIGN_UP` is the sign-up."""
MOST_VIEWS: Final = 16

_DAY_S: Final = 86_400.0
_VIEW_BITS: Final = 4
_SLOT_BITS: Final = 4
_TRACKED_SEQUENCE_BITS: Final = 2
_TIME_BITS: Final = 39
NO_ID: Final = 0

NODE_SHIFT: Final = _VIEW_BITS + _SLOT_BITS + _TRACKED_SEQUENCE_BITS
TIME_SHIFT: Final = NODE_SHIFT + NODE_BITS


@dataclass(frozen=True)
class Anchors:
    """Orders, or sign-ups, whose visits are wanted: columns of equal length.

    Attributes:
        ids: of the orders, or of the customers.
        users: the customers.
        at_us: when, microseconds since 1970.
        products: that were ordered; 0 for sign-ups.
    """

    ids: Ints
    users: Ints
    at_us: Ints
    products: Ints

    def take(self, where: Ints | npt.NDArray[np.bool_]) -> Anchors:
        """Return the anchors at these places."""
        return Anchors(self.ids[where], self.users[where], self.at_us[where], self.products[where])


@dataclass(frozen=True)
class Pool:
    """The products that customers look at: those of earlier orders.

    Attributes:
        orders: ids of orders, ascending.
        products: of each.
    """

    orders: Ints
    products: Ints

    def products_of(self, anchors: Ints, u: Floats, speed: float) -> Ints:
        """Return a product for each view; 0 where there was no order yet.

        Args:
            anchors: ids of the anchors of the views.
            u: uniform in [0, 1), one for each.
            speed: of the shop.
        """
        if not len(self.orders):
            return np.zeros(len(anchors), np.int64)
        end = np.searchsorted(self.orders, settled_before(anchors, speed))
        place = end - 1 - (u * np.minimum(end, POOL)).astype(np.int64)
        found: Ints = np.where(end > 0, self.products[np.maximum(place, 0)], NO_ID)
        return found


def settled_before(anchors: Ints, speed: float = 1.0) -> Ints:
    """Return the order id below which the orders are whose products are seen, see `SETTLED_S`."""
    hour = max(1, round(3_600_000 / speed))
    wait = max(1, round(SETTLED_S * 1_000 / speed))
    result: Ints = (anchors // IDS_PER_MS // hour * hour - wait) * IDS_PER_MS
    return result


def is_tracked(ids: Ints) -> npt.NDArray[np.bool_]:
    """Return which anchors can have visits: those whose id fits the layout."""
    sequence = ids & ((1 << SEQUENCE_BITS) - 1)
    fits: npt.NDArray[np.bool_] = (sequence < 1 << _TRACKED_SEQUENCE_BITS) & (
        ids // IDS_PER_MS < 1 << _TIME_BITS
    )
    return fits


def session_ids(ids: Ints, slot: int) -> Ints:
    """Return the ids of the visits of anchors.

    Args:
        ids: of anchors that are tracked.
        slot: number of the visit.

    >>> session_ids(np.array([4096 * 5, 4096 * 5 + 1]), 0).tolist()
    [81920, 82176]
    """
    node = (ids >> SEQUENCE_BITS) & ((1 << NODE_BITS) - 1)
    sequence = ids & ((1 << _TRACKED_SEQUENCE_BITS) - 1)
    result: Ints = (
        ((ids // IDS_PER_MS) << TIME_SHIFT)
        | (node << NODE_SHIFT)
        | (sequence << (_VIEW_BITS + _SLOT_BITS))
        | (slot << _VIEW_BITS)
    )
    return result


def lag_start_s(lag: int) -> float:
    """Return how long after an anchor its visits of a day begin at the earliest, seconds.

    >>> lag_start_s(0), lag_start_s(1)
    (2700.0, 82800.0)
    """
    return SOONEST_S if lag == 0 else lag * _DAY_S - SPREAD_S / 2
