"""The log as an operator reads it: filtered, equal lines folded, the causes first. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from console.snapshot.model import SERVERS, Event, EventKind

LEVELS: Final = ("all", "warning", "error")
"""What the filter of levels lets through: everything, warnings and errors, errors alone."""
RECENT_S: Final = 300.0
"""Seconds for which a warning or an error ranks above what is newer."""
_RANKS: Final = {"critical": 2, "error": 2, "warning": 1}
_NUMBERS: Final = re.compile(r"\d+")


@dataclass(frozen=True)
class EventFilter:
    """Which events are shown.

    Attributes:
        text: a word that they contain; `!word`: that they do not contain.
        level: one of `LEVELS`.
        changes: whether only actions, and changes that the console noticed, are shown.
    """

    text: str = ""
    level: str = LEVELS[0]
    changes: bool = False


@dataclass(frozen=True)
class FoldedEvent:
    """Equal events as one: the newest, how many there were, and when the first was."""

    event: Event
    count: int
    first_at: datetime


def level_rank(event: Event) -> int:
    """Return how serious an event is: 2 error, 1 warning, 0 anything else."""
    return _RANKS.get(event.level, 0)


def chosen(
    events: Iterable[Event], wanted: EventFilter, render: Callable[[Event], str]
) -> list[Event]:
    """Return the events that the filter lets through.

    Args:
        events: oldest first.
        wanted: the filter.
        render: returns an event's text in the language of the screen.
    """
    word = wanted.text.casefold()
    negated = word.startswith("!")
    word = word.removeprefix("!")
    least = LEVELS.index(wanted.level)
    return [
        e
        for e in events
        if level_rank(e) >= least
        and (not wanted.changes or e.kind is not EventKind.LOG)
        and (not word or (word in f"{e.level} {e.source} {render(e)}".casefold()) is not negated)
    ]


def folded(events: Sequence[Event], render: Callable[[Event], str]) -> list[FoldedEvent]:
    """Fold lines of one source that differ in numbers alone; ordered by the newest of each.

    >>> from datetime import timezone
    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> def line(n, text):
    ...     return Event(n=n, at=now, kind=EventKind.LOG, level="info", source="a", text=text)
    >>> found = folded([line(1, "try 1"), line(2, "other"), line(3, "try 2")], lambda e: e.text)
    >>> [(f.event.text, f.count) for f in found]
    [('other', 1), ('try 2', 2)]
    """
    found: dict[tuple[str, str, str], FoldedEvent] = {}
    for e in events:
        key = e.level, e.source, _NUMBERS.sub("#", render(e))
        before = found.pop(key, None)
        found[key] = FoldedEvent(
            e, before.count + 1 if before else 1, before.first_at if before else e.at
        )
    return list(found.values())


def ranked(found: Iterable[FoldedEvent], now: datetime) -> list[FoldedEvent]:
    """Return events with the causes first: recent errors, recent warnings, then by newness.

    Among errors those that name a server come before those of the processes that wait for it.
    """

    def place(f: FoldedEvent) -> tuple[int, int, float, int]:
        e = f.event
        recent = (now - e.at).total_seconds() <= RECENT_S
        rank = level_rank(e) if recent else 0
        cause = 2 if e.kind is EventKind.CONSOLE and e.source in SERVERS else e.source in SERVERS
        return -rank, -cause if rank else 0, -e.at.timestamp(), -e.n

    return sorted(found, key=place)
