"""The fault ledger: the faults to publish, and the offsets at which Kafka stored them.

Each faulty message is entered twice: before it is handed over, with what it is and a digest of
its bytes, and when Kafka has acknowledged it, with its coordinates. A generator that is killed in
between leaves an entry without coordinates, and its digest finds the message in the topic.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from shop.errors import JangteoError, UsageError
from shop.private_files import open_own

FOLDER: Final = "faults"


class IntendedFault(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="fault"):
    """One faulty message, entered before it is published."""

    number: int
    """Ascends in a file, runs of other days included."""
    topic: str
    kind: str
    route: str
    """A reject reason, ``stored`` or ``ignored``."""
    id: int
    """Of the user, product or order in the message it was made of."""
    digest: str
    """Of key and value, see `digest`."""
    at_ms: int
    """When, milliseconds since the Unix epoch."""


class AcknowledgedFault(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="taken"):
    """Where Kafka put the message of an intent."""

    number: int
    partition: int
    offset: int
    log_id: str
    """Incarnation id of the topic at that time; a recreated topic has another one."""


Line: TypeAlias = IntendedFault | AcknowledgedFault


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A faulty message: what is wrong with it, and its place in Kafka if that is known."""

    topic: str
    kind: str
    route: str
    id: int
    digest: str
    at_ms: int = 0
    partition: int = -1
    offset: int = -1
    log_id: str | None = None
    """None: it was announced, and no acknowledgement was entered."""


def digest(key: bytes | None, value: bytes) -> str:
    """Return a fingerprint of a message.

    >>> digest(b"1", b"{}") == digest(b"1", b"{}") != digest(None, b"1{}")
    True
    """
    h = hashlib.blake2b(b"\0" if key is None else b"\1%d:%b" % (len(key), key), digest_size=12)
    h.update(value)
    return h.hexdigest()


def default_path(data_dir: Path, name: str) -> Path:
    """Return where a generator keeps its ledger."""
    return data_dir / FOLDER / f"{name}.ndjson"


class FaultLedger:
    """Appends lines to a file; each is whole or will be taken for absent.

    Args:
        path: created if it is missing. A last line that a kill cut short is removed: what it would
            have announced was not published.

    Raises:
        UsageError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = open_own(path, os.O_RDWR | os.O_APPEND)
            held = path.read_bytes()
            os.ftruncate(self._descriptor, held.rfind(b"\n") + 1)
        except OSError as e:
            raise UsageError(f"ledger: cannot write {path}: {e.strerror or e}") from None
        self.next_number = 1 + max((i.number for i in _lines(path)), default=0)

    def add(self, lines: Sequence[Line]) -> None:
        """Append lines, all or none; they survive this process.

        Raises:
            OSError: if there is no room, say; the file is as it was.
        """
        data = memoryview(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        before = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, before)  # half a line would spoil the next one
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read(path: Path) -> Iterator[LedgerEntry]:
    """Return the entries of a file, or of all files of a folder.

    Raises:
        UsageError: if there is none.
        JangteoError: if a line is not one of a ledger.
    """
    files = sorted(path.glob("*.ndjson")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise UsageError(f"no fault ledger at {path}; run with --faults first, or use --ledger")
    for file in files:
        yield from _joined(_lines(file))


def _joined(lines: Iterable[Line]) -> Iterator[LedgerEntry]:
    entries: dict[int, LedgerEntry] = {}
    for line in lines:
        if isinstance(line, IntendedFault):
            entries[line.number] = LedgerEntry(
                topic=line.topic, kind=line.kind, route=line.route, id=line.id,
                digest=line.digest, at_ms=line.at_ms,
            )  # fmt: skip
        elif line.number in entries:
            entries[line.number] = msgspec.structs.replace(
                entries[line.number],
                partition=line.partition, offset=line.offset, log_id=line.log_id,
            )  # fmt: skip
    yield from entries.values()


_decoder: Final = msgspec.json.Decoder(Line)


def _lines(file: Path) -> Iterator[Line]:
    whole, _, _ = file.read_bytes().rpartition(b"\n")  # a last line may be cut short
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            yield _decoder.decode(line)
        except msgspec.DecodeError as e:
            raise JangteoError(
                f"{file}:{number}: not a ledger line: {e}; remove the file if an older version "
                "wrote it"
            ) from None
