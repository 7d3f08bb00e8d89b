"""How the ingest scales out: 1, 3 and 6 processes on the 12 partitions of one preloaded topic.

    python -m benchmarks.scaling [--orders 600000] [--processes 1,3,6] [--rounds 2] [--json FILE]

Each run stores the same orders in a fresh database of the same server. The rate is taken between a
quarter and all of the orders: joining the group and what was fetched meanwhile count for nobody.
Rounds alternate, so that what else the machine does falls on all alike; the median is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from jangteo.stack.consistency import check
from shop import kafka, postgres

WARM_UP = 0.25


def run(rig: common.Rig, n: int, *, processes: int, batch: int) -> float:
    """Return the orders per second that a number of processes stored together."""
    rig.drop_databases()
    env = {
        **rig.database(),
        "INGEST_TOPICS": "orders",
        "INGEST_BATCH_SIZE": str(batch),
        "JANGTEO_DATA_DIR": str(rig.directory),
    }
    settings = rig.settings(env)
    rig.checkpoint()
    logs = [rig.directory / f"scaling-{i}.log" for i in range(processes)]
    running = []
    with postgres.connect(settings.postgres, "bench", autocommit=True) as conn:
        # Nobody stores anything before all have their share of the partitions.
        with conn.transaction():
            conn.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            for log in logs:
                with log.open("wb") as out:
                    argv = [sys.executable, "-m", "bytewax.run", "flows.ingest"]
                    running.append(subprocess.Popen(argv, env={**os.environ, **env}, stderr=out))
            try:
                _await_shared(logs, settings.kafka.partitions)
            except BaseException:
                _end(running)
                raise
        try:
            seconds = _measure(conn, running, n)
            if differences := check(conn):
                raise RuntimeError(f"spend does not agree: {differences[:3]}")
        finally:
            _end(running)
    return n * (1 - WARM_UP) / seconds


def _await_shared(logs: list[Path], partitions: int) -> None:
    deadline = time.monotonic() + 120
    share = f"partitions={partitions // len(logs)} ".encode()
    while not all(
        log.read_bytes().rpartition(b"partitions assigned")[2].count(share) for log in logs
    ):
        if time.monotonic() > deadline:
            raise RuntimeError("the processes did not share the partitions within 120 s")
        time.sleep(0.05)


def _measure(conn: postgres.Connection, running: list[subprocess.Popen[bytes]], n: int) -> float:
    """Return the seconds from a quarter stored to all stored."""
    done, started = 0, 0.0
    while done < n:
        time.sleep(0.01)
        row = conn.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
        done = int(row[0] or 0) if row else 0
        if not started and done >= n * WARM_UP:
            started = time.perf_counter()
            n_started = done
        if any(process.poll() is not None for process in running):
            raise RuntimeError("an ingest process ended")
    # What was stored beyond the quarter when it was first seen counts for the time before.
    return (time.perf_counter() - started) * n * (1 - WARM_UP) / max(1, n - n_started)


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.kill()
    for process in running:
        process.wait()


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=600_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--processes", default="1,3,6", help="divisors of 12, with commas between")
    parser.add_argument("--batch", type=int, default=10_000, help="INGEST_BATCH_SIZE")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    counts = [int(word) for word in args.processes.split(",")]
    rates: dict[int, list[float]] = defaultdict(list)
    with common.rig() as rig:
        settings = rig.settings({**rig.postgres.env, **rig.broker.env})
        kafka.create_topics(settings.kafka)
        frame = orders.frame(args.orders, users=args.users, products=args.products)
        orders.preload(settings, frame)
        for _ in range(args.rounds):
            for count in counts:
                rates[count].append(run(rig, args.orders, processes=count, batch=args.batch))
    table = Table("processes", "orders/s", f"of {counts[0]}", title="Scaling out on 12 partitions")
    base = statistics.median(rates[counts[0]])
    for count in counts:
        rate = statistics.median(rates[count])
        table.add_row(str(count), f"{rate:,.0f}", f"{rate / base:.2f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    if args.json:
        medians = {count: statistics.median(rates[count]) for count in counts}
        chart, of = "Orders stored by several processes, orders/s", f"{counts[0]} process"
        found = [
            common.Result(f"{n} processes", m, "orders/s", m / base, of, chart=chart)
            for n, m in medians.items()
        ]
        common.save(args.json, found, rates={str(c): r for c, r in rates.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
