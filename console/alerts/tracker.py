"""From conditions to notifications: one when a condition has held, one when it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec

from console import translations as msg
from console.alerts.conditions import Condition, ConditionKey, Judgement, judge
from console.snapshot.model import Snapshot
from console.translations import Text
from shop.settings.notify import KINDS


class AlertState(str, Enum):
    """What a notification reports."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A notification.

    Attributes:
        state: firing or resolved.
        kind: of the condition, one of `shop.settings.notify.KINDS`.
        subject: the server, consumer group or process.
        level: warning or error.
        text: what is wrong or was.
        since: when the condition was first seen.
        at: when this notification was made.
    """

    state: AlertState
    kind: str
    subject: str
    level: str
    text: Text
    since: datetime
    at: datetime

    @property
    def shown(self) -> Text:
        """What is shown to people: a resolved condition is called so."""
        return self.text if self.state is AlertState.FIRING else msg.IN_ORDER(text=self.text)


@dataclass
class _Held:
    """A condition that holds or held a moment ago; times are monotonic seconds."""

    condition: Condition
    since: datetime
    began: float
    over: float | None = None
    told: str = ""
    """The level of the last notification; empty before the first."""


class AlertTracker:
    """Decides which conditions are notified, and when.

    A condition that cannot be judged stays as it was: silence is no recovery.

    Args:
        after: seconds for which a condition holds before it is notified, and for which it is
            over before that is notified; by kind.
    """

    def __init__(self, after: Mapping[str, float]) -> None:
        self._after = after
        self._held: dict[ConditionKey, _Held] = {}

    @property
    def firing(self) -> int:
        """The number of conditions that were notified and are not over."""
        return sum(bool(h.told) for h in self._held.values())

    def update(self, snapshot: Snapshot, now: float) -> list[Alert]:
        """Take a snapshot; return the notifications that are due.

        Args:
            snapshot: the newest.
            now: seconds of a clock that never steps.
        """
        judgement = judge(snapshot)
        for key, condition in judgement.found.items():
            if key[0] in self._after:
                held = self._held.setdefault(key, _Held(condition, snapshot.at, now))
                held.condition, held.over = condition, None
        return [*self._due(judgement, snapshot.at, now)]

    def _due(self, judgement: Judgement, at: datetime, now: float) -> Iterator[Alert]:
        for key, held in [*self._held.items()]:
            wait = self._after[key[0]]
            level = held.condition.level
            if key in judgement.found:
                worse = level == "error" and held.told == "warning"
                if (not held.told and now - held.began >= wait) or worse:
                    held.told = level
                    yield _alert(AlertState.FIRING, key, held, at)
            elif not judgement.unknown(key):
                held.over = now if held.over is None else held.over
                if not held.told:
                    del self._held[key]
                elif now - held.over >= wait:
                    del self._held[key]
                    yield _alert(AlertState.RESOLVED, key, held, at)


def _alert(state: AlertState, key: ConditionKey, held: _Held, at: datetime) -> Alert:
    return Alert(
        state=state,
        kind=key[0],
        subject=key[1],
        level=held.condition.level,
        text=held.condition.message,
        since=held.since,
        at=at,
    )


def waits(on: Iterable[tuple[str, float | None]], after: float) -> dict[str, float]:
    """Return the seconds of each kind that is notified; all kinds where none is named.

    >>> waits([("lag", 60.0), ("server", None)], 10.0)
    {'lag': 60.0, 'server': 10.0}
    """
    chosen = {kind: after if seconds is None else seconds for kind, seconds in on}
    return chosen or dict.fromkeys(KINDS, after)
