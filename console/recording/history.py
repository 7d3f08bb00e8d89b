"""The record that is always kept: a point of ten seconds, for 48 hours, of which charts are made.

With 36 partitions a point is some 120 bytes compressed while nothing lags, 1 MB a day, and 370
bytes, 3.2 MB a day, while all of them do. Two days are kept.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from console.recording.recorder import CACHE_KB
from console.series import COARSE_KEPT, COARSE_S, MARKS_KEPT, NAMES, Mark
from console.tier import HistoryPoint
from console.translations import Message, from_json
from shop.best_effort import BestEffort
from shop.clock import utc_now
from shop.private_files import open_own

FORMAT: Final = 1
_PURGE_EVERY: Final = 360
"""Points between two purges: an hour."""
_PART: Final = 500
"""Points that are read at a time."""
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS points (at INTEGER PRIMARY KEY, format INTEGER, data BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS marks (
        at REAL NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (at, text)
    );
"""
_ADDED: Final = "ALTER TABLE marks ADD COLUMN message TEXT NOT NULL DEFAULT ''"
"""The ids and values of a mark's text, since marks are shown in any language."""


class _Stored(msgspec.Struct, array_like=True):
    """A point as it is stored; names, because another version may have other series."""

    names: tuple[str, ...]
    values: list[float]
    partitions: tuple[str, ...]
    lags: list[float]
    grade_names: tuple[str, ...]
    grades: list[float]


class HistoryFile:
    """The file of a data directory; of several processes that keep it, one writes at a time.

    Used by one thread.

    Args:
        path: made if it is not there. Where it cannot be used, nothing is kept, and that is logged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._written = 0
        self._last = 0
        self._trying = BestEffort(f"the history {path}", (OSError, sqlite3.Error))

    def load(self, take: Callable[[list[HistoryPoint]], object]) -> list[Mark]:
        """Hand on the points that are kept, oldest first, and return the marks.

        Nothing is handed on where the file cannot be read.

        Args:
            take: called with some points at a time: all of two days were 12 MB as objects.
        """
        marks: list[Mark] = []

        def read() -> None:
            db = self._open()
            rows = db.execute(
                "SELECT at, data FROM points WHERE at >= ? AND format = ? ORDER BY at",
                (self._oldest(), FORMAT),
            )
            shared: dict[tuple[str, ...], tuple[str, ...]] = {}
            while part := rows.fetchmany(_PART):
                points = (_point(at, data, shared) for at, data in part)
                take([p for p in points if p is not None])
            newest = db.execute("SELECT at, level, text, message FROM marks"
                                " ORDER BY at DESC LIMIT ?", (MARKS_KEPT,)).fetchall()  # fmt: skip
            marks.extend(_mark(*row) for row in reversed(newest))

        self._trying.attempt(read)
        return marks

    def write(self, point: HistoryPoint | None, marks: list[Mark]) -> None:
        """Keep a point, and the marks that are new (the key drops the others)."""
        if point is not None and point.at > self._last:
            self._trying.attempt(lambda: self._write(point, marks))

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            os.close(open_own(self._path, os.O_RDWR))  # mode 0600, before SQLite makes it
            self._db = sqlite3.connect(self._path, check_same_thread=False, timeout=1.0)
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")  # a chart after a power cut is no promise
            self._db.executescript(_TABLES)
            if "message" not in {row[1] for row in self._db.execute("PRAGMA table_info(marks)")}:
                self._db.execute(_ADDED)
        return self._db

    def _write(self, point: HistoryPoint, marks: list[Mark]) -> None:
        db = self._open()
        with db:
            db.execute(
                "INSERT OR IGNORE INTO points VALUES (?, ?, ?)", (point.at, FORMAT, _data(point))
            )
            db.executemany(
                "INSERT OR IGNORE INTO marks (at, level, text, message) VALUES (?, ?, ?, ?)",
                [(m.at, m.level, m.text, _message(m)) for m in marks],
            )
            if self._written % _PURGE_EVERY == _PURGE_EVERY - 1:
                db.execute("DELETE FROM points WHERE at < ?", (self._oldest(),))
                db.execute("DELETE FROM marks WHERE at < ?", (self._oldest(),))
        self._written += 1
        self._last = point.at

    @staticmethod
    def _oldest(clock: Callable[[], float] = lambda: utc_now().timestamp()) -> int:
        return int(clock()) - COARSE_S * COARSE_KEPT


def _mark(at: float, level: str, text: str, message: str) -> Mark:
    return Mark(at, level, text, from_json(message) or "")


def _message(mark: Mark) -> str:
    if not isinstance(mark.message, Message):
        return ""
    return msgspec.json.encode(mark.message).decode()


def _data(p: HistoryPoint) -> bytes:
    stored = _Stored(NAMES, list(p.values), p.partitions, list(p.lags), p.grade_names,
                     list(p.grades))  # fmt: skip
    return zlib.compress(msgspec.msgpack.encode(stored))


def _point(
    at: int, data: bytes, shared: dict[tuple[str, ...], tuple[str, ...]]
) -> HistoryPoint | None:
    """Read a point; None if it cannot be. Equal names become the one tuple of `shared`."""
    try:
        found = msgspec.msgpack.decode(zlib.decompress(data), type=_Stored)
    except (zlib.error, msgspec.DecodeError):
        return None
    known = dict(zip(found.names, found.values, strict=False))
    values = array("d", (known.get(name, float("nan")) for name in NAMES))
    if len(found.lags) != len(found.partitions) or len(found.grades) != len(found.grade_names):
        return None
    return HistoryPoint(
        at, values, array("f", found.lags), shared.setdefault(found.partitions, found.partitions),
        array("f", found.grades), shared.setdefault(found.grade_names, found.grade_names),
    )  # fmt: skip
