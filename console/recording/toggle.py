"""Recording, started and stopped."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from console.snapshot.model import Snapshot
from shop.clock import utc_now

if TYPE_CHECKING:
    from console.recording.recorder import Recorder


class RecordingToggle:
    """Starts and stops recording; a listener of the poller.

    Args:
        folder: for recordings without a name of their own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None

    @property
    def path(self) -> Path | None:
        """The file that is written; None while recording is off."""
        recorder = self._recorder
        return recorder.path if recorder else None

    def start(self, path: Path | None = None) -> Path:
        """Start recording.

        Raises:
            UsageError: if the file cannot be used.
        """
        from console.recording.recorder import Recorder  # noqa: PLC0415  (SQLite: 1 MB, for those who record)

        with self._lock:
            if self._recorder is None:
                self._recorder = Recorder(path or self._folder / f"{utc_now():%Y%m%d-%H%M%S}.rec")
            return self._recorder.path

    def stop(self) -> None:
        """Stop recording."""
        with self._lock:
            if self._recorder is not None:
                self._recorder.close()
            self._recorder = None

    def write(self, snapshot: Snapshot) -> None:
        """Record a snapshot, if recording is on."""
        with self._lock:
            if self._recorder is not None:
                self._recorder.write(snapshot)
