"""The optional topics of a history: what each day of it adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from generators.topics.interface import HistoryBlock
from generators.topics.registry import HISTORY
from shop.optional.registry import OPTIONAL


@dataclass(frozen=True)
class TopicDay:
    """What a day of a history adds to an optional topic.

    Attributes:
        topic: its name.
        events: `SCHEMAS[topic]`, in the order of their times, all before the end of the history.
        derived: rows of the derived tables that the day adds, by table.
    """

    topic: str
    events: pl.DataFrame
    derived: Mapping[str, pl.DataFrame]

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the rows of the topic's tables as they stand at the end of the history."""
        topic, rows = OPTIONAL[self.topic], self.events
        if topic.revised:
            rows = rows.sort(topic.id_field, "rev").unique(topic.id_field, keep="last")
        return {self.topic: rows.sort(topic.id_field), **self.derived}


class TopicHistories:
    """The optional topics that a history has.

    Args:
        topics: their names.
        seed: of the shop.
        end: of the history, UTC.
    """

    def __init__(self, topics: Iterable[str], seed: int, end: datetime) -> None:
        self._histories = {topic: HISTORY[topic](seed) for topic in topics}
        self._end = end

    def __bool__(self) -> bool:
        return bool(self._histories)

    @property
    def profiles(self) -> bool:
        """Whether one of them needs names and addresses of customers."""
        return any(history.profiles for history in self._histories.values())

    def of(self, block: HistoryBlock) -> Mapping[str, TopicDay]:
        """Return what a day adds, by topic."""
        days = {}
        for topic, history in self._histories.items():
            time = OPTIONAL[topic].time_field
            events = history.events(block).filter(pl.col(time) < self._end)
            events = events.sort(time, maintain_order=True)
            days[topic] = TopicDay(topic, events, history.derived_rows(block))
        return days
