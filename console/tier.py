"""Points of equal width as columns of numbers: a chart of two days takes milliseconds. Pure.

A point as an object of its own costs a call for each point, series and picture: 17,280 points of 45
series took more than a second. The highest number of a part of an array is found in C.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

UNKNOWN: Final = math.nan
_NONE: Final = -math.inf
"""What is not known, in a column: below everything, so that the highest of a part is right."""
_SPARE: Final = 256
"""This part of all points is dropped at once: every other one has to be moved."""


@dataclass
class HistoryPoint:
    """One bucket of a tier: its start in seconds since 1970, the series, the partitions' lags."""

    at: int
    values: array[float]
    lags: array[float]
    partitions: tuple[str, ...]
    grades: array[float]
    grade_names: tuple[str, ...]


class Tier:
    """The points of one width, oldest first.

    Args:
        step: seconds of a point.
        kept: number of points.
        series: number of series.
    """

    def __init__(self, step: int, kept: int, series: int) -> None:
        self.step = step
        self.kept = kept
        self.times: array[int] = array("q")
        self.partitions: tuple[str, ...] = ()
        """Of the newest point that has any."""
        self.grade_names: tuple[str, ...] = ()
        """Of the newest point that has any, the lowest first."""
        self._series = [array("d") for _ in range(series)]
        self._lags: dict[str, array[float]] = {}
        self._shares: dict[str, array[float]] = {}
        self._newest: HistoryPoint | None = None

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.times)

    def add(self, point: HistoryPoint) -> HistoryPoint:
        """Add a point to the newest bucket, which keeps the highest values, or to the next one.

        Returns:
            The bucket.
        """
        start = point.at - point.at % self.step
        newest = self._newest
        if newest is None or newest.at != start:
            newest = HistoryPoint(
                start, point.values[:], point.lags[:], point.partitions, point.grades[:],
                point.grade_names,
            )  # fmt: skip
            self._append([newest])
        else:
            _merge(newest, point)
            self._store(len(self.times) - 1, newest)
        self._newest = newest
        return newest

    def extend(self, points: Sequence[HistoryPoint]) -> None:
        """Add points that are whole buckets, oldest first and newer than those that there are."""
        self._append(points)
        self._newest = points[-1] if points else self._newest

    def put_before(self, past: Tier) -> None:
        """Put the points of another tier that are older before those that there are."""
        end = bisect_left(past.times, self.times[0]) if self.times else len(past.times)
        old, new = end, len(self.times)
        self.times = past.times[:end] + self.times
        self._series = [a[:end] + b for a, b in zip(past._series, self._series, strict=True)]
        for own, theirs in ((self._lags, past._lags), (self._shares, past._shares)):
            for name in dict.fromkeys(chain(theirs, own)):
                own[name] = _part(theirs.get(name), old) + _part(own.get(name), new)
        self.partitions = self.partitions or past.partitions
        self.grade_names = self.grade_names or past.grade_names
        self._newest = self._newest or past._newest
        self._trim()

    # ---- what charts ask for ----

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Return the first point that begins at or after a time, and the one after the last."""
        low = bisect_left(self.times, start)
        return low, bisect_right(self.times, end, lo=low)

    def series(self, number: int) -> array[float]:
        """Return a series; what is not known is minus infinity."""
        return self._series[number]

    def lag(self, partition: str) -> array[float] | None:
        """Return the lags of a partition; None: there are none."""
        return self._lags.get(partition)

    def share(self, grade: str) -> array[float] | None:
        """Return the share of customers who have a grade, from 0 to 1; None: none ever had."""
        return self._shares.get(grade)

    def partitions_within(self, low: int, high: int) -> list[str]:
        """Return the partitions of which anything is known in some points, those of now first."""
        known = (n for n, lags in self._lags.items() if max(lags[low:high], default=_NONE) > _NONE)
        found = dict.fromkeys(known)
        return [*(n for n in self.partitions if n in found),
                *(n for n in found if n not in self.partitions)]  # fmt: skip

    # ---- keeping ----

    def _append(self, points: Sequence[HistoryPoint]) -> None:
        first = len(self.times)
        self.times.extend(p.at for p in points)
        for number, values in enumerate(self._series):
            values.extend(map(_known, (p.values[number] for p in points)))
        for names, named in ((_partitions(points), self._lags), (_grades(points), self._shares)):
            for name in names:
                named.setdefault(name, array("f", repeat(_NONE, first)))
        for values in chain(self._lags.values(), self._shares.values()):
            values.extend(repeat(_NONE, len(points)))
        for at, point in enumerate(points, start=first):
            self._store_named(at, point)
        self._trim()

    def _store(self, at: int, point: HistoryPoint) -> None:
        for values, value in zip(self._series, point.values, strict=True):
            values[at] = _known(value)
        for name in point.partitions:
            self._lags.setdefault(name, array("f", repeat(_NONE, len(self.times))))
        for name in point.grade_names:
            self._shares.setdefault(name, array("f", repeat(_NONE, len(self.times))))
        self._store_named(at, point)

    def _store_named(self, at: int, point: HistoryPoint) -> None:
        for name, lag in zip(point.partitions, point.lags, strict=True):
            self._lags[name][at] = _known(lag)
        every = sum(point.grades)
        for name, customers in zip(point.grade_names, point.grades, strict=True):
            self._shares[name][at] = customers / every if every else _NONE
        self.partitions = point.partitions or self.partitions
        self.grade_names = point.grade_names or self.grade_names

    def _trim(self) -> None:
        over = len(self.times) - self.kept
        if over > 0:
            over += self.kept // _SPARE
            del self.times[:over]
            for values in chain(self._series, self._lags.values(), self._shares.values()):
                del values[:over]


def highest(values: array[float], edges: Sequence[int]) -> list[float | None]:
    """Return the highest number of each part of a series, None where nothing is known.

    Args:
        values: a series of a tier.
        edges: where each part begins; the last one is where the last part ends.

    >>> highest(array("d", [1, 3, -math.inf, 2]), [0, 2, 2, 3, 4])
    [3.0, None, None, 2.0]
    """
    found: list[float | None] = []
    low = edges[0]
    for high in edges[1:]:
        most = max(values[low:high]) if high > low else _NONE
        found.append(None if most == _NONE else most)
        low = high
    return found


def _merge(last: HistoryPoint, point: HistoryPoint) -> None:
    _highest(last.values, point.values)
    if last.partitions == point.partitions:
        _highest(last.lags, point.lags)
    elif point.partitions:
        last.lags, last.partitions = point.lags[:], point.partitions
    if point.grade_names:
        last.grades, last.grade_names = point.grades[:], point.grade_names


def _highest(kept: array[float], new: array[float]) -> None:
    for number, value in enumerate(new):
        if math.isnan(kept[number]) or value > kept[number]:
            kept[number] = value


def _known(value: float) -> float:
    return _NONE if value != value else value  # noqa: PLR0124  (NaN; as fast as it gets)


def _part(values: array[float] | None, length: int) -> array[float]:
    return array("f", repeat(_NONE, length)) if values is None else values[:length]


def _partitions(points: Iterable[HistoryPoint]) -> dict[str, None]:
    return dict.fromkeys(chain.from_iterable({p.partitions for p in points}))


def _grades(points: Iterable[HistoryPoint]) -> dict[str, None]:
    return dict.fromkeys(chain.from_iterable({p.grade_names for p in points}))
