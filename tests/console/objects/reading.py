"""Reads all of a detail, those rows too that the screen awaits."""

from __future__ import annotations

from collections.abc import Iterable

from console.lookups.details import DetailRow, Ref
from console.lookups.lookup import Lookup


def whole(lookup: Lookup, kind: str, key: str) -> list[DetailRow]:
    """Return all rows of a detail, but for a score: another program computes it."""

    def read(row: DetailRow) -> Iterable[DetailRow]:
        return (row,) if row.later is None or row.label == "score" else row.later(lambda: False)

    return [later for row in lookup.open(Ref(kind, key)).rows for later in read(row)]
