"""Processes: the supervisor's snapshot, heartbeats, the operator's settings, scenarios."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

import msgspec
import psutil
import redis

from console import rules
from console.snapshot.model import Process, Processes
from console.snapshot.reading import Rate
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from console.sources.redis import clock_ahead
from console.text import printable
from shop.boot_clock import same_process
from shop.clock import utc_now
from shop.optional.registry import OPTIONAL
from shop.process_status import ProcessState, ProcessStatus, read_snapshot
from shop.redis import cache, control
from shop.redis.cache import Heartbeat
from shop.server_clock import RedisClock

SCENARIOS: Final = control.CONTROL + "scenarios"
SERVERS: Final = ("postgres", "redis", "kafka")
"""Supervised, but without heartbeats."""
_COUNTERS: Final = ("published", "refreshes")


class ProcessSource:
    """Merges what is known of each process.

    Args:
        current: Redis is, and the data directory of the stack.
    """

    name = "processes"

    def __init__(self, current: CurrentSettings, *, interval: float = 1.0) -> None:
        self.interval = interval
        self.deadline = LONGEST_DEADLINE_S
        self._current = current
        self._client: redis.Redis | None = None
        self._clock: RedisClock | None = None
        self._beats: dict[str, Heartbeat] = {}
        self._counts: dict[str, tuple[datetime, int]] = {}
        self._rates: dict[str, Rate] = {}
        self._known: dict[tuple[int, str], psutil.Process] = {}

    def read(self) -> Processes:
        """Return them: servers first, in the supervisor's order, then strangers by name.

        Without Redis, the supervisor's part is returned with the last heartbeats known.

        Raises:
            redis.RedisError: if Redis does not answer and nothing is supervised here.
        """
        statuses = read_snapshot(self._current.settings.data_dir)
        settings: dict[str, control.Control] = {}
        scenarios: tuple[str, ...] = ()
        try:
            client = self._connection()
            self._clock = self._clock or RedisClock(client)
            shift = timedelta(seconds=clock_ahead(self._clock))
            self._beats = {b.name: replace(b, at=b.at + shift) for b in cache.heartbeats(client)}
            names = (*control.GENERATORS, *(name for name in OPTIONAL if name in self._beats))
            settings = control.read_each(client, names)
            scenarios = read_scenarios(client, utc_now() - shift)
        except redis.RedisError:
            self.reset()
            if not statuses:
                raise
        beats = dict(self._beats)
        found = []
        for status in statuses:
            beat = beats.pop(status.name, None)
            found.append(self._process(status.name, status, beat, settings.get(status.name)))
        for name, beat in sorted(beats.items()):
            found.append(self._process(name, None, beat, settings.get(name)))
        return Processes(processes=tuple(found), scenarios=scenarios)

    def reset(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._clock = None

    def _connection(self) -> redis.Redis:
        if self._client is None:
            self._client = cache.client(self._current.settings.redis_url, timeout=self.deadline)
        return self._client

    def _process(
        self,
        name: str,
        status: ProcessStatus | None,
        beat: Heartbeat | None,
        setting: control.Control | None,
    ) -> Process:
        pid = status.pid if status else beat.pid if beat else None
        state = beat.state if beat else "silent"
        if status:
            alive = status.pid is None or same_process(status.pid, status.pid_started or "")
            if status.state != ProcessState.RUNNING.value or beat is None:
                state = status.state
            if not alive:
                state = "gone"  # the snapshot outlived a crash of `jangteo up`
        memory, cpu = self._usage(status)
        fields = {k: printable(v, 80) for k, v in beat.fields.items()} if beat else {}
        return Process(
            name=name,
            pid=pid,
            state=printable(state, 40),
            beat_at=beat.at if beat else None,
            beats=name not in SERVERS,
            supervised=status is not None,
            restarts=status.restarts if status else 0,
            up_since=status.up_since if status else None,
            last_exit=status.last_exit if status else None,
            rate=self._rate(name, beat)
            if beat and not rules.silent(beat.at, utc_now())
            else Rate(),
            paused=setting.paused if setting else False,
            factor=setting.rate if setting else 1.0,
            memory=memory,
            cpu=cpu,
            fields=fields,
            version=printable(beat.version, 40) if beat else "",
        )

    def _rate(self, name: str, beat: Heartbeat) -> Rate:
        """Return the process's own figure, else what its counters did between two heartbeats."""
        with contextlib.suppress(KeyError, ValueError):
            return Rate(float(beat.fields["rate"]))
        count = counted(beat.fields)
        if count is None:
            return Rate()
        before = self._counts.get(name)
        if before is None or before[0] != beat.at:
            self._counts[name] = (beat.at, count)
            elapsed = (beat.at - before[0]).total_seconds() if before else 0.0
            self._rates[name] = rules.rate(before[1] if before else None, count, elapsed)
        return self._rates[name]

    def _usage(self, status: ProcessStatus | None) -> tuple[int | None, float | None]:
        """Return memory and CPU of a process of this machine."""
        if status is None or status.pid is None or status.pid_started is None:
            return None, None
        key = (status.pid, status.pid_started)
        try:
            if key not in self._known:
                if not same_process(*key):
                    return None, None
                self._known = {k: p for k, p in self._known.items() if p.is_running()}
                self._known[key] = psutil.Process(status.pid)
                self._known[key].cpu_percent(None)  # the first call only takes the baseline
                return int(self._known[key].memory_info().rss), None
            process = self._known[key]
            with process.oneshot():
                return int(process.memory_info().rss), float(process.cpu_percent(None))
        except psutil.Error:
            return None, None


def counted(fields: Mapping[str, str]) -> int | None:
    """Return how many things a process has done, of its counters.

    >>> counted({"orders.stored": "3", "orders.rejected": "1", "batches": "2"})
    4
    >>> counted({"last_run": "2026"}) is None
    True
    """
    numbers = {k: int(v) for k, v in fields.items() if v.isdigit()}
    for name in _COUNTERS:
        if name in numbers:
            return numbers[name]
    done = [n for k, n in numbers.items() if k.endswith((".stored", ".rejected", ".ignored"))]
    return sum(done) if done else None


def read_scenarios(r: redis.Redis, now: datetime) -> tuple[str, ...]:
    """Return what `control:scenarios` says is running, as text; it may be a hash or JSON."""
    kind = cast("str", r.type(SCENARIOS))
    if kind == "hash":
        values = control.read_hash(r, SCENARIOS, make=False)
        running = {k: v for k, v in sorted(values.items()) if not _over(v, now)}
        return tuple(printable(f"{k} {_brief(v)}".strip(), 60) for k, v in running.items())
    if kind == "string":
        try:
            found: Any = json.loads(cast("str", r.get(SCENARIOS)))
        except ValueError:
            return ()
        names = found if isinstance(found, list | dict) else [found]
        return tuple(printable(str(n), 60) for n in names)
    return ()


def _over(text: str, now: datetime) -> bool:
    """Return whether a scenario's JSON says that it has ended.

    >>> from datetime import timezone
    >>> now = datetime(2026, 11, 23, tzinfo=timezone.utc)
    >>> _over('{"until": "2026-11-22T00:00:00Z"}', now), _over('{"until": null}', now)
    (True, False)
    """
    try:
        until = msgspec.json.decode(text.encode(), type=_Until).until
    except msgspec.DecodeError:
        return False
    return until is not None and until <= now


class _Until(msgspec.Struct, frozen=True):
    until: datetime | None = None


def _brief(text: str) -> str:
    """Return the intensity of a scenario's JSON, if it has one.

    >>> _brief('{"intensity": 2.0, "until": null}'), _brief("on")
    ('x2', '')
    """
    try:
        value = msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return ""
    factor = value.get("intensity") if isinstance(value, dict) else None
    return f"x{factor:g}" if isinstance(factor, int | float) else ""
