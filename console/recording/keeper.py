"""Keeps the history while a console or `jangteo up` runs: a listener of the poller."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.series import HistoryPoint, Mark, SnapshotSeries
from console.snapshot.model import Snapshot
from shop.private_files import open_own

if TYPE_CHECKING:
    from console.poller import Poller
    from console.recording.history import HistoryFile
    from shop.settings import Settings

NAME: Final = "console-history.db"
"""In the data directory."""
EVERY_S: Final = 5.0
"""How often the record of a shop without a console reads every source: twice for a point. Every
second, that took 1 % of a core in `jangteo up`, and as much in the servers."""
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
        self._lock: int | None = None

    def write(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        self._series.push(snapshot)
        point = self._series.last_coarse()
        if point is None or not self._path.parent.is_dir() or not self._mine():
            return
        if self._file is None:
            self._file = self._open()
        self._file.write(point, list(self._series.marks))

    def close(self) -> None:
        """Leave the writing to another process."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            os.close(self._lock)
        self._file = self._lock = None

    def _mine(self) -> bool:
        """Tell whether this process is the one that writes; it becomes so when nobody is.

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

    def load(self) -> tuple[list[HistoryPoint], list[Mark]]:
        """Return what is kept, oldest first; for a thread of its own."""
        if not self._path.is_file():
            return [], []
        file = self._open()
        try:
            return file.load()
        finally:
            file.close()

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
