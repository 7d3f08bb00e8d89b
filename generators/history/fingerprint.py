"""A number that tells whether two simulations of the same days agree.

The same seed gives the same days on every processor, but not with every version of the program or
of NumPy, and one choice that falls differently changes all that come after it. An unfinished
history must not resume with days that do not follow from those that are written.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from generators.history.plan import Day

_BITS: Final = 63
"""So that it is a bigint of PostgreSQL, and not negative."""


def fingerprint(day: Day) -> int:
    """Return 63 bits of a day, by its number, its customers and its orders.

    Those of several days are joined by exclusive or, in any order.

    Args:
        day: as it stands at the end of the history. About 2 ms for one of 21,600 orders.
    """
    hashed = blake2b(f"{day.number} {day.customers}".encode(), digest_size=8)
    for frame in (day.users, day.products):
        hashed.update(frame[frame.columns[0]].to_numpy().tobytes())  # the ids
    for column in ("order_id", "rev", "user_id", "product_id", "amount", "updated_at"):
        hashed.update(day.orders[column].to_physical().to_numpy().tobytes())
    return int.from_bytes(hashed.digest(), "big") >> (64 - _BITS)
