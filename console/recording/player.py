"""Replay a recording: just another publisher of snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.series import COARSE_KEPT, SnapshotSeries
from console.snapshot.model import Snapshot

if TYPE_CHECKING:
    from console.recording.recording import Recording


SPEEDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
"""Seconds of a recording that are played in one."""
_LONGEST_GAP_S: Final = 12.0
"""A recording that was interrupted does not make one wait; the record has a gap of ten seconds."""
_FINE_KEPT: Final = 6 * 3600
"""Points of a second of a recording: 13 MB; of a longer one, the last six hours."""


def series_of(path: Path) -> SnapshotSeries:
    """Return the series of a whole recording; for a thread of its own: some seconds an hour."""
    from console.recording.recording import Recording  # noqa: PLC0415  (SQLite, for those who replay)

    found = SnapshotSeries(fine=_FINE_KEPT, coarse=COARSE_KEPT)
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
        self.speed = 1.0
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
            position, times = self.position, self.recording.times
            while self.playing and position + 1 < len(times):
                gap = (times[position + 1] - times[position]).total_seconds()
                gap = min(gap, _LONGEST_GAP_S) / self.speed
                if self._monotonic() - self._turned < gap:
                    break
                self._turned += gap
                position += 1
            if position != self.position:  # at a high speed most are not read at all
                self._go(position)
            return self._latest

    @property
    def at_end(self) -> bool:
        """Whether the newest snapshot is shown."""
        return self.position + 1 >= len(self.recording)

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

    def seek(self, at: datetime) -> None:
        """Move to the first snapshot at or after a time, or to the last; plays on if it did."""
        with self._lock:
            self._turned = self._monotonic()
            self._go(self.recording.find(at))

    def change_speed(self, step: int) -> None:
        """Take the next (1) or former (-1) of `SPEEDS`."""
        with self._lock:
            at = SPEEDS.index(self.speed) + step
            self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]
            self._turned = self._monotonic()

    def jump(self, step: int) -> bool:
        """Move to the next (1) or former (-1) notable event; False if there is none; pauses."""
        found = self.recording.next_event(self.position, step)
        if found is None:
            return False
        self.step(found - self.position)
        return True

    def extend(self) -> None:
        """Take in what was recorded since."""
        with self._lock:
            self.recording.extend()

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
