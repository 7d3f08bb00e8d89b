"""How fast orders get from Kafka into PostgreSQL: ours, the limit, what a user would do instead.

    python -m benchmarks.ingest [--orders 1000000] [--users 50000] [--peers] [--json FILE]

Preloads the orders into a broker and lets each contestant store them in a fresh database of the
same server, one after the other. The limit is plain COPY of the same rows as text into the same
table with the same indexes, taken first and last: ratios are of the mean of the two. Below the
table is what limits: the threads of the ingest by their CPU time, and how busy all cores were with
the ingest, PostgreSQL and the broker.
Servers are the embedded ones, fsync on, everything on this machine. The peers store fewer orders
(--peer-orders): they are slower, and their rate does not depend on the number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from jangteo.stack.consistency import check
from shop import kafka, postgres
from shop.postgres.binary_copy import binary

TEXT_COPY = "raw COPY, text, one connection"
COPY_BATCH = 50_000
STRETCH = 1_000_000


@dataclass(frozen=True)
class IngestFigure:
    """One contestant: rows per second, and what it cost."""

    name: str
    rows_per_s: float
    seconds: float
    peak_mb: float | None = None
    cpu_s: float | None = None
    database_cpu_s: float | None = None
    broker_cpu_s: float | None = None
    threads: tuple[tuple[str, float], ...] = ()
    """CPU seconds of the ingest's threads, by name, the busiest first."""
    stretches: tuple[float, ...] = ()
    """Rows a second while the table grew: one figure for each `STRETCH` rows."""
    note: str = ""

    @property
    def busy(self) -> float | None:
        """The share of all cores that the contestant and its servers were busy with.

        >>> IngestFigure("x", 1, 2.0, cpu_s=1, database_cpu_s=1, broker_cpu_s=0).busy == 1 / cpus()
        True
        """
        if self.cpu_s is None or self.database_cpu_s is None or self.broker_cpu_s is None:
            return None
        return (self.cpu_s + self.database_cpu_s + self.broker_cpu_s) / self.seconds / cpus()


def cpus() -> int:
    """Return the number of cores."""
    return os.cpu_count() or 1


class Stopwatch:
    """When how many rows were there."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, float]] = []

    def start(self) -> None:
        """Begin to measure."""
        self._seen = [(0, time.perf_counter())]

    @property
    def running(self) -> bool:
        """Whether it has been started."""
        return bool(self._seen)

    @property
    def seconds(self) -> float:
        """From the start to what was seen last."""
        return self._seen[-1][1] - self._seen[0][1]

    def see(self, rows: int) -> None:
        """Record the number of rows that are there now."""
        self._seen.append((rows, time.perf_counter()))

    def stretches(self) -> tuple[float, ...]:
        """Return rows a second of each `STRETCH` rows; nothing if there are fewer than two.

        >>> watch = Stopwatch()
        >>> watch._seen = [(0, 0.0), (STRETCH, 4.0), (2 * STRETCH, 9.0)]
        >>> watch.stretches()
        (250000.0, 200000.0)
        """
        goal, rates, since = STRETCH, [], self._seen[0]
        for rows, at in self._seen:
            if rows >= goal:
                rates.append((rows - since[0]) / (at - since[1]))
                since, goal = (rows, at), rows + STRETCH
        return tuple(rates) if len(rates) > 1 else ()


def raw_copy(rig: common.Rig, frame: pl.DataFrame, fmt: Literal["text", "binary"]) -> IngestFigure:
    """COPY the rows into `orders`, one transaction a batch, written beforehand."""
    rig.drop_databases()
    settings = rig.settings(rig.database())
    parts = [
        (
            part.height,
            binary(part, "orders") if fmt == "binary" else postgres.copy_data(part, fmt=fmt),
        )
        for part in frame.iter_slices(COPY_BATCH)
    ]
    rig.checkpoint()
    stored, watch = 0, Stopwatch()
    before, _ = rig.server_cpu_s()
    with postgres.connect(settings.postgres, "bench") as conn:
        watch.start()
        for rows, data in parts:
            with conn.transaction(), conn.cursor() as cur:
                postgres.copy_into(cur, "orders", data)
            watch.see(stored := stored + rows)
        seconds = watch.seconds
        after, _ = rig.server_cpu_s()
    name = TEXT_COPY if fmt == "text" else "raw COPY, binary, one connection"
    return IngestFigure(
        name, frame.height / seconds, seconds, database_cpu_s=after - before,
        stretches=watch.stretches(), note="the limit: no Kafka, no decoding, no spend",
    )  # fmt: skip


def our_flow(
    rig: common.Rig, n: int, *, batch: int, processes: int = 1, lean: bool = False
) -> IngestFigure:
    """Run the dataflow over the preloaded topic; timed from the partition assignment on.

    Args:
        rig: the servers.
        n: orders in the topic.
        batch: INGEST_BATCH_SIZE.
        processes: members of the group.
        lean: only orders and offsets, as the peers do.
    """
    rig.drop_databases()
    env = {
        **rig.database(),
        "INGEST_TOPICS": "orders",
        "INGEST_BATCH_SIZE": str(batch),
        "JANGTEO_DATA_DIR": str(rig.directory),
    }
    settings = rig.settings(env)
    name = "benchmarks.peers.orders_only:get_flow()" if lean else "flows.ingest"
    rig.checkpoint()
    before = rig.server_cpu_s()
    running = []
    for i in range(processes):
        with (rig.directory / f"ingest-{i}.log").open("wb") as out:
            argv = [sys.executable, "-m", "bytewax.run", name]
            running.append(subprocess.Popen(argv, env={**os.environ, **env}, stderr=out))
    try:
        with postgres.connect(settings.postgres, "bench", autocommit=True) as conn:
            watch = _watch_until_applied(rig, conn, running, n)
            after = rig.server_cpu_s()
            peak = max(common.peak_memory_mb(p.pid) for p in running)
            cpu = sum(common.cpu_s(p.pid) for p in running)
            threads = common.threads_cpu_s([p.pid for p in running])
            if not lean and (differences := check(conn)):
                raise RuntimeError(f"spend does not agree: {differences[:3]}")
        drain = _drain(running)
    finally:
        for p in running:
            p.kill()
    of = f", {processes} processes" if processes > 1 else ""
    if lean:
        name, note = "flows.ingest, orders only", "orders and offsets, exactly once"
    else:
        name, note = f"flows.ingest, full path{of}", "and windows, customers, products; checked"
    database_s, broker_s = (b - a for a, b in zip(before, after, strict=True))
    return IngestFigure(
        f"{name}, batch {batch:,}", n / watch.seconds, watch.seconds, peak, cpu, database_s,
        broker_s, tuple(threads), watch.stretches(), f"{note}; SIGTERM took {drain:.2f} s",
    )  # fmt: skip


def _watch_until_applied(
    rig: common.Rig, conn: postgres.Connection, running: list[subprocess.Popen[bytes]], n: int
) -> Stopwatch:
    logs = [rig.directory / f"ingest-{i}.log" for i in range(len(running))]
    watch = Stopwatch()
    done = 0
    while done < n:
        time.sleep(0.01)
        if not watch.running and any(b"partitions assigned" in log.read_bytes() for log in logs):
            watch.start()
        row = conn.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
        done = int(row[0] or 0) if row else 0
        for process, log in zip(running, logs, strict=True):
            if process.poll() is not None:
                raise RuntimeError(f"the ingest ended:\n{log.read_text()[-2000:]}")
        if watch.running:
            watch.see(done)
    return watch


def _drain(running: list[subprocess.Popen[bytes]]) -> float:
    """Return the seconds from SIGTERM to the last end."""
    started = time.perf_counter()
    for process in running:
        process.terminate()
    for process in running:
        if process.wait(20):
            raise RuntimeError(f"the ingest ended with {process.returncode}")
    return time.perf_counter() - started


def peer(rig: common.Rig, name: str, argv: list[str], n: int, note: str) -> IngestFigure:
    """Run a peer until it has stored `n` orders; timed from its first message on."""
    rig.drop_databases()
    env = {**os.environ, **rig.database(), "PYTHONPATH": str(Path.cwd())}
    settings = rig.settings(env)
    rig.checkpoint()
    before = rig.server_cpu_s()
    with subprocess.Popen(
        [*argv, str(n)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            stamps = {}
            assert process.stdout is not None
            for line in process.stdout:
                stamps[line.strip()] = time.perf_counter()
                if "done" in stamps:
                    break
            if "done" not in stamps:
                raise RuntimeError(f"{name} ended with {process.wait()} before it was done")
            seconds = stamps["done"] - stamps["started"]
            after = rig.server_cpu_s()
            family = [process.pid, *common.children(process.pid)]
            peak = max(common.peak_memory_mb(pid) for pid in family)
            cpu = sum(common.cpu_s(pid) for pid in family)
        finally:
            common.end(process)
    with postgres.connect(settings.postgres, "bench") as conn:
        (stored,) = conn.execute("SELECT count(*) FROM orders").fetchone() or (0,)
    if stored < n:
        raise RuntimeError(f"{name} says it is done, but stored {stored} of {n}")
    database_s, broker_s = (b - a for a, b in zip(before, after, strict=True))
    return IngestFigure(name, n / seconds, seconds, peak, cpu, database_s, broker_s, note=note)


def peers(
    rig: common.Rig, frame: pl.DataFrame, quix: Path | None, *, connect: bool
) -> list[IngestFigure]:
    """Run the peers on a topic of their own size."""
    settings = rig.settings({**rig.postgres.env, **rig.broker.env})
    rig.empty_topics()
    orders.preload(settings, frame)
    n = frame.height
    python = [sys.executable, "-m"]
    note = "orders only, at least once"
    found = [
        peer(rig, "plain loop, executemany", [*python, "benchmarks.peers.plain_loop"], n, note),
        peer(
            rig, "Bytewax stock KafkaSource", [*python, "benchmarks.peers.stock_bytewax"], n, note
        ),
    ]
    if connect:
        argv = [*python, "benchmarks.peers.kafka_connect"]
        found.append(peer(rig, "Kafka Connect, Debezium JDBC", argv, n, note))
    if quix:
        argv = [str(quix), "-m", "benchmarks.peers.quix"]
        found.append(peer(rig, "Quix Streams PostgreSQL sink", argv, n, note))
    return found


def show(figures: list[IngestFigure]) -> None:
    """Print the table; the first figure is what the others are held against."""
    table = Table(title="Kafka to PostgreSQL")
    for column in (
        "contestant",
        "rows/s",
        "of COPY",
        "seconds",
        "CPU s",
        "PostgreSQL's",
        "broker's",
        "peak MB",
        "what it does",
    ):
        table.add_column(
            column, justify="left" if column in ("contestant", "what it does") else "right"
        )
    texts = [f.rows_per_s for f in figures if f.name == TEXT_COPY]
    limit = sum(texts) / len(texts)
    for f in figures:
        table.add_row(
            f.name,
            f"{f.rows_per_s:,.0f}",
            f"{f.rows_per_s / limit:.0%}",
            f"{f.seconds:.2f}",
            *(
                "-" if s is None else f"{s:.1f}"
                for s in (f.cpu_s, f.database_cpu_s, f.broker_cpu_s)
            ),
            f"{f.peak_mb:.0f}" if f.peak_mb is not None else "-",
            f.note,
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for f in figures:
        if f.threads and f.busy is not None:
            threads = ", ".join(f"{name} {seconds:.1f}" for name, seconds in f.threads[:6])
            console.print(f"{f.name}: cores {f.busy:.0%} busy; CPU s of its threads: {threads}")
        if f.stretches:
            rates = " ".join(f"{rate / 1e3:.0f}" for rate in f.stretches)
            console.print(f"{f.name}, thousands a second in each {STRETCH:,} rows: {rates}")


def results(figures: list[IngestFigure], days: float) -> list[common.Result]:
    """Return the figures for the report, with the goals of the ingest."""
    texts = [f.rows_per_s for f in figures if f.name == TEXT_COPY]
    limit, made, seen = sum(texts) / len(texts), [], 0
    for f in figures:
        name, goal = f.name, ""
        if name == TEXT_COPY:
            name, seen = f"{name}, {('first', 'last')[seen]}", seen + 1
        elif f.threads and "processes" not in name:
            goal = ">= 0.5" if days else ">= 0.85" if "orders only" in name else ">= 0.65"
        of, chart = "the mean of text COPY", "Orders into PostgreSQL, orders/s"
        made.append(
            common.Result(
                name, f.rows_per_s, "orders/s", f.rows_per_s / limit, of, goal, chart, f.note
            )
        )
        if f.threads and f.peak_mb and f.busy is not None:
            made.append(common.Result(f"{name}: peak memory", f.peak_mb, "MB", goal="<= 450"))
            made.append(common.Result(f"{name}: cores busy", 100 * f.busy, "%"))
    return made


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--days", type=float, default=0.0, help="spread the event times over days")
    parser.add_argument("--batch", type=int, nargs="+", default=[20_000], help="INGEST_BATCH_SIZE")
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--lean", action="store_true", help="also ours without the sums")
    parser.add_argument("--peers", action="store_true", help="also what a user would do instead")
    parser.add_argument("--connect", action="store_true", help="Kafka Connect too (needs Maven)")
    parser.add_argument("--peer-orders", type=int, default=200_000)
    parser.add_argument(
        "--quix", type=Path, metavar="PYTHON",
        help="interpreter of an environment with quixstreams and psycopg2-binary",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    frame = orders.frame(args.orders, users=args.users, products=args.products, days=args.days)
    with common.rig() as rig:
        settings = rig.settings({**rig.postgres.env, **rig.broker.env})
        kafka.create_topics(settings.kafka)
        seconds = orders.preload(settings, frame)
        print(f"preloaded {args.orders:,} orders of {args.users:,} customers in {seconds:.1f} s")
        figures = [raw_copy(rig, frame, "text"), raw_copy(rig, frame, "binary")]
        if args.lean:
            figures.append(our_flow(rig, args.orders, batch=args.batch[0], lean=True))
        for batch in args.batch:
            for processes in args.processes:
                figures.append(our_flow(rig, args.orders, batch=batch, processes=processes))
        if args.peers:
            figures += peers(rig, frame.head(args.peer_orders), args.quix, connect=args.connect)
        figures.append(raw_copy(rig, frame, "text"))
    print("load average:", *(f"{load:.1f}" for load in os.getloadavg()))
    show(figures)
    if args.json:
        found = results(figures, args.days)
        common.save(args.json, found, figures=[asdict(f) for f in figures])
    return 0


if __name__ == "__main__":
    sys.exit(main())
