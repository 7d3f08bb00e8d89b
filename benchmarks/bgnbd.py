"""BG/NBD (Fader, Hardie and Lee, 2005): a cohort simulated without a shop, fits, forecasts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from generators.behaviour import customer_model
from generators.random_streams import Floats, Ints, stream

WEEKS = 39.0
JOIN_WEEKS = 12.0
"""CDNOW's customers first bought within 12 weeks and were watched for 39."""
_DAY = 21_600
_NO_ADD_ONS = customer_model.CustomerModel(orders_per_day=_DAY, add_on=0.0)

Parameters = tuple[float, float, float, float]
"""r, alpha, a and b; times in weeks."""


class Cohort(NamedTuple):
    """Customers as columns of equal length, times in weeks.

    Attributes:
        x: repeats while they were watched.
        t_x: from the first order to the last one.
        age: from the first order to the end of the time watched.
        then: orders within the weeks ahead.
        ahead: number of those weeks.
    """

    x: Ints
    t_x: Floats
    age: Floats
    then: Ints
    ahead: float


def cohort(n: int, seed: int, *, holdout: float = 0.0) -> Cohort:
    """Return customers of the model alone, who buy when they are due.

    Args:
        n: how many.
        seed: of their draws.
        holdout: weeks at the end that do not count as watched.
    """
    whole = WEEKS - stream(seed, "benchmark/cohort").random(n) * JOIN_WEEKS
    ids = np.arange(1, n + 1) << 12
    week = 7 * _DAY
    age = whole - holdout
    watched, end = ((t * week).astype(np.int64) for t in (age, whole))
    now, count = np.zeros(n, np.int64), np.zeros(n, np.int64)
    x, last, who = np.zeros(n, np.int64), np.zeros(n), np.arange(n)
    while len(who):
        due = customer_model.due_after_order(_NO_ADD_ONS, seed, ids[who], count[who] + 1, now[who])
        who, due = who[due <= end[who]], due[due <= end[who]]
        count[who] += 1
        now[who] = due
        seen = due <= watched[who]
        x[who[seen]] += 1
        last[who[seen]] = due[seen] / week
    return Cohort(x, last, age, count - x, holdout)


def log_likelihood(p: npt.NDArray[np.float64], x: Ints, t_x: Floats, age: Floats) -> float:
    """Return the log-likelihood at ln(r, alpha, a, b)."""
    r, alpha, a, b = np.exp(p)
    n = int(x.max()) + 1
    k = np.arange(n)
    gamma = np.array([math.lgamma(r + i) - math.lgamma(r) for i in k])
    beta = np.array(
        [
            math.lgamma(b + i) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + i)
            for i in k
        ]
    )
    stay = -(r + x) * np.log(alpha + age)
    repeat = x > 0
    leave = np.full(len(x), -np.inf)
    leave[repeat] = np.log(a / (b + x[repeat] - 1)) - (r + x[repeat]) * np.log(alpha + t_x[repeat])
    return float((gamma[x] + beta[x] + r * np.log(alpha) + np.logaddexp(stay, leave)).sum())


def fit(x: Ints, t_x: Floats, age: Floats) -> Parameters:
    """Return r, alpha, a, b of greatest likelihood (simplex search of Nelder and Mead, 1965)."""
    simplex = [np.log([0.5, 5.0, 1.0, 2.0])]
    simplex += [simplex[0] + 0.3 * np.eye(4)[i] for i in range(4)]
    scored = [(-log_likelihood(p, x, t_x, age), p) for p in simplex]
    for _ in range(250):
        scored.sort(key=lambda s: s[0])
        if scored[-1][0] - scored[0][0] < 1e-4:
            break
        centre = np.mean([p for _, p in scored[:-1]], axis=0)

        def at(
            factor: float,
            c: npt.NDArray[np.float64] = centre,
            w: npt.NDArray[np.float64] = scored[-1][1],
        ) -> tuple[float, npt.NDArray[np.float64]]:
            p = c + factor * (w - c)
            return -log_likelihood(p, x, t_x, age), p

        reflected = at(-1.0)
        if reflected[0] < scored[0][0]:
            scored[-1] = min(reflected, at(-2.0), key=lambda s: s[0])
        elif reflected[0] < scored[-2][0]:
            scored[-1] = reflected
        else:
            inner = at(0.5)
            if inner[0] < scored[-1][0]:
                scored[-1] = inner
            else:
                best = scored[0][1]
                moved = [best + 0.5 * (p - best) for _, p in scored[1:]]
                scored[1:] = [(-log_likelihood(p, x, t_x, age), p) for p in moved]
    r, alpha, a, b = np.exp(min(scored, key=lambda s: s[0])[1]).tolist()
    return r, alpha, a, b


def expected_repeats(found: Parameters, weeks: Floats) -> Floats:
    """Return the mean repeats of new customers within some weeks: equation 9 of the paper.

    The hypergeometric function is added up as its series.
    """
    r, alpha, a, b = found
    z = weeks / (alpha + weeks)
    term, total = np.ones_like(z), np.ones_like(z)
    for n in range(2_000):
        term = term * (r + n) * (b + n) / (a + b - 1 + n) / (n + 1) * z
        total += term
    result: Floats = (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + weeks)) ** r * total)
    return result
