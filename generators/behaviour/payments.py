"""How customers pay: each has a usual method, within what the method takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from generators.random_streams import Floats, Ints, hashed
from shop.events import PAYMENT_METHODS

SHARES: Final = {
    "SIMPLE_PAY": 0.42, "CARD": 0.38, "VIRTUAL_ACCOUNT": 0.09, "TRANSFER": 0.06, "PHONE": 0.05,
}  # fmt: skip
"""After the Bank of Korea's payment statistics of 2023 and 2024."""
BY_AGE: Final = {
    "SIMPLE_PAY": (1.35, 1.20, 0.95, 0.70, 0.45, 1.0),
    "CARD": (0.80, 0.95, 1.08, 1.15, 1.15, 1.0),
    "VIRTUAL_ACCOUNT": (0.80, 0.80, 1.05, 1.35, 1.80, 1.0),
    "TRANSFER": (0.55, 0.70, 1.05, 1.70, 2.60, 1.0),
    "PHONE": (2.00, 0.95, 0.70, 0.50, 0.35, 1.0),
}
"""Method -> factor for customers in their twenties, thirties, forties, fifties, above, and of
unknown age; our estimate: simple pay is the habit of the young, transfers that of the old."""
HABIT: Final = 0.78
"""Share of a customer's orders that are paid with the usual method whatever else might be; the
same method as the time before then pays 75 % of orders."""
MOST: Final = {"PHONE": 300_000, "SIMPLE_PAY": 2_000_000}
"""Method -> the most that it takes, KRW: phone bills have a monthly limit, wallets one a payment.
What is dearer is paid by card. Rounded by us."""

_CARD: Final = PAYMENT_METHODS.index("CARD")
_LIMITS: Final = np.array([MOST.get(m, 2**62) for m in PAYMENT_METHODS], dtype=np.int64)
_WEIGHTS: Final = np.array(
    [[SHARES[m] * factor for factor in BY_AGE[m]] for m in PAYMENT_METHODS]
).T


@dataclass(frozen=True)
class Payments:
    """What is drawn from, for the scenarios of a moment.

    Attributes:
        factors: shape (methods,): on the odds of each method.
        usual: shape (ages, methods): cumulative, of the usual methods.
        other: shape (ages, methods): likewise, of the others under the scenarios.
        weight: shape (ages,): sum of the others' weights under the scenarios.
    """

    factors: Floats
    usual: Floats
    other: Floats
    weight: Floats

    def of(self, u: Floats, ids: Ints, age: Ints, amount: Ints) -> Ints:
        """Return the place in `PAYMENT_METHODS` of what each order is paid with.

        Args:
            u: shape (n,), uniform in [0, 1).
            ids: of the customers.
            age: of the customers, as the columns of `BY_AGE`.
            amount: KRW.
        """
        usual = _pick_rows(hashed(ids, "payment"), self.usual[age])
        habit = HABIT * self.factors[usual]
        habit /= habit + (1 - HABIT) * self.weight[age]
        chosen, rows = usual, np.flatnonzero(u >= habit)
        rest = (u[rows] - habit[rows]) / (1 - habit[rows])
        chosen[rows] = _pick_rows(rest, self.other[age[rows]])
        chosen[amount > _LIMITS[chosen]] = _CARD
        return chosen


def under(factors: Mapping[str, float]) -> Payments:
    """Return what is drawn from.

    Args:
        factors: method -> factor on its odds; 0 takes it away.
    """
    factor = np.array([factors.get(m, 1.0) for m in PAYMENT_METHODS])
    shares = _WEIGHTS / _WEIGHTS.sum(axis=1, keepdims=True)
    other = shares * factor
    weight = other.sum(axis=1)
    return Payments(
        factor, np.cumsum(shares, axis=1), np.cumsum(other / weight[:, None], axis=1), weight
    )


def _pick_rows(u: Floats, shares: Floats) -> Ints:
    """Return the index that each number falls on, by cumulative shares of its own row."""
    found: Ints = np.minimum((shares <= u[:, None]).sum(axis=1), shares.shape[1] - 1)
    return found
