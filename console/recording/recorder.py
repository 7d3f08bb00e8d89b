"""Record a session: SQLite, a row per snapshot, events on the same timeline.

A snapshot is stored as its difference from a key snapshot, by the standard library's zlib with
the key as dictionary: some 1.5 KB instead of 30 KB. A key comes every `KEY_EVERY` snapshots, so
that any row can be read with one other.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from console import translations as msg
from console.snapshot.model import SCHEMA, Snapshot, encode
from shop.best_effort import BestEffort
from shop.errors import UsageError
from shop.private_files import open_own

FORMAT: Final = 2
"""2: messages are ids and values, 1: they were English text."""
READABLE: Final = ("1", "2")
KEY_EVERY: Final = 60
KEEP: Final = timedelta(hours=48)
_PURGE_EVERY: Final = 600
"""Snapshots between two purges."""
_WAL_BYTES: Final = 64 << 20
CACHE_KB: Final = 256
"""Size of the pages that SQLite keeps in memory: rows are written in order. The default is 2 MB."""

TABLES: Final = """
    CREATE TABLE IF NOT EXISTS metadata (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS snapshots (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, key_id INTEGER NOT NULL, data BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS snapshots_at ON snapshots (at);
    CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, seen REAL NOT NULL, data TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS events_seen ON events (seen);
"""


class Recorder:
    """Writes snapshots into a file; used from one thread at a time.

    Args:
        path: made if it is not there; a recording that is there is continued.
        keep: older rows are removed.
        most_bytes: the oldest quarter is removed where the file would be larger; None: no bound.

    Raises:
        UsageError: if the file cannot be used.
    """

    def __init__(
        self, path: Path, *, keep: timedelta = KEEP, most_bytes: int | None = None
    ) -> None:
        self.path = path
        self._keep = keep
        self._most_bytes = most_bytes
        self._key: tuple[int, bytes] | None = None
        self._since_key = 0
        self._written = 0
        self._last_event = 0
        self._writing = BestEffort(f"the recording {path}", (OSError, sqlite3.Error))
        try:
            # Created here, so that the mode is 0600: a recording shows names of customers.
            # SQLite gives the files of its log the mode of the database.
            os.close(open_own(path, os.O_RDWR))
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            self._db.executescript(TABLES)
            self._check_format()
        except (OSError, sqlite3.Error) as e:
            raise UsageError(msg.RECORD_FAILED(path=path, error=e)) from None

    def _check_format(self) -> None:
        known = {"format": str(FORMAT), "schema": str(SCHEMA)}
        found = dict(self._db.execute("SELECT name, value FROM metadata").fetchall())
        for name, value in known.items():
            if found.get(name, value) not in (READABLE if name == "format" else (value,)):
                raise UsageError(
                    f"{self.path} is a recording of {name} {found[name]}, this program writes "
                    f"{value}: record into another file"
                )
        self._db.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?)", known.items())

    def write(self, snapshot: Snapshot) -> None:
        """Add a snapshot with its new events; a full disk costs the recording, not the console."""
        if not self._writing.attempt(lambda: self._write(snapshot)):
            self._key = None  # the next one that can be written depends on no other

    def _write(self, snapshot: Snapshot) -> None:
        at = snapshot.at.timestamp()
        text = encode(msgspec.structs.replace(snapshot, events=()))
        last = self._last_event
        self._db.execute("BEGIN")
        try:
            if self._key is None or self._since_key >= KEY_EVERY:
                row = self._db.execute(
                    "INSERT INTO snapshots (at, key_id, data) VALUES (?, 0, ?)",
                    (at, zlib.compress(text, 6)),
                ).lastrowid
                self._key, self._since_key = (int(row or 0), text), 1
            else:
                number, key = self._key
                self._db.execute(
                    "INSERT INTO snapshots (at, key_id, data) VALUES (?, ?, ?)",
                    (at, number, squeeze(text, key)),
                )
                self._since_key += 1
            for event in snapshot.events:
                if event.n > last:
                    self._db.execute(
                        "INSERT INTO events (at, seen, data) VALUES (?, ?, ?)",
                        (event.at.timestamp(), at, msgspec.json.encode(event).decode()),
                    )
                    last = event.n
            self._db.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._last_event = last
        self._written += 1
        if self._written % _PURGE_EVERY == 0:
            self._purge(at)

    def _purge(self, now: float) -> None:
        self._remove(now - self._keep.total_seconds())
        while self._most_bytes is not None and self._used_bytes() > self._most_bytes:
            before = self._used_bytes()
            (quarter,) = self._db.execute(
                "SELECT at FROM snapshots ORDER BY at"
                " LIMIT 1 OFFSET (SELECT COUNT(*) / 4 FROM snapshots)"
            ).fetchone()
            self._remove(quarter)
            if self._used_bytes() >= before:  # a few that cannot be made fewer
                break

    def _remove(self, oldest: float) -> None:
        """Remove what is older; a key goes with the last snapshot that needs it."""
        self._db.execute(
            "DELETE FROM snapshots WHERE at < ? AND id NOT IN"
            " (SELECT key_id FROM snapshots WHERE at >= ?)",
            (oldest, oldest),
        )
        self._db.execute("DELETE FROM events WHERE seen < ?", (oldest,))

    def _used_bytes(self) -> int:
        """Return the bytes of the pages that hold something: SQLite fills the others first."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (self._db.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
        return int((pages - free) * size)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()


def squeeze(text: bytes, key: bytes) -> bytes:
    """Compress a text that is much like a key.

    >>> text, key = b"one two three" * 50, b"one two four" * 50
    >>> expand(squeeze(text, key), key) == text
    True
    """
    packer = zlib.compressobj(6, zdict=key)
    return packer.compress(text) + packer.flush()


def expand(data: bytes, key: bytes) -> bytes:
    """Undo `squeeze`.

    Raises:
        zlib.error: if it was not made with this key.
    """
    unpacker = zlib.decompressobj(zdict=key)
    return unpacker.decompress(data) + unpacker.flush()
