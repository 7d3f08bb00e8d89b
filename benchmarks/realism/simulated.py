"""A history as columns, simulated on a virtual clock, and what the model gives without a shop."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import bgnbd, shapes
from benchmarks.realism.observed import Observed
from benchmarks.targets import Statistic
from generators.behaviour import arrivals, customer_model, demand_curves, population
from generators.history.plan import GRADE_CHANGES, Plan
from generators.history.simulation import Simulation
from generators.random_streams import stream
from shop.clock import KST
from shop.grading_policy import POLICY

IMAGES = Path(__file__).parents[2] / "docs" / "images"
START = datetime(2025, 11, 1, tzinfo=KST)
DAYS = 365
COHORT = 100_000
"""Customers without a shop: of the 23,570 of CDNOW's cohort, a and b come back within 20 %."""


def simulate(
    orders_per_day: int, seed: int, *, days: int = DAYS, with_scenarios: bool = True
) -> Simulated:
    """Return a simulated year, or less."""
    plan = Plan(
        START, days, orders_per_day, seed,
        thresholds=[g.threshold for g in POLICY.grades[1:]], with_scenarios=with_scenarios,
    )  # fmt: skip
    began = time.process_time()
    simulation = Simulation(plan, profiles=False)
    simulated = list(simulation.days())
    return Simulated(
        simulation,
        pl.concat([day.orders for day in simulated]),
        # Each product once, as its last revision left it.
        pl.concat([day.products for day in simulated])
        .sort("product_id", "rev")
        .unique("product_id", keep="last", maintain_order=True),
        pl.concat(
            [pl.DataFrame(schema=GRADE_CHANGES)]
            + [day.grades for day in simulated if day.grades is not None]
        ),
        time.process_time() - began,
    )


class Simulated:
    """Some days: the simulation, its orders, and how much processor time it took in seconds."""

    def __init__(
        self,
        simulation: Simulation,
        orders: pl.DataFrame,
        products: pl.DataFrame,
        changes: pl.DataFrame,
        seconds: float,
    ) -> None:
        self.simulation = simulation
        self.orders = orders
        self.seconds = seconds
        self._products = products
        self._changes = changes

    @property
    def observed(self) -> Observed:
        """What can be observed of it; its customers are those who signed up since the opening."""
        who = self.simulation.who
        users = population.sign_ups(who.ids).with_columns(birth_year=pl.Series(who.birth_year))
        held = np.bincount(who.grade[who.orders > 0], minlength=len(POLICY.grades))
        return Observed(
            self.orders, users[self.simulation.sign_ups[0] :], self._products,
            self.simulation.fallback, self._changes, held,
        )  # fmt: skip


def arrival_statistics(seed: int) -> list[Statistic]:
    """Test a year of scenario-free arrivals against their own rate."""
    start = START.timestamp()
    edges = demand_curves.grid(start, start + DAYS * 86_400)
    rates = demand_curves.multiplier(edges[:-1]) * 0.02
    at = arrivals.poisson_times(edges, rates, stream(seed, "benchmark/arrivals"))
    mass = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)])
    p = shapes.ks_exponential(np.diff(np.interp(at, edges, mass)))
    hourly = np.bincount(((at - start) // 3_600).astype(np.int64), minlength=DAYS * 24)
    ordinary = np.repeat(demand_curves.is_ordinary(START.date(), DAYS), 24)
    by_lag = (shapes.autocorrelation(hourly, lag, ordinary) for lag in (24, 168))
    names = (f"hourly autocorrelation, lag {lag}" for lag in (24, 168))
    return [
        Statistic("rescaled gaps ~ Exp(1), KS p", p, 0.01, 1.0),
        *(
            Statistic(name, value, low, 1.0)
            for name, value, low in zip(names, by_lag, (0.8, 0.95), strict=True)
        ),
    ]


def fit_statistics(seed: int) -> list[Statistic]:
    """Fit BG/NBD to customers without a shop: what comes back is what the model was given."""
    found = bgnbd.fit(*bgnbd.cohort(COHORT, seed)[:3])
    m = customer_model.MODEL
    return [
        Statistic(f"BG/NBD {name} (without a shop)", value, (1 - part) * given, (1 + part) * given)
        for name, value, given, part in zip(
            ("r", "alpha", "a", "b"), found, (m.r, m.alpha, m.a, m.b), (0.05, 0.1, 0.1, 0.1),
            strict=True,
        )
    ]  # fmt: skip
