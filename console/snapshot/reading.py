"""The last reading of a source, and how far it can be trusted."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from console.snapshot.severity import Severity, State
from console.translations import Text

T = TypeVar("T")


class ReadingState(State):
    """How far a reading can be trusted."""

    LOADING = "loading", Severity.UNKNOWN
    """Nothing was read yet."""
    OK = "ok", Severity.OK
    SLOW = "slow", Severity.WARNING
    """Answers come, but take long, or one is awaited for longer than usual: nothing failed."""
    STALE = "stale", Severity.WARNING
    """The last attempt failed, or one hangs; the value is an older one."""
    DOWN = "down", Severity.ERROR
    """Failed several times or for seconds; the value, if any, is the last that there was."""


class Reading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The last answer of one source, and the state of that source now.

    Attributes:
        value: the last value that was read; None if there never was one.
        state: of the source now.
        taken_at: when `value` was read.
        latency_ms: how long that took.
        error: why the last attempt failed, one line.
        failing_since: since when attempts fail; None while they succeed.
        attempts: failures in a row.
        retry_at: when the next attempt is made after a failure.
    """

    value: T | None = None
    state: ReadingState = ReadingState.LOADING
    taken_at: datetime | None = None
    latency_ms: float | None = None
    error: Text | None = None
    failing_since: datetime | None = None
    attempts: int = 0
    retry_at: datetime | None = None

    @property
    def current(self) -> bool:
        """Whether the value describes the present: verdicts may judge it.

        >>> Reading(state=ReadingState.SLOW).current, Reading(state=ReadingState.STALE).current
        (True, False)
        """
        return self.state in (ReadingState.OK, ReadingState.SLOW)

    def age(self, now: datetime) -> float | None:
        """Return seconds since the value was read; None if there is none."""
        return None if self.taken_at is None else max(0.0, (now - self.taken_at).total_seconds())


class Rate(msgspec.Struct, frozen=True):
    """Events per second between two readings; a counter that fell was reset."""

    per_s: float | None = None
    reset: bool = False
