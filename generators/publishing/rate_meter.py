"""The rate per second of a counter that is read from time to time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

OVER_S: Final = 10.0


class RateMeter:
    """The rate of a counter over the last ten seconds.

    Args:
        monotonic: seconds of a clock that never steps.

    >>> now = iter([0.0, 4.0, 13.0])
    >>> meter = RateMeter(lambda: next(now))
    >>> meter(0), meter(8), meter(26)
    (0.0, 2.0, 2.0)
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._history: deque[tuple[float, int]] = deque()

    def __call__(self, count: int) -> float:
        """Take a reading; return how many a second there were."""
        now = self._monotonic()
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, count))
        while len(self._history) > 1 and now - self._history[0][0] > OVER_S:
            self._history.popleft()
        since, then = self._history[0]
        return (count - then) / max(now - since, 1.0)
