"""What has changed of the cached products since the cache was filled: new prices, delistings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from generators.behaviour import product_changes
from shop.events import SCHEMAS
from shop.redis.cache import CachedProduct


def revisions(products: list[CachedProduct], now: datetime) -> pl.DataFrame:
    """Return the revisions that cached products have by now and the cache does not show."""
    rows = [
        {name: getattr(p, name) for name in SCHEMAS["products"]}
        for p in products
        if p.name and p.category and p.brand and p.created_at
    ]
    frame = pl.DataFrame(rows, schema=SCHEMAS["products"])
    return product_changes.due(frame, int(now.timestamp() * 1_000_000))


def current(products: list[CachedProduct], now: datetime) -> list[CachedProduct]:
    """Return the products that are on sale now, with their prices of now.

    The cache shows a change a refresh after midnight; what is sold meanwhile has its price already.
    """
    newest = {
        row["product_id"]: row
        for row in revisions(products, now).sort("product_id", "rev").iter_rows(named=True)
    }
    changed = (_changed(p, newest.get(p.product_id)) for p in products)
    return [p for p in changed if p is not None]


def _changed(product: CachedProduct, row: dict[str, Any] | None) -> CachedProduct | None:
    if row is None:
        return product
    if row["sale_status"] != product_changes.LISTED:
        return None
    return msgspec.structs.replace(product, price=row["price"])
