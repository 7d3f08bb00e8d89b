"""The past as series of numbers: the one source of every chart, live or replayed. Pure.

Two tiers: a point a second for a quarter of an hour, and one of ten seconds for 48 hours. A point
is 80 bytes and four for each partition and grade: with 36 partitions 48 hours are 4 MB.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from console import rules
from console import translations as msg
from console.mark_kinds import weight
from console.snapshot.model import EventKind, Snapshot
from console.tier import UNKNOWN, HistoryPoint, Tier, highest
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
_DRAWN_KEPT: Final = 1_000
"""Columns that are remembered: a screen has some hundred, a paused recording shows any time."""

Series = tuple[float | None, ...]
_Take = Callable[[Tier], "array[float] | None"]


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


def now_of(name: str, snapshot: Snapshot) -> float | None:
    """Return the value that a series has in a snapshot; None: it is not known now."""
    kind = SERIES[name]
    return kind.take(snapshot) if getattr(snapshot, kind.reading).current else None


@dataclass(frozen=True)
class Mark:
    """Something that happened, on the time axis of every chart; `at` in seconds since 1970."""

    at: float
    level: str
    text: str
    message: Text = ""
    """The same, to be shown in any language; empty for one that an earlier version kept."""


class SnapshotSeries:
    """Collects the points and marks of snapshots.

    Args:
        fine: points of a second that are kept.
        coarse: points of ten seconds that are kept.
    """

    def __init__(self, *, fine: int = FINE_KEPT, coarse: int = COARSE_KEPT) -> None:
        self._fine = Tier(FINE_S, fine, len(NAMES))
        self._coarse = Tier(COARSE_S, coarse, len(NAMES))
        self._whole: deque[HistoryPoint] = deque(maxlen=2)
        self.marks: deque[Mark] = deque(maxlen=MARKS_KEPT)
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._last = -1.0
        self._last_event = 0
        self._drawn: dict[Any, Any] = {}
        """What charts asked for since the last snapshot; several ask for the same."""
        self._drawn_long: dict[Any, Any] = {}
        """What charts of whole buckets asked for since the last bucket."""
        self._marked = 0

    def push(self, snapshot: Snapshot) -> None:
        """Add a snapshot; one that is not newer than the last adds nothing."""
        at = snapshot.at.timestamp()
        if at <= self._last:
            return
        self._last = at
        self._drawn.clear()
        point = self._point(snapshot, int(at))
        self._fine.add(point)
        bucket = self._coarse.add(point)
        if not self._whole or self._whole[-1] is not bucket:
            self._whole.append(bucket)
            self._drawn_long.clear()
        for e in snapshot.events:
            if e.n > self._last_event:
                self._last_event = e.n
                if e.kind is not EventKind.LOG:
                    said = msg.OF(name=e.source, error=e.text)
                    self._marked += 1
                    self.marks.append(Mark(e.at.timestamp(), e.level, str(said), said))

    def add_points(self, points: list[HistoryPoint]) -> None:
        """Add points of ten seconds, oldest first and newer than those that there are."""
        self._coarse.extend(points)

    def put_before(self, past: SnapshotSeries) -> None:
        """Put an older series before this one: two days in the time of a key."""
        self._coarse.put_before(past._coarse)
        known = self.marks[0].at if self.marks else math.inf
        older = [m for m in past.marks if m.at < known]
        self.marks = deque([*older, *self.marks], maxlen=MARKS_KEPT)
        self._forget()

    def last_coarse(self) -> HistoryPoint | None:
        """Return the newest point of ten seconds that is complete."""
        return self._whole[0] if len(self._whole) > 1 else None

    def clear(self) -> None:
        """Forget all points; marks stay."""
        self._fine, self._coarse = (
            Tier(tier.step, tier.kept, len(NAMES)) for tier in (self._fine, self._coarse)
        )
        self._whole.clear()
        self._forget()
        self._last = -1.0

    def _forget(self) -> None:
        self._drawn.clear()
        self._drawn_long.clear()

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
        return self._columns(("series", name), lambda tier: tier.series(at), end, span, cells)

    def grade_share(self, grade: str, end: datetime, span: float, cells: int) -> Series:
        """Return the share of customers who have a grade, from 0 to 1, one number a column."""
        return self._columns(("grade", grade), lambda tier: tier.share(grade), end, span, cells)

    def heat(self, end: datetime, span: float, cells: int) -> dict[str, Series]:
        """Return the lag of each partition of which any is known as one number a column."""
        until, drawn = self._axis(end, span)
        key = ("partitions", until, span)
        if key not in drawn:
            drawn[key] = {
                name: None
                for tier, low, high in self._parts(until - span, until, span)
                for name in tier.partitions_within(low, high)
            }
        names = drawn[key]

        def lags(name: str) -> _Take:
            return lambda tier: tier.lag(name)

        return {n: self._columns(("lag", n), lags(n), end, span, cells) for n in names}

    def marks_in(self, end: datetime, span: float, cells: int) -> dict[int, Mark]:
        """Return the mark of each column that has one that matters most, by column."""
        key = ("marks", end, span, cells, self._marked)
        if key in self._drawn:
            return self._drawn[key]  # type: ignore[no-any-return]  # kept by its key
        until = end.timestamp()
        start, step = until - span, span / max(1, cells)
        found: dict[int, Mark] = {}
        for mark in self.marks:
            if start <= mark.at <= until:
                column = min(cells - 1, int((mark.at - start) / step))
                if column not in found or weight(mark) <= weight(found[column]):
                    found[column] = mark
        self._drawn[key] = found
        return found

    @property
    def grade_names(self) -> tuple[str, ...]:
        """The grades of the newest point that has any, the lowest first."""
        return self._fine.grade_names or self._coarse.grade_names

    @property
    def first_at(self) -> float | None:
        """The oldest time of which something is known, in seconds since 1970."""
        fine, coarse = self._fine, self._coarse
        if fine and (not coarse or coarse.times[0] > fine.times[0] - COARSE_S):
            return fine.times[0]
        return coarse.times[0] if coarse else None

    def _parts(self, start: float, end: float, span: float) -> list[tuple[Tier, int, int]]:
        """Return what covers a time, oldest first: tiers, with the first point and the last's end.

        Args:
            start: seconds since 1970.
            end: seconds since 1970.
            span: seconds that a chart shows; the fine points are for a quarter of an hour.
        """
        fine, coarse = self._fine, self._coarse
        if span <= FINE_S * FINE_KEPT:
            first = fine.times[0] if fine else math.inf
            parts = []
            if coarse and first > start:
                low, high = coarse.between(start, end)
                parts = [(coarse, low, bisect_left(coarse.times, first - COARSE_S + 1, low, high))]
            return [*parts, (fine, *fine.between(start, end))]
        return [(coarse, *coarse.between(start, end - 1))]  # whole buckets alone

    def _axis(self, end: datetime, span: float) -> tuple[float, dict[Any, Any]]:
        """Return the end of a chart in seconds since 1970, and what was drawn up to it.

        Of more than a quarter of an hour only whole buckets are drawn: the picture is another one
        every ten seconds, and what came after a moment of the past is never in it.
        """
        until = end.timestamp()
        if span <= FINE_S * FINE_KEPT:
            return until, self._drawn
        return until // COARSE_S * COARSE_S, self._drawn_long

    def _edges(
        self, end: float, span: float, cells: int, drawn: dict[Any, Any]
    ) -> tuple[list[tuple[Tier, list[int]]], list[int]]:
        """Return where each column begins in each tier, and for how many columns its points stand.

        A point stands as long as its bucket lasts; of a column without points the number is 0.
        """
        key = ("edges", end, span, cells)
        if key in drawn:
            return drawn[key]  # type: ignore[no-any-return]  # kept by its key
        start, step = end - span, span / cells
        edges, stands = [], [0] * cells
        for tier, low, high in self._parts(start, end, span):
            cuts, at = [low], low
            for column in range(1, cells):
                at = bisect_left(tier.times, start + column * step, at, high)
                cuts.append(at)
            cuts.append(high)
            edges.append((tier, cuts))
            columns = math.ceil((FINE_HELD_S if tier is self._fine else COARSE_S) / step)
            for column in range(cells):
                if cuts[column] < cuts[column + 1]:
                    stands[column] = columns
        drawn[key] = edges, stands
        return edges, stands

    def _columns(
        self, name: tuple[str, str], take: _Take, end: datetime, span: float, cells: int
    ) -> Series:
        if cells <= 0:
            return ()
        until, drawn = self._axis(end, span)
        if len(drawn) > _DRAWN_KEPT:
            drawn.clear()
        key = (*name, until, span, cells)
        if key in drawn:
            return drawn[key]  # type: ignore[no-any-return]  # kept by its key
        edges, stands = self._edges(until, span, cells, drawn)
        found: list[float | None] = [None] * cells
        for tier, cuts in edges:
            values = take(tier)
            if values is None or cuts[0] == cuts[-1]:
                continue
            for column, value in enumerate(highest(values, cuts)):
                if value is not None:
                    before = found[column]
                    found[column] = value if before is None else max(before, value)
        left = 0
        for column, columns in enumerate(stands):
            if columns:
                left = columns
            elif left:
                left -= 1
                found[column] = found[column - 1]
        drawn[key] = shown = tuple(found)
        return shown

    def _point(self, s: Snapshot, at: int) -> HistoryPoint:
        values = array("d", (UNKNOWN for _ in NAMES))
        for number, name in enumerate(NAMES):
            if (value := now_of(name, s)) is not None:
                values[number] = value
        partitions, lags, names, counts = [], array("f"), [], array("f")
        for t in s.kafka.value.topics if s.kafka.value and s.kafka.current else ():
            for p in t.partitions:
                partitions.append(f"{t.name}-{p.partition}")
                lags.append(UNKNOWN if p.lag is None else p.lag)
        for g in s.grades.value.counts if s.grades.value and s.grades.current else ():
            names.append(g.grade)
            counts.append(g.customers)
        return HistoryPoint(at, values, lags, self._shared(partitions), counts, self._shared(names))

    def _shared(self, names: list[str]) -> tuple[str, ...]:
        """Return the one tuple of these names: every point of a shop has the same."""
        key = tuple(names)
        return self._names.setdefault(key, key)
