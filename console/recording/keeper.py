"""Keeps the history while a console or `jangteo up` runs: a listener of the poller.

Two files: the points that charts are made of, and the screens, a recording like any other with a
snapshot every ten seconds, so that a running console can go back to any of them.
"""

from __future__ import annotations

import fcntl
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from console.event_list import level_rank
from console.series import SnapshotSeries
from console.snapshot.model import EventKind, Snapshot
from shop.errors import UsageError
from shop.log import get_logger
from shop.private_files import open_own

if TYPE_CHECKING:
    from console.poller import Poller
    from console.recording.history import HistoryFile
    from console.recording.recorder import Recorder
    from shop.settings import Settings

NAME: Final = "console-history.db"
"""In the data directory."""
EVERY_S: Final = 5.0
"""How often the record of a shop without a console reads every source: twice for a point. Every
second, that took 1 % of a core in `jangteo up`, and as much in the servers."""
SCREENS: Final = "console-history.rec"
"""The snapshots, next to it."""
SCREENS_EVERY_S: Final = 10.0
SCREENS_BYTES: Final = 48 << 20
"""For 48 hours, however much is logged."""
_LOGS_KEPT: Final = 3
"""Warnings and errors of logs that a snapshot keeps at the most; changes and actions are all kept.

Every log line of a shop whose servers are away would be 0.5 GB a day.
"""
LOCK: Final = "console-history.lock"
"""Held by the one process that writes; another continues when it ends."""


class HistoryKeeper:
    """Writes every complete point of ten seconds; all calls but `load` from one thread.

    Args:
        data_dir: where the history is.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self._series = SnapshotSeries(fine=1, coarse=2)
        self._file: HistoryFile | None = None
        self._screens: Recorder | None = None
        self._next_screen = 0.0
        self._last_event = 0
        self._lock: int | None = None

    def write(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        self._series.push(snapshot)
        self._keep_screen(snapshot)
        point = self._series.last_coarse()
        if point is None or not self._path.parent.is_dir() or not self._mine():
            return
        if self._file is None:
            self._file = self._open()
        self._file.write(point, list(self._series.marks))

    @property
    def screens(self) -> Path:
        """The recording of the running shop."""
        return self._path.parent / SCREENS

    def _keep_screen(self, snapshot: Snapshot) -> None:
        at = snapshot.at.timestamp()
        if at < self._next_screen:
            return
        self._next_screen = at + SCREENS_EVERY_S - 0.5
        new = [e for e in snapshot.events if e.n > self._last_event]
        self._last_event = new[-1].n if new else self._last_event
        if not self._path.parent.is_dir() or not self._mine():
            return
        logs = [e for e in new if e.kind is EventKind.LOG and level_rank(e)][-_LOGS_KEPT:]
        kept = tuple(e for e in new if e.kind is not EventKind.LOG or e in logs)
        if (screens := self._screens or self._open_screens()) is not None:
            screens.write(msgspec.structs.replace(snapshot, events=kept))

    def _open_screens(self) -> Recorder | None:
        from console.recording.recorder import Recorder  # noqa: PLC0415  (SQLite, as below)

        try:
            self._screens = Recorder(self.screens, most_bytes=SCREENS_BYTES)
        except UsageError as e:  # another version's, or no recording
            get_logger().warning("the console's screens are not kept", error=str(e))
            self._next_screen = math.inf
        return self._screens

    def close(self) -> None:
        """Leave the writing to another process."""
        if self._screens is not None:
            self._screens.close()
        self._screens = None
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            os.close(self._lock)
        self._file = self._lock = None

    def _mine(self) -> bool:
        """Return whether this process is the one that writes; it becomes so when nobody is.

        Two would keep each change twice, a second apart.
        """
        if self._lock is not None:
            return True
        try:
            lock = open_own(self._path.parent / LOCK, os.O_RDWR)
        except OSError:
            return True  # a file system that has no room for a lock: the file itself says why
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def load(self) -> SnapshotSeries:
        """Return what is kept; for a thread of its own."""
        found = SnapshotSeries(fine=1)
        if self._path.is_file():
            file = self._open()
            try:
                found.marks.extend(file.load(found.add_points))
            finally:
                file.close()
        return found

    def _open(self) -> HistoryFile:
        from console.recording.history import HistoryFile  # noqa: PLC0415  (SQLite, after the first picture)

        return HistoryFile(self._path)


class ShopRecord:
    """Keeps the history of a shop as long as it runs, with or without a console.

    Args:
        settings: addresses of the servers.
        data_dir: where the history is.
    """

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        from console import poller  # noqa: PLC0415  (for `jangteo up` alone)
        from console.sources import CurrentSettings  # noqa: PLC0415  (as above)

        self._keeper = HistoryKeeper(data_dir)
        self._poller: Poller = poller.make(CurrentSettings(settings, data_dir))
        self._poller.pace = self._poller.interval = EVERY_S
        self._poller.listen(self._keeper.write)

    def start(self) -> None:
        """Begin to read."""
        self._poller.start()

    def stop(self) -> None:
        """End, within a second."""
        self._poller.stop()
        self._keeper.close()
