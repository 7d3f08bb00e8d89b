"""The past as series of numbers: the one source of every chart, live or replayed. Pure.

Two tiers: a point a second for a quarter of an hour, and one of ten seconds for 48 hours. A point
is some 60 bytes and four for each partition: with 36 partitions 48 hours are 4 MB.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from console import rules
from console import translations as msg
from console.mark_kinds import weight
from console.snapshot.model import EventKind, Snapshot
from console.snapshot.reading import Reading
from console.translations import Text

FINE_S: Final = 1
COARSE_S: Final = 10
FINE_KEPT: Final = 900
COARSE_KEPT: Final = 48 * 3600 // COARSE_S
FINE_HELD_S: Final = 3.5
"""The longest interval between snapshots that is no gap."""
MARKS_KEPT: Final = 1_000
SPANS: Final = (60, 180, 900, 3600, 6 * 3600, 24 * 3600, 48 * 3600)
"""Seconds that charts can show."""
FIRST_SPAN: Final = 180

Series = tuple[float | None, ...]
_UNKNOWN: Final = math.nan


def _rate(side: str) -> Callable[[Snapshot], float | None]:
    def take(s: Snapshot) -> float | None:
        topics = s.kafka.value.topics if s.kafka.value else ()
        return rules.total(getattr(t, side) for t in topics).per_s

    return take


def _lag(s: Snapshot) -> float | None:
    return rules.total_lag(t.lag for t in s.kafka.value.topics) if s.kafka.value else None


def _misses(s: Snapshot) -> float | None:
    rate = s.redis.value.hit_rate if s.redis.value else None
    return None if rate is None else 1 - rate


def _redis(name: str) -> Callable[[Snapshot], float | None]:
    return lambda s: None if s.redis.value is None else float(getattr(s.redis.value, name))


def _refresh(s: Snapshot) -> float | None:
    return s.redis.value.meta.duration if s.redis.value else None


def _spend(s: Snapshot) -> float | None:
    return s.postgres.value.spend if s.postgres.value else None


def _letters(s: Snapshot) -> float | None:
    return s.letters.value.open if s.letters.value else None


@dataclass(frozen=True)
class SeriesKind:
    """What is kept of a snapshot.

    Attributes:
        reading: that it is from; the point is unknown while that is not current.
        take: takes it from a snapshot.
        unit: of its values.
    """

    reading: str
    take: Callable[[Snapshot], float | None]
    unit: str = ""


SERIES: Final[Mapping[str, SeriesKind]] = {
    "in": SeriesKind("kafka", _rate("published"), "/s"),
    "out": SeriesKind("kafka", _rate("taken"), "/s"),
    "lag": SeriesKind("kafka", _lag),
    "ops": SeriesKind("redis", _redis("ops"), "/s"),
    "memory": SeriesKind("redis", _redis("memory"), "B"),
    "misses": SeriesKind("redis", _misses, "%"),
    "refresh": SeriesKind("redis", _refresh, "s"),
    "spend": SeriesKind("postgres", _spend, "KRW"),
    "dead letters": SeriesKind("letters", _letters),
}
"""The highest of a bucket is kept: a peak of a second is seen over two days."""
NAMES: Final = tuple(SERIES)


@dataclass(frozen=True)
class Mark:
    """Something that happened, on the time axis of every chart; `at` in seconds since 1970."""

    at: float
    level: str
    text: str
    message: Text = ""
    """The same, to be shown in any language; empty for one that an earlier version kept."""


@dataclass
class HistoryPoint:
    """One bucket of a tier: its start in seconds since 1970, the series, the partitions' lags."""

    at: int
    values: array[float]
    lags: array[float]
    partitions: tuple[str, ...]
    grades: array[float]
    grade_names: tuple[str, ...]


class SnapshotSeries:
    """Collects the points and marks of snapshots.

    Args:
        fine: points of a second that are kept.
        coarse: points of ten seconds that are kept.
    """

    def __init__(self, *, fine: int = FINE_KEPT, coarse: int = COARSE_KEPT) -> None:
        self._fine: deque[HistoryPoint] = deque(maxlen=fine)
        self._coarse: deque[HistoryPoint] = deque(maxlen=coarse)
        self.marks: deque[Mark] = deque(maxlen=MARKS_KEPT)
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._last = -1.0
        self._last_event = 0

    def push(self, snapshot: Snapshot) -> None:
        """Add a snapshot; one that is not newer than the last adds nothing."""
        at = snapshot.at.timestamp()
        if at <= self._last:
            return
        self._last = at
        point = self._point(snapshot, int(at))
        _merge(self._fine, point, FINE_S)
        _merge(self._coarse, point, COARSE_S)
        for e in snapshot.events:
            if e.n > self._last_event:
                self._last_event = e.n
                if e.kind is not EventKind.LOG:
                    said = msg.OF(name=e.source, error=e.text)
                    self.marks.append(Mark(e.at.timestamp(), e.level, str(said), said))

    def add_past(self, points: Iterable[HistoryPoint], marks: Iterable[Mark]) -> None:
        """Put points of ten seconds, oldest first, before those that there are."""
        first = self._coarse[0].at if self._coarse else math.inf
        kept = [*(p for p in points if p.at < first), *self._coarse]
        self._coarse = deque(kept, maxlen=COARSE_KEPT)
        known = self.marks[0].at if self.marks else math.inf
        self.marks = deque([*(m for m in marks if m.at < known), *self.marks], maxlen=MARKS_KEPT)

    def last_coarse(self) -> HistoryPoint | None:
        """Return the newest point of ten seconds that is complete."""
        return self._coarse[-2] if len(self._coarse) > 1 else None

    def clear(self) -> None:
        """Forget all points; marks stay."""
        self._fine.clear()
        self._coarse.clear()
        self._last = -1.0

    # ---- what charts ask for ----

    def columns(self, name: str, end: datetime, span: float, cells: int) -> Series:
        """Return a series as one number a column, oldest first: the highest in its time.

        Args:
            name: of `SERIES`.
            end: of the newest column.
            span: seconds of all columns.
            cells: the number of columns.
        """
        at = NAMES.index(name)
        return self._columns(lambda p: p.values[at], end, span, cells)

    def grade_share(self, grade: str, end: datetime, span: float, cells: int) -> Series:
        """Return the share of customers who have a grade, from 0 to 1, one number a column."""

        def take(p: HistoryPoint) -> float:
            every = sum(p.grades)
            if grade not in p.grade_names or not every:
                return _UNKNOWN
            return p.grades[p.grade_names.index(grade)] / every

        return self._columns(take, end, span, cells)

    def heat(self, end: datetime, span: float, cells: int) -> dict[str, Series]:
        """Return the lag of each partition as one number a column."""
        points = self._within(end, span)
        names = points[-1].partitions if points else ()
        found = {}
        for number, name in enumerate(names):

            def take(p: HistoryPoint, number: int = number, name: str = name) -> float:
                same = number < len(p.partitions) and p.partitions[number] == name
                return p.lags[number] if same else _UNKNOWN

            found[name] = self._columns(take, end, span, cells, points)
        return found

    def marks_in(self, end: datetime, span: float, cells: int) -> dict[int, Mark]:
        """Return the mark of each column that has one that matters most, by column."""
        until = end.timestamp()
        start, step = until - span, span / max(1, cells)
        found: dict[int, Mark] = {}
        for mark in self.marks:
            if start <= mark.at <= until:
                column = min(cells - 1, int((mark.at - start) / step))
                if column not in found or weight(mark) <= weight(found[column]):
                    found[column] = mark
        return found

    @property
    def grade_names(self) -> tuple[str, ...]:
        """The grades of the newest point that has any, the lowest first."""
        return next((p.grade_names for p in reversed(self._fine) if p.grade_names), ()) or next(
            (p.grade_names for p in reversed(self._coarse) if p.grade_names), ()
        )

    @property
    def first_at(self) -> float | None:
        """The oldest time of which something is known, in seconds since 1970."""
        starts = [tier[0].at for tier in (self._fine, self._coarse) if tier]
        return min(starts, default=None)

    def _within(self, end: datetime, span: float) -> list[HistoryPoint]:
        until = end.timestamp()
        fine = self._fine and self._fine[0].at <= until - span
        tier = self._fine if span <= FINE_S * FINE_KEPT and (fine or not self._coarse) else None
        if tier is None:
            seconds = list(self._fine)
            first = seconds[0].at if seconds else math.inf
            short = span <= FINE_S * FINE_KEPT
            tier_points = [p for p in self._coarse if not short or p.at + COARSE_S <= first]
            points = [*tier_points, *seconds] if short else tier_points
        else:
            points = list(tier)
        low = bisect_left(points, until - span, key=lambda p: p.at)
        high = bisect_right(points, until, lo=low, key=lambda p: p.at)
        kept = points[low:high]
        if kept and tier is None and span > FINE_S * FINE_KEPT:
            kept[-1] = self._up_to(kept[-1], until)
        return kept

    def _up_to(self, bucket: HistoryPoint, until: float) -> HistoryPoint:
        """Return a bucket as it was at a time within it: what came later is not in it yet."""
        if bucket.at + COARSE_S <= until + FINE_S:
            return bucket
        low = bisect_left(self._fine, bucket.at, key=lambda p: p.at)
        inside = [p for p in islice(self._fine, low, low + COARSE_S) if p.at <= until]
        if not inside or inside[0].at >= bucket.at + COARSE_S:
            return bucket
        found: deque[HistoryPoint] = deque(maxlen=1)
        for point in inside:
            _merge(found, point, COARSE_S)
        return found[-1]

    def _columns(
        self,
        take: Callable[[HistoryPoint], float],
        end: datetime,
        span: float,
        cells: int,
        points: list[HistoryPoint] | None = None,
    ) -> Series:
        if cells <= 0:
            return ()
        start, step = end.timestamp() - span, span / cells
        found: list[float | None] = [None] * cells
        seen: list[bool] = [False] * cells
        for p in self._within(end, span) if points is None else points:
            value = take(p)
            column = min(cells - 1, max(0, int((p.at - start) / step)))
            seen[column] = True
            if not math.isnan(value):
                before = found[column]
                found[column] = value if before is None else max(before, value)
        # A point stands for as long as its bucket: columns that are shorter are filled from it.
        held = math.ceil((COARSE_S if span > FINE_S * FINE_KEPT else FINE_HELD_S) / step)
        for column in range(1, cells):
            if not seen[column] and any(seen[max(0, column - held) : column]):
                found[column] = found[column - 1]
        return tuple(found)

    def _point(self, s: Snapshot, at: int) -> HistoryPoint:
        values = array("d", (_UNKNOWN for _ in NAMES))
        for number, kind in enumerate(SERIES.values()):
            reading: Reading[object] = getattr(s, kind.reading)
            value = kind.take(s) if reading.current else None
            if value is not None:
                values[number] = value
        partitions, lags, names, counts = [], array("f"), [], array("f")
        for t in s.kafka.value.topics if s.kafka.value and s.kafka.current else ():
            for p in t.partitions:
                partitions.append(f"{t.name}-{p.partition}")
                lags.append(_UNKNOWN if p.lag is None else p.lag)
        for g in s.grades.value.counts if s.grades.value and s.grades.current else ():
            names.append(g.grade)
            counts.append(g.customers)
        return HistoryPoint(at, values, lags, self._shared(partitions), counts, self._shared(names))

    def _shared(self, names: list[str]) -> tuple[str, ...]:
        """Return the one tuple of these names: every point of a shop has the same."""
        key = tuple(names)
        return self._names.setdefault(key, key)


def _merge(tier: deque[HistoryPoint], point: HistoryPoint, step: int) -> None:
    """Add a point to the last bucket of a tier, or begin the next one."""
    start = point.at - point.at % step
    if not tier or tier[-1].at != start:
        tier.append(
            HistoryPoint(
                start, array("d", point.values), array("f", point.lags), point.partitions,
                array("f", point.grades), point.grade_names,
            )
        )  # fmt: skip
        return
    last = tier[-1]
    _highest(last.values, point.values)
    if last.partitions == point.partitions:
        _highest(last.lags, point.lags)
    elif point.partitions:
        last.lags, last.partitions = array("f", point.lags), point.partitions
    if point.grade_names:
        last.grades, last.grade_names = array("f", point.grades), point.grade_names


def _highest(kept: array[float], new: array[float]) -> None:
    for number, value in enumerate(new):
        if math.isnan(kept[number]) or value > kept[number]:
            kept[number] = value
