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

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.behaviour import customer_model
from generators.behaviour.population import METRO
from generators.portable_math import exp, log
from generators.random_streams import Floats, Ints, gumbel, hashed
from generators.scenarios.table import Segment
from shop.clock import KST
from shop.redis.cache import CachedUser

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
        fresh: (younger than this number of weeks, logarithm), the first that applies.
        spend: half of the range over the ranks by spend of the cached buyers.
        cart: for those who have something in the cart.
        cart_share: of the customers of any day.
        soured: for those whose last order was cancelled.
    """

    grade: Mapping[str, float]
    fresh: tuple[tuple[float, float], ...]
    spend: float = 0.2
    cart: float = 0.5
    cart_share: float = 0.08
    soured: float = -0.5


CDNOW: Final = BgNbd()
MULTIPLIERS: Final = Multipliers(
    grade={"BRONZE": 0.0, "SILVER": 0.15, "GOLD": 0.35, "VIP": 0.60, "VVIP": 0.60},
    fresh=((1.0, 0.7), (30 / 7, 0.3)),
)
GRADES: Final = tuple(MULTIPLIERS.grade)
_RANK: Final = {name: i for i, name in enumerate(GRADES)}


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


@dataclass(frozen=True)
class Traits:
    """What is known of customers, as columns of equal length; times in seconds since the epoch.

    Attributes:
        ids: user ids.
        gender: 0 women, 1 men, 2 unknown.
        birth_year: 0 if unknown.
        metro: whether they live in the capital area.
        grade: index into `GRADES`.
        created: when they signed up; the last moment for a stub.
        last: when they last ordered; NaN if never.
        orders: paid orders.
        spent: KRW.
        soured: whether their last order was cancelled.
    """

    ids: Ints
    gender: Ints
    birth_year: Ints
    metro: npt.NDArray[np.bool_]
    grade: Ints
    created: Floats
    last: Floats
    orders: Ints
    spent: Ints
    soured: npt.NDArray[np.bool_]


_GENDERS: Final = {"F": 0, "M": 1}


def traits(
    users: Sequence[CachedUser], now: datetime, soured: Container[int] = frozenset()
) -> Traits:
    """Return cached customers as columns; `soured` are ids of those with a cancelled last order."""
    moment = now.timestamp()
    # All that a buyer ever ordered was cancelled, or we saw the last one being cancelled.
    sour = [u.user_id in soured or (u.purchaser and not u.order_count) for u in users]
    return Traits(
        ids=np.array([u.user_id for u in users], dtype=np.int64),
        gender=np.array([_GENDERS.get(u.gender or "", 2) for u in users], dtype=np.int64),
        birth_year=np.array([u.birth_year or 0 for u in users], dtype=np.int64),
        metro=np.array([(u.city or "").startswith(METRO) for u in users], dtype=np.bool_),
        grade=np.array([_RANK.get(u.grade, 0) for u in users], dtype=np.int64),
        created=np.array([u.created_at.timestamp() if u.created_at else moment for u in users]),
        last=np.array(
            [u.last_ordered_at.timestamp() if u.last_ordered_at else np.nan for u in users]
        ),
        orders=np.array([u.order_count for u in users], dtype=np.int64),
        spent=np.array([u.total_spent for u in users], dtype=np.int64),
        soured=np.array(sour, dtype=np.bool_),
    )


def candidates(
    t: Traits,
    now: datetime,
    segments: Sequence[Segment] = (),
    multipliers: Multipliers = MULTIPLIERS,
    leave_out: Sequence[str] = (),
) -> Candidates:
    """Return customers as candidates.

    Args:
        t: of the cache.
        now: as of when.
        segments: whose inclination a scenario lifts.
        multipliers: everything else that changes inclination.
        leave_out: names of `terms` that are added elsewhere.
    """
    age, buyer = _age(t, now), ~np.isnan(t.last)
    parts = terms(t, now, segments, multipliers)
    since = np.clip(np.where(buyer, (t.last - t.created) / _WEEK_S, 0.0), 0.0, age)
    counted = [part for name, part in parts.items() if name not in leave_out]
    bonus = np.sum([np.zeros(len(t.ids)), *counted], axis=0)
    return Candidates(ids=t.ids, orders=t.orders, buyer=buyer, age=age, last=since, bonus=bonus)


def _age(t: Traits, now: datetime) -> Floats:
    # A clock that stepped must not give negative times.
    result: Floats = np.maximum(now.timestamp() - t.created, 0.0) / _WEEK_S
    return result


def terms(
    t: Traits,
    now: datetime,
    segments: Sequence[Segment] = (),
    m: Multipliers = MULTIPLIERS,
) -> dict[str, Floats]:
    """Return each part of the customers' scores apart from the rate, by name; see `candidates`."""
    age = _age(t, now)
    fresh = sorted(m.fresh)
    cart = hashed(t.ids, f"cart/{now.astimezone(KST):%Y-%m-%d}") < m.cart_share
    return {
        "grade": np.array([m.grade[g] for g in GRADES])[t.grade],
        "fresh": np.select([age < w for w, _ in fresh], [v for _, v in fresh], 0.0),
        "spend": _spend_term(t, m.spend),
        "cart": np.where(cart, m.cart, 0.0),
        "soured": np.where(t.soured, m.soured, 0.0),
        "scenario": scenario_term(t, now, segments),
    }


def inclination(
    t: Traits,
    now: datetime,
    segments: Sequence[Segment] = (),
    *,
    seed: int,
    leave_out: Sequence[str] = (),
) -> Floats:
    """Return how inclined to buy customers are who are due: their terms and their taste.

    Args:
        t: customers.
        now: as of when.
        segments: whose inclination a scenario lifts.
        seed: of the shop.
        leave_out: names of `terms` that are added elsewhere.

    Returns:
        Logarithms, for `customer_model.weights`.
    """
    total = customer_model.taste(seed, t.ids)
    for name, part in terms(t, now, segments).items():
        if name not in leave_out:
            total += part
    return total


def weights(t: Traits, now: datetime, segments: Sequence[Segment] = (), *, seed: int) -> Ints:
    """Return weights of customers for `customer_model.choose`; see `inclination`."""
    return customer_model.weights(inclination(t, now, segments, seed=seed))


def scenario_term(t: Traits, now: datetime, segments: Sequence[Segment]) -> Floats:
    """Return by how much scenarios lift each customer's inclination."""
    lifts = [s.lift * _in_segment(t, now, s) for s in segments]
    result: Floats = np.sum([np.zeros(len(t.ids)), *lifts], axis=0)
    return result


def _spend_term(t: Traits, half: float) -> Floats:
    """From -half for the least to +half for the most spend among the buyers."""
    buyer = ~np.isnan(t.last)
    result = np.zeros(len(t.ids))
    result[buyer] = spend_ranks(t.spent[buyer], half)
    return result


def spend_ranks(spent: Ints, half: float) -> Floats:
    """Return numbers from -half for the least to +half for the most; equal ones for equal spend.

    >>> spend_ranks(np.array([10, 30, 20, 20]), 0.2).round(2).tolist()
    [-0.15, 0.15, 0.0, 0.0]
    """
    if len(spent) < 2:
        return np.zeros(len(spent))
    order = np.argsort(spent, kind="stable")
    known = spent[order]
    begins = np.flatnonzero(np.concatenate([[True], known[1:] != known[:-1]]))
    ends = np.append(begins[1:], len(known))
    rank = np.empty(len(known), np.int64)
    rank[order] = np.repeat(begins + ends, ends - begins)
    result: Floats = half * (rank / len(known) - 1)
    return result


def _in_segment(t: Traits, now: datetime, s: Segment) -> Floats:
    inside = np.ones(len(t.ids), dtype=np.bool_)
    if s.genders:
        inside &= t.gender == _GENDERS[s.genders]
    if s.ages is not None:
        age = now.year - t.birth_year
        inside &= (t.birth_year > 0) & (age >= s.ages[0]) & (age <= s.ages[1])
    if s.grades:
        inside &= np.isin(t.grade, [_RANK[g] for g in s.grades])
    if s.idle_days:  # comparing with NaN, of those who never bought, is false
        inside &= now.timestamp() - t.last >= s.idle_days * 86_400
    if s.metro:
        inside &= t.metro
    return inside.astype(np.float64)


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
    silence = log((model.alpha + age) / (model.alpha + last))
    once = repeats == 0
    odds = log(model.a / np.where(once, 1.0, model.b + repeats - 1)) + (
        (model.r + repeats) * silence
    )
    gone = np.where(once, 0.0, log(1.0 + exp(odds)))
    rate: Floats = log(model.r + repeats) - log(model.alpha + age) - gone
    return rate


def scores(c: Candidates, model: BgNbd = CDNOW, *, rate_weight: float = 1.0) -> Floats:
    """Return the candidates' scores without intercept and noise, ln(orders per week).

    With a `rate_weight` below 1 the rate counts less: for pools that were chosen by it already.

    Those who have not bought have no rate; their intercept is added by `top`.
    """
    bought: Floats = np.where(c.buyer, log_rate(c.orders, c.age, c.last, model), 0.0)
    return rate_weight * bought + c.bonus


def balance(score: Floats, buyer: npt.NDArray[np.bool_], share: float) -> float:
    """Return the intercept at which those who have not bought hold `share` of the weight.

    >>> round(balance(np.log([1.0, 2.0, 1.0]), np.array([True, True, False]), 0.5), 6)
    1.098612
    """
    if buyer.all() or not buyer.any() or share >= 1:
        return 0.0 if share < 1 else CLIP
    gap = _log_sum(score[buyer]) - _log_sum(score[~buyer])
    return gap + float(log(share / (1 - share)))


def _log_sum(x: Floats) -> float:
    highest = x.max()
    return float(highest + log(exp(x - highest).sum()))


def target_share(buyers: int, full: int, mature: float = NEW_BUYER_SHARE) -> float:
    """Return the share of first orders to aim at, for a cache with this number of buyers.

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


def top(
    c: Candidates,
    rng: np.random.Generator,
    *,
    intercept: float,
    k: int = CHOSEN,
    score: Floats | None = None,
) -> Ints:
    """Return the indices of the k most inclined candidates, the most inclined first.

    Gumbel noise makes this a weighted sample without replacement in the order of its draws: the
    first m of them are the sample of size m.

    Args:
        c: the candidates.
        rng: one number per candidate is taken.
        intercept: added to the score of those who have not bought.
        k: how many, fewer if there are not as many candidates.
        score: of each candidate; `scores(c)` by default.
    """
    score = scores(c) if score is None else score
    utility = score + np.where(c.buyer, 0.0, intercept) + gumbel(rng.random(len(c.ids)))
    order: Ints = np.argsort(-utility, kind="stable")[:k]
    return order
