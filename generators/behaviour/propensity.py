"""How inclined each of the customers who are due is to buy now.

The logarithms of multipliers are added up: grade, newness, spend, cart, a cancelled last order,
scenarios, and a taste of each customer's own. `customer_model.choose` takes them as the weights of
a sample without replacement. How often customers buy is not in here: it decides when they are due.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.behaviour import customer_model
from generators.behaviour.population import METRO
from generators.random_streams import Floats, Ints, hashed
from generators.scenarios.table import Segment
from shop.clock import KST
from shop.redis.cache import CachedUser

_WEEK_S: Final = 604_800.0


@dataclass(frozen=True)
class Multipliers:
    """What changes a customer's inclination, as logarithms of multipliers; our estimate.

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


MULTIPLIERS: Final = Multipliers(
    grade={"BRONZE": 0.0, "SILVER": 0.15, "GOLD": 0.35, "VIP": 0.60, "VVIP": 0.60},
    fresh=((1.0, 0.7), (30 / 7, 0.3)),
)
GRADES: Final = tuple(MULTIPLIERS.grade)
_RANK: Final = {name: i for i, name in enumerate(GRADES)}


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
    """Return each part of the customers' scores but their taste, by name."""
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
