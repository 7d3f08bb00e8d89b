"""A clock that advances only when a test moves it."""

from __future__ import annotations


class ManualClock:
    """Returns `now`, in seconds, as `time.monotonic` would."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
