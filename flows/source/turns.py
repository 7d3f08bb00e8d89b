"""When each topic is polled: the worker's thread sleeps until the next one is due."""

from __future__ import annotations

import math
import time
from typing import ClassVar, Final
from weakref import WeakSet

from flows.in_flight import InFlightWindow

IDLE: Final = 0.1
"""Seconds between two polls while little is there: what arrives meanwhile shares a transaction,
which costs some 5 ms of CPU however few its messages are."""
SOON: Final = 0.005
"""Seconds, while the writer is busy: it must not wait for us when it is done."""


class Turns:
    """The polls of one topic.

    Args:
        in_flight: its batches under way.
    """

    _busy_at: ClassVar[float] = float("-inf")
    """When a topic of this process last had as much as a batch takes; monotonic seconds."""
    _all: ClassVar[WeakSet[Turns]] = WeakSet()
    """Of the topics of this process."""

    def __init__(self, in_flight: InFlightWindow) -> None:
        self._in_flight = in_flight
        self._at = 0.0
        self._all.add(self)

    def again(self, seconds: float) -> None:
        """Poll again after some time; 0: at once, as there is more.

        Quiet topics are due at the same moments, so that one wake-up serves all of them.
        """
        now = time.monotonic()
        if seconds == IDLE:
            self._at = (math.floor(now / IDLE) + 1) * IDLE
        else:
            self._at = now + seconds if seconds else 0.0

    def due(self) -> bool:
        """Wait a moment; return whether it is time to poll again.

        Where another topic of this worker is busy, an idle one does not hold it up.
        """
        now = time.monotonic()
        if not self._at:
            Turns._busy_at = now
            return True
        left = self._at - now
        if left > SOON and now - Turns._busy_at <= IDLE:
            return False
        if left > 0:
            time.sleep(min(left, self._until_the_next(now)))
        return self._at <= time.monotonic()

    def _until_the_next(self, now: float) -> float:
        """Return the seconds until a topic of this process is due, at most `SOON` while any works.

        Batches that are under way may still have to be decoded by this thread. Without any, it
        wakes up 10 times a second instead of 200 times.
        """
        turns = list(self._all)
        if not all(turn._in_flight.idle for turn in turns):
            return SOON
        return max(0.0, min(turn._at for turn in turns) - now)
