"""Batches in one transaction: rows, spend, counters, rejects and offsets, or none of them.

`Store.apply_all` is the whole protocol. Exactly once follows from it alone: the offsets are written
in the transaction of what they count, and are locked before anything else of their batch is
written. Several batches in one transaction leave what they leave one by one, but for the times at
which rows changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg

from flows import aggregates, counters, profiles, statements
from flows.batch import INDEX, Batch, BatchEffects, Reject
from flows.counters import RefusedError, all_written
from flows.optional import store as optional
from flows.rejects import put_aside
from shop.errors import JangteoError
from shop.events import SCHEMAS, RejectReason
from shop.optional.registry import OPTIONAL
from shop.postgres import (
    Connection,
    CopyData,
    Cursor,
    partitions,
    window_length,
)

Places: TypeAlias = npt.NDArray[np.int64]
Stored: TypeAlias = tuple[Places, list[Reject], BatchEffects | None]
"""Places (in the raw batch) of the rows that changed something; the rows with other content; what
is yet to be counted."""
_NOTHING: Final[Stored] = (np.empty(0, np.int64), [], None)


class OffsetGapError(JangteoError):
    """A batch begins behind what has been applied: the database lost commits (a restore?)."""


class TooManyRejectsError(JangteoError):
    """The table of rejected messages is full: a producer floods the topic with invalid messages."""


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The result of a batch, in messages."""

    stored: int = 0
    rejected: int = 0
    ignored: int = 0
    """Duplicates, and revisions older than the stored one."""
    trimmed: int = 0
    """Already applied by the previous owner of the partition."""
    reasons: Mapping[RejectReason, int] = field(default_factory=dict, compare=False)
    """Of the rejected ones, how many for which reason."""

    @property
    def messages(self) -> int:
        """Return how many messages the batch had."""
        return self.stored + self.rejected + self.ignored + self.trimmed


class Store:
    """Applies batches of one topic over one connection.

    Args:
        topic: users, products, orders, or an optional one.
        window_s: length of a spend window, seconds.
        max_rejects: rows that `rejected_messages` may hold; 0: any number.
    """

    def __init__(self, topic: str, *, window_s: int, max_rejects: int = 0) -> None:
        self.topic = topic
        self._window_s = window_s
        self._max_rejects = max_rejects
        self._months = partitions.MonthsAhead()

    def prepare(self, conn: Connection) -> None:
        """Make the session's staging tables; claim the windows' length."""
        with conn.transaction(), conn.cursor() as cur:
            cur.execute("SET LOCAL client_min_messages = warning")
            cur.execute(statements.session(self.topic))
            if self.topic == "orders":
                window_length.claim(cur, self._window_s)

    def apply(self, conn: Connection, batch: Batch) -> BatchOutcome:
        """Store one batch, whatever other sessions insert meanwhile; see `apply_all`."""
        (outcome,) = self.apply_all(conn, [batch], fast=False)
        return outcome

    def apply_all(
        self, conn: Connection, batches: Iterable[Batch], *, fast: bool = True
    ) -> list[BatchOutcome]:
        """Store batches in one transaction.

        1. Keep the windows' length as it is.
        2. Of each batch, lock the offset rows, in order: nobody else stores these partitions
           meanwhile. Trim what lies below each partition's `next_offset`: it has been applied
           before.
        3. Store its rows: new ones by COPY, doubtful ones through a staging table.
        4. Insert its rejects. Advance its offsets.
        5. Add up what all of them count, and write that: windows, customers, products, the hottest
           rows last. Commit.

        Args:
            conn: outside a transaction.
            batches: in the order of the log; the next one may be waited for in the transaction.
            fast: whether it may fail where another session adds the same row of a counter.

        Returns:
            The outcome of each.

        Raises:
            OffsetGapError: if messages between the last batch and this one are missing.
            TooManyRejectsError: if the rejects do not fit.
            WindowLengthError: if the windows were rebuilt with another length.
            RefusedError: if the tables do not take what they must; to be tried again.
            psycopg.Error: see `shop.postgres.sqlstate` for what to do. If anything is raised,
                nothing has been changed.
        """
        if self.topic == "orders":
            self._months.keep(conn)
        outcomes: list[BatchOutcome] = []
        counted: list[BatchEffects] = []
        with conn.transaction(), conn.cursor() as cur:
            # Step 1
            if self.topic == "orders":
                window_length.hold(cur, self._window_s)
            for batch in batches:
                # Step 2
                rest = _trim(batch, self._lock_offsets(cur, batch))
                # Step 3
                stored, others, effects = self._store(cur, rest) if rest.rows.height else _NOTHING
                if effects is not None:
                    counted.append(effects)
                # Step 4
                rest = replace(rest, rejects=[*rest.rejects, *others])
                if rest.rejects:
                    self._put_aside(cur, rest)
                outcomes.append(self._advance(cur, rest, stored))
            # Step 5
            if counted:
                counters.write(cur, counters.added(counted), fast=fast)
            _refuse_other_types(cur, self.topic)
        return outcomes

    # -- steps 2 and 4: the offsets ----------------------------------------------------------

    def _lock_offsets(self, cur: Cursor, batch: Batch) -> dict[int, int]:
        raw = batch.raw
        cur.execute(
            "SELECT partition, next_offset FROM ingest_offsets"
            " WHERE topic = %s AND log_id = %s AND partition = ANY(%s)"
            " ORDER BY partition FOR UPDATE",
            (raw.topic, raw.log_id, sorted(raw.spans)),
        )
        applied: dict[int, int] = dict(cur.fetchall())
        for partition, span in raw.spans.items():
            if span.start > applied.get(partition, -1):
                raise OffsetGapError(
                    f"{raw.topic}[{partition}]: the next batch begins at offset {span.start}, but "
                    f"PostgreSQL has applied up to {applied.get(partition)}; reading on from there"
                )
        return applied

    def _advance(self, cur: Cursor, rest: Rest, stored: Places) -> BatchOutcome:
        raw = rest.batch.raw
        partitions = np.asarray(raw.partitions, dtype=np.int64)
        size = max(raw.spans) + 1
        per_partition = partial(np.bincount, minlength=size)
        counted = per_partition(partitions[rest.kept])
        n_stored = per_partition(partitions[stored])
        n_rejected = per_partition(partitions[np.array([r.index for r in rest.rejects], np.int64)])
        n_ignored = counted - n_stored - n_rejected
        ids = sorted(raw.spans)
        gaps = [
            raw.spans[p].next - max(raw.spans[p].start, rest.applied[p]) - int(counted[p])
            for p in ids
        ]
        cur.execute(
            "UPDATE ingest_offsets AS o SET next_offset = greatest(o.next_offset, d.next),"
            " stored = o.stored + d.stored, rejected = o.rejected + d.rejected,"
            " ignored = o.ignored + d.ignored, gaps = o.gaps + d.gaps, updated_at = now()"
            " FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],"
            " %s::bigint[]) AS d(partition, next, stored, rejected, ignored, gaps)"
            " WHERE o.topic = %s AND o.log_id = %s AND o.partition = d.partition",
            (
                ids,
                [raw.spans[p].next for p in ids],
                n_stored[ids].tolist(),
                n_rejected[ids].tolist(),
                n_ignored[ids].tolist(),
                [max(0, n) for n in gaps],
                raw.topic,
                raw.log_id,
            ),
        )
        all_written(cur, "ingest_offsets", len(ids))
        return BatchOutcome(
            stored=len(stored),
            rejected=len(rest.rejects),
            ignored=int(n_ignored.sum()),
            trimmed=len(raw) - int(counted.sum()),
            reasons=Counter(r.reason for r in rest.rejects),
        )

    # -- step 3: the rows --------------------------------------------------------------------

    def _store(self, cur: Cursor, rest: Rest) -> Stored:
        if self.topic == "orders":
            return self._store_orders(cur, rest)
        store = optional.store if self.topic in OPTIONAL else profiles.store
        places, others = store(cur, self.topic, rest.rows)
        return places, others, None

    def _store_orders(self, cur: Cursor, rest: Rest) -> Stored:
        rows = rest.rows
        is_first = aggregates.first_revisions(rows)
        fresh, doubtful = rows.filter(is_first), rows.filter(~is_first)
        others: list[Reject] = []
        ahead = rest.batch.copy if rest.whole and doubtful.is_empty() else None
        if fresh.height and not self._copy_optimistically(cur, fresh, ahead):
            fresh, doubtful = rows.clear(), rows
        if fresh.height and doubtful.is_empty() and rest.whole and rest.batch.effects:
            effects = rest.batch.effects
        else:
            counted = [aggregates.contributions(fresh)]
            if doubtful.height:
                doubtful, changes, others = self._merge_orders(cur, doubtful)
                counted += changes
            effects = aggregates.effects(pl.concat(counted), self._window_s)
        places = np.concatenate([fresh[INDEX].to_numpy(), doubtful[INDEX].to_numpy()])
        return places, others, effects

    def _copy_optimistically(
        self, cur: Cursor, fresh: pl.DataFrame, ahead: CopyData | None
    ) -> bool:
        """COPY straight into the table; False, and nothing changed, if one of them is there."""
        try:
            with cur.connection.transaction():  # a savepoint
                profiles.copy_rows(cur, "orders", fresh, ahead)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    def _merge_orders(
        self, cur: Cursor, rows: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[pl.DataFrame], list[Reject]]:
        """Merge by revision.

        Those are stored that would be one by one: an order and its cancellation count as two in
        one batch as in two, so that the counts do not depend on where a batch ends.

        Returns:
            The rows that are stored, what the last of each counts for, and the rows whose id and
            revision have other content.
        """
        newest = rows.sort("rev", INDEX, descending=[True, False]).unique(
            "order_id", keep="first", maintain_order=True
        )
        newest = newest.sort("order_id")
        ids = newest["order_id"].to_list()
        cur.execute(statements.LOCK_ORDERS, (ids,))
        before = pl.DataFrame(cur.fetchall(), schema=SCHEMAS["orders"], orient="row")
        profiles.stage(cur, "orders", newest)
        known = before["order_id"].to_list()
        cur.execute(statements.MERGE_ORDERS, (known,))
        won = [order_id for (order_id,) in cur.fetchall()]
        if missing := list(set(ids) - set(known) - set(won)):
            cur.execute("SELECT count(*) FROM orders WHERE order_id = ANY(%s)", (missing,))
            all_written(cur, "orders", len(missing), (cur.fetchone() or (0,))[0])
            # Another worker inserted it between our two statements: the next try sees it.
            raise psycopg.errors.SerializationFailure("an order appeared meanwhile")
        winners = newest.filter(pl.col("order_id").is_in(won))
        replaced = before.filter(pl.col("order_id").is_in(winners["order_id"].implode()))
        stored, others = aggregates.one_by_one(rows, before)
        changes = [aggregates.contributions(winners), aggregates.contributions(replaced, sign=-1)]
        return stored, changes, others

    # -- step 4: the rejects -----------------------------------------------------------------

    def _put_aside(self, cur: Cursor, rest: Rest) -> None:
        raw = rest.batch.raw
        if self._max_rejects:
            cur.execute("SELECT count(*) FROM rejected_messages")
            (held,) = cur.fetchone() or (0,)
            if held + len(rest.rejects) > self._max_rejects:
                reasons = Counter(r.reason.value for r in rest.rejects).most_common(3)
                raise TooManyRejectsError(
                    f"rejected_messages holds {held} and would pass INGEST_MAX_REJECTS="
                    f"{self._max_rejects}; this batch of {raw.topic} has {len(rest.rejects)} more "
                    f"({', '.join(f'{n} {reason}' for reason, n in reasons)}): fix the producer "
                    "and clear the table (`jangteo dlq counts`, `jangteo dlq purge`), then start "
                    "again; nothing is lost"
                )
        if put_aside(cur, raw, rest.rejects) != len(rest.rejects):
            cur.execute(
                "SELECT count(*) FROM rejected_messages AS r JOIN unnest(%s::int[], %s::bigint[])"
                ' AS d(p, o) ON r.partition = d.p AND r."offset" = d.o'
                " WHERE r.topic = %s AND r.log_id = %s",
                (
                    [raw.partitions[r.index] for r in rest.rejects],
                    [raw.offsets[r.index] for r in rest.rejects],
                    raw.topic,
                    raw.log_id,
                ),
            )
            there = (cur.fetchone() or (0,))[0]
            all_written(cur, "rejected_messages", len(rest.rejects), there)


def _refuse_other_types(cur: Cursor, topic: str) -> None:
    """Refuse to continue where a column would take our bytes for another value (0.2 ms)."""
    cur.execute(statements.OTHER_TYPES, statements.columns(topic))
    if found := "; ".join(words for (words,) in cur.fetchall()):
        raise RefusedError(f"{found}: change the type back")


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a batch after trimming; `kept` are its places in the raw batch."""

    batch: Batch
    rows: pl.DataFrame
    rejects: Sequence[Reject]
    kept: slice | Places
    whole: bool
    applied: Mapping[int, int]
    """The next offset of each partition before this batch."""


def _trim(batch: Batch, applied: Mapping[int, int]) -> Rest:
    raw = batch.raw
    if all(span.start >= applied[p] for p, span in raw.spans.items()):
        return Rest(batch, batch.rows, batch.rejects, slice(None), whole=True, applied=applied)
    partitions = np.asarray(raw.partitions, dtype=np.int64)
    below = np.zeros(max(raw.spans) + 1, dtype=np.int64)
    for partition, next_offset in applied.items():
        below[partition] = next_offset
    keep = np.asarray(raw.offsets, dtype=np.int64) >= below[partitions]
    return Rest(
        batch,
        batch.rows.filter(pl.Series(keep[batch.rows[INDEX].to_numpy()])),
        [r for r in batch.rejects if keep[r.index]],
        np.flatnonzero(keep),
        whole=False,
        applied=applied,
    )
