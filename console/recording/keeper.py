"""Keeps the history while a console runs: a listener of the poller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.series import HistoryPoint, Mark, SnapshotSeries
from console.snapshot.model import Snapshot

if TYPE_CHECKING:
    from console.recording.history import HistoryFile

NAME: Final = "console-history.db"
"""In the data directory."""


class HistoryKeeper:
    """Writes every complete point of ten seconds; all calls but `load` from one thread.

    Args:
        data_dir: where the history is.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self._series = SnapshotSeries(fine=1, coarse=2)
        self._file: HistoryFile | None = None

    def write(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        self._series.push(snapshot)
        point = self._series.last_coarse()
        if point is None or not self._path.parent.is_dir():
            return
        if self._file is None:
            self._file = self._open()
        self._file.write(point, list(self._series.marks))

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
