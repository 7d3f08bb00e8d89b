"""Is the shop like a shop? Every statistic of a history and of the live stream, with a verdict.

    python -m benchmarks.realism [--days 365] [--scale 0.25] [--seed 1]
    python -m benchmarks.realism --live-seconds 600 --live-speed 50
    python -m benchmarks.realism --with changes,shipments,visits,baskets

Simulates customers and orders on a virtual clock, with the code that the live generators share,
and measures what came out. Then runs the shop itself, `jangteo up` on a history, and measures with
the same code what its topics in Kafka hold. Draws the main pictures to docs/images/. A target that
is missed is printed as missed; the exit code is 0 all the same, as this is a measurement, not a
check. With `--with`, it measures these topics instead, in PostgreSQL: of a history, and of two live
windows (`benchmarks/realism/topics.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import polars as pl

from benchmarks import shapes
from benchmarks.common import Result, save
from benchmarks.realism import independent, live, topics
from benchmarks.realism.observed import statistics
from benchmarks.realism.simulated import (
    DAYS,
    IMAGES,
    arrival_statistics,
    fit_statistics,
    simulate,
)
from benchmarks.targets import of_a_quarter, table
from generators.behaviour import customer_model
from shop.optional.option import add_with

SCALE = 0.25
"""Of the seed's rate: statistics are the same, and a year takes a quarter of the orders' time."""
LIVE_HISTORY_DAYS = 90
"""Before the live window: a shop that opens has next to no repeats."""


def digest(orders: pl.DataFrame) -> str:
    """Return a hash of all columns of all orders."""
    return hashlib.sha256(orders.write_csv().encode()).hexdigest()[:16]


def history(args: argparse.Namespace) -> None:
    """Print the table of a history and draw the pictures."""
    per_day = round(args.scale * customer_model.ORDERS_PER_DAY)
    year = simulate(per_day, args.seed, days=args.days)
    quiet = simulate(per_day // 8, args.seed, days=args.days, with_scenarios=False)
    found = [
        *statistics(year.observed), *shapes.rhythm(quiet.orders), *shapes.calendar(year.orders),
    ]  # fmt: skip
    if args.days < DAYS:
        found = of_a_quarter(found)
    else:
        found += independent.of_a_shop(year.orders)
    found += [*arrival_statistics(args.seed), *fit_statistics(args.seed)]
    found += independent.without_a_shop(args.seed)
    rate = year.orders.height / year.seconds
    print(
        f"History: {year.orders.height:,} orders of {year.orders['user_id'].n_unique():,} buyers"
        f" among {len(year.simulation.who):,} customers in {year.seconds:.1f} s of processor time"
    )
    print(f"({rate:,.0f} orders/s), seed {args.seed}, sha256 {digest(year.orders)}\n")
    print(f"{table(found)}\n", flush=True)
    if args.json:
        met = sum(statistic.met for statistic in found)
        share, of = met / len(found), "all statistics"
        results = [Result("statistics within their targets", met, "", share, of)]
        results += [
            Result(s.name, s.value, "", note=f"{s.verdict}: {s.low:g} to {s.high:g}") for s in found
        ]
        save(args.json, results)
    if not args.no_images:
        from benchmarks import pictures  # noqa: PLC0415  (matplotlib only where it is wanted)

        for path in pictures.draw(year.orders, quiet.orders, args.images):
            print(path)


def live_stream(args: argparse.Namespace) -> None:
    """Print the table of the live stream."""
    window, found = live.measure(
        args.seed, seconds=args.live_seconds, speed=args.live_speed, days=LIVE_HISTORY_DAYS,
        scale=args.live_scale,
    )  # fmt: skip
    print(
        f"Live: {window.shop.orders.height:,} orders and {window.shop.users.height:,} sign-ups in"
        f" {args.live_seconds:g} s at speed {args.live_speed:g} ({window.shop.days * 24:.1f} hours"
        f" of the shop), after a history of {LIVE_HISTORY_DAYS} days, seed {args.seed}\n"
    )
    print(f"{table(found)}\n", flush=True)


def optional_topics(args: argparse.Namespace) -> None:
    """Print the tables of the optional topics: of a history, and of live windows."""
    if not args.only_live:
        scale = args.scale or topics.SCALE
        orders, found = topics.of_a_history(args.topics, args.seed, args.days, scale)
        print(f"History: {orders:,} orders in {args.days} days, seed {args.seed}\n")
        print(f"{table(found)}\n", flush=True)
    for plan in topics.PLANS if args.live_seconds else ():
        orders, found = topics.of_a_live_window(args.topics, args.seed, args.live_seconds, plan)
        print(
            f"Live {plan.title}: {orders:,} orders in {args.live_seconds:g} s, after a history of"
            f" {plan.days} days, seed {args.seed}\n"
        )
        print(f"{table(found)}\n", flush=True)


def main() -> int:
    """Print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.realism",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--scale", type=float,
        help=f"of the history, of the seed's rate ({SCALE:g}, with topics {topics.SCALE:g})",
    )  # fmt: skip
    add("--days", type=int, default=DAYS, help="of the history")
    add("--seed", type=int, default=1)
    add("--live-seconds", type=float, default=600.0, help="length of the live window; 0 for none")
    add("--live-speed", type=float, default=50.0, help="speed of the live shop")
    add("--live-scale", type=float, default=1.0, help="of the live shop, of the seed's rate")
    add("--only-live", action="store_true", help="no history by itself")
    add("--speeds", action="store_true", help="also orders made per second, in columns and by row")
    add("--json", type=Path, help="also write the figures of the history to this file")
    add("--images", type=Path, default=IMAGES)
    add("--no-images", action="store_true")
    add_with(parser, "measure optional topics instead")
    args = parser.parse_args()
    if args.topics:
        optional_topics(args)
        return 0
    args.scale = args.scale or SCALE
    if not args.only_live:
        history(args)
    if args.live_seconds:
        live_stream(args)
    if args.speeds:
        for name, rate in shapes.speeds(args.seed).items():
            print(f"{name}: {rate:,.0f} orders/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
