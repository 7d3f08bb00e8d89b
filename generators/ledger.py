"""The ledger of faults: one JSON line for each faulty message that Kafka has acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from shop.errors import JangteoError, UsageError

FOLDER: Final = "faults"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One faulty message: where it is, what is wrong with it, what the ingest is to do."""

    topic: str
    partition: int
    offset: int
    kind: str
    route: str
    """A reject reason, ``stored`` or ``ignored``."""
    id: int
    """Of the user, product or order in the message it was made of."""


def default_path(data_dir: Path, name: str) -> Path:
    """Return where a generator keeps its ledger."""
    return data_dir / FOLDER / f"{name}.ndjson"


class Ledger:
    """Appends entries to a file; each is whole or absent.

    Args:
        path: is made if missing.

    Raises:
        UsageError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as e:
            raise UsageError(f"ledger: cannot write {path}: {e.strerror}") from None

    def add(self, entry: Entry) -> None:
        """Append one entry; it survives this process."""
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read(path: Path) -> Iterator[Entry]:
    """Return the entries of a file, or of all files of a folder.

    Raises:
        UsageError: if there is none.
        JangteoError: if a line is no entry.
    """
    files = sorted(path.glob("*.ndjson")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise UsageError(f"no ledger at {path}; generate with --faults first, or name it")
    for file in files:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            try:
                yield msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError as e:
                raise JangteoError(f"{file}:{number}: no ledger entry: {e}") from None
