"""What orders are counted in: windows, customers, products, rollups; written once a transaction.

Everything is a sum, so what several batches change is added up first: a customer with orders in
ten of them is then written once instead of ten times. Of four batches of 50,000 orders of 50,000
customers that left 2.7 microseconds of PostgreSQL's CPU an order instead of 8.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from flows import rollups, statements
from flows.batch import BatchEffects
from shop.errors import JangteoError
from shop.postgres import Cursor, copy_into
from shop.postgres.binary_copy import binary

_MERGE_SINCE: Final = 150_000
"""PostgreSQL 15 brought MERGE."""


class RefusedError(JangteoError):
    """PostgreSQL refuses valid rows, or drops them silently. Nothing was changed."""


def added(effects: Sequence[BatchEffects]) -> BatchEffects:
    """Return the sum of the effects of at least one batch, sorted as those of one are."""
    if len(effects) == 1:
        return effects[0]
    keys = ("window_start", "user_id")
    counts = pl.col("order_count").sum()
    windows = pl.concat([e.windows for e in effects]).group_by(keys)
    users = pl.concat([e.users for e in effects]).group_by("user_id")
    products = pl.concat([e.products for e in effects]).group_by("product_id")
    first = effects[0]
    return BatchEffects(
        windows=windows.agg(pl.col("orders", "spend").sum())
        .select(first.windows.columns)
        .sort(*keys),
        users=users.agg(counts, pl.col("total_spent").sum(), pl.col("last_ordered_at").max()).sort(
            "user_id"
        ),
        products=products.agg(counts).sort("product_id"),
        sales=rollups.added([e.sales for e in effects]),
    )


def write(cur: Cursor, effects: BatchEffects, *, fast: bool) -> None:
    """Add sums to what is counted. What all workers meet on comes last: products, the rollups.

    Args:
        cur: inside a transaction.
        effects: of all its batches.
        fast: take the statement for windows that fails where another session adds the same window;
            only one that stores orders of the same customer does, from another partition.

    Raises:
        psycopg.errors.UniqueViolation: only if `fast`.
        RefusedError: if rows vanish.
    """
    fast = fast and cur.connection.info.server_version >= _MERGE_SINCE
    if fast:
        cur.execute(statements.BY_INDEX)
    windows = statements.FAST_MERGE_WINDOWS if fast else statements.MERGE_WINDOWS
    for table, frame, statement in (
        ("user_spend_windows", effects.windows, windows),
        ("users", effects.users, statements.MERGE_USERS),
        ("products", effects.products, statements.MERGE_PRODUCTS),
    ):
        if frame.height:
            copy_into(cur, f"stage_{table}", binary(frame, table))
            cur.execute(statement)
            all_written(cur, table, frame.height)
    rollups.merge(cur, effects.sales)


def all_written(cur: Cursor, table: str, expected: int, found: int | None = None) -> None:
    """Refuse to continue where rows vanish without an error: a trigger or a policy drops them."""
    found = cur.rowcount if found is None else found
    if found < expected:
        raise RefusedError(
            f"{table} took {found} of {expected} rows without an error: remove the trigger, rule "
            "or policy that drops them"
        )
