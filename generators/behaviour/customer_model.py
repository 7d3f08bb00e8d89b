"""When each customer buys: one integer `due` per customer, on a clock that counts orders.

A customer is due from the moment when the shop has taken `due` orders. The cache holds customers
who are due, so the number of due purchasers among its 600 decides how many of the next orders are
repeats: share of repeats = due purchasers / 600. Nothing else steers it, and nothing but `due` is
remembered. Live processes and the history use these functions, which know no server and no time.

Repeat buying is the BG/NBD model of Fader, Hardie and Lee, "Counting Your Customers the Easy Way",
Marketing Science 24 (2005): a Poisson process of a gamma distributed rate, and a beta distributed
chance to leave after each repeat. Rate and chance are hashes of the customer's id, stored nowhere.

All delays are in orders of the shop: a day is `orders_per_day`, whatever the speed of the shop's
clock, and a flash sale draws the next purchases of all customers nearer, as it does in a shop.
Every draw is a hash of the seed, the customer and the number of the customer's order, so every
process that computes it, and however often, gets the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from generators.behaviour import quantiles
from generators.portable_math import exp, power
from generators.random_streams import Floats, Ints, exponential, normal

NEVER: Final = 1 << 62
"""`due` of a customer who will not buy; NULL in a database."""
POOL: Final = 600
"""Purchasers in a full cache: with as many due, every order is a repeat."""
OTHERS: Final = 400
"""Customers in a full cache who have not bought."""
CHOSEN: Final = 200
"""How many of the cached customers are chosen at a time."""
ORDERS_PER_DAY: Final = 21_600
"""The seed's law: one order every U(3, 5) s."""

FIRST_SIGN_UPS: Final = 1.0
"""Sign-ups per second of a shop that opens, at `ORDERS_PER_DAY`: 10 in the first 10 s."""
SIGN_UPS_KNEE: Final = 330_000
"""Sign-ups, at `ORDERS_PER_DAY`, after which the rate has fallen to 2^-.76 = .59 of the first."""

SIGN_UPS_POWER: Final = -0.76

COMES_BACK: Final = 0.002
"""Of the customers that have left for good: share that a day of a win-back brings back. Nine days
of it a year take .005 from the share of customers who never repeat; with .01 it was .025."""
LEFT_DAYS: Final = 90
"""A win-back is for those whose last order is at least this many days ago."""
TASTE_SD: Final = 0.3
"""Standard deviation of the logarithm of a customer's taste for buying now; our estimate."""
WEIGHT_UNIT: Final = 1_024
"""The weight whose logarithm is 0."""

_DAYS_PER_WEEK: Final = 7
_DAYS_PER_YEAR: Final = 365
_MINUTES_PER_DAY: Final = 1_440


@dataclass(frozen=True)
class CustomerModel:
    """How customers behave. The shapes of the distributions are those of `quantiles`.

    Attributes:
        orders_per_day: mean number of orders that the shop takes in a day; the unit of all delays.
        alpha: rate parameter of the gamma distributed purchase rate (shape `quantiles.R`), weeks.
        buyers: share of the sign-ups who would buy if the shop had room for them.
        first: (share of the buyers, mean days from sign-up to the first purchase); those who
            came to buy, those who compare, those who were curious.
        add_on: probability that an order is followed by another one on the same day.
        add_on_hours: (earliest, latest) time of that order after the first, hours of the shop.
        opening_now: share of the start population that is due at once, when a shop opens.
        opening_hours: hours of the shop within which the others of it become due.
        patience_days: days after which somebody who has not bought is no longer interested.
        horizon_years: a next purchase later than this counts as never.
    """

    orders_per_day: int = ORDERS_PER_DAY
    alpha: float = 3.8
    buyers: float = 0.65
    first: tuple[tuple[float, float], ...] = ((0.38, 1 / 72), (0.30, 1.5), (0.32, 14.0))
    add_on: float = 0.015
    add_on_hours: tuple[float, float] = (1 / 3, 13 / 3)
    opening_now: float = 0.08
    opening_hours: float = 10.0
    patience_days: int = 30
    horizon_years: int = 20

    @property
    def patience(self) -> int:
        """Orders of the shop after which a due customer who has not bought has lost interest."""
        return self.patience_days * self.orders_per_day

    @property
    def r(self) -> float:
        """Shape of the purchase rate."""
        return quantiles.R

    @property
    def a(self) -> float:
        """First shape of the chance to leave after a repeat."""
        return quantiles.A

    @property
    def b(self) -> float:
        """Second shape of it."""
        return quantiles.B


MODEL: Final = CustomerModel()


@cache
def _key(seed: int, salt: str) -> int:
    return int.from_bytes(hashlib.sha256(f"customer/{seed}/{salt}".encode()).digest()[:8], "big")


def _mixed(z: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
    """Mix in place, as SplitMix64 does (Steele, Lea and Flood, 2014); it wraps by design."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)


def uniform(seed: int, salt: str, user_ids: Ints, number: Ints | int | None = None) -> Floats:
    """Return a number in [0, 1) for each customer, and for each of the customer's orders.

    Args:
        seed: of the shop.
        salt: what the number is for.
        user_ids: shape (n,).
        number: of the customer's order, if it is one number for each.

    >>> one = uniform(1, "x", np.array([7]), 1)[0]
    >>> bool(0 <= one < 1 and one == uniform(1, "x", np.array([6, 7]), np.array([5, 1]))[1])
    True
    """
    # view: ids are not negative; a copy is made by the multiplication.
    z = np.asarray(user_ids, np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(_key(seed, salt))
    _mixed(z)
    if number is not None:
        times = np.asarray(number, np.int64).astype(np.uint64)
        z += times * np.uint64(0xD1342543DE82EF95)
        _mixed(z)
    result: Floats = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


def due_after_sign_up(model: CustomerModel, seed: int, user_ids: Ints, clock: Ints | int) -> Ints:
    """Return when new customers become due; `NEVER` for those who will not buy.

    Args:
        model: the behaviour.
        seed: of the shop.
        user_ids: shape (n,).
        clock: orders that the shop had taken when each signed up.

    >>> due_after_sign_up(MODEL, 1, np.arange(1, 6), 100).tolist() == [
    ...     int(due_after_sign_up(MODEL, 1, np.array([i]), 100)[0]) for i in range(1, 6)]
    True
    """
    day = model.orders_per_day
    u = uniform(seed, "sign up", user_ids)
    shares = np.cumsum([share for share, _ in model.first]) * model.buyers
    kind = np.searchsorted(shares, u, side="right")
    mean = np.array([days * day for _, days in model.first] + [0.0])[kind]
    delay = exponential(uniform(seed, "first", user_ids)) * mean
    soonest = -(-day // _MINUTES_PER_DAY)
    due = np.asarray(clock, np.int64) + soonest + delay.astype(np.int64)
    return np.where(kind < len(model.first), due, NEVER)


def due_after_order(
    model: CustomerModel, seed: int, user_ids: Ints, orders: Ints, clock: Ints | int
) -> Ints:
    """Return when customers who have just ordered become due again; `NEVER` for those who leave.

    Args:
        model: the behaviour.
        seed: of the shop.
        user_ids: shape (n,).
        orders: of each customer so far, this one included: 1 for a first order.
        clock: orders that the shop had taken with this one.

    >>> user, orders = np.full(3, 7), np.array([1, 2, 3])
    >>> bool((due_after_order(MODEL, 1, user, orders, 50) > 50).all())
    True
    """
    day, n = model.orders_per_day, len(user_ids)
    now = np.broadcast_to(np.asarray(clock, np.int64), n)
    gap = _gaps(model, seed, user_ids, orders)
    due = now + 1 + gap
    due[gap >= model.horizon_years * _DAYS_PER_YEAR * day] = NEVER
    chance = quantiles.quantile("beta", uniform(seed, "leaves", user_ids))
    due[(orders > 1) & (uniform(seed, "left", user_ids, orders) < chance)] = NEVER
    more = np.flatnonzero(uniform(seed, "more", user_ids, orders) < model.add_on)
    if len(more):
        low, high = (hours * day / 24 for hours in model.add_on_hours)
        later = low + (high - low) * uniform(seed, "more at", user_ids[more], orders[more])
        due[more] = now[more] + 1 + later.astype(np.int64)
    return due


def _gaps(model: CustomerModel, seed: int, user_ids: Ints, orders: Ints) -> Ints:
    """Return exponential gaps of each customer's own rate, in orders of the shop."""
    rate = quantiles.quantile("gamma", uniform(seed, "rate", user_ids))
    e = exponential(uniform(seed, "gap", user_ids, orders))
    longest = float(model.horizon_years * _DAYS_PER_YEAR * model.orders_per_day)
    scale = model.alpha * _DAYS_PER_WEEK * model.orders_per_day
    # The least rates are 0 to 32 binary digits: those customers never come again.
    gap = np.where(rate > 0, e * scale / np.maximum(rate, quantiles.UNIT), longest)
    return np.minimum(gap, longest).astype(np.int64)


def comes_back(seed: int, user_ids: Ints, day: int) -> npt.NDArray[np.bool_]:
    """Return which customers who have left buy again because of a day of a win-back campaign.

    Args:
        seed: of the shop.
        user_ids: shape (n,), customers who are never due again.
        day: its number, in Seoul, from 1970-01-01.

    >>> bool(0.001 < comes_back(1, np.arange(100_000), 20_000).mean() < 0.003)
    True
    """
    result: npt.NDArray[np.bool_] = uniform(seed, "win back", user_ids, day) < COMES_BACK
    return result


def due_at_opening(model: CustomerModel, seed: int, user_ids: Ints, clock: int = 0) -> Ints:
    """Return when the start population of a shop becomes due: some at once, the rest by and by.

    Args:
        model: the behaviour.
        seed: of the shop.
        user_ids: shape (n,).
        clock: orders that the shop has taken.

    >>> due = due_at_opening(MODEL, 1, np.arange(1, 1_001))
    >>> int((due == 0).sum()) in range(50, 120), int(due.max()) < 9_000
    (True, True)
    """
    u = uniform(seed, "opening", user_ids)
    span = model.opening_hours * model.orders_per_day / 24
    late = np.maximum(u - model.opening_now, 0.0) / (1 - model.opening_now) * span
    return clock + late.astype(np.int64)


def taste(seed: int, user_ids: Ints) -> Floats:
    """Return logarithms by which customers are more or less inclined to buy than others.

    >>> logs = taste(1, np.arange(10_000))
    >>> abs(float(logs.mean())) < 0.01, round(float(logs.std()), 1)
    (True, 0.3)
    """
    result: Floats = TASTE_SD * normal(uniform(seed, "taste", user_ids))
    return result


def weights(logarithms: Floats) -> Ints:
    """Return weights for `choose`; their sums are exact, as they are integers.

    >>> weights(np.array([0.0, 0.5, -20.0])).tolist()
    [1024, 1688, 1]
    """
    return np.maximum(np.rint(WEIGHT_UNIT * exp(logarithms)), 1).astype(np.int64)


def choose(weight: Ints, due: int, u: Floats, n: int, *, full: int = POOL) -> Ints:
    """Return the places of the customers who buy next, in the order in which they buy.

    The smallest of exponential times divided by weights are a weighted sample without replacement
    in the order of its draws (an exponential race). The weights of those who have not bought are
    multiplied by one factor, such that they have (full - due) / full of the whole.

    Args:
        weight: positive; of purchasers who are due, then of others who are due; see
            `weights`. In an order of their own, as ties keep it.
        due: how many of them are purchasers.
        u: uniform in [0, 1), one for each.
        n: how many; fewer are returned if there are not as many.
        full: purchasers in a full cache; with as many due, others only fill up.

    >>> places = choose(np.full(10, 1_024), 4, np.linspace(0, 0.9, 10), 3, full=6)
    >>> places.tolist()
    [0, 1, 2]
    """
    times = exponential(u) / weight
    ours, theirs = int(weight[:due].sum()), int(weight[due:].sum())
    if due >= full:
        # Nobody who has not bought comes before a purchaser: -ln 2^-53 is 37.
        times[due:] += 64.0
    elif due and theirs:
        times[due:] *= (due * theirs) / (ours * (full - due))
    order: Ints = np.argsort(times, kind="stable")[:n]
    return order


def sign_up_rate(sign_ups: Ints | int, orders_per_day: int = ORDERS_PER_DAY) -> Floats:
    """Return mean sign-ups per second of the shop's time, by the number of sign-ups so far.

    It falls as the shop fills, and never ends: what repeat buying leaves of the demand is first
    orders, and these need new customers. Hours and weekdays are the caller's.

    Args:
        sign_ups: customers so far.
        orders_per_day: mean orders of the shop in a day; the law scales with it.

    >>> sign_up_rate(np.array([0, 330_000, 5_760_000])).round(2).tolist()
    [1.0, 0.59, 0.11]
    """
    scale = orders_per_day / ORDERS_PER_DAY
    filled = np.atleast_1d(np.asarray(sign_ups, np.float64)) / (SIGN_UPS_KNEE * scale)
    return power(1 + filled, SIGN_UPS_POWER) * (FIRST_SIGN_UPS * scale)
