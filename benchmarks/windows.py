"""How fast spend is folded into windows, against Bytewax's own windowing operator.

    python -m benchmarks.windows [--orders 40000] [--users 20000] [--window 300] [--json FILE]

The same orders, in order, both ways, in this process, without servers: ours in micro-batches as
`flows.ingest` does it (per window, customer and product), Bytewax's `fold_window` item by item as
its documentation shows it, and once more with what makes it faster. The sums must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.testing import TestingSink, TestingSource, run_main
from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from flows import aggregates
from shop.clock import UTC, utc_now

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
GOAL: Final = 30.0
BATCH: Final = 50_000
PASSES: Final = 9
_SOURCE_BATCH: Final = 1_000  # the source's default of 1 would cost fold_window another 20 %

Item: TypeAlias = tuple[str, datetime, int]
"""Customer, time, amount."""
Windows: TypeAlias = dict[tuple[int, datetime], tuple[int, int]]
"""Customer and window start -> orders, spend."""


def by_bytewax(
    items: Iterable[Item],
    window_s: int,
    *,
    now: Callable[[], datetime] = utc_now,
    tuned: bool = False,
) -> Windows:
    """Fold in-order items with Bytewax's own operator.

    Args:
        items: in order of time.
        window_s: length of a window, seconds; aligned to the Unix epoch.
        now: the clock that the watermark follows; a stopped one makes no item late.
        tuned: do not order items that are in order, and do not wake up to close windows.
    """
    wake = {"to_system_utc": lambda _: None} if tuned else {}
    closed: list[tuple[str, tuple[int, tuple[int, int]]]] = []
    flow = Dataflow("windows")
    stream = op.input("orders", flow, TestingSource(items, _SOURCE_BATCH))
    windowed = fold_window(
        "spend",
        op.key_on("customer", stream, lambda item: item[0]),
        # Far longer than this run may lag: what is later than that, fold_window drops.
        EventClock(lambda item: item[1], timedelta(days=1), now, **wake),
        TumblingWindower(timedelta(seconds=window_s), EPOCH),
        builder=lambda: (0, 0),
        folder=lambda sums, item: (sums[0] + 1, sums[1] + item[2]),
        merger=lambda a, b: (a[0] + b[0], a[1] + b[1]),
        ordered=not tuned,
    )
    op.output("closed", windowed.down, TestingSink(closed))
    run_main(flow)  # type: ignore[no-untyped-call]  # Bytewax has no types there
    return {
        (int(user), EPOCH + timedelta(seconds=window_s) * number): sums
        for user, (number, sums) in closed
    }


def by_us(batches: Sequence[pl.DataFrame], window_s: int) -> list[pl.DataFrame]:
    """Fold batches as the ingest does; PostgreSQL adds the batches' sums up."""
    return [
        aggregates.effects(aggregates.contributions(batch), window_s).windows for batch in batches
    ]


def added_up(folded: Sequence[pl.DataFrame]) -> Windows:
    """Return what PostgreSQL would hold after these batches."""
    total = (
        pl.concat(folded).group_by("user_id", "window_start").agg(pl.col("orders", "spend").sum())
    )
    return {(user, start): (n, krw) for user, start, n, krw in total.iter_rows()}


@dataclass(frozen=True)
class WindowsFigure:
    """One contestant."""

    name: str
    orders_per_s: float
    seconds: float


def measure(frame: pl.DataFrame, window_s: int) -> list[WindowsFigure]:
    """Run the three; ours first.

    Raises:
        RuntimeError: if the sums are not the same.
    """
    batches = list(frame.iter_slices(BATCH))
    passes = []
    for _ in range(PASSES):
        started = time.perf_counter()
        folded = by_us(batches, window_s)
        passes.append(time.perf_counter() - started)
    seconds = statistics.median(passes)
    figures = [WindowsFigure("Jangteo, micro-batches", frame.height / seconds, seconds)]
    expected = added_up(folded)
    columns = frame.select(pl.col("user_id").cast(pl.String), "ordered_at", "amount")
    # Bytewax takes no other UTC than `timezone.utc`; polars gives a ZoneInfo.
    items = [(user, at.replace(tzinfo=UTC), krw) for user, at, krw in columns.iter_rows()]
    for name, tuned in (("fold_window, as documented", False), ("fold_window, tuned", True)):
        started = time.perf_counter()
        found = by_bytewax(items, window_s, tuned=tuned)
        seconds = time.perf_counter() - started
        if found != expected:
            raise RuntimeError(f"{name}: the sums are not the same")
        figures.append(WindowsFigure(name, frame.height / seconds, seconds))
    return figures


def show(figures: Sequence[WindowsFigure]) -> float:
    """Print the table and the verdict; return how much faster than the best other ours is."""
    best = max(f.orders_per_s for f in figures[1:])
    table = Table(title="Orders folded into spend windows")
    for column in ("contestant", "orders/s", "seconds", "ours is faster by"):
        table.add_column(column, justify="left" if column == "contestant" else "right")
    ours = figures[0].orders_per_s
    for f in figures:
        faster = "" if f is figures[0] else f"{ours / f.orders_per_s:,.0f} x"
        table.add_row(f.name, f"{f.orders_per_s:,.0f}", f"{f.seconds:.3f}", faster)
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    verdict = "reached" if ours / best >= GOAL else "MISSED"
    print(f"{ours / best:,.0f} times the faster of the two; goal {GOAL:g}: {verdict}")
    return ours / best


def main() -> int:
    """Run the comparison; exit code 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=40_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=300, help="seconds")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    frame = orders.frame(args.orders, users=args.users, products=2_000)
    print(f"{args.orders:,} orders of {args.users:,} customers, windows of {args.window} s")
    figures = measure(frame, args.window)
    ratio = show(figures)
    if args.json:
        best, chart = max(f.orders_per_s for f in figures[1:]), "Spend in windows, orders/s"
        of = "the faster of Bytewax's two"
        found = [
            common.Result(
                f.name, f.orders_per_s, "orders/s", f.orders_per_s / best, of, chart=chart,
                goal=f">= {GOAL:g}" if f is figures[0] else "",
            )
            for f in figures
        ]  # fmt: skip
        common.save(args.json, found)
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
