"""What has been stored lately and has nothing in a topic's table yet, however late it is stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from shop.ids import EPOCH, IDS_PER_MS
from shop.postgres import Connection

PAGE: Final = 5_000
"""Rows of one query; a query ends with this number as its LIMIT."""
LATE: Final = timedelta(minutes=15)
"""A row may be stored this long after the time that its id carries, and is found at once; at speed
1, as the next ones."""
VERY_LATE: Final = timedelta(days=1)
"""One that is stored later still, after an outage, is found within `DEEP_S`."""
DEEP_S: Final = 600.0
LEAST_LATE: Final = timedelta(seconds=5)
LEAST_VERY_LATE: Final = timedelta(minutes=10)
LEAST_DEEP_S: Final = 20.0
"""The least at any speed: how late a row is stored does not depend on the shop's clock."""
REST: Final = 20.0
"""A look is followed by a rest of as many times its length, so that it costs 5 % at most."""
LONGEST_REST_S: Final = 30.0
"""A look that takes seconds catches up on something, or the machine is busy: the next one is not
kept waiting for minutes by that."""


class LatelyStored:
    """Finds new rows of a table by their ids, which carry times.

    Args:
        query: returns at most `PAGE` rows above an id that the table lacks, by ascending id,
            which is their first column.
        speed: of the shop.
    """

    def __init__(self, query: str, speed: float) -> None:
        self._query = query
        self._speed = speed
        self._least = 0
        self._after: int | None = None
        self._deep = float("-inf")
        self._sent: set[int] = set()
        self._seen: set[int] = set()
        self._found: list[int] = []

    @property
    def unstored(self) -> int:
        """The rows that were returned and are not in the topic's table yet, at the last look."""
        return len(self._sent)

    def begin(self, since: datetime) -> None:
        """Look for rows since this moment only."""
        self._least = id_at(since)
        self._after = self._least

    def page(self, conn: Connection, now: datetime, moment: float) -> list[Any]:
        """Return the new rows of the next page; the same ones again until they are `taken`.

        Args:
            conn: to read from.
            now: UTC.
            moment: seconds of a clock that never steps.
        """
        if self._after is None:
            deep = moment >= self._deep
            if deep:
                self._deep = moment + max(DEEP_S / self._speed, LEAST_DEEP_S)
            late, least = (VERY_LATE, LEAST_VERY_LATE) if deep else (LATE, LEAST_LATE)
            self._after = max(self._least, id_at(now - max(late / self._speed, least)))
        rows = conn.execute(self._query, (self._after,)).fetchall()
        self._found = [row[0] for row in rows]
        return [row for row in rows if row[0] not in self._sent]

    def taken(self) -> bool:
        """Note that the last page is worked on; return whether another one follows."""
        self._seen.update(self._found)
        if len(self._found) == PAGE:
            self._after = self._found[-1]
            return True
        self._sent, self._seen, self._after = self._seen, set(), None
        return False


def rest(least: float, took: float) -> float:
    """Return how long to rest after a look that took some time; seconds all.

    >>> rest(1.0, 0.01), rest(1.0, 0.1), rest(1.0, 18.0)
    (1.0, 2.0, 30.0)
    """
    return max(least, min(LONGEST_REST_S, REST * took))


def id_at(moment: datetime) -> int:
    """Return the least id that carries a moment.

    >>> id_at(EPOCH + timedelta(seconds=1))
    4096000
    """
    return max(0, (moment - EPOCH) // timedelta(milliseconds=1)) * IDS_PER_MS
