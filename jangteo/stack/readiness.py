"""When the shop is ready: every process has done its first work, by its own heartbeat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shop.process_status import ProcessStatus
from shop.redis.cache import Heartbeat

WITHIN_S: Final = 60.0
"""After this many seconds the time of `up --for` begins anyway, and what is not ready is named."""
_FIRST_WORK: Final[Mapping[str, str]] = {
    "ingest": "partitions",  # assigned: there may be nothing to take
    "cache": "refreshes",
    "grader": "last_run",
}
"""Heartbeat field that is present and not 0 once a process has worked; `published` otherwise."""

_WHEN_DUE: Final = ("continuation", "optional")
"""Processes that publish what is due, which may be nothing for hours."""


def not_ready(
    names: Iterable[str], statuses: Iterable[ProcessStatus], beats: Mapping[str, Heartbeat]
) -> list[str]:
    """Return the processes that have not done their first work.

    Args:
        names: names of the processes that must be ready.
        statuses: the supervisor's; a heartbeat of an earlier process does not count for this one.
        beats: the last heartbeats by name.
    """
    pids = {s.name: s.pid for s in statuses}
    return [
        n
        for n in names
        if not any(b.pid == pids.get(n) and _works(n, b) for b in beats.values() if _is_of(n, b))
    ]


def _is_of(name: str, beat: Heartbeat) -> bool:
    """Return whether a heartbeat may be that of a process.

    A second generator of a kind, as next to another shop, has its node appended, and an ingest of
    one topic the topic; the pid decides which of them it is.
    """
    return beat.name == name or beat.name.startswith(f"{name}-")


def _works(name: str, beat: Heartbeat) -> bool:
    if beat.state == "paused" or (name in _WHEN_DUE and beat.state == "running"):
        return True  # nothing more will come, or nothing is due
    return beat.fields.get(_FIRST_WORK.get(name, "published"), "0") != "0"
