"""The start of a resumed history: the finished one in PostgreSQL, its position in Redis."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import polars as pl
import redis

from generators.history.history import Ending
from generators.history.request import MODEL, HistoryRequest, read
from generators.publishing.order_lifecycle import remember
from shop.errors import UsageError
from shop.events import TOPICS
from shop.postgres import Connection, Cursor

POSITION: Final = "life:position"
_HISTORY: Final = "history"


@dataclass(frozen=True)
class Left:
    """What a finished backfill left.

    Attributes:
        name: distinguishes it from any other.
        request: what was asked for.
        end: of the history, UTC.
        state: see `history_state.unpack`; empty if there is none.
        pending: orders of revision 2, `SCHEMAS["orders"]`; None if they are not there.
        newest: moment of the newest order that is stored; None if there is none.
    """

    name: str
    request: HistoryRequest
    end: datetime
    state: bytes
    pending: pl.DataFrame | None
    newest: datetime | None


def write(cur: Cursor, ending: Ending) -> None:
    """Store what is needed to continue."""
    pending = io.BytesIO()
    ending.pending.write_parquet(pending)
    cur.execute(
        "INSERT INTO backfill_state (day, state, pending) VALUES (%b, %b, %b)",
        (ending.last_day, ending.state, pending.getvalue()),
    )


def find(conn: Connection) -> Left:
    """Return what the finished history left.

    Raises:
        UsageError: if there is none, or it is of an earlier version of the program.
    """
    found = conn.execute(
        "SELECT request, ends_at, started_at FROM backfill_runs WHERE finished_at IS NOT NULL"
    ).fetchone()
    if found is None:
        raise UsageError("there is no finished history to resume: `jangteo backfill` writes one")
    asked = read(found[0])
    if asked.model != MODEL:
        raise UsageError(
            "the finished history was written by an earlier version, whose customers behave"
            " differently: start the ordinary generators on it, or write a new one"
        )
    kept = conn.execute("SELECT state, pending FROM backfill_state", binary=True).fetchone()
    # By the key: the newest id carries the newest time, and no index is on `ordered_at` as such.
    newest = conn.execute("SELECT ordered_at FROM orders ORDER BY order_id DESC LIMIT 1").fetchone()
    return Left(
        name=f"{found[2].isoformat()} {found[1].isoformat()}",
        request=asked,
        end=found[1],
        state=bytes(kept[0]) if kept else b"",
        pending=pl.read_parquet(io.BytesIO(kept[1])) if kept else None,
        newest=newest[0] if newest else None,
    )


def still_paid(conn: Connection, orders: pl.DataFrame) -> pl.DataFrame:
    """Return those whose first revision is stored, and no later one."""
    ids = orders["order_id"].to_list()
    rows = conn.execute(
        "SELECT order_id FROM orders WHERE order_id = ANY(%s) AND rev = 1", (ids,)
    ).fetchall()
    there = pl.Series([row[0] for row in rows], dtype=pl.Int64)
    return orders.filter(pl.col("order_id").is_in(there.implode()))


class Position:
    """Up to which moment each topic's events are published, or left out; in Redis.

    Args:
        r: Redis.
        history: `Left.name`.
    """

    def __init__(self, r: redis.Redis, history: str) -> None:
        self._redis = r
        self._history = history

    def load(self) -> dict[str, datetime]:
        """Return the moments; empty if this history has not been resumed.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        found = cast("dict[str, str]", self._redis.hgetall(POSITION))
        if found.get(_HISTORY) != self._history:
            return {}
        return {topic: datetime.fromisoformat(found[topic]) for topic in TOPICS}

    def save(self, marks: Mapping[str, datetime], later: pl.DataFrame) -> None:
        """Remember the moments and, in the same transaction, revisions for when they are due.

        Raises:
            redis.RedisError: if Redis does not answer; then nothing is remembered.
        """
        pipe = self._redis.pipeline(transaction=True)
        remember(pipe, later, later["updated_at"].dt.timestamp("ms").to_numpy() / 1_000)
        values = {_HISTORY: self._history, **{t: at.isoformat() for t, at in marks.items()}}
        pipe.hset(POSITION, mapping=cast("Mapping[Any, Any]", values))
        pipe.execute()
