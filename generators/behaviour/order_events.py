"""What customers order, column by column, without a clock or a server.

The live generator and the history share these functions: the times, the customers and the
uniform numbers come from outside, orders come out. A row depends on its own customer, its own
numbers and the effects of its moment only, so orders made one by one and by the million are the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from generators.behaviour import catalogue, payments, seasons
from generators.behaviour.payments import Payments
from generators.behaviour.population import times_of
from generators.portable_math import exp, log, power
from generators.random_streams import Floats, Ints, cumulative, hashed, pick
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.events import PAYMENT_METHODS, SCHEMAS
from shop.redis.cache import CachedProduct

DRAWS: Final = 7
"""Uniform numbers that one order takes."""
ZIPF_POWER: Final = 0.9
ZIPF_OFFSET: Final = 12.0
ZIPF_PRODUCTS: Final = 10_000
"""A product's appeal is (k + 12)^-0.9 of Zipf and Mandelbrot, its rank k drawn once for all from
its id among 10,000: flat among the best, steeper in the tail, and nothing to store."""
NEWS_DAYS: Final = 30.0
NEWS_FLOOR: Final = 0.02
"""A product's appeal falls with its age as exp(-age / 30 days) + 0.02, on both shelves alike."""
QUANTITIES: Final = (
    (1, 0.72), (2, 0.17), (3, 0.06), (4, 0.03), (5, 0.012), (6, 0.005), (10, 0.003),
)  # fmt: skip
"""(Units, share) of an order line; five and more share .02."""
DEAR: Final = 30_000.0
"""KRW; the odds of more than one unit fall with the square root of the price above or below it."""
DISCOUNTS: Final = ((0, 0.78), (5, 0.08), (10, 0.08), (15, 0.03), (20, 0.02), (30, 0.01))
"""(Percent off, share); our estimate."""
DISCOUNT_STEP: Final = 10
"""Discounts are rounded down to this, KRW."""
LEVELS: Final = (-1.40, -0.53, 0.0, 0.53, 1.40)
"""Means of the fifths of a standard normal distribution: how dearly a customer buys."""
TASTE: Final = 1.6
TASTE_WIDTH: Final = 0.6
TASTE_CENTRE: Final = 0.3
"""With x = ln(price / mean price), a product's weight is its appeal times
exp((1.6 level + 0.3) x - 0.6 x^2): each customer keeps to a level of prices, so that about 31 %
of the variance of log order values is between customers (CDNOW: .36), and the sd of all
stays below 1 (.8 to 1.0 for a mall)."""

_AGES: Final = 6  # five decades and unknown
_GENDERS: Final = 3
_GROUPS: Final = _GENDERS * _AGES
_OTHER: Final = len(catalogue.CATEGORIES)  # an unknown category
_KEYS: Final = tuple(c.key for c in catalogue.CATEGORIES)
_LABELS: Final = {c.label: i for i, c in enumerate(catalogue.CATEGORIES)}
_UNITS: Final = np.array([q for q, _ in QUANTITIES], dtype=np.int64)
_ONE: Final = QUANTITIES[0][1]
_MORE_SHARES: Final = cumulative([s for _, s in QUANTITIES[1:]])
_MORE: Final = np.array([*(catalogue.MORE_THAN_ONE[k] for k in _KEYS), 1.0])
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
        season: see `seasons.of_names`.
    """

    ids: Ints
    category: Ints
    price: Ints
    season: Ints

    def take(self, where: Ints) -> Goods:
        """Return the products at these places."""
        return Goods(self.ids[where], self.category[where], self.price[where], self.season[where])


def goods(products: Sequence[CachedProduct]) -> Goods:
    """Return cached products as columns."""
    return Goods(
        ids=np.array([p.product_id for p in products], dtype=np.int64),
        category=np.array([_LABELS.get(p.category or "", _OTHER) for p in products], np.int64),
        price=np.array([p.price for p in products], dtype=np.int64),
        season=seasons.of_names(p.name for p in products),
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
        several: shape (goods,): factor on the odds of more than one unit.
        payments: what customers pay with.
    """

    goods: Goods
    effects: ScenarioEffects
    order: Ints
    categories: Floats
    within: Floats
    focus: Ints
    several: Floats
    payments: Payments


def draw_tables(
    sold: Goods, effects: ScenarioEffects = NONE, at: float | None = None
) -> DrawTables:
    """Prepare the tables to draw from; about 1 ms for 1,000 goods.

    Args:
        sold: not empty.
        effects: of the scenarios that run.
        at: the moment, seconds since the Unix epoch, for the seasons and the age of the goods;
            None: neither counts.
    """
    order = np.argsort(sold.category, kind="stable").astype(np.int64)
    category, price = sold.category[order], np.maximum(sold.price[order], 1)
    base = _shares(sold, at)[order]
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
        _MORE[sold.category] * np.sqrt(DEAR / np.maximum(sold.price, 1)) * effects.quantity,
        payments.under(effects.payments),
    )  # fmt: skip


def _shares(sold: Goods, at: float | None) -> Floats:
    """Return each product's share of orders."""
    raw = appeal(sold.ids)
    if at is not None:
        age_days = np.maximum(at - times_of(sold.ids) / 1_000, 0.0) / 86_400
        raw = raw * news(age_days) * seasons.factors(at)[sold.season]
    share: Floats = raw / raw.sum()
    return share


def news(age_days: Floats) -> Floats:
    """Return the factor of a product's age on its appeal.

    >>> news(np.array([0.0, 30.0, 3_000.0])).round(3).tolist()
    [1.02, 0.388, 0.02]
    """
    return exp(age_days / -NEWS_DAYS) + NEWS_FLOOR


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
    kind = group(who, year)
    chosen = _products(u, who, kind, m)
    units = _units(u[:, 2], m.several[chosen])
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
            "payment_method": words(
                PAYMENT_METHODS, m.payments.of(u[:, 5], who.ids, kind % _AGES, gross)
            ),
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


def _products(u: Floats, who: Customers, kind: Ints, m: DrawTables) -> Ints:
    taste = level(who.ids)
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


def _units(u: Floats, several: Floats) -> Ints:
    """Return units; `several` is the factor on the odds of more than one."""
    one = _ONE / (_ONE + several * (1 - _ONE))
    more = np.maximum(u - one, 0.0) / (1 - one)
    result: Ints = np.where(u < one, 1, _UNITS[1 + pick(more, _MORE_SHARES)])
    return result


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


def categories_of(sold: Goods, product_ids: Ints) -> Ints:
    """Return the category index of products by their ids; all must be among `sold`."""
    order = np.argsort(sold.ids, kind="stable")
    result: Ints = sold.category[order[np.searchsorted(sold.ids[order], product_ids)]]
    return result
