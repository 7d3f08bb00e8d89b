"""Dead letters: the rows of `rejected_messages`, chosen by filters; counted, read, removed.

The SQL is here because more than one room needs it. `shop.events.RejectReason` lists the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composed

from shop.clock import parse_time_or_ago
from shop.errors import UsageError
from shop.postgres.connections import Connection
from shop.postgres.sqlstate import retried

Place: TypeAlias = tuple[str, int, int, str]
"""Topic, partition, offset, log id: the primary key."""

KEPT_PAYLOAD_BYTES: Final = 65_536
"""Only this much of a longer payload is kept. The longest valid event has 8 KB, so every payload
that can be repaired is whole, and 100,000 dead letters (INGEST_MAX_REJECTS) take 7 GB at most."""
KEPT_KEY_BYTES: Final = 1_024
KEPT_DETAIL_BYTES: Final = 2_000

_PLACE: Final = SQL('(topic, partition, "offset", log_id)')
_COLUMNS: Final = SQL(
    'topic, partition, "offset", log_id, key, payload, reason, field, detail,'
    " rejected_at, replayed_at, key_bytes, payload_bytes"
)


@dataclass(frozen=True)
class DeadLetter:
    """A message that the ingest could not store, as received.

    `key_bytes` and `payload_bytes` are the original lengths of a key or payload of which only the
    beginning is kept, None if it is whole.
    """

    topic: str
    partition: int
    offset: int
    log_id: str
    key: bytes | None
    payload: bytes | None
    reason: str
    field: str | None
    detail: str
    rejected_at: datetime
    replayed_at: datetime | None
    key_bytes: int | None = None
    payload_bytes: int | None = None

    @property
    def place(self) -> Place:
        """Return its coordinates."""
        return self.topic, self.partition, self.offset, self.log_id

    @property
    def where(self) -> str:
        """Return its coordinates for people, as Kafka's tools write them."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True)
class Filter:
    """A filter for dead letters; a condition that is None or empty does not apply.

    Attributes:
        reasons: values of `RejectReason`.
        topics: users, products, orders.
        since: rejected at or after that moment.
        until: rejected before that moment.
        replayed: only those replayed (True), or only those not replayed (False).
        partition: partition of a single message.
        offset: offset of a single message.
        log_id: id of one incarnation of a topic.
    """

    reasons: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool | None = None
    partition: int | None = None
    offset: int | None = None
    log_id: str | None = None

    def where(self) -> tuple[Composed, dict[str, object]]:
        """Return the condition and its parameters."""
        conditions = [
            (self.reasons, SQL("reason = ANY(%(reasons)s)")),
            (self.topics, SQL("topic = ANY(%(topics)s)")),
            (self.since, SQL("rejected_at >= %(since)s")),
            (self.until, SQL("rejected_at < %(until)s")),
            (self.replayed is not None, SQL("(replayed_at IS NOT NULL) = %(replayed)s")),
            (self.partition is not None, SQL("partition = %(partition)s")),
            (self.offset is not None, SQL('"offset" = %(offset)s')),
            (self.log_id, SQL("log_id = %(log_id)s")),
        ]
        parameters: dict[str, object] = {
            "reasons": list(self.reasons), "topics": list(self.topics),
            "since": self.since, "until": self.until, "replayed": self.replayed,
            "partition": self.partition, "offset": self.offset, "log_id": self.log_id,
        }  # fmt: skip
        chosen = [condition for given, condition in conditions if given]
        return SQL(" AND ").join([SQL("true"), *chosen]), parameters


def moment(text: str, now: datetime) -> datetime:
    """Read a time: RFC 3339, or how long ago, e.g. 90s, 15m, 2h, 3d.

    Raises:
        UsageError: if it is neither.
    """
    try:
        return parse_time_or_ago(text, now)
    except ValueError:
        raise UsageError(
            f"{text!r}: expected a time with its zone such as 2026-03-04T05:06:07Z, "
            "or how long ago, such as 2h"
        ) from None


def find(
    conn: Connection, chosen: Filter, *, limit: int | None = None, newest_first: bool = True
) -> Iterator[DeadLetter]:
    """Yield dead letters, a thousand at a time, so that memory stays bounded.

    Args:
        conn: outside a transaction.
        chosen: the filter.
        limit: maximum number of dead letters.
        newest_first: by time of rejection; otherwise in the order of the logs.
    """
    condition, parameters = chosen.where()
    order = SQL("rejected_at DESC, ") if newest_first else SQL("")
    query = SQL(
        "SELECT {} FROM rejected_messages WHERE {} ORDER BY {} topic, log_id, partition,"
        ' "offset" LIMIT %(limit)s'
    ).format(_COLUMNS, condition, order)
    with (
        conn.transaction(),
        psycopg.ServerCursor(conn, "dead_letters", row_factory=class_row(DeadLetter)) as cur,
    ):
        cur.itersize = 1_000
        cur.execute(query, {**parameters, "limit": limit})
        yield from cur


def matching(conn: Connection, chosen: Filter) -> int:
    """Return the number of dead letters that match."""
    condition, parameters = chosen.where()
    query = SQL("SELECT count(*) FROM rejected_messages WHERE {}").format(condition)
    row = conn.execute(query, parameters).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class Count:
    """The number of dead letters of one topic with one reason."""

    topic: str
    reason: str
    messages: int
    waiting: int
    """The number of these that were not replayed."""
    newest: datetime


def counts(conn: Connection, chosen: Filter = Filter()) -> list[Count]:
    """Return the counts by topic and reason, the most frequent first."""
    condition, parameters = chosen.where()
    query = SQL(
        "SELECT topic, reason, count(*) AS messages,"
        " count(*) FILTER (WHERE replayed_at IS NULL) AS waiting, max(rejected_at) AS newest"
        " FROM rejected_messages WHERE {} GROUP BY topic, reason"
        " ORDER BY messages DESC, topic, reason"
    ).format(condition)
    with conn.cursor(row_factory=class_row(Count)) as cur:
        return cur.execute(query, parameters).fetchall()


def take(
    conn: Connection, chosen: Filter, *, after: Place | None, limit: int, lock: bool = True
) -> list[DeadLetter]:
    """Return the next dead letters in the order of the logs.

    With `lock` they are locked for this transaction, and those that another session has locked are
    skipped: two replays at once share the work and publish nothing twice.

    Args:
        conn: inside a transaction.
        chosen: the filter.
        after: start after this one.
        limit: maximum number of dead letters.
        lock: whether they will be changed.
    """
    condition, parameters = chosen.where()
    query = SQL(
        'SELECT {} FROM rejected_messages WHERE {} AND {} ORDER BY topic, partition, "offset",'
        " log_id LIMIT %(limit)s {}"
    ).format(
        _COLUMNS,
        condition,
        SQL("true") if after is None else SQL("{} > (%(t)s, %(p)s, %(o)s, %(l)s)").format(_PLACE),
        SQL("FOR UPDATE SKIP LOCKED" if lock else ""),
    )
    topic, partition, offset, log_id = after or (None, None, None, None)
    place = {"t": topic, "p": partition, "o": offset, "l": log_id}
    with conn.cursor(row_factory=class_row(DeadLetter)) as cur:
        return cur.execute(query, {**parameters, **place, "limit": limit}).fetchall()


def mark_replayed(conn: Connection, places: list[Place]) -> None:
    """Mark these as published again, in the transaction that took them."""
    topics, partitions, offsets, log_ids = map(list, zip(*places, strict=True))
    conn.execute(
        "UPDATE rejected_messages AS r SET replayed_at = clock_timestamp()"
        " FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[]) AS d(t, p, o, l)"
        ' WHERE (r.topic, r.partition, r."offset", r.log_id) = (d.t, d.p, d.o, d.l)',
        (topics, partitions, offsets, log_ids),
    )


def purge(
    conn: Connection, chosen: Filter, *, limit: int | None = None, expected: int | None = None
) -> int:
    """Remove dead letters, the oldest first; return their number.

    Args:
        conn: outside a transaction.
        chosen: the filter.
        limit: maximum number of dead letters.
        expected: number that a person agreed to; if it has changed, nothing is removed.

    Raises:
        UsageError: if their number is no longer `expected`.
    """
    condition, parameters = chosen.where()
    query = SQL(
        "DELETE FROM rejected_messages WHERE {place} IN (SELECT {columns} FROM rejected_messages"
        " WHERE {condition} ORDER BY rejected_at LIMIT %(limit)s)"
    ).format(place=_PLACE, columns=SQL('topic, partition, "offset", log_id'), condition=condition)

    def work() -> int:
        with conn.transaction():
            removed = conn.execute(query, {**parameters, "limit": limit}).rowcount
            if expected is not None and removed != expected:
                raise UsageError(
                    f"there were {expected} when you were asked, now there are {removed}: "
                    "nothing was removed, ask again"
                )
        return removed

    return retried(work)
