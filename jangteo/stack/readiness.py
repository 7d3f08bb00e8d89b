"""When the shop is ready: every process has done its first work, by its own heartbeat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shop.process_status import ProcessStatus
from shop.redis.cache import Heartbeat

WITHIN_S: Final = 60.0
"""After this time, in seconds, that of `up --for` begins anyway, and what is not ready is named."""
_FIRST_WORK: Final[Mapping[str, str]] = {
    "ingest": "partitions",  # assigned: there may be nothing to take
    "cache": "refreshes",
    "grader": "last_run",
}
"""Field of the heartbeat that is there and not 0 once it has worked; of generators `published`."""


def not_ready(
    names: Iterable[str], statuses: Iterable[ProcessStatus], beats: Mapping[str, Heartbeat]
) -> list[str]:
    """Return those processes that have not done their first work.

    Args:
        names: of the processes that are to be ready.
        statuses: what the supervisor knows: a heartbeat of an earlier process is none of this one.
        beats: by name.
    """
    pids = {s.name: s.pid for s in statuses}
    return [
        n
        for n in names
        if not any(b.pid == pids.get(n) and _works(n, b) for b in beats.values() if _is_of(n, b))
    ]


def _is_of(name: str, beat: Heartbeat) -> bool:
    """Tell whether a heartbeat may be that of a process.

    A second generator of a kind, as next to another shop, has its node appended, and an ingest of
    one topic the topic; the number of the process tells which of them it is.
    """
    return beat.name == name or beat.name.startswith(f"{name}-")


def _works(name: str, beat: Heartbeat) -> bool:
    if beat.state == "paused" or (name == "continuation" and beat.state == "running"):
        return True  # nothing more will come, or nothing is due
    return beat.fields.get(_FIRST_WORK.get(name, "published"), "0") != "0"
