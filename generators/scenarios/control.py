"""Scenarios that the operator started: `control:scenarios` in Redis, name -> JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
import redis

from generators.scenarios.table import BY_NAME
from generators.scenarios.timetable import ScenarioSpan, run_of
from shop.clock import seconds_of
from shop.errors import UsageError
from shop.redis import control
from shop.redis.control import CONTROL, read_hash

KEY: Final = f"{CONTROL}scenarios"
MAX_INTENSITY: Final = 3.0
MAX_DURATION_S: Final = 30 * 86_400.0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run that the operator started; it ends by itself at `until`."""

    since: datetime
    until: datetime
    intensity: float = 1.0


def start(
    r: redis.Redis,
    name: str,
    now: datetime,
    *,
    duration: float | None = None,
    intensity: float = 1.0,
) -> Started:
    """Start or restart a scenario.

    Args:
        r: Redis.
        name: of the table.
        now: the clock.
        duration: seconds; None: as long as the table says.
        intensity: above 0, up to 3.

    Raises:
        UsageError: names what is refused and why.
    """
    scenario = BY_NAME.get(name)
    if scenario is None:
        raise UsageError(f"no scenario {name!r}; known: {', '.join(BY_NAME)}")
    if not (math.isfinite(intensity) and 0 < intensity <= MAX_INTENSITY):
        raise UsageError(f"intensity {intensity:g}: expected above 0 and up to {MAX_INTENSITY:g}")
    seconds = scenario.lasts_s if duration is None else duration
    if not 1 <= seconds <= MAX_DURATION_S:
        raise UsageError(f"duration {seconds:g} s: expected from 1 s to 30 days")
    if control.continues(r, "orders"):
        raise UsageError(
            f"{name} is not started: a history is being resumed, whose scenarios are drawn "
            "already; those of the calendar run"
        )
    run = Started(since=now, until=now + timedelta(seconds=seconds), intensity=intensity)
    r.hset(KEY, name, msgspec.json.encode(run).decode())
    return run


def stop(r: redis.Redis, name: str) -> None:
    """Stop what the operator started.

    Raises:
        UsageError: if it was not started by the operator.
    """
    if not r.hdel(KEY, name):
        hint = "" if name in BY_NAME else f"; known: {', '.join(BY_NAME)}"
        raise UsageError(f"{name!r} was not started by the operator, so it cannot be stopped{hint}")


def started(r: redis.Redis, now: datetime) -> dict[str, Started]:
    """Return what runs now by the operator's will; what has ended is removed."""
    found: dict[str, Started] = {}
    for name, text in read_hash(r, KEY).items():
        try:
            run = msgspec.json.decode(text, type=Started)
        except msgspec.DecodeError:
            continue
        if name not in BY_NAME or not 0 < run.intensity <= MAX_INTENSITY:
            continue
        if run.until <= now:
            r.hdel(KEY, name)
        else:
            found[name] = run
    return found


def spans(runs: Mapping[str, Started]) -> list[ScenarioSpan]:
    """Return the spans of the operator's runs."""
    return [
        span
        for name, run in sorted(runs.items())
        for span in run_of(
            BY_NAME[name],
            run.since.timestamp(),
            (run.until - run.since).total_seconds(),
            run.intensity,
            manual=True,
        )
    ]


def seconds(text: str) -> float:
    """Read a duration, for argparse: 90, 90s, 30m, 2h, 3d.

    >>> seconds("90"), seconds("30m"), seconds("1.5h")
    (90.0, 1800.0, 5400.0)
    """
    return seconds_of(text)


seconds.__name__ = "duration"  # argparse shows it: "invalid duration value: 'x'"
