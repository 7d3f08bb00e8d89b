"""Which orders share a basket, and which coupon explains a part of their discounts.

A pure function of the seed and the orders. An order is one line, and the orders of the shop do not
change for baskets, so a basket is what shops dispatch together: the orders that a customer places
on one day in Seoul. The coupon is one of the basket: each order of it that has a discount has it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from generators.random_streams import Ints, cumulative, hashed, pick
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, IDS_PER_MS

WITH_COUPON: Final = 0.6
"""Share of the baskets whose discounts a coupon explains; our estimate."""
COUPONS: Final = (
    ("member", 0.35), ("app-only", 0.25), ("newsletter", 0.20), ("weekend", 0.12), ("sorry", 0.08),
)  # fmt: skip
"""(Code, share of the coupons); our estimate."""
COUPON_PERCENT: Final = 10
"""A coupon takes off at most this; what an order was reduced by beyond it is the sale's."""
STEP: Final = 10
"""Coupons are rounded down to this, KRW, as discounts are."""

_DAY_MS: Final = 86_400_000
_SEOUL_MS: Final = 9 * 3_600_000


def day_of(order_ids: Ints, speed: float = 1.0) -> Ints:
    """Return the number of the day in Seoul of orders; shorter days at a higher speed.

    >>> day_of(np.array([0, 15 * 3_600_000 * 4096])).tolist()
    [18262, 18263]
    """
    result: Ints = np.floor_divide(
        order_ids // IDS_PER_MS + EPOCH_MS + _SEOUL_MS, round(_DAY_MS / speed)
    )
    return result


def first_id_of(day: int, speed: float = 1.0) -> int:
    """Return the least order id of a day, see `day_of`.

    >>> first_id_of(18263) == 15 * 3_600_000 * 4096
    True
    """
    return (day * round(_DAY_MS / speed) - _SEOUL_MS - EPOCH_MS) * IDS_PER_MS


def lines(seed: int, orders: pl.DataFrame, basket_ids: Ints) -> pl.DataFrame:
    """Return the basket lines of orders.

    Args:
        seed: of the shop.
        orders: with order_id, user_id, quantity, unit_price, discount and ordered_at.
        basket_ids: shape (n,), the first order of each one's customer and day.

    Returns:
        `SCHEMAS["baskets"]`, in the same order.
    """
    code = pick(hashed(basket_ids, f"{seed}/baskets.code"), cumulative([s for _, s in COUPONS]))
    discount = orders["discount"].to_numpy()
    gross = (orders["quantity"] * orders["unit_price"]).to_numpy()
    most = gross * COUPON_PERCENT // 100 // STEP * STEP
    has = hashed(basket_ids, f"{seed}/baskets.coupon") < WITH_COUPON
    amount = np.where(has, np.minimum(discount, most), 0)
    coupon = pl.Series([c for c, _ in COUPONS], dtype=pl.String).gather(code)
    return pl.DataFrame(
        {
            "order_id": orders["order_id"],
            "basket_id": basket_ids,
            "user_id": orders["user_id"],
            "coupon": coupon.set(pl.Series(amount == 0), None),
            "coupon_discount": amount,
            "ordered_at": orders["ordered_at"],
        },
        schema=SCHEMAS["baskets"],
    )
