"""BG/NBD (Fader, Hardie and Lee, 2005): a cohort simulated from observed state, and its fit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from generators.behaviour.propensity import CDNOW
from generators.history.simulation import lomax
from generators.random_streams import Floats, Ints

WEEKS = 39.0
JOIN_WEEKS = 12.0
"""CDNOW's customers first bought within 12 weeks and were watched for 39."""


def cohort(n: int, rng: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Return repeats x, recency t_x and age T of n customers, times in weeks."""
    age = WEEKS - rng.random(n) * JOIN_WEEKS
    x, last, alive = np.zeros(n, np.int64), np.zeros(n), np.ones(n, np.bool_)
    while alive.any():
        who = np.flatnonzero(alive)
        then = last[who] + lomax(rng.random(len(who)), CDNOW.r + x[who], CDNOW.alpha + last[who])
        bought = then <= age[who]
        alive[who[~bought]] = False
        who, then = who[bought], then[bought]
        x[who] += 1
        last[who] = then
        gone = rng.random(len(who)) < CDNOW.a / (CDNOW.a + CDNOW.b + x[who] - 1)
        alive[who[gone]] = False
    return x, last, age


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


def fit(x: Ints, t_x: Floats, age: Floats) -> tuple[float, float, float, float]:
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
