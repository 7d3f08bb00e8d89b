"""How fast orders get from Kafka into PostgreSQL, against raw COPY of the same rows.

    python -m benchmarks.ingest [--orders 1000000] [--users 50000] [--json FILE]

Preloads the orders into a broker, runs the real dataflow as a process, and loads the same rows
by plain COPY into the same table of the same server: the limit of what one connection can do.
Servers are the embedded ones, fsync on, everything on this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from shop import kafka, postgres
from shop.consistency import check

COPY_BATCH = 50_000


@dataclass(frozen=True)
class Figure:
    """One contestant: rows per second, and what it cost."""

    name: str
    rows_per_s: float
    seconds: float
    peak_mb: float | None = None
    cpu_s: float | None = None
    note: str = ""


def raw_copy(rig: common.Rig, frame: pl.DataFrame) -> Figure:
    """COPY the rows into `orders`, one transaction a batch, text made beforehand."""
    settings = rig.settings(rig.database())
    texts = []
    for part in frame.iter_slices(COPY_BATCH):
        texts.append(
            part.write_csv(include_header=False, separator="\t", null_value="\\N").encode()
        )
    statement = postgres.copy_statement("orders", frame.columns, psycopg.sql.SQL("FORMAT text"))
    rig.checkpoint()
    with postgres.connect(settings.postgres, "bench") as conn:
        started = time.perf_counter()
        for text in texts:
            with conn.transaction(), conn.cursor() as cur, cur.copy(statement) as copy:
                copy.write(text)
        seconds = time.perf_counter() - started
    return Figure("raw COPY, one connection", frame.height / seconds, seconds,
                  note="the limit: no Kafka, no decoding, no spend")  # fmt: skip


def our_flow(rig: common.Rig, n: int, *, batch: int) -> Figure:
    """Run `flows.ingest` over the preloaded topic; timed from the partition assignment on."""
    env = rig.database()
    settings = rig.settings(env)
    log = rig.directory / "ingest.log"
    rig.checkpoint()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", "flows.ingest"],
            env={**os.environ, **env, "INGEST_TOPICS": "orders", "INGEST_BATCH_SIZE": str(batch)},
            stderr=out,
        )
    try:
        started = None
        with postgres.connect(settings.postgres, "bench", autocommit=True) as conn:
            done = 0
            while done < n:
                time.sleep(0.01)
                if started is None and b"partitions assigned" in log.read_bytes():
                    started = time.perf_counter()
                row = conn.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
                done = int(row[0] or 0) if row else 0
                if process.poll() is not None:
                    raise RuntimeError(f"the ingest ended:\n{log.read_text()[-2000:]}")
            seconds = time.perf_counter() - (started or 0.0)
            peak, cpu = common.peak_memory_mb(process.pid), common.cpu_s(process.pid)
            if differences := check(conn):
                raise RuntimeError(f"spend does not agree: {differences[:3]}")
    finally:
        process.terminate()
        process.wait(20)
    return Figure("flows.ingest, full path", n / seconds, seconds, peak, cpu,
                  note="windows, customers, products, offsets; spend checked")  # fmt: skip


def show(figures: list[Figure]) -> None:
    """Print the table; the first figure is what the others are held against."""
    table = Table(title="Kafka to PostgreSQL")
    for column in (
        "contestant",
        "rows/s",
        "of COPY",
        "seconds",
        "CPU s",
        "peak MB",
        "what it does",
    ):
        table.add_column(
            column, justify="left" if column in ("contestant", "what it does") else "right"
        )
    limit = figures[0].rows_per_s
    for f in figures:
        table.add_row(
            f.name,
            f"{f.rows_per_s:,.0f}",
            f"{f.rows_per_s / limit:.0%}",
            f"{f.seconds:.2f}",
            f"{f.cpu_s:.1f}" if f.cpu_s is not None else "-",
            f"{f.peak_mb:.0f}" if f.peak_mb is not None else "-",
            f.note,
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=50_000, help="INGEST_BATCH_SIZE")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    frame = orders.frame(args.orders, users=args.users, products=args.products)
    with common.rig() as rig:
        settings = rig.settings({**rig.postgres.env, **rig.broker.env})
        kafka.create_topics(settings.kafka)
        seconds = orders.preload(settings, frame)
        print(f"preloaded {args.orders:,} orders of {args.users:,} customers in {seconds:.1f} s")
        figures = [raw_copy(rig, frame), our_flow(rig, args.orders, batch=args.batch)]
    show(figures)
    if args.json:
        common.save(args.json, {"figures": [asdict(f) for f in figures]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
