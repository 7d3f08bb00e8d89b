"""Is the shop like a shop? Every statistic of a simulated year, with its target and a verdict.

Simulates customers and orders on a virtual clock with the code that the live generators share,
measures what came out, and draws the main pictures to docs/images/. A target that is missed is
printed as missed; the exit code is 0 all the same, as this is a measurement, not a check.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import bgnbd, shapes
from benchmarks.targets import Statistic, table
from generators.behaviour import arrivals, demand_curves
from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.random_streams import stream
from shop.clock import KST
from shop.grading_policy import POLICY

IMAGES = Path(__file__).parents[1] / "docs" / "images"
START = datetime(2025, 11, 1, tzinfo=KST)
DAYS = 365
COHORT = 23_570
"""Customers of the CDNOW cohort."""


def simulate(users: int, orders: int, seed: int, *, with_scenarios: bool = True) -> Simulated:
    """Return a simulated year."""
    plan = Plan(
        START, DAYS, users, max(2_000, users // 40), orders, seed,
        thresholds=[g.threshold for g in POLICY.grades[1:]], with_scenarios=with_scenarios,
    )  # fmt: skip
    began = time.perf_counter()
    simulation = Simulation(plan)
    frame = pl.concat(list(simulation.run()))
    return Simulated(simulation, frame, time.perf_counter() - began)


class Simulated:
    """A year: the simulation, its orders, and how long it took in seconds."""

    def __init__(self, simulation: Simulation, orders: pl.DataFrame, seconds: float) -> None:
        self.simulation = simulation
        self.orders = orders
        self.seconds = seconds


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
    return [
        Statistic("rescaled gaps ~ Exp(1), KS p", p, 0.01, 1.0),
        Statistic(
            "hourly autocorrelation, lag 24", shapes.autocorrelation(hourly, 24, ordinary), 0.8, 1.0
        ),
        Statistic(
            "hourly autocorrelation, lag 168",
            shapes.autocorrelation(hourly, 168, ordinary),
            0.95,
            1.0,
        ),
    ]


def fit_statistics(seed: int) -> list[Statistic]:
    """Simulate a cohort without a pool and fit BG/NBD to it: the gaps are the model's."""
    x, t_x, age = bgnbd.cohort(COHORT * 2, stream(seed, "benchmark/cohort"))
    r, alpha, a, b = bgnbd.fit(x, t_x, age)
    return [
        Statistic("BG/NBD r (pool-free)", r, 0.231, 0.255),
        Statistic("BG/NBD alpha", alpha, 3.97, 4.86),
        Statistic("BG/NBD a", a, 0.714, 0.872),
        Statistic("BG/NBD b", b, 2.18, 2.67),
        Statistic("mean repeats in 39 weeks", float(x.mean()), 0.9, 1.15),
        Statistic("share without repeat", float((x == 0).mean()), 0.57, 0.63),
    ]


def statistics(year: Simulated) -> list[Statistic]:
    """Return what the orders of a year show."""
    return [
        *shapes.loyalty(year.orders),
        *shapes.values(year.orders),
        *shapes.goods(year.orders, year.simulation.goods),
        *shapes.outcomes(year.orders),
    ]


def digest(orders: pl.DataFrame) -> str:
    """Return a hash of all columns of all orders."""
    return hashlib.sha256(orders.write_csv().encode()).hexdigest()[:16]


def speeds(seed: int) -> list[str]:
    """Return orders per second made in columns, one by one, and with Faker row by row."""
    return [f"{name}: {rate:,.0f} orders/s" for name, rate in shapes.speeds(seed).items()]


def main() -> int:
    """Print the table and draw the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realism", description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--orders", type=int, default=600_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--no-images", action="store_true")
    args = parser.parse_args()
    year = simulate(args.users, args.orders, args.seed)
    quiet = simulate(args.users // 4, args.orders // 4, args.seed, with_scenarios=False)
    found = [
        *statistics(year),
        *shapes.rhythm(quiet.orders),
        *shapes.calendar(year.orders),
        *arrival_statistics(args.seed),
        *fit_statistics(args.seed),
    ]
    rate = year.orders.height / year.seconds
    print(f"{year.orders.height:,} orders of {args.users:,} customers in {year.seconds:.1f} s")
    print(f"({rate:,.0f} orders/s), seed {args.seed}, sha256 {digest(year.orders)}\n")
    print(f"{table(found)}\n")
    print("\n".join(speeds(args.seed)))
    if not args.no_images:
        from benchmarks import pictures  # noqa: PLC0415  (matplotlib only where it is wanted)

        for path in pictures.draw(year.orders, quiet.orders, args.images):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
