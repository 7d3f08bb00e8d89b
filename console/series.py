"""The last minutes as series of numbers, for charts: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from console import rules
from console.snapshot.model import Snapshot
from console.snapshot.reading import ReadingState

KEPT: Final = 180
"""Points: three minutes at one a second."""

Series = tuple[float | None, ...]


def _published(s: Snapshot) -> float | None:
    return rules.total(t.published for t in s.kafka.value.topics).per_s if s.kafka.value else None


def _taken(s: Snapshot) -> float | None:
    return rules.total(t.taken for t in s.kafka.value.topics).per_s if s.kafka.value else None


def _lag(s: Snapshot) -> float | None:
    return rules.total_lag(t.lag for t in s.kafka.value.topics) if s.kafka.value else None


SERIES: Final[Mapping[str, tuple[str, Callable[[Snapshot], float | None]]]] = {
    "in": ("kafka", _published),
    "out": ("kafka", _taken),
    "lag": ("kafka", _lag),
    "ops": ("redis", lambda s: s.redis.value.ops if s.redis.value else None),
    "memory": ("redis", lambda s: s.redis.value.memory if s.redis.value else None),
    "hit": ("redis", lambda s: s.redis.value.hit_rate if s.redis.value else None),
}
"""Name of a series -> the reading it is from, and how to take it from a snapshot."""


class SnapshotSeries:
    """Collects a point per snapshot; a point is None while its source is not in order."""

    def __init__(self) -> None:
        self._points: dict[str, deque[float | None]] = {n: deque(maxlen=KEPT) for n in SERIES}
        self._last = -1

    def push(self, snapshot: Snapshot) -> None:
        """Add a snapshot's points; going back in time (a replay) starts over."""
        if snapshot.sequence == self._last:
            return
        if snapshot.sequence < self._last:
            self.clear()
        self._last = snapshot.sequence
        for name, (reading, take) in SERIES.items():
            good = getattr(snapshot, reading).state is ReadingState.OK
            self._points[name].append(take(snapshot) if good else None)

    def clear(self) -> None:
        """Forget all points."""
        for points in self._points.values():
            points.clear()

    def series(self, name: str) -> Series:
        """Return the points of a series, oldest first."""
        return tuple(self._points[name])
