"""How long a server is waited for, and what a source's failures amount to: pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from console.snapshot.reading import Reading, ReadingState
from shop import retry

DOWN_AFTER_MISSES: Final = 3
DOWN_AFTER_S: Final = 5.0
PATIENCE: Final = 3.0
"""A server may take this many times as long as it lately took before it counts as silent."""
FIRST_READ: Final = 4
"""Deadlines that a first read may take: it connects, and asks one thing after the other."""
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 15.0


def backoff(failures: int) -> float:
    """Return seconds before the next attempt, by the number of failures in a row."""
    return retry.backoff(failures, first=FIRST_BACKOFF_S, longest=LONGEST_BACKOFF_S, spread=0.2)


def limit_s(usual_s: float | None, first_s: float) -> float:
    """Return the seconds after which a read that has not ended counts as failed.

    A server of which nothing is known may be far away: each of its requests has a deadline, and a
    first read may take several of them. One that is silent fails at the first deadline.

    Args:
        usual_s: what a read lately took; None: there was none.
        first_s: the deadline of a request to a server of which nothing is known.

    >>> limit_s(0.01, 15.0), limit_s(4.0, 15.0), limit_s(None, 15.0)
    (5.0, 12.0, 60.0)
    """
    return FIRST_READ * first_s if usual_s is None else max(DOWN_AFTER_S, PATIENCE * usual_s)


def deadline_s(usual_s: float | None, timeouts: int, *, least: float, most: float) -> float:
    """Return the seconds that a request may take.

    Args:
        usual_s: what a read lately took; None: there was none.
        timeouts: requests in a row that took longer.
        least: seconds.
        most: seconds; also what a server gets of which nothing is known.

    >>> [deadline_s(s, n, least=1.5, most=15) for s, n in ((None, 0), (0.1, 0), (2, 0), (0.1, 2))]
    [15, 1.5, 6.0, 6.0]
    """
    if usual_s is None:
        return most
    return float(min(most, max(least, PATIENCE * usual_s) * 2**timeouts))


def state_of(failures: int, failing_s: float, *, ever: bool) -> ReadingState:
    """Return a source's state.

    Args:
        failures: in a row; an answer that is awaited for longer than `limit_s` counts as one.
        failing_s: since the first of them.
        ever: whether there is a value.

    >>> [state_of(0, 0, ever=e).value for e in (False, True)]
    ['loading', 'ok']
    >>> state_of(1, 0.1, ever=True).value, state_of(3, 2.0, ever=True).value
    ('stale', 'down')
    >>> state_of(1, 6.0, ever=True).value, state_of(1, 0.1, ever=False).value
    ('down', 'down')
    """
    if failures == 0:
        return ReadingState.OK if ever else ReadingState.LOADING
    if not ever or failures >= DOWN_AFTER_MISSES or failing_s >= DOWN_AFTER_S:
        return ReadingState.DOWN
    return ReadingState.STALE


def as_its_server(reading: Reading[Any], server: Reading[Any]) -> Reading[Any]:
    """Return a reading as stale where a newer one of its server has failed.

    Grades are read every ten seconds, and once a minute where that takes long: until then their
    last values would look like the present beside a database that is down.
    """
    since = server.failing_since
    if server.current or since is None or not reading.current:
        return reading
    if reading.taken_at is not None and reading.taken_at >= since:
        return reading  # the server answers this one
    return msgspec.structs.replace(
        reading, state=ReadingState.STALE, error=server.error, failing_since=since
    )
