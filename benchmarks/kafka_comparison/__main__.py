"""What Kafka in front of PostgreSQL costs and gives.

    python -m benchmarks.kafka_comparison [--scale small|full] [--json FILE]

Orders straight into PostgreSQL, row by row, in batches by `executemany`, and by COPY, against
orders through Kafka and the ingest, which also keeps the sums of customers and products. First a
burst: all orders are placed at once; how fast are they rows, and how long must the shop hold them
itself? Then a steady load: the latency from order to row at several rates, the last at four fifths
of what the way can take. Last, PostgreSQL is killed: who loses orders, who waits, and how long it
takes to catch up. Servers are the embedded ones, fsync on, everything on this machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from benchmarks.common import Result
from benchmarks.kafka_comparison import outage
from benchmarks.kafka_comparison.outage import OutageResult
from benchmarks.kafka_comparison.ways import Floats, Straight, ThroughKafka, Way
from shop import kafka


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        burst: orders placed at once.
        rates: orders a second of the steady loads.
        seconds: of each.
        outage_rate: orders a second around the outage.
        away_s: seconds without PostgreSQL.
    """

    burst: int
    rates: Sequence[int]
    seconds: float
    outage_rate: int
    away_s: float


SIZES = {
    "small": Size(10_000, (10, 1_000, 10_000), 4.0, 200, 6.0),
    "full": Size(100_000, (10, 100, 1_000, 10_000), 12.0, 1_000, 30.0),
}
MOST_SHARE = 0.8
"""Of the burst's rate, for the latency at the most that a way takes for long."""
SLOW = 20_000
"""Orders of a burst that goes row by row: it takes minutes otherwise, at the same rate."""
_PATIENCE_S = 120.0
_Make = Callable[[common.Rig], Way]

WAYS: Sequence[tuple[_Make, int]] = (
    (lambda rig: Straight(rig, "row by row", most=1), SLOW),
    (lambda rig: Straight(rig, "row by row, 8 connections", most=1, connections=8), SLOW),
    (lambda rig: Straight(rig, "executemany", most=1_000), sys.maxsize),
    (lambda rig: Straight(rig, "COPY in batches", most=10_000, copy=True), sys.maxsize),
    (ThroughKafka, sys.maxsize),
)
"""How each is made, and the largest burst that it is given."""


@dataclass(frozen=True)
class Steady:
    """A steady load on one way: what was asked, what was stored, and latencies in ms."""

    name: str
    asked: float
    label: str
    stored_per_s: float
    latency_ms: tuple[float, float, float]
    safe_p99_ms: float
    kept_up: bool


@dataclass(frozen=True)
class Burst:
    """All orders at once: seconds until the shop may forget them, and until they are rows."""

    name: str
    orders: int
    safe_s: float
    row_s: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.orders / self.row_s


class Stock:
    """Orders with ids of their own for every run.

    Args:
        n: how many there are.
    """

    def __init__(self, n: int) -> None:
        self._frame = orders.frame(n, users=50_000, products=2_000, days=n / 100_000)
        self._taken = 0

    def take(self, n: int) -> pl.DataFrame:
        """Return the next orders."""
        part = self._frame.slice(self._taken, n)
        if part.height < n:
            raise RuntimeError("the stock of orders is used up")
        self._taken += n
        return part


@contextmanager
def opened(make: _Make, rig: common.Rig) -> Iterator[Way]:
    """Make a way into a fresh database, and close it at the end."""
    rig.drop_databases()
    way = make(rig)
    try:
        yield way
    finally:
        way.close()


def spread(rate: float, seconds: float) -> Floats:
    """Return the moments of a steady load, the same every time."""
    return np.arange(max(1, round(rate * seconds))) / rate


def measure(way: Way, most: int, size: Size) -> tuple[Burst, list[Steady]]:
    """Give a way the burst and the steady loads."""
    n = min(most, size.burst)
    rates = [*size.rates, 0]
    stock = Stock(n + 200 + int((sum(size.rates) + 200_000) * size.seconds))
    # The first orders warm up connections, plans and caches: nobody's figures.
    way.send(stock.take(200), spread(200, 1.0), _PATIENCE_S)
    passage = way.send(stock.take(n), np.zeros(n), _PATIENCE_S)
    burst = Burst(way.name, n, float(np.nanmax(passage.safe)), passage.seconds)
    print(f"{way.name}: {burst.rate:,.0f} orders/s in a burst", flush=True)
    steady = []
    for rate in rates:
        asked = rate or min(200_000, MOST_SHARE * burst.rate)
        due = spread(asked, size.seconds)
        passage = way.send(stock.take(len(due)), due, size.seconds * 2 + 5)
        stored = np.count_nonzero(~np.isnan(passage.row)) / np.count_nonzero(
            ~np.isnan(passage.safe)
        )
        label = f"{rate:,}/s" if rate else "four fifths of its most"
        safe = float(np.nanpercentile(1000 * (passage.safe - due), 99))
        late = passage.seconds - due[-1]
        kept_up = late < max(0.5, 0.05 * size.seconds) and stored == 1.0 and _all_sent(passage.row)
        per_s = len(due) * (1.0 if kept_up else _share_done(passage.row)) / passage.seconds
        found = Steady(way.name, asked, label, per_s, passage.latency_ms(), safe, bool(kept_up))
        steady.append(found)
        p50, p95, p99 = found.latency_ms
        behind = "" if kept_up else ", falls behind"
        print(f"  {label}: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms{behind}", flush=True)
    return burst, steady


def _all_sent(row: Floats) -> bool:
    return not np.isnan(row[-1])


def _share_done(row: Floats) -> float:
    """Return the share of the orders, in their order, of which any later one is a row."""
    done = np.flatnonzero(~np.isnan(row))
    return (int(done[-1]) + 1) / len(row) if len(done) else 0.0


def outages(rig: common.Rig, size: Size) -> list[OutageResult]:
    """Take PostgreSQL away under each kind of shop."""
    seconds = size.away_s + 2 * outage.BEFORE_S + 4.0  # it takes seconds to start
    due = spread(size.outage_rate, seconds)
    found = []
    for keep in (False, True):
        rig.drop_databases()
        part = Stock(len(due)).take(len(due))
        found.append(outage.straight(rig, part, due, size.away_s, keep=keep))
    rig.drop_databases()
    part = Stock(len(due)).take(len(due))
    found.append(outage.through_kafka(rig, part, due, size.away_s, seconds + _PATIENCE_S))
    return found


def results(bursts: list[Burst], steady: list[Steady], lost: list[OutageResult]) -> list[Result]:
    """Return the figures for the report."""
    made = []
    kafka_burst = bursts[-1]
    for b in bursts:
        chart, of = "A burst, orders/s until they are rows", kafka_burst.name
        made.append(
            Result(
                f"burst, {b.name}", b.rate, "orders/s", b.rate / kafka_burst.rate, of,
                chart=chart, note=f"{b.orders:,} at once: rows after {b.row_s:.2f} s, out of the"
                f" shop's hands after {b.safe_s:.2f} s",
            )
        )  # fmt: skip
    for s in steady:
        p50, p95, p99 = s.latency_ms
        note = f"p50 {p50:.1f}, p95 {p95:.1f}; safe p99 {s.safe_p99_ms:.1f} ms"
        if not s.kept_up:
            note += f"; falls behind, stores {s.stored_per_s:,.0f}/s"
        elif not s.label[0].isdigit():
            note += f"; {s.asked:,.0f} orders/s"
        chart = f"Order to row at {s.label}, p99 in ms"
        made.append(
            Result(f"order to row p99, {s.label}, {s.name}", p99, "ms", chart=chart, note=note)
        )
    for o in lost:
        chart = "PostgreSQL away: orders lost"
        note = f"of {o.placed:,}; {o.held:,} more only in one process's memory"
        goal = "<= 0" if o is lost[-1] else ""
        made.append(
            Result(f"outage, lost, {o.name}", o.lost, "orders", chart=chart, note=note, goal=goal)
        )
        made.append(Result(f"outage, catch-up, {o.name}", o.catch_up_s, "s"))
        if o.safe_p99_ms == o.safe_p99_ms:  # not NaN: some were safe meanwhile
            made.append(Result(f"outage, order safe p99, {o.name}", o.safe_p99_ms, "ms"))
    return made


def show(found: list[Result]) -> None:
    """Print a table."""
    table = Table("what", "figure", "", title="With Kafka and without")
    for r in found:
        table.add_row(r.name, f"{r.value:,.1f} {r.unit}", r.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka_comparison")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--scale", choices=tuple(SIZES), default="full")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    size = SIZES[args.scale]
    print(common.machine())
    bursts, steady = [], []
    with common.rig() as rig:
        kafka.create_topics(rig.settings({**rig.postgres.env, **rig.broker.env}).kafka)
        for make, most in WAYS:
            with opened(make, rig) as way:
                burst, loads = measure(way, most, size)
                bursts.append(burst)
                steady += loads
        rig.empty_topics()
        lost = outages(rig, size)
    found = results(bursts, steady, lost)
    show(found)
    if args.json:
        common.save(
            args.json, found, bursts=[asdict(b) for b in bursts],
            steady=[asdict(s) for s in steady], outages=[asdict(o) for o in lost],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
