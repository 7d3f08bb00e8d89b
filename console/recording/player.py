"""Replay a recording: just another publisher of snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from console.series import SnapshotSeries
from console.snapshot.model import Snapshot

if TYPE_CHECKING:
    from console.recording.recording import Recording


def series_of(path: Path) -> SnapshotSeries:
    """Return the series of a whole recording; for a thread of its own: some seconds an hour."""
    from console.recording.recording import Recording  # noqa: PLC0415  (SQLite, for those who replay)

    found = SnapshotSeries()
    for snapshot in Recording(path):
        found.push(snapshot)
    return found


class Player:
    """Plays a recording as a feed: in its own time, or step by step.

    Args:
        recording: what to play.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self, recording: Recording, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.recording = recording
        self.position = 0
        self.playing = True
        self.interval = 1.0
        self.pace = 1.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._turned = monotonic()
        self._latest = self._read(0, 1)

    def start(self) -> None:
        """Begin to play."""
        self._turned = self._monotonic()

    def stop(self) -> None:
        """Nothing runs."""

    def refresh(self) -> None:
        """There is nothing newer."""

    def latest(self) -> Snapshot:
        """Return the snapshot of the moment that is played; moves on as time passes."""
        with self._lock:
            while self.playing and self.position + 1 < len(self.recording):
                times = self.recording.times
                gap = (times[self.position + 1] - times[self.position]).total_seconds()
                # A recording that was interrupted does not make one wait for the gap.
                gap = min(gap, 5.0)
                if self._monotonic() - self._turned < gap:
                    break
                self._turned += gap
                self._go(self.position + 1)
            return self._latest

    def toggle(self) -> None:
        """Play or pause."""
        with self._lock:
            self.playing = not self.playing
            self._turned = self._monotonic()

    def step(self, by: int) -> None:
        """Move by some snapshots; stops at the ends; pauses."""
        with self._lock:
            self.playing = False
            self._go(min(max(self.position + by, 0), len(self.recording) - 1))

    def jump(self, step: int) -> bool:
        """Move to the next (1) or former (-1) notable event; False if there is none; pauses."""
        found = self.recording.next_event(self.position, step)
        if found is None:
            return False
        self.step(found - self.position)
        return True

    def _go(self, position: int) -> None:
        step = 1 if position >= self.position else -1
        self.position = position
        self._latest = self._read(position, step)

    def _read(self, position: int, step: int) -> Snapshot:
        """Return a snapshot; its neighbour where it cannot be read."""
        while 0 <= position < len(self.recording):
            if found := self.recording.snapshot(position):
                return found
            position += step
        return getattr(self, "_latest", None) or Snapshot(sequence=0, at=self.recording.times[0])
