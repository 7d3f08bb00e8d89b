"""One thread per source, and one that publishes snapshots: no source waits for another."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from console import deadlines, rules
from console import translations as msg
from console.changes import changes
from console.snapshot.model import READINGS, SERVER_OF, Event, EventKind, Happening, Snapshot
from console.snapshot.reading import Reading, ReadingState
from console.sources import (
    LONGEST_DEADLINE_S,
    READ_DEADLINE_S,
    AnySource,
    CurrentSettings,
    LazySource,
    SnapshotSource,
    defect,
    explain,
)
from console.translations import Text
from shop.clock import Clock, utc_now
from shop.log import redact

PUBLISH_S: Final = 1.0
EVENTS_KEPT: Final = 300
_SOONEST_S: Final = 0.1
"""Between two snapshots when something new came in."""
_REST: Final = {"grades": 20, "letters": 10, "postgres": 3}
"""Expensive reads wait this many times as long as they took."""
_LONGEST_REST_S: Final = 60.0
"""But no longer: a server that stood still is shown as slow until its next reading."""
_SLOW: Final = {"grades": 30.0, "letters": 5.0, "kafka": 2.5}
"""Seconds that a read may take before its reading is called slow, where it is not 1.5."""
_SAME: Final = 0.9
"""A failure after this share of its deadline is one of time: the next request gets twice."""
_LATENCIES: Final = 5
"""Reads of which the longest is what a server usually takes."""

Listener = Callable[[Snapshot], None]


class Feed(Protocol):
    """Where snapshots come from: the poller, or a recording."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End; returns soon even if a server hangs."""

    def latest(self) -> Snapshot:
        """Return the newest snapshot at once."""
        ...

    def refresh(self) -> None:
        """Read everything now."""


@dataclass
class _Slot:
    """What is known of one source. Guarded by the poller's lock."""

    value: Any = None
    taken_at: datetime | None = None
    latency_ms: float | None = None
    error: Text | None = None
    failing_since: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    reading_since: datetime | None = None
    timeouts: int = 0
    slow_after: float = READ_DEADLINE_S
    first_limit: float = LONGEST_DEADLINE_S
    took: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    @property
    def usual_s(self) -> float | None:
        """Seconds that the source lately took."""
        return max(self.took, default=None)

    @property
    def deadline_s(self) -> float:
        """Seconds that each of its requests may take now."""
        return deadlines.deadline_s(
            self.usual_s, self.timeouts, least=READ_DEADLINE_S, most=self.first_limit
        )

    def reading(self, now: datetime) -> Reading[Any]:
        """Return what it amounts to; an answer awaited for too long counts as a failure."""
        failures, since, error = self.failures, self.failing_since, self.error
        waited = (now - self.reading_since).total_seconds() if self.reading_since else 0.0
        if waited > deadlines.limit_s(self.usual_s, self.first_limit):
            failures += 1
            since = since or self.reading_since
            error = error or msg.NO_ANSWER_FOR(seconds=f"{waited:.0f}")
        failing_s = (now - since).total_seconds() if since else 0.0
        state = deadlines.state_of(failures, failing_s, ever=self.value is not None)
        latency_ms = self.latency_ms
        if state is ReadingState.OK and max(waited, (latency_ms or 0) / 1000) > self.slow_after:
            state = ReadingState.SLOW
            latency_ms = max(1000 * waited, latency_ms or 0)  # the answer that is awaited counts
        return Reading(
            value=self.value,
            state=state,
            taken_at=self.taken_at,
            latency_ms=latency_ms,
            error=error if failures else None,
            failing_since=since if failures else None,
            attempts=failures,
            retry_at=self.retry_at if failures else None,
        )


class Poller:
    """Reads all sources and publishes snapshots.

    Args:
        sources: one per field of `Snapshot`.
        events: the source of events.
        current: reloaded when a source fails.
        slow: seconds that every read is made slower, to see the console wait (for developers).
        patience: seconds for which an answer of a server is awaited that never answered before.
        clock: UTC.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        sources: Sequence[AnySource | LazySource],
        events: SnapshotSource[list[Happening]] | LazySource,
        current: CurrentSettings,
        *,
        slow: float = 0.0,
        patience: float = LONGEST_DEADLINE_S,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._events = events
        self._current = current
        self._slow = slow
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._fresh = False
        self._stop = threading.Event()
        self._slots = {
            s.name: _Slot(slow_after=_SLOW.get(s.name, READ_DEADLINE_S), first_limit=patience)
            for s in sources
        }
        self._wakes = {s.name: threading.Event() for s in sources}
        self._happened: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._numbers = itertools.count(1)
        self._listeners: list[Listener] = []
        self._defects: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._latest = Snapshot(sequence=0, at=clock())
        self.interval = PUBLISH_S
        """Seconds between two snapshots."""
        self.pace = 1.0
        """Factor on every source's interval."""
        self.slack = 1.0
        """Another one, while nothing newer is shown."""

    def listen(self, listener: Listener) -> None:
        """Have a function called with every snapshot, in the publishing thread."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Start the threads."""
        work: list[tuple[str, Callable[[], None]]] = [
            *((s.name, lambda s=s: self._follow(s)) for s in self._sources),
            ("events", self._follow_events),
            ("publisher", self._publish_all),
        ]
        for name, target in work:
            thread = threading.Thread(target=target, name=f"console-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the threads; one that hangs in a server's silence is left to itself."""
        self._stop.set()
        for wake in self._wakes.values():
            wake.set()
        with self._news:
            self._news.notify_all()
        deadline = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def latest(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._latest

    def refresh(self) -> None:
        """Have every source read now, a failing one too."""
        for wake in self._wakes.values():
            wake.set()

    def wait_until_read(self, timeout: float) -> Snapshot:
        """Return a snapshot as soon as every source has answered or failed, or the time is over."""
        deadline = time.monotonic() + timeout
        with self._news:
            while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
                now = self._clock()
                states = [slot.reading(now).state for slot in self._slots.values()]
                if ReadingState.LOADING not in states:
                    break
                self._news.wait(min(left, 0.2))
        return self._publish()

    def note(
        self, level: str, source: str, text: Text, kind: EventKind = EventKind.CONSOLE
    ) -> None:
        """Add an event of the console itself."""
        self._add([Happening(self._clock(), kind, level, source, text)])

    def _follow(self, source: AnySource | LazySource) -> None:
        slot, wake = self._slots[source.name], self._wakes[source.name]
        if isinstance(source, LazySource):
            source = source.make()
        while not self._stop.is_set():
            wake.clear()
            wake.wait(self._read(source, slot))
        with contextlib.suppress(Exception):
            source.reset()

    def _read(self, source: AnySource, slot: _Slot) -> float:
        """Read once; return how long to wait, in seconds."""
        began = self._monotonic()
        with self._lock:
            slot.reading_since = self._clock()
            source.deadline = slot.deadline_s
        try:
            if self._slow:
                self._stop.wait(self._slow)
            value = source.read()
        except Exception as e:  # no answer of a server ends the console
            return self._failed(source, slot, e, self._monotonic() - began)
        took = self._monotonic() - began
        with self._news:
            first = slot.value is None or slot.failures > 0
            slot.value, slot.taken_at, slot.latency_ms = value, self._clock(), 1000 * took
            slot.error = slot.failing_since = slot.retry_at = slot.reading_since = None
            slot.failures = slot.timeouts = 0
            slot.took.append(took)
            if first:
                self._fresh = True
                self._news.notify_all()
        rest = min(_REST.get(source.name, 1) * took, max(took, _LONGEST_REST_S))
        return max(source.interval * self.pace * self.slack, rest) - took

    def _failed(self, source: AnySource, slot: _Slot, error: Exception, took: float) -> float:
        with contextlib.suppress(Exception):
            source.reset()
        self._current.reload()
        wait = deadlines.backoff(slot.failures + 1)
        now = self._clock()
        with self._news:
            if slot.failures == 0:
                self._fresh = True
                self._news.notify_all()
            slot.failures += 1
            if took >= _SAME * source.deadline:
                slot.timeouts += 1
            # Since the attempt began: a hanging one showed the server as down already.
            slot.failing_since = slot.failing_since or slot.reading_since or now
            slot.error = redact(explain(error))
            slot.retry_at = now + timedelta(seconds=wait)
            slot.reading_since = None
        return wait

    def _follow_events(self) -> None:
        events = self._events.make() if isinstance(self._events, LazySource) else self._events
        while not self._stop.is_set():
            with contextlib.suppress(Exception):  # a log that cannot be read is not worth an end
                self._add(events.read())
            self._stop.wait(events.interval * self.pace * self.slack)
        with contextlib.suppress(Exception):
            events.reset()

    def _add(self, happened: Iterable[Happening]) -> None:
        with self._lock:
            for h in happened:
                self._happened.append(
                    Event(
                        n=next(self._numbers),
                        at=h.at,
                        kind=h.kind,
                        level=h.level,
                        source=h.source,
                        text=h.text,
                    )
                )

    def _publish_all(self) -> None:
        while not self._stop.is_set():
            began = self._monotonic()
            snapshot = self._publish()
            for listener in self._listeners:
                try:
                    listener(snapshot)
                except Exception as e:  # what one does with a snapshot concerns no other
                    self._defect(e)
            with self._news:
                # Nothing is read more often than every `pace` seconds; after 3.5 a chart has a gap.
                rest = max(self.interval, min(self.pace, 2.0))
                self._news.wait_for(lambda: self._fresh or self._stop.is_set(), rest)
                self._fresh = False
            self._stop.wait(max(0.0, _SOONEST_S - (self._monotonic() - began)))

    def _defect(self, error: Exception) -> None:
        """Report a defect once, as an event: a thread that ended would freeze the screen."""
        text = defect(error)
        if str(text) not in self._defects:
            self._defects.add(str(text))
            self.note("error", "console", text)

    def _publish(self) -> Snapshot:
        now = self._clock()
        with self._lock:
            readings = {name: slot.reading(now) for name, slot in self._slots.items()}
            sequence = self._latest.sequence + 1
        for name, server in SERVER_OF.items():
            if name in readings and server in readings:
                readings[name] = deadlines.as_its_server(readings[name], readings[server])
        snapshot = msgspec.structs.replace(Snapshot(sequence=sequence, at=now), **readings)
        snapshot = rules.without_stale_verdicts(snapshot)
        try:
            found = changes(self._latest, snapshot)
        except Exception as e:  # the values matter more than the changes in them
            self._defect(e)
            found = []
        self._add(
            Happening(now, EventKind.CONSOLE, level, source, text) for level, source, text in found
        )
        with self._lock:
            events = tuple(self._happened)
            self._latest = msgspec.structs.replace(snapshot, events=events)
            return self._latest


def make(
    current: CurrentSettings,
    *,
    slow: float = 0.0,
    patience: float = LONGEST_DEADLINE_S,
    commits: bool = False,
) -> Poller:
    """Return a poller of a shop.

    Args:
        current: the servers are.
        slow: as of `Poller`.
        patience: as of `Poller`.
        commits: whether to read what the groups have committed in Kafka, which no screen shows: a
            client of its own for each group.
    """
    how = {"kafka": {"commits": commits}}
    return Poller(
        [LazySource(n, current, how.get(n, {})) for n in READINGS],
        LazySource("events", current),
        current,
        slow=slow,
        patience=patience,
    )
