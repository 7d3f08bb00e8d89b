"""What the layout by month costs the ingest: the same batches into both layouts, in turn.

    python -m benchmarks.scaling.layouts [--batches 40] [--rows 1000000]

Two databases of one server, one partitioned into 28 months; each is filled with the rows of two
years. Then the same batches are stored in both, one after the other, and the CPU of the two
backends is compared: what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import common, orders
from benchmarks.scaling.growth import CUSTOMERS, DAYS, PRODUCTS, TABLES, insert
from flows.aggregates import fold_batch
from flows.batch import Batch, OffsetRange, RawBatch
from flows.decoding.decode import decode_batch
from flows.transaction import Store
from jangteo.stack import embedded
from shop import postgres
from shop import settings as shop_settings
from shop.clock import utc_now
from shop.postgres import Connection, partitions

BATCH = 20_000
WINDOW_S = 300


@dataclass
class Contestant:
    """One layout: its session, and the CPU microseconds of its backend for each order, by batch."""

    conn: Connection
    store: Store
    pid: int
    cost_us: list[float] = field(default_factory=list)

    def apply(self, batch: Batch) -> None:
        """Store a batch, and note what it cost."""
        before = common.cpu_s(self.pid)
        self.store.apply_all(self.conn, [batch])
        self.cost_us.append((common.cpu_s(self.pid) - before) / BATCH * 1e6)


def enter(server: embedded.EmbeddedPostgres, *, partitioned: bool, rows: int) -> Contestant:
    """Make a database of a layout, with rows of two years."""
    name = "partitioned" if partitioned else "plain"
    base = shop_settings.load(server.env, use_stack=False).postgres
    with postgres.connect(base, "bench", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    there = {**server.env, "POSTGRES_DB": name}
    conn = postgres.connect(
        shop_settings.load(there, use_stack=False).postgres, "bench", autocommit=True
    )
    postgres.migrate(conn, lean=True, partitioned=partitioned)
    with conn.transaction(), conn.cursor() as cur:
        partitions.make(cur, utc_now() - timedelta(days=DAYS), utc_now())
    with conn.transaction():
        for table in TABLES:
            insert(conn, table, 0, rows)
        conn.execute(
            "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
            " VALUES ('orders', 0, 'log', 0)"
        )
    conn.execute("VACUUM (ANALYZE)")
    store = Store("orders", window_s=WINDOW_S)
    store.prepare(conn)
    return Contestant(conn, store, conn.info.backend_pid)


def batch_of(number: int, began: datetime) -> Batch:
    """Return a decoded batch; each is of a minute of its own, so no id comes twice."""
    end = began + timedelta(minutes=number)
    frame = orders.frame(BATCH, users=CUSTOMERS, products=PRODUCTS, seed=number, end=end)
    keys, payloads = zip(*orders.messages(frame), strict=True)
    first = number * BATCH
    raw = RawBatch(
        topic="orders", log_id="log", spans={0: OffsetRange(first, first + BATCH)},
        partitions=[0] * BATCH, offsets=list(range(first, first + BATCH)), keys=list(keys),
        payloads=list(payloads),
    )  # fmt: skip
    return fold_batch(decode_batch(raw, clock=utc_now), window_s=WINDOW_S)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        server = embedded.EmbeddedPostgres(Path(name))
        server.start()
        try:
            plain, parted = (enter(server, partitioned=on, rows=args.rows) for on in (False, True))
            began = utc_now() - timedelta(minutes=args.batches)
            for number in range(args.batches):
                batch = batch_of(number, began)
                pair = (plain, parted) if number % 2 else (parted, plain)
                for contestant in pair:
                    contestant.apply(batch)
            costs = [statistics.median(c.cost_us[2:]) for c in (plain, parted)]
        finally:
            server.kill()
    print(f"CPU of PostgreSQL an order: plain {costs[0]:.2f} us, by month {costs[1]:.2f} us")
    print(f"the layout by month costs {costs[1] / costs[0] - 1:+.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
