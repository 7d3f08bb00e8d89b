"""The one way in which tests wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2
"""The pauses grow up to this: the process that is waited for needs the CPU itself."""

Seen = TypeVar("Seen")


def wait_until(
    condition: Callable[[], Seen], message: str | Callable[[], object], timeout: float = 120.0
) -> Seen:
    """Return the first true value of `condition`; fail with the last one after `timeout` seconds.

    A condition that asserts ends the wait at once, as for a process that has ended.

    Args:
        condition: evaluated again and again.
        message: what is waited for; a callable is evaluated when the wait fails.
        timeout: seconds.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE_S
    while not (seen := condition()):
        if time.monotonic() > deadline:
            what = message() if callable(message) else message
            raise AssertionError(f"not within {timeout:g} s: {what}; last seen: {seen!r}")
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, pause * 1.3)
    return seen
