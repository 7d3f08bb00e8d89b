"""Keep the revisions of products, where changes are switched on: which price was valid when."""

from __future__ import annotations

from typing import Final

import polars as pl

from flows.batch import INDEX
from shop.postgres import Cursor

# The offsets of the topic are there once an ingest has taken it: one answer for all workers.
_KEEP: Final = """
INSERT INTO product_prices (product_id, rev, price, sale_status, valid_from)
SELECT * FROM unnest(%s::bigint[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[])
WHERE EXISTS (SELECT FROM ingest_offsets WHERE topic = 'customer_changes')
ON CONFLICT (product_id, rev) DO NOTHING
"""


def keep(cur: Cursor, rows: pl.DataFrame, before: pl.DataFrame) -> None:
    """Add revisions that are not there yet, late ones included; of one revision the first counts.

    Args:
        cur: in the transaction of the batch, which holds the locks of the products.
        rows: the events of the batch and their places in the log.
        before: the products that were stored, which may be older than the switch.
    """
    columns = before.columns
    known = pl.concat([before, rows.sort(INDEX).select(columns)])
    known = known.unique(["product_id", "rev"], keep="first").sort("product_id", "rev")
    since = known.select(pl.coalesce("updated_at", "created_at")).to_series()
    values = [known[c].to_list() for c in ("product_id", "rev", "price", "sale_status")]
    cur.execute(_KEEP, (*values, since.to_list()))
