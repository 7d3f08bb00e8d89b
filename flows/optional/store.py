"""Store a batch of an optional topic: new ids, and higher revisions of those that are stored."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg

from flows import aggregates, statements
from flows.batch import INDEX, Reject
from flows.counters import all_written
from flows.optional.derived import FOLLOWS
from flows.profiles import copy_rows, stage
from flows.rejects import differing
from shop.events import SCHEMAS
from shop.optional.registry import OPTIONAL
from shop.postgres import Cursor

Places: TypeAlias = npt.NDArray[np.int64]


def store(cur: Cursor, topic: str, rows: pl.DataFrame) -> tuple[Places, list[Reject]]:
    """Store events; those are stored that would be one by one, as of orders.

    Args:
        cur: in the transaction of the batch.
        topic: a key of `OPTIONAL`.
        rows: the events and their places in the raw batch.

    Returns:
        The places of those that changed something, and those with other content.
    """
    id_field, revised = OPTIONAL[topic].id_field, OPTIONAL[topic].revised
    if not revised and rows[id_field].n_unique() == rows.height and _copied(cur, topic, rows):
        stored, others, before = rows, list[Reject](), rows.clear().drop(INDEX)
    else:
        before = _merge(cur, topic, rows)
        if revised:
            stored, others = aggregates.one_by_one(rows, before, id_field)
        else:
            stored, others = _first(rows, before, id_field, OPTIONAL[topic].erased)
    if (follow := FOLLOWS.get(topic)) is not None and stored.height:
        follow(cur, stored, before)
    return stored[INDEX].to_numpy(), others


def _copied(cur: Cursor, topic: str, rows: pl.DataFrame) -> bool:
    """COPY straight into the table; False, and nothing changed, if one of them is there."""
    try:
        with cur.connection.transaction():  # a savepoint
            copy_rows(cur, topic, rows)
    except psycopg.errors.UniqueViolation:
        return False
    return True


def _merge(cur: Cursor, topic: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Write the event of each id that counts in the end; return what was stored before."""
    id_field, revised = OPTIONAL[topic].id_field, OPTIONAL[topic].revised
    if revised:
        rows = rows.sort("rev", INDEX, descending=[True, False])
    newest = rows.unique(id_field, keep="first", maintain_order=True).sort(id_field)
    ids = newest[id_field].to_list()
    cur.execute(f"{statements.PROFILES[topic]} ORDER BY {id_field} FOR UPDATE", (ids,))
    before = pl.DataFrame(cur.fetchall(), schema=SCHEMAS[topic], orient="row")
    stage(cur, topic, newest)
    cur.execute(statements.MERGE_OPTIONAL[topic])
    won = [stored for (stored,) in cur.fetchall()]
    if missing := list(set(ids) - set(before[id_field].to_list()) - set(won)):
        cur.execute(f"SELECT count(*) FROM {topic} WHERE {id_field} = ANY(%s)", (missing,))  # noqa: S608  (names of our tables)
        all_written(cur, topic, len(missing), (cur.fetchone() or (0,))[0])
        # Another worker stored it between our two statements: the next try sees it.
        raise psycopg.errors.SerializationFailure(f"a row of {topic} appeared meanwhile")
    return before


def _first(
    rows: pl.DataFrame, before: pl.DataFrame, id_field: str, erased: str | None = None
) -> tuple[pl.DataFrame, list[Reject]]:
    """Return the events that are the first of their ids; and those with other content."""
    new = rows.unique(id_field, keep="first", maintain_order=True).filter(
        ~pl.col(id_field).is_in(before[id_field].implode())
    )
    again = rows.join(new, on=INDEX, how="anti")
    if again.is_empty():
        return new, []
    kept = pl.concat([new.drop(INDEX), before])
    if erased is not None:  # an erased event cannot be compared with its copies
        kept = kept.filter(pl.col(erased).is_not_null())
    return new, differing(again, kept, (id_field,))
