"""The in-flight window between one topic's source and sink within a worker, and stopping.

The source asks the window whether there is room before it polls, and ends only when everything it
handed out has been committed or given up. So back-pressure never blocks the worker's thread (the
other topics of the worker continue, group membership is kept), and a graceful stop needs no timing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

MOST_UNDER_WAY: Final = 8
"""Batches: those of one transaction, and those that are decoded while it is committed."""
MOST_MESSAGES: Final = 160_000
"""In them, whatever INGEST_BATCH_SIZE is; two batches may always be under way. An order under way
takes some 700 bytes."""

_ALWAYS: Final = 2


class InFlightWindow:
    """Thread-safe account of one topic's batches in one worker.

    Args:
        stop: set when the process is asked to end.
        hindered: why nothing may be read now; empty if it may.
    """

    def __init__(self, stop: threading.Event, hindered: Callable[[], str] = lambda: "") -> None:
        self.stop = stop
        self._hindered = hindered
        self._stop_seen: float | None = None
        self._lock = threading.Lock()
        self._under_way = 0
        self._messages = 0
        self._applied: dict[str, dict[int, int]] = {}
        self._given_up = False

    @property
    def has_room(self) -> bool:
        """Whether the source may hand out another batch."""
        with self._lock:
            few = self._messages < MOST_MESSAGES or self._under_way < _ALWAYS
            return few and self._under_way < MOST_UNDER_WAY and not self._hindered()

    @property
    def under_way(self) -> int:
        """Batches that were handed out and are not committed."""
        with self._lock:
            return self._under_way

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, or what is will not be finished any more."""
        with self._lock:
            return self._under_way == 0 or self._given_up

    def stop_age(self) -> float:
        """Return the seconds since a stop was first seen here, 0 before."""
        if not self.stop.is_set():
            return 0.0
        with self._lock:
            if self._stop_seen is None:
                self._stop_seen = time.monotonic()
            return time.monotonic() - self._stop_seen

    def handed_out(self, messages: int) -> None:
        """Note a batch on its way."""
        with self._lock:
            self._under_way += 1
            self._messages += messages

    def applied(self, log_id: str, ends: Mapping[int, int], messages: int) -> None:
        """Note a batch committed to PostgreSQL.

        Args:
            log_id: of the topic that it is from, which may have been recreated since.
            ends: the next offset of each partition.
            messages: how many it has.
        """
        with self._lock:
            self._under_way -= 1
            self._messages -= messages
            self._applied.setdefault(log_id, {}).update(ends)

    def give_up(self) -> None:
        """Note that the writer stopped before it could commit what is under way."""
        with self._lock:
            self._given_up = True

    def take_applied(self, log_id: str) -> dict[int, int]:
        """Return, once, the next offsets of a topic that were committed since the last call."""
        with self._lock:
            taken, self._applied = self._applied.get(log_id, {}), {}
            return taken


class InFlightWindows:
    """The in-flight windows of a process, by topic and worker.

    Bytewax builds sources and sinks apart, each on its worker's thread; here they meet.
    """

    def __init__(self, stop: threading.Event, hindered: Callable[[], str] = lambda: "") -> None:
        self._stop = stop
        self._hindered = hindered
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, int], InFlightWindow] = {}

    def get(self, topic: str, worker: int) -> InFlightWindow:
        """Return the window of a topic in a worker, made at the first call."""
        with self._lock:
            return self._windows.setdefault(
                (topic, worker), InFlightWindow(self._stop, self._hindered)
            )
