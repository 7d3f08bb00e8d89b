"""The events after the end of a history: those that a longer one would have had."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from generators.history.plan import Day
from generators.history.simulation import Simulation
from shop.clock import UTC
from shop.events import SCHEMAS

TIME: Final = {"users": "created_at", "products": "updated_at", "orders": "ordered_at"}
"""Topic -> the field that says when an event happened."""
_DAY: Final = timedelta(days=1)


class ResumedEvents:
    """The events that are still to be published, simulated a day at a time.

    A day is drawn from streams of its own and from what the days before have left, so it is the
    same whenever it is simulated, and by whom.

    Args:
        simulation: at the beginning of a day that none of the marks lies before.
        marks: topic -> UTC; what happened earlier is published.
        end: of the history, UTC.

    Attributes:
        marks: topic -> moment up to which events were taken.
        undone: of the orders before their mark, those that are cancelled or sent
            back after the end of the history: `SCHEMAS["orders"]`, revision 2.
    """

    def __init__(
        self, simulation: Simulation, marks: Mapping[str, datetime], end: datetime
    ) -> None:
        self._simulation = simulation
        self._end = end
        self.marks = dict(marks)
        self._waiting = {topic: pl.DataFrame(schema=SCHEMAS[topic]) for topic in TIME}
        self.undone = pl.DataFrame(schema=SCHEMAS["orders"])

    @property
    def ahead(self) -> datetime:
        """The first moment that is not simulated yet."""
        start = self._simulation.plan.start.astimezone(UTC)
        return start + self._simulation.next_day * _DAY

    def simulate(self) -> Day:
        """Simulate the next day; return it, whole."""
        (day,) = self._simulation.days(self._simulation.next_day + 1)
        for topic, frame in (("users", day.users), ("products", day.products)):
            self._wait(topic, frame)
        self._wait("orders", day.orders)
        passed = (pl.col("ordered_at") < self.marks["orders"]) & (pl.col("rev") > 1)
        undone = day.orders.filter(passed & (pl.col("updated_at") >= self._end))
        self.undone = pl.concat([self.undone, undone])
        return day

    def _wait(self, topic: str, frame: pl.DataFrame) -> None:
        due = frame.filter(pl.col(TIME[topic]) >= self.marks[topic])
        self._waiting[topic] = pl.concat([self._waiting[topic], due])

    def take(self, topic: str, until: datetime, most: int) -> pl.DataFrame:
        """Return the next events before a moment, in the order of their times; they are taken.

        Args:
            topic: which.
            until: at most `ahead`.
            most: events; orders as they finally stand, see `Day`.
        """
        waiting = self._waiting[topic]
        count = waiting[TIME[topic]].search_sorted(until, side="left")
        if count > most:
            count, until = most, waiting[TIME[topic]][most]
        part, self._waiting[topic] = waiting[:count], waiting[count:]
        self.marks[topic] = max(until, self.marks[topic])
        return part
