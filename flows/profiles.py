"""Store a batch's customers and products: new ones, stubs filled in, revisions raised."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg

from flows import aggregates, rollups, statements
from flows.batch import INDEX, Reject
from flows.counters import all_written
from flows.optional import product_prices
from flows.rejects import differing
from shop.events import SCHEMAS
from shop.postgres import CopyData, Cursor, copy_data, copy_into

Places: TypeAlias = npt.NDArray[np.int64]


def store(cur: Cursor, topic: str, rows: pl.DataFrame) -> tuple[Places, list[Reject]]:
    """Store events of customers or products.

    Args:
        cur: in the transaction of the batch.
        topic: ``users`` or ``products``.
        rows: the events and their places in the raw batch.

    Returns:
        The places of those that changed something, and those with other content.
    """
    return _store_products(cur, rows) if topic == "products" else _store_users(cur, rows)


def _store_products(cur: Cursor, rows: pl.DataFrame) -> tuple[Places, list[Reject]]:
    """The highest revision wins; those are stored that would be one by one, as of orders."""
    newest = rows.sort("rev", INDEX, descending=[True, False]).unique(
        "product_id", keep="first", maintain_order=True
    )
    newest = newest.sort("product_id")
    ids = newest["product_id"].to_list()
    had = rollups.lock_categories(cur, ids)
    cur.execute(f"{statements.PROFILES['products']} AND created_at IS NOT NULL", (ids,))
    before = pl.DataFrame(cur.fetchall(), schema=SCHEMAS["products"], orient="row")
    stage(cur, "products", newest)
    cur.execute(statements.MERGE_PROFILES["products"])
    won = [product_id for (product_id,) in cur.fetchall()]
    if missing := list(set(ids) - set(before["product_id"].to_list()) - set(won)):
        cur.execute("SELECT count(*) FROM products WHERE product_id = ANY(%s)", (missing,))
        all_written(cur, "products", len(missing), (cur.fetchone() or (0,))[0])
        # Another worker stored it between our two statements: the next try sees it.
        raise psycopg.errors.SerializationFailure("a product appeared meanwhile")
    rollups.move_categories(cur, won, had)
    stored, others = aggregates.one_by_one(rows, before, "product_id")
    product_prices.keep(cur, rows, before)
    return stored[INDEX].to_numpy(), others


def _store_users(cur: Cursor, rows: pl.DataFrame) -> tuple[Places, list[Reject]]:
    """The first event of a customer counts."""
    first = rows.unique("user_id", keep="first", maintain_order=True).sort("user_id")
    stage(cur, "users", first)
    cur.execute(statements.MERGE_PROFILES["users"])
    new = [user_id for (user_id,) in cur.fetchall()]
    rollups.count_sign_ups(cur, new)
    stored = first.filter(pl.col("user_id").is_in(new))
    if len(stored) == len(rows):
        return stored[INDEX].to_numpy(), []
    known = first.filter(~pl.col("user_id").is_in(new))["user_id"].to_list()
    cur.execute(statements.PROFILES["users"], (known,))
    before = pl.DataFrame(cur.fetchall(), schema=SCHEMAS["users"], orient="row")
    all_written(cur, "users", len(known), len(before))
    again = rows.join(stored, on=INDEX, how="anti")
    # An erased profile (customer_changes) says no more what the sign-up said: that one is a copy.
    kept = pl.concat([stored.drop(INDEX), before.filter(pl.col("name").is_not_null())])
    return stored[INDEX].to_numpy(), differing(again, kept, ("user_id",))


def stage(cur: Cursor, table: str, rows: pl.DataFrame) -> None:
    """Fill a table's staging table; the batch before in this transaction may have left its rows."""
    cur.execute(f"DELETE FROM stage_{table}")  # noqa: S608  (names of our tables)
    copy_rows(cur, f"stage_{table}", rows)


def copy_rows(cur: Cursor, table: str, rows: pl.DataFrame, ahead: CopyData | None = None) -> None:
    """COPY events.

    Args:
        cur: inside a transaction.
        table: where to.
        rows: the events and their places.
        ahead: the same, written before.
    """
    if ahead is None:
        of_orders = table.endswith("orders")
        ahead = aggregates.order_copy(rows) if of_orders else copy_data(rows.drop(INDEX))
    copy_into(cur, table, ahead)
    all_written(cur, table, rows.height)
