"""What operators did: a capped Redis stream that every console shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from shop.redis.control import CONTROL

if TYPE_CHECKING:
    import redis

LOG: Final = CONTROL + "log"
KEPT: Final = 500
"""Entries; some 200 bytes each."""


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One action; all text.

    Attributes:
        id: of this action, so that its request and its end can be told to be one.
        at: when.
        who: user@host.
        action: with its arguments, as one types it after `jangteo do`.
        outcome: done, refused or failed.
        result: in words.
    """

    id: str
    at: datetime
    who: str
    action: str
    outcome: str
    result: str


def write(r: redis.Redis, entry: JournalEntry) -> None:
    """Append an entry.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    fields = {k: str(v) for k, v in msgspec.to_builtins(entry).items()}
    r.xadd(LOG, cast("Any", fields), maxlen=KEPT, approximate=True)


def read(r: redis.Redis, after: str = "-", count: int = 100) -> list[tuple[str, JournalEntry]]:
    """Return (stream id, entry) of the entries after a stream id, oldest first.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    start = after if after == "-" else f"({after}"
    found = cast("list[tuple[str, Mapping[str, str]]]", r.xrange(LOG, min=start, count=count))
    entries = []
    for key, fields in found:
        try:
            entries.append((key, msgspec.convert(dict(fields), JournalEntry, strict=False)))
        except msgspec.ValidationError:  # written by something else
            continue
    return entries
