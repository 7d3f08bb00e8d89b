"""How products change: a new price, or off sale; a pure function of the product and the time.

Nothing is stored but the product itself: from id, revision, price and the moment of the last change
follows the next one. Live processes and the history compute the same changes, and a process that
publishes one again publishes an exact copy. Changes happen at midnight in Seoul, when shops switch
their price lists, so that all orders of a day have one price.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from generators.behaviour.population import times_of
from generators.behaviour.prices import with_ending
from generators.portable_math import exp
from generators.random_streams import Bools, Floats, Ints, exponential, hashed, normal

LISTED: Final = "LISTED"
DELISTED: Final = "DELISTED"
MEAN_GAP_DAYS: Final = 26.0
"""Mean days between two changes of a product. Online prices last between one and two months on
average (Cavallo, "Are Online and Offline Prices Similar?", 2017); with sales, less: our estimate.
"""
LEAST_GAP_DAYS: Final = 1.0
OFF_SALE: Final = 0.04
"""Share of the changes that take the product off sale: after two years on average; our estimate."""
SPREAD: Final = 0.16
"""Standard deviation of the logarithm of a price change: most are within 20 %; our estimate."""
_DAY_US: Final = 86_400_000_000
_SEOUL_US: Final = 9 * 3_600_000_000  # Seoul is 9 h ahead of UTC, without a summer time since 1988


def ours(ids: Ints, created_us: Ints) -> Bools:
    """Return which products are of this shop's own making: their id carries the time of listing."""
    result: Bools = times_of(ids) == created_us // 1_000
    return result


def next_change(ids: Ints, rev: Ints, since_us: Ints) -> Ints:
    """Return when each product changes next: a midnight in Seoul.

    Args:
        ids: shape (n,).
        rev: shape (n,), the revisions that they have.
        since_us: shape (n,), since when, microseconds since 1970.
    """
    gap: Floats = LEAST_GAP_DAYS + (MEAN_GAP_DAYS - LEAST_GAP_DAYS) * exponential(
        _draw(ids, rev, "gap")
    )
    due = since_us + (gap * _DAY_US).astype(np.int64) + _SEOUL_US
    result: Ints = -(-due // _DAY_US) * _DAY_US - _SEOUL_US
    return result


def changed(ids: Ints, rev: Ints, price: Ints) -> tuple[Ints, Bools]:
    """Return the prices after the next change, and which products are on sale then.

    Args:
        ids: shape (n,).
        rev: shape (n,), the revisions before the change.
        price: shape (n,), KRW, before the change; it stays where the product goes off sale.
    """
    on_sale = _draw(ids, rev, "off sale") >= OFF_SALE
    factor = exp(SPREAD * normal(_draw(ids, rev, "price")))
    new = with_ending(price * factor, _draw(ids, rev, "ending"))
    return np.where(on_sale, new, price), on_sale


def due(products: pl.DataFrame, now_us: int) -> pl.DataFrame:
    """Return every revision that products have by now and lack, oldest first within each product.

    Args:
        products: rows of `SCHEMAS["products"]`; those that are off sale, of others' making, or
            without `updated_at` do not change.
        now_us: microseconds since 1970.

    Returns:
        Rows of `SCHEMAS["products"]` in the order of their times.
    """
    found = [products.clear()]
    left = products.filter(pl.col("sale_status") == LISTED, pl.col("updated_at").is_not_null())
    left = left.filter(pl.Series(ours(_ints(left, "product_id"), _micros(left, "created_at"))))
    while len(left):
        ids, rev = _ints(left, "product_id"), _ints(left, "rev")
        at = next_change(ids, rev, _micros(left, "updated_at"))
        price, on_sale = changed(ids, rev, _ints(left, "price"))
        left = left.with_columns(
            rev=pl.Series(rev + 1),
            price=pl.Series(price),
            sale_status=pl.when(pl.Series(on_sale))
            .then(pl.lit(LISTED))
            .otherwise(pl.lit(DELISTED)),
            updated_at=pl.Series(at).cast(pl.Datetime("us", "UTC")),
        ).filter(pl.Series(at <= now_us))
        found.append(left)
        left = left.filter(pl.col("sale_status") == LISTED)
    return pl.concat(found).sort("updated_at", "product_id", "rev")


def latest(products: pl.DataFrame, revisions: pl.DataFrame) -> pl.DataFrame:
    """Return products as their newest revisions leave them, in the same order."""
    newest = revisions.sort("product_id", "rev").unique("product_id", keep="last")
    return products.update(newest, on="product_id", how="left")


def _draw(ids: Ints, rev: Ints, salt: str) -> Floats:
    """Return a number in [0, 1) for each product and revision."""
    return hashed(ids ^ (rev << 53), f"product {salt}")


def _ints(frame: pl.DataFrame, name: str) -> Ints:
    return frame[name].to_numpy().astype(np.int64)


def _micros(frame: pl.DataFrame, name: str) -> Ints:
    result: Ints = frame[name].cast(pl.Int64).to_numpy()
    return result
