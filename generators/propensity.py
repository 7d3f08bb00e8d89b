"""Who buys next: the BG/NBD expected rate of repeat buying, steered so that the shop stays open.

The cache offers customers who have bought (least recently first) and customers who have not
(newest first); the 200 most inclined of them place the next orders. Read naively, as "the 200
highest expected rates", nobody who has not bought would ever outscore somebody who has, and the
circle of buyers closes. So the score is a random utility: the logarithm of the rate, plus
logarithms of multipliers, plus Gumbel noise, which makes the best 200 an exact weighted sample
without replacement; and customers who have not bought share one intercept, set so that a given
share of the weight is theirs and corrected by what is observed.

Model and parameters: Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing
Science 24 (2005): the CDNOW cohort, time in weeks. Only fields of the cache are used. The model
counts from the first purchase, which the cache does not hold: here a customer's time starts at
sign-up (`created_at`), for T and for t_x alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.streams import Floats, Ints, gumbel
from shop.cache import CachedUser

CHOSEN: Final = 200
"""How many of the cached customers are chosen at a time."""
STEP: Final = 0.5
CLIP: Final = 12.0
NEW_BUYER_SHARE: Final = 0.30
"""Share of orders that are a customer's first: .25 to .35 in a young shop."""
_WEEK_S: Final = 604_800.0


@dataclass(frozen=True)
class BgNbd:
    """Parameters of the BG/NBD model; rates per week. The defaults are the paper's for CDNOW."""

    r: float = 0.243
    alpha: float = 4.414
    a: float = 0.793
    b: float = 2.426


@dataclass(frozen=True)
class Multipliers:
    """What changes a customer's inclination, as logarithms of multipliers; ours.

    Attributes:
        grade: better grades buy more often.
        fresh: (younger than so many weeks, logarithm), the first that applies.
    """

    grade: Mapping[str, float]
    fresh: tuple[tuple[float, float], ...]


CDNOW: Final = BgNbd()
MULTIPLIERS: Final = Multipliers(
    grade={"BRONZE": 0.0, "SILVER": 0.15, "GOLD": 0.35, "VIP": 0.60, "VVIP": 0.60},
    fresh=((1.0, 0.7), (30 / 7, 0.3)),
)


@dataclass(frozen=True)
class Candidates:
    """Customers as columns of equal length n; times in weeks since sign-up.

    Attributes:
        ids: user ids.
        orders: paid orders, 0 for those who have not bought.
        buyer: whether they have ever ordered.
        age: T, time since sign-up.
        last: t_x, time of the last order; 0 for those who have none.
        bonus: sum of the logarithms of multipliers.
    """

    ids: Ints
    orders: Ints
    buyer: npt.NDArray[np.bool_]
    age: Floats
    last: Floats
    bonus: Floats


def candidates(
    users: Sequence[CachedUser], now: datetime, multipliers: Multipliers = MULTIPLIERS
) -> Candidates:
    """Return cached customers as columns, as of `now`."""
    moment = now.timestamp()
    signed_up = np.array([u.created_at.timestamp() if u.created_at else moment for u in users])
    last = np.array([u.last_ordered_at.timestamp() if u.last_ordered_at else 0.0 for u in users])
    buyer = np.array([u.last_ordered_at is not None for u in users], dtype=np.bool_)
    # A clock that stepped must not give negative times.
    age = np.maximum(moment - signed_up, 0.0) / _WEEK_S
    since = np.clip((last - signed_up) / _WEEK_S, 0.0, age)
    bonus = np.array([multipliers.grade.get(u.grade, 0.0) for u in users], dtype=np.float64)
    fresh = sorted(multipliers.fresh)
    bonus += np.select([age < weeks for weeks, _ in fresh], [value for _, value in fresh], 0.0)
    return Candidates(
        ids=np.array([u.user_id for u in users], dtype=np.int64),
        orders=np.array([u.order_count for u in users], dtype=np.int64),
        buyer=buyer,
        age=age,
        last=np.where(buyer, since, 0.0),
        bonus=bonus,
    )


def after_orders(c: Candidates, who: Ints) -> Candidates:
    """Return the candidates after each of `who` (distinct indices) has just placed one order."""
    orders, buyer, last = c.orders.copy(), c.buyer.copy(), c.last.copy()
    orders[who] += 1
    buyer[who] = True
    last[who] = c.age[who]
    return replace(c, orders=orders, buyer=buyer, last=last)


def log_rate(orders: Ints, age: Floats, last: Floats, model: BgNbd = CDNOW) -> Floats:
    """Return ln E[orders per week] of customers who have bought.

    E = P(alive) (r + x) / (alpha + T) with x = orders - 1 repeats, and
    P(alive) = 1 / (1 + a / (b + x - 1) ((alpha + T) / (alpha + t_x))^(r + x)), 1 at x = 0.

    >>> now = np.array([0.0])
    >>> round(float(np.exp(log_rate(np.array([1]), now, now)[0])), 3)
    0.055
    """
    repeats = np.maximum(orders - 1, 0).astype(np.float64)
    silence = np.log((model.alpha + age) / (model.alpha + last))
    once = repeats == 0
    odds = np.log(model.a / np.where(once, 1.0, model.b + repeats - 1)) + (
        (model.r + repeats) * silence
    )
    gone = np.where(once, 0.0, np.logaddexp(0.0, odds))
    rate: Floats = np.log(model.r + repeats) - np.log(model.alpha + age) - gone
    return rate


def scores(c: Candidates, model: BgNbd = CDNOW) -> Floats:
    """Return the candidates' scores without intercept and noise, ln(orders per week).

    Those who have not bought have no rate; their intercept is added by `top`.
    """
    bought: Floats = np.where(c.buyer, log_rate(c.orders, c.age, c.last, model), 0.0)
    return bought + c.bonus


def balance(score: Floats, buyer: npt.NDArray[np.bool_], share: float) -> float:
    """Return the intercept at which those who have not bought hold `share` of the weight.

    >>> round(balance(np.log([1.0, 2.0, 1.0]), np.array([True, True, False]), 0.5), 6)
    1.098612
    """
    if buyer.all() or not buyer.any() or share >= 1:
        return 0.0 if share < 1 else CLIP
    gap = _log_sum(score[buyer]) - _log_sum(score[~buyer])
    return gap + math.log(share / (1 - share))


def _log_sum(x: Floats) -> float:
    return float(np.logaddexp.reduce(x))


def target_share(buyers: int, full: int, mature: float = NEW_BUYER_SHARE) -> float:
    """Return the share of first orders to aim at, for a cache with so many buyers in it.

    While the buyers' part of the cache is not full, the few there are cannot carry the repeat
    demand of a whole shop: their share grows with their number.

    >>> [round(target_share(n, 600), 3) for n in (0, 300, 600)]
    [1.0, 0.65, 0.3]
    """
    return 1 - (1 - mature) * min(1.0, buyers / max(full, 1))


def steer(intercept: float, target: float, observed: float) -> float:
    """Return the intercept corrected by what was observed, within +-12.

    >>> steer(0.0, target=0.3, observed=0.5)
    -0.1
    """
    return min(CLIP, max(-CLIP, intercept + STEP * (target - observed)))


def top(c: Candidates, rng: np.random.Generator, *, intercept: float, k: int = CHOSEN) -> Ints:
    """Return the indices of the k most inclined candidates, the most inclined first.

    Gumbel noise makes this a weighted sample without replacement in the order of its draws: the
    first m of them are the sample of size m.

    Args:
        c: the candidates.
        rng: one number per candidate is taken.
        intercept: added to the score of those who have not bought.
        k: how many, fewer if there are not as many candidates.
    """
    utility = scores(c) + np.where(c.buyer, 0.0, intercept) + gumbel(rng.random(len(c.ids)))
    order: Ints = np.argsort(-utility, kind="stable")[:k]
    return order
