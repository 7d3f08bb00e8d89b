"""What is in an order: product, quantity, discount, payment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from generators.streams import Floats, cumulative, pick
from shop.cache import CachedProduct
from shop.model import PAYMENT_METHODS, PaymentMethod

DRAWS: Final = 4
"""Uniform numbers that one basket takes."""
POPULARITY_POWER: Final = 0.8
"""A popular product is chosen in proportion to (orders + 1)^0.8: success feeds on itself, but
less than in proportion, so that no product takes everything."""
NEW_SHARE: Final = 0.15
"""Share of orders that go to the new products of the cache, each alike; ours."""
QUANTITIES: Final = (
    (1, 0.72),
    (2, 0.17),
    (3, 0.06),
    (4, 0.03),
    (5, 0.012),
    (6, 0.005),
    (10, 0.003),
)
"""(Units, share) of an order line; five and more share .02."""
DISCOUNTS: Final = ((0, 0.78), (5, 0.08), (10, 0.08), (15, 0.03), (20, 0.02), (30, 0.01))
"""(Percent off, share); ours."""
DISCOUNT_STEP: Final = 10
"""Discounts are rounded down to this, KRW."""
PAYMENTS: Final = {
    "SIMPLE_PAY": 0.42,
    "CARD": 0.38,
    "VIRTUAL_ACCOUNT": 0.09,
    "TRANSFER": 0.06,
    "PHONE": 0.05,
}
"""After the Bank of Korea's payment statistics of 2023 and 2024."""


@dataclass(frozen=True)
class Basket:
    """One order line; money in KRW."""

    product: CachedProduct
    quantity: int
    discount: int
    payment_method: PaymentMethod

    @property
    def amount(self) -> int:
        """What is paid."""
        return self.quantity * self.product.price - self.discount


def weights(products: Sequence[CachedProduct]) -> Floats:
    """Return each product's share of orders; the shares add up to 1.

    Where the cache has only popular or only new products, they take all orders.
    """
    popular = np.array([p.popular for p in products], dtype=np.bool_)
    orders = np.array([p.order_count for p in products], dtype=np.float64)
    raw = np.where(popular, (orders + 1) ** POPULARITY_POWER, 1.0)
    if popular.all() or not popular.any():
        share: Floats = raw / raw.sum()
        return share
    part = np.where(popular, raw[popular].sum(), raw[~popular].sum())
    result: Floats = raw / part * np.where(popular, 1 - NEW_SHARE, NEW_SHARE)
    return result


class Baskets:
    """Fills baskets from the products of the cache.

    Args:
        rng: the stream of these choices.
    """

    _quantities: Final = cumulative([share for _, share in QUANTITIES])
    _discounts: Final = cumulative([share for _, share in DISCOUNTS])
    _payments: Final = cumulative([PAYMENTS[method] for method in PAYMENT_METHODS])

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._products: Sequence[CachedProduct] = ()
        self._shares = cumulative([1.0])

    def load(self, products: Sequence[CachedProduct]) -> None:
        """Take the products of a new cache; they must not be empty."""
        self._products = products
        self._shares = cumulative(weights(products))

    def next(self, n: int) -> list[Basket]:
        """Return the next `n` baskets."""
        u = self._rng.random((n, DRAWS))
        chosen = pick(u[:, 0], self._shares)
        quantity = pick(u[:, 1], self._quantities)
        percent = pick(u[:, 2], self._discounts)
        payment = pick(u[:, 3], self._payments)
        return [
            _basket(self._products[p], QUANTITIES[q][0], DISCOUNTS[d][0], PAYMENT_METHODS[m])
            for p, q, d, m in zip(
                chosen.tolist(), quantity.tolist(), percent.tolist(), payment.tolist(), strict=True
            )
        ]


def _basket(product: CachedProduct, quantity: int, percent: int, method: str) -> Basket:
    off = quantity * product.price * percent // 100
    return Basket(product, quantity, off - off % DISCOUNT_STEP, cast("PaymentMethod", method))
