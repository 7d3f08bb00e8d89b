"""The kinds of marks on the time axis: what a letter below a chart means. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from console.translations import Message, Text

if TYPE_CHECKING:
    from console.series import Mark


class MarkKind(Enum):
    """A kind: its letter, and its name as a label."""

    ENDED = "K", "process ended"
    RESTARTED = "R", "restarted"
    ACTION = "A", "action"
    SCENARIO = "S", "scenario"
    GRADED = "G", "grading"
    VERSION = "V", "new version"
    AWAY = "X", "server away"
    BACK = "B", "server back"
    LAG = "L", "lag"
    CACHE = "C", "cache"
    OTHER = "o", "other"

    @property
    def letter(self) -> str:
        """The letter: it needs no colour, and is in every font."""
        return self.value[0]

    @property
    def label(self) -> str:
        """The name, in English."""
        return self.value[1]


_KINDS: Final = {
    "ended": MarkKind.ENDED,
    "restarted": MarkKind.RESTARTED,
    "restarted_after": MarkKind.RESTARTED,
    "acted": MarkKind.ACTION,
    "came_to": MarkKind.ACTION,
    "scenario_began": MarkKind.SCENARIO,
    "scenario_ended": MarkKind.SCENARIO,
    "graded": MarkKind.GRADED,
    "new_version": MarkKind.VERSION,
    "away": MarkKind.AWAY,
    "brokers_away": MarkKind.AWAY,
    "below_min": MarkKind.AWAY,
    "back": MarkKind.BACK,
    "brokers_back": MarkKind.BACK,
    "below_min_over": MarkKind.BACK,
    "lag": MarkKind.LAG,
    "lag_over": MarkKind.LAG,
    "refresh_failed": MarkKind.CACHE,
    "refresh_overdue": MarkKind.CACHE,
    "refreshed": MarkKind.CACHE,
}
"""Id of a message -> its kind."""
_ORDER: Final = tuple(MarkKind)


def kind_of(mark: Mark) -> MarkKind:
    """Return the kind of a mark.

    >>> from console import translations as msg
    >>> from console.series import Mark
    >>> ended = msg.OF(name="orders", error=msg.ENDED(how="SIGKILL"))
    >>> kind_of(Mark(0.0, "error", str(ended), ended)).letter
    'K'
    >>> kind_of(Mark(0.0, "info", "of an earlier version")).letter
    'o'
    """
    text: Text = mark.message
    while isinstance(text, Message):
        if (found := _KINDS.get(text.id)) is not None:
            return found
        inner = text.values.get("error", "")
        text = inner if isinstance(inner, Message) else ""
    return MarkKind.OTHER


def weight(mark: Mark) -> tuple[bool, int]:
    """Return what marks of one column are ranked by; the least is drawn."""
    return mark.level not in ("error", "warning"), _ORDER.index(kind_of(mark))
