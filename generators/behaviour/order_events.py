"""Orders, cancellations and refunds, column by column, without a clock or a server.

The live generator and the history share these functions: the times, the customers and the
uniform numbers come from outside, orders come out. A row depends on its own customer, its own
numbers and the effects of its moment only, so orders made one by one and by the million are the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import catalogue
from generators.portable_math import exp, log, power
from generators.random_streams import Floats, Ints, cumulative, hashed, normal, pick
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.events import PAYMENT_METHODS, SCHEMAS
from shop.redis.cache import CachedProduct

DRAWS: Final = 7
"""Uniform numbers that one order takes."""
OUTCOME_DRAWS: Final = 3
"""Uniform numbers that decide what becomes of an order."""

ZIPF_POWER: Final = 0.95
ZIPF_OFFSET: Final = 12.0
ZIPF_PRODUCTS: Final = 10_000
"""A product's appeal is (k + 12)^-0.95 of Zipf and Mandelbrot, its rank k drawn once for all from
its id among 10,000: flat among the best, steeper in the tail, and nothing to store."""
NEW_SHARE: Final = 0.30
"""Share of orders that go to the new products of the cache: their share of the cache. With half of
it the best fifth of a year's products sold 91 % of the units, with this 80 % (65 to 85 %)."""
QUANTITIES: Final = (
    (1, 0.72), (2, 0.17), (3, 0.06), (4, 0.03), (5, 0.012), (6, 0.005), (10, 0.003),
)  # fmt: skip
"""(Units, share) of an order line; five and more share .02."""
DISCOUNTS: Final = ((0, 0.78), (5, 0.08), (10, 0.08), (15, 0.03), (20, 0.02), (30, 0.01))
"""(Percent off, share); ours."""
DISCOUNT_STEP: Final = 10
"""Discounts are rounded down to this, KRW."""
PAYMENTS: Final = {
    "SIMPLE_PAY": 0.42, "CARD": 0.38, "VIRTUAL_ACCOUNT": 0.09, "TRANSFER": 0.06, "PHONE": 0.05,
}  # fmt: skip
"""After the Bank of Korea's payment statistics of 2023 and 2024."""
LEVELS: Final = (-1.40, -0.53, 0.0, 0.53, 1.40)
"""Means of the fifths of a standard normal distribution: how dearly a customer buys."""
TASTE: Final = 1.6
TASTE_WIDTH: Final = 0.6
TASTE_CENTRE: Final = 0.3
"""With x = ln(price / mean price), a product's weight is its appeal times
exp((1.6 level + 0.3) x - 0.6 x^2): each customer keeps to a level of prices, so that about 31 %
of the variance of log order values is between customers (CDNOW: .36), and the sd of all
stays below 1 (.8 to 1.0 for a mall)."""
CANCEL_AFTER_S: Final = (2_400.0, 1.1)
REFUND_AFTER_S: Final = (5.5 * 86_400.0, 0.45)
"""Median and log-sd of the delay: cancelled within hours, sent back within days; ours."""
OTHER_REFUNDS: Final = 0.07
"""Of a product whose category is unknown."""

_AGES: Final = 6  # five decades and unknown
_GENDERS: Final = 3
_GROUPS: Final = _GENDERS * _AGES
_OTHER: Final = len(catalogue.CATEGORIES)  # a category that is none of ours
_KEYS: Final = tuple(c.key for c in catalogue.CATEGORIES)
_LABELS: Final = {c.label: i for i, c in enumerate(catalogue.CATEGORIES)}
_UNITS: Final = np.array([q for q, _ in QUANTITIES], dtype=np.int64)
_UNIT_SHARES: Final = np.array([s for _, s in QUANTITIES])
_PERCENTS: Final = np.array([p for p, _ in DISCOUNTS], dtype=np.int64)
_PERCENT_SHARES: Final = cumulative([s for _, s in DISCOUNTS])


@dataclass(frozen=True)
class Customers:
    """Customers as columns of equal length.

    Attributes:
        ids: user ids.
        gender: 0 women, 1 men, 2 unknown.
        birth_year: 0 if unknown.
    """

    ids: Ints
    gender: Ints
    birth_year: Ints

    def take(self, where: Ints) -> Customers:
        """Return the customers at these places, repeated as they are."""
        return Customers(self.ids[where], self.gender[where], self.birth_year[where])


@dataclass(frozen=True)
class Goods:
    """Products as columns of equal length.

    Attributes:
        ids: product ids.
        category: index into `catalogue.CATEGORIES`, one more for any other.
        price: KRW.
        popular: whether they are in the cache for their orders.
    """

    ids: Ints
    category: Ints
    price: Ints
    popular: npt.NDArray[np.bool_]


def goods(products: Sequence[CachedProduct]) -> Goods:
    """Return cached products as columns."""
    return Goods(
        ids=np.array([p.product_id for p in products], dtype=np.int64),
        category=np.array([_LABELS.get(p.category or "", _OTHER) for p in products], np.int64),
        price=np.array([p.price for p in products], dtype=np.int64),
        popular=np.array([p.popular for p in products], dtype=np.bool_),
    )


def appeal(ids: Ints) -> Floats:
    """Return how attractive products are: Zipf and Mandelbrot's law over a rank of their own.

    >>> a = appeal(np.arange(1, 10_001))
    >>> bool(0.60 < np.sort(a)[-2_000:].sum() / a.sum() < 0.85)
    True
    """
    rank = hashed(ids, "appeal") * ZIPF_PRODUCTS
    return power(rank + ZIPF_OFFSET, -ZIPF_POWER)


def level(ids: Ints) -> Ints:
    """Return how dearly customers buy: 0 (cheaply) to 4, a trait of each for life."""
    result: Ints = (hashed(ids, "taste") * len(LEVELS)).astype(np.int64)
    return result


def group(customers: Customers, year: int) -> Ints:
    """Return the group by gender and age of each customer.

    Args:
        customers: whose.
        year: in which they buy.
    """
    age = np.clip((year - customers.birth_year) // 10 - 2, 0, _AGES - 2)
    age = np.where(customers.birth_year == 0, _AGES - 1, age)
    result: Ints = customers.gender * _AGES + age
    return result


def _affinity() -> Floats:
    """Return the logarithm of each group's factor on each category, shape (groups, categories)."""
    table = np.zeros((_GROUPS, _OTHER + 1))
    for index, key in enumerate(_KEYS):
        women, men, *ages = catalogue.AFFINITY[key]
        for gender, by_gender in enumerate((women, men, 0.0)):
            for age, by_age in enumerate((*ages, 0.0)):
                table[gender * _AGES + age, index] = by_gender + by_age
    return table


_AFFINITY: Final = _affinity()


@dataclass(frozen=True)
class DrawTables:
    """The tables that orders are drawn from, as cumulative shares, for some goods and effects.

    Attributes:
        goods: what is sold.
        effects: of the scenarios that run.
        order: places of the goods, by category.
        categories: shape (levels, groups, categories).
        within: shape (levels, goods): category index + cumulative share within it.
        focus: places of the goods that a scenario puts in front; empty if none.
        quantities: shape (quantities,).
        payments: shape (payment methods,).
    """

    goods: Goods
    effects: ScenarioEffects
    order: Ints
    categories: Floats
    within: Floats
    focus: Ints
    quantities: Floats
    payments: Floats


def draw_tables(sold: Goods, effects: ScenarioEffects = NONE) -> DrawTables:
    """Prepare the tables to draw from; `sold` must not be empty. About 1 ms for 1,000 goods."""
    order = np.argsort(sold.category, kind="stable").astype(np.int64)
    category, price = sold.category[order], np.maximum(sold.price[order], 1)
    base = _shares(sold)[order]
    log_price = log(price)
    log_price -= (log_price * base).sum() / base.sum()
    tilt = np.zeros(_OTHER + 1)
    for key, value in effects.categories.items():
        tilt[_KEYS.index(key)] = value
    categories = np.empty((len(LEVELS), _GROUPS, _OTHER + 1))
    within = np.empty((len(LEVELS), len(order)))
    for i, z in enumerate(LEVELS):
        slope = TASTE * z + TASTE_CENTRE + effects.value
        weight = base * exp(slope * log_price - TASTE_WIDTH * log_price * log_price)
        total = np.bincount(category, weight, _OTHER + 1)
        raw = total * exp(_AFFINITY + tilt)
        sums = np.cumsum(raw, axis=1)
        categories[i] = sums / sums[:, -1:]
        before = np.concatenate([[0.0], np.cumsum(total)])[category]
        within[i] = category + np.minimum((np.cumsum(weight) - before) / total[category], 1.0)
    return DrawTables(
        sold, effects, order, categories, within, _focused(sold, effects),
        cumulative(_odds(_UNIT_SHARES, 0, effects.quantity)), cumulative(_payments(effects)),
    )  # fmt: skip


def _shares(sold: Goods) -> Floats:
    """Return each product's share of orders; new and popular ones have their parts."""
    raw = appeal(sold.ids)
    if sold.popular.all() or not sold.popular.any():
        share: Floats = raw / raw.sum()
        return share
    part = np.where(sold.popular, raw[sold.popular].sum(), raw[~sold.popular].sum())
    result: Floats = raw / part * np.where(sold.popular, 1 - NEW_SHARE, NEW_SHARE)
    return result


def _odds(shares: Floats, first: int, factor: float) -> Floats:
    """Multiply the odds of everything but one entry.

    >>> _odds(np.array([0.5, 0.3, 0.2]), 0, 3.0).round(3).tolist()
    [0.25, 0.45, 0.3]
    """
    raw = shares * factor
    raw[first] = shares[first]
    result: Floats = raw / raw.sum()
    return result


def _payments(effects: ScenarioEffects) -> Floats:
    raw = np.array([PAYMENTS[m] * effects.payments.get(m, 1.0) for m in PAYMENT_METHODS])
    result: Floats = raw / raw.sum()
    return result


def _focused(sold: Goods, effects: ScenarioEffects) -> Ints:
    """Return the places of the products that the scenario is about."""
    if effects.focus is None:
        return np.empty(0, np.int64)
    _, number, salt = effects.focus
    return np.argsort(hashed(sold.ids, salt), kind="stable")[:number].astype(np.int64)


def orders(
    u: Floats, ids: Ints, who: Customers, m: DrawTables, *, at_us: Ints, year: int
) -> pl.DataFrame:
    """Return paid orders, with the columns of `SCHEMAS["orders"]`.

    Args:
        u: shape (n, DRAWS), uniform in [0, 1).
        ids: shape (n,), order ids.
        who: n customers, one an order.
        m: what is drawn from.
        at_us: shape (n,), microseconds since the Unix epoch.
        year: of these orders, for ages.
    """
    chosen = _products(u, who, year, m)
    units = _UNITS[pick(u[:, 2], m.quantities)]
    price = m.goods.price[chosen]
    gross = units * price
    off = gross * _percents(u[:, 3], u[:, 4], m.effects) // 100
    off -= off % DISCOUNT_STEP
    when: pl.Series = pl.Series(at_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    n = len(ids)
    return pl.DataFrame(
        {
            "order_id": ids,
            "rev": np.ones(n, np.int64),
            "user_id": who.ids,
            "product_id": m.goods.ids[chosen],
            "quantity": units,
            "unit_price": price,
            "discount": off,
            "amount": gross - off,
            "payment_method": words(PAYMENT_METHODS, pick(u[:, 5], m.payments)),
            "status": words(("PAID",), np.zeros(n, np.int64)),
            "scenario": pl.Series([m.effects.name], dtype=pl.String).new_from_index(0, n),
            "ordered_at": when,
            "updated_at": when,
        },
        schema=SCHEMAS["orders"],
    )


def words(known: Sequence[str], index: Ints) -> pl.Series:
    """Return the word at each index."""
    series: pl.Series = pl.Series(known, dtype=pl.String).gather(index)
    return series


def _products(u: Floats, who: Customers, year: int, m: DrawTables) -> Ints:
    taste, kind = level(who.ids), group(who, year)
    table = m.categories[taste, kind]
    category = np.minimum((table <= u[:, :1]).sum(axis=1), _OTHER)
    place = np.empty(len(u), np.int64)
    for i in range(len(LEVELS)):
        rows = np.flatnonzero(taste == i)
        found = np.searchsorted(m.within[i], category[rows] + u[rows, 1], side="right")
        place[rows] = np.minimum(found, len(m.order) - 1)
    chosen: Ints = m.order[place]
    if m.effects.focus is not None:
        share = m.effects.focus[0]
        in_focus = u[:, 6] < share
        pointer = (u[:, 6] / share * len(m.focus)).astype(np.int64)
        chosen = np.where(in_focus, m.focus[np.minimum(pointer, len(m.focus) - 1)], chosen)
    return chosen


def _percents(u: Floats, v: Floats, effects: ScenarioEffects) -> Ints:
    """Return percent off: the usual one or the scenario's, whichever is more."""
    usual: Ints = _PERCENTS[pick(u, _PERCENT_SHARES)]
    if effects.discount is None:
        return usual
    low, high, share = effects.discount
    steps = (high - low) // 5 + 1
    offered = low + 5 * np.minimum((v / share * steps).astype(np.int64), steps - 1)
    result: Ints = np.maximum(usual, np.where(v < share, offered, 0))
    return result


@dataclass(frozen=True)
class Outcome:
    """Whether and when orders are cancelled or refunded: columns of equal length.

    Attributes:
        cancelled: whether they are cancelled.
        refunded: whether they are returned and refunded.
        after_s: how long after the order, seconds; meaningless for the others.
    """

    cancelled: npt.NDArray[np.bool_]
    refunded: npt.NDArray[np.bool_]
    after_s: Floats


def outcome(u: Floats, category: Ints, effects: ScenarioEffects = NONE) -> Outcome:
    """Return which orders are cancelled or refunded, and when.

    Args:
        u: shape (n, OUTCOME_DRAWS), uniform in [0, 1).
        category: shape (n,), as in `Goods`.
        effects: of the moment of the order.
    """
    cancel = _times_odds(np.array(catalogue.CANCELLED), effects.cancel)
    table = np.array([*(catalogue.REFUNDED[k] for k in _KEYS), OTHER_REFUNDS])
    refund = _times_odds(table, effects.refund)[category]
    cancelled = u[:, 0] < cancel
    refunded = ~cancelled & (u[:, 0] < cancel + (1 - cancel) * refund)
    z = normal(u[:, 1])
    (quick, spread), (slow, spread_slow) = CANCEL_AFTER_S, REFUND_AFTER_S
    after = np.where(cancelled, quick * exp(spread * z), slow * exp(spread_slow * z))
    return Outcome(cancelled, refunded, after)


def _times_odds(p: npt.NDArray[Any], factor: float) -> npt.NDArray[Any]:
    """Multiply the odds of a probability.

    >>> float(_times_odds(np.array(0.5), 3.0))
    0.75
    """
    odds = p / (1 - p) * factor
    return np.asarray(odds / (1 + odds))


def categories_of(sold: Goods, product_ids: Ints) -> Ints:
    """Return the category index of products by their ids; all must be among `sold`."""
    order = np.argsort(sold.ids, kind="stable")
    result: Ints = sold.category[order[np.searchsorted(sold.ids[order], product_ids)]]
    return result
