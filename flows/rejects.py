"""Rejects that are found only when storing (a known id with other content), and their storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from flows.batch import INDEX, RawBatch, Reject
from shop.events import RejectReason
from shop.postgres import Cursor
from shop.postgres.dead_letters import KEPT_DETAIL_BYTES, KEPT_KEY_BYTES, KEPT_PAYLOAD_BYTES

_SHOWN: Final = 80
"""Characters of a value in a detail."""
_KEPT: Final = "_kept"


def differing(rows: pl.DataFrame, kept: pl.DataFrame, by: Sequence[str]) -> list[Reject]:
    """Return the rows whose content is not that of the one kept under the same id.

    Args:
        rows: events and their places.
        kept: events, one for each id, of all rows.
        by: the columns that are the id.
    """
    pairs = rows.join(kept, on=by, how="inner", suffix=_KEPT, maintain_order="left")
    columns = [c for c in kept.columns if c not in by]
    other = pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}{_KEPT}")) for c in columns)
    return [_other_content(row, by, columns) for row in pairs.filter(other).iter_rows(named=True)]


def _other_content(row: dict[str, Any], by: Sequence[str], columns: Sequence[str]) -> Reject:
    names = [c for c in columns if row[c] != row[f"{c}{_KEPT}"]]
    id_ = ", ".join(f"{c} {row[c]}" for c in by)
    different = "; ".join(
        f"{c}: {_shown(row[f'{c}{_KEPT}'])}, here {_shown(row[c])}" for c in names
    )
    detail = f"{id_} is stored with other content: {different}"
    return Reject(row[INDEX], RejectReason.OTHER_CONTENT, names[0], detail)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_INSERT: Final = (
    'INSERT INTO rejected_messages (topic, partition, "offset", log_id, key, payload,'
    " key_bytes, payload_bytes, reason, field, detail)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


def put_aside(cur: Cursor, raw: RawBatch, rejects: Sequence[Reject]) -> int:
    """Insert rejects, each part of them cut to its bound; return how many rows were added."""
    cur.executemany(_INSERT, [_row(raw, r) for r in rejects])
    return cur.rowcount


def _row(raw: RawBatch, reject: Reject) -> tuple[object, ...]:
    key, key_bytes = _cut(raw.keys[reject.index], KEPT_KEY_BYTES)
    payload, payload_bytes = _cut(raw.payloads[reject.index], KEPT_PAYLOAD_BYTES)
    return (
        raw.topic, raw.partitions[reject.index], raw.offsets[reject.index], raw.log_id,
        key, payload, key_bytes, payload_bytes,
        reject.reason.value, reject.field, _short(reject.detail.replace("\x00", "\\x00")),
    )  # fmt: skip


def _cut(data: bytes | None, most: int) -> tuple[bytes | None, int | None]:
    """Return what is kept of it, and how long it was if that is not all."""
    if data is None or len(data) <= most:
        return data, None
    return data[:most], len(data)


def _short(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= KEPT_DETAIL_BYTES:
        return data.decode()
    return data[: KEPT_DETAIL_BYTES - 3].decode(errors="ignore") + "..."
