"""Read a recording: snapshots and events by position and by time."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from console.recording.recorder import READABLE, expand
from console.snapshot.model import SCHEMA, Event, EventKind, Snapshot, decode
from shop.clock import KST, UTC, parse_time
from shop.errors import UsageError

EVENTS_SHOWN: Final = 300
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
NOTABLE: Final = (EventKind.ACTION, EventKind.CONSOLE)
"""Kinds of events that one jumps to; ordinary log lines are too many."""


class Recording:
    """A file that `Recorder` wrote, read-only.

    Args:
        path: of the file.

    Raises:
        UsageError: if it is not a recording, is empty, or has another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise UsageError(f"no recording {path}")
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
            found = dict(self._db.execute("SELECT name, value FROM metadata").fetchall())
            rows = self._rows()
        except sqlite3.Error as e:
            raise UsageError(f"{path} is not a recording: {e}") from None
        if found.get("format") not in READABLE or found.get("schema") != str(SCHEMA):
            raise UsageError(f"{path} is a recording of another version of this program")
        if not rows:
            raise UsageError(f"{path} holds no snapshot")
        self._ids = [int(i) for i, _ in rows]
        self.times = [datetime.fromtimestamp(at, UTC) for _, at in rows]
        self._keys: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def _rows(self, after: int = 0) -> list[tuple[int, float]]:
        return self._db.execute(
            "SELECT id, at FROM snapshots WHERE id > ? ORDER BY id", (after,)
        ).fetchall()

    def extend(self) -> None:
        """Take in what was recorded since: the record of a running shop grows."""
        with contextlib.suppress(sqlite3.Error):
            for number, at in self._rows(self._ids[-1]):
                self._ids.append(number)
                self.times.append(datetime.fromtimestamp(at, UTC))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def snapshot(self, position: int) -> Snapshot | None:
        """Return a snapshot with the events up to its time; None if the row cannot be read."""
        try:
            found = decode(self._text(self._ids[position]))
        except (sqlite3.Error, zlib.error, msgspec.DecodeError):
            return None
        return msgspec.structs.replace(
            found, sequence=position + 1, events=self.events(self.times[position])
        )

    def _text(self, number: int) -> bytes:
        row = self._db.execute(
            "SELECT key_id, data FROM snapshots WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            raise sqlite3.DataError("the row's key is gone")
        key_id, data = row
        if not key_id:
            return zlib.decompress(data)
        if key_id not in self._keys:
            self._keys = {key_id: self._text(key_id)}
        return expand(data, self._keys[key_id])

    def events(self, until: datetime) -> tuple[Event, ...]:
        """Return the last events that had been seen at a time, oldest first."""
        rows = self._db.execute(
            "SELECT id, data FROM events WHERE seen <= ? ORDER BY id DESC LIMIT ?",
            (until.timestamp() + 0.000_5, EVENTS_SHOWN),
        ).fetchall()
        found = []
        for number, data in reversed(rows):
            try:
                event = msgspec.json.decode(data, type=Event)
            except msgspec.DecodeError:
                continue
            found.append(msgspec.structs.replace(event, n=number))
        return tuple(found)

    def next_event(self, position: int, step: int) -> int | None:
        """Return the position of the next notable event after (step 1) or before (-1) one."""
        at = self.times[position].timestamp()
        compare, order = (">", "ASC") if step > 0 else ("<", "DESC")
        rows = self._db.execute(
            f"SELECT seen, data FROM events WHERE seen {compare} ? ORDER BY seen {order}",  # noqa: S608  (both words are chosen among our own above)
            (at + 0.000_5 * step,),
        )
        for seen, data in rows:
            try:
                kind = msgspec.json.decode(data, type=Event).kind
            except msgspec.DecodeError:
                continue
            if kind in NOTABLE:
                return self.find(datetime.fromtimestamp(seen, UTC))
        return None

    def find(self, at: datetime) -> int:
        """Return the position of the first snapshot at or after a time; the last if none is."""
        late = at - timedelta(milliseconds=0.5)
        return min(bisect_left(self.times, late), len(self) - 1)

    def __iter__(self) -> Iterator[Snapshot]:
        for position in range(len(self)):
            if found := self.snapshot(position):
                yield found


def moment(text: str, recording: Recording) -> datetime:
    """Read a time, as `time_in`; a time of day is the first one of the recording."""
    return time_in(text, recording.times[0], recording.times[-1], latest=False)


def time_in(text: str, start: datetime, end: datetime, *, latest: bool = True) -> datetime:
    """Read a time: RFC 3339, or of day in Seoul; `-5m` is five minutes before the end.

    Args:
        text: as typed.
        start: of the range in which a time of day lies.
        end: of that range.
        latest: whether a time of day is the last one in the range, not the first one.

    >>> start = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)  # noon in Seoul
    >>> end = start + timedelta(hours=30)
    >>> f"{time_in('12:30', start, end):%d %H:%M}", f"{time_in('11:59:59', start, end):%d %H:%M}"
    ('24 12:30', '24 11:59')
    >>> time_in("-90s", start, end) == end - timedelta(seconds=90)
    True

    Raises:
        UsageError: if it is none of them.
    """
    try:
        if text.startswith("-"):
            return end - timedelta(seconds=_UNITS[text[-1:]] * float(text[1:-1]))
        if len(text) > 8:
            return parse_time(text, zone=KST)
        form = "%H:%M:%S" if text.count(":") > 1 else "%H:%M"
        clock = datetime.strptime(text, form).time()  # noqa: DTZ007  (a time of day; the range gives date and zone below)
    except (ValueError, KeyError, OverflowError):
        raise UsageError(
            f"{text!r}: expected HH:MM:SS or HH:MM (Seoul), -5m, or an RFC 3339 time"
        ) from None
    first = start.astimezone(KST).replace(microsecond=0)
    at = datetime.combine(first.date(), clock, KST)
    if at < first:
        at += timedelta(days=1)
    while latest and at + timedelta(days=1) <= end:
        at += timedelta(days=1)
    return at
