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
from benchmarks.targets import Statistic, of_a_quarter, table
from generators.behaviour import arrivals, customer_model, demand_curves, population
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
SCALE = 0.25
"""Of the seed's rate: statistics are the same, and a year takes a quarter of the orders' time."""


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
    frame = pl.concat(list(simulation.run()))
    return Simulated(simulation, frame, time.process_time() - began)


class Simulated:
    """Some days: the simulation, its orders, and how much processor time it took in seconds."""

    def __init__(self, simulation: Simulation, orders: pl.DataFrame, seconds: float) -> None:
        self.simulation = simulation
        self.orders = orders
        self.seconds = seconds

    @property
    def users(self) -> pl.DataFrame:
        """Those who signed up since the opening: user_id and created_at."""
        everybody = population.sign_ups(self.simulation.who.ids)
        return everybody[self.simulation.sign_ups[0] :]


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
    """Fit BG/NBD to customers without a shop: what comes back is what the model was given."""
    x, t_x, age = bgnbd.cohort(COHORT * 2, seed)
    r, alpha, a, b = bgnbd.fit(x, t_x, age)
    m = customer_model.MODEL
    return [
        Statistic("BG/NBD r (without a shop)", r, 0.95 * m.r, 1.05 * m.r),
        Statistic("BG/NBD alpha (without a shop)", alpha, 0.9 * m.alpha, 1.1 * m.alpha),
        Statistic("BG/NBD a (without a shop)", a, 0.85 * m.a, 1.15 * m.a),
        Statistic("BG/NBD b (without a shop)", b, 0.85 * m.b, 1.15 * m.b),
    ]


def statistics(year: Simulated) -> list[Statistic]:
    """Return what the orders of a year show."""
    return [
        *shapes.loyalty(year.orders),
        *shapes.clientele(year.orders, year.users, year.simulation.fallback),
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
    parser.add_argument("--scale", type=float, default=SCALE, help="of the seed's rate")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--no-images", action="store_true")
    args = parser.parse_args()
    per_day = round(args.scale * customer_model.ORDERS_PER_DAY)
    year = simulate(per_day, args.seed, days=args.days)
    quiet = simulate(per_day // 8, args.seed, days=args.days, with_scenarios=False)
    found = [*statistics(year), *shapes.rhythm(quiet.orders), *shapes.calendar(year.orders)]
    if args.days < DAYS:
        found = of_a_quarter(found)
    found += [*arrival_statistics(args.seed), *fit_statistics(args.seed)]
    rate = year.orders.height / year.seconds
    print(
        f"{year.orders.height:,} orders of {year.orders['user_id'].n_unique():,} buyers among"
        f" {len(year.simulation.who):,} customers in {year.seconds:.1f} s of processor time"
    )
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
