"""Thin a recording out: fewer snapshots, without digits that nobody sees and ordinary log lines."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.snapshot.model import Event, EventKind, Snapshot, decode, encode

_DIGITS = re.compile(rb"(?<=\d\.\d{3})\d+")


def thin(whole: Path, into: Path, every_s: float) -> None:
    """Write a recording again, a snapshot every so often.

    Args:
        whole: the recording.
        into: is replaced.
        every_s: seconds between two snapshots.
    """
    into.unlink(missing_ok=True)
    recorder = Recorder(into)
    for snapshot in _kept(Recording(whole), every_s):
        recorder.write(snapshot)
    recorder.close()
    with contextlib.closing(sqlite3.connect(into, isolation_level=None)) as db:
        # Read-only copies need no write-ahead log; rows of 2 KB waste half of a page of 4 KB.
        for words in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 1024", "VACUUM"):
            db.execute(words)


def _kept(recording: Recording, every_s: float) -> Iterator[Snapshot]:
    after, seen = 0.0, 0
    for snapshot in recording:
        if snapshot.at.timestamp() < after:
            continue
        after = snapshot.at.timestamp() + every_s - 0.5
        new = [e for e in snapshot.events if e.n > seen]
        seen = new[-1].n if new else seen
        events = [e for e in new if e.kind is not EventKind.LOG]
        rounded = decode(_DIGITS.sub(b"", encode(msgspec.structs.replace(snapshot, events=()))))
        yield msgspec.structs.replace(rounded, events=tuple(events + _lines(new)))


def _lines(events: list[Event]) -> list[Event]:
    return [e for e in events if e.kind is EventKind.LOG and e.level in ("warning", "error")][-2:]
