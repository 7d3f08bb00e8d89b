"""Fold orders into what they change: spend windows, customers, products.

Spend is the `amount` of PAID orders, counted at `ordered_at`, in tumbling event-time windows
aligned to the Unix epoch. Everything is a sum, so order of arrival, lateness and restarts do not
matter; a cancellation takes the amount back from the window it was counted in.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

import polars as pl

from flows import rollups
from flows.batch import INDEX, Batch, BatchEffects, Reject
from flows.rejects import differing
from shop.postgres import CopyData
from shop.postgres.binary_copy import binary
from shop.spend_windows import window_start

FIRST_REVISION: Final = 1


def first_revisions(rows: pl.DataFrame) -> pl.Series:
    """Return the mask of the rows that are nearly always new: revision 1, alone in the batch.

    These go straight into the table; the others need a look at what is stored.
    """
    # Nearly every batch holds first revisions of distinct orders only: two cheap checks.
    if rows["rev"].max() == FIRST_REVISION and rows["order_id"].n_unique() == rows.height:
        return pl.repeat(value=True, n=rows.height, eager=True)
    return (rows["rev"] == FIRST_REVISION) & rows["order_id"].is_unique()


def one_by_one(
    rows: pl.DataFrame, before: pl.DataFrame, id_field: str = "order_id"
) -> tuple[pl.DataFrame, list[Reject]]:
    """Return the result of each row as if they came one by one.

    Args:
        rows: orders or products and their places in the log.
        before: the rows of these ids that are stored already.
        id_field: the column of the ids.

    Returns:
        The rows that raise their id's revision, in the order of the log; and those that repeat
        the id and revision reached by then with other content. The others are exact copies, and
        revisions older than the one reached, whose content nobody has any more.
    """
    had = before.select(id_field, had="rev")
    rows = rows.join(had, on=id_field, how="left").sort(INDEX)
    seen = pl.col("rev").cum_max().shift(1).over(id_field).fill_null(0)
    rows = rows.with_columns(_reached=pl.max_horizontal(seen, pl.col("had").fill_null(0)))
    newer = rows.filter(pl.col("rev") > pl.col("_reached")).drop("had", "_reached")
    again = rows.filter(pl.col("rev") == pl.col("_reached")).drop("had", "_reached")
    if again.is_empty():
        return newer, []
    kept = pl.concat([newer.select(before.columns), before])
    return newer, differing(again, kept, (id_field, "rev"))


def contributions(rows: pl.DataFrame, sign: int = 1) -> pl.DataFrame:
    """Return what each order counts for: itself and its amount if PAID, nothing otherwise.

    Args:
        rows: orders, the columns of their event.
        sign: 1 for what is stored now, -1 for what a revision replaced.
    """
    paid = pl.col("status") == "PAID"
    return rows.select(
        "order_id", "user_id", "product_id", "ordered_at", "scenario", "payment_method",
        paid=paid,
        orders=paid.cast(pl.Int64) * sign,
        units=pl.when(paid).then(pl.col("quantity")).otherwise(0) * sign,
        spend=pl.when(paid).then(pl.col("amount")).otherwise(0) * sign,
        cancelled=(pl.col("status") == "CANCELLED").cast(pl.Int64) * sign,
        refunded=(pl.col("status") == "REFUNDED").cast(pl.Int64) * sign,
    )  # fmt: skip


def effects(counted: pl.DataFrame, window_s: int) -> BatchEffects:
    """Fold contributions per window, customer and product, sorted by key, and into the rollups.

    A cancelled order leaves its customer row with a zero sum (the customer did order), but
    touches no window and no product.
    """
    sums = (pl.col("orders").sum(), pl.col("spend").sum())
    paid = counted.filter("paid")
    windows = paid.group_by("user_id", window_start(window_s)).agg(*sums)
    users = counted.group_by("user_id").agg(
        pl.col("orders").sum().alias("order_count"),
        pl.col("spend").sum().alias("total_spent"),
        pl.col("ordered_at").max().alias("last_ordered_at"),
    )
    products = paid.group_by("product_id").agg(pl.col("orders").sum().alias("order_count"))
    return BatchEffects(
        windows=windows.sort("window_start", "user_id"),
        users=users.sort("user_id"),
        products=products.sort("product_id"),
        sales=rollups.fold(counted),
    )


def fold_batch(batch: Batch, *, window_s: int) -> Batch:
    """Attach the effects of the batch's first revisions, on the way to the sink."""
    if batch.rows.is_empty():
        return batch
    fresh = batch.rows.filter(first_revisions(batch.rows))
    return replace(
        batch,
        effects=effects(contributions(fresh), window_s),
        copy=order_copy(fresh) if fresh.height == batch.rows.height else None,
    )


def order_copy(rows: pl.DataFrame) -> CopyData:
    """Return orders as COPY takes them."""
    return binary(rows.drop(INDEX), "orders")


def fold(window_s: int) -> partial[Batch]:
    """Return `fold_batch` for windows of `window_s` seconds."""
    return partial(fold_batch, window_s=window_s)
