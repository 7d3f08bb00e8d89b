"""What an order costs the ingest while the tables grow: from 10^5 to 10^8 rows in one run.

    python -m benchmarks.scaling.growth [--sizes 100000,1000000,10000000] [--indexes] [--json FILE]

The tables are filled to each size inside the server, with made-up rows 631 ms apart (10^8 of them
are two years), of a million customers. Then the ingest stores real messages from a topic, the same
number at each size, and the CPU of the ingest and of PostgreSQL between a quarter and all of them
is taken: on a busy machine seconds depend on the neighbours, CPU hardly does. Autovacuum is off
meanwhile. Filled are `orders` and `user_spend_windows`; users, products and rollups have as many
rows as such a shop has, but not its sums. A size for which the disk has no room is left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from shop import kafka, postgres
from shop.clock import utc_now
from shop.postgres import partitions

CUSTOMERS = 1_000_000
PRODUCTS = 2_000
DAYS = 731
SPACING_MS = 631
WARM_UP = 0.25
CHUNK = 2_500_000
ROW_BYTES = 310
"""Disk that an order takes without look-up indexes: its row, its window, their keys."""
INDEX_BYTES = 100
RESERVE_BYTES = 7 << 30
"""Left free: WAL of up to 4 GB, and what the neighbours write meanwhile."""

# The same customer comes again after a million orders, a week later: each order has a window of
# its own, at a random place of an index that begins with the customer.
_ROWS = f"""
    SELECT i, 1 + (i * 7919) %% {CUSTOMERS} AS user_id,
           1 + floor(((i * 104729) %% 1000003 / 1000003.0) ^ 3 * {PRODUCTS})::bigint AS product_id,
           date_trunc('month', now() - interval '{DAYS} days')
               + i * interval '{SPACING_MS} milliseconds' AS at
    FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS i
"""
FILL = {
    "orders": f"""
INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,
                    payment_method, status, scenario, ordered_at, updated_at)
SELECT ((extract(epoch FROM at) * 1000)::bigint - 1577836800000) << 12, 1, user_id, product_id, 1,
       20000, 0, 20000, 'CARD', 'PAID', NULL, at, at FROM ({_ROWS}) AS r
""",
    "user_spend_windows": f"""
INSERT INTO user_spend_windows (user_id, window_start, orders, spend)
SELECT user_id, date_bin('300 s', at, 'epoch') AS start, 1, 20000 FROM ({_ROWS}) AS r
ORDER BY start, user_id
ON CONFLICT (window_start, user_id) DO NOTHING
""",
}
_AROUND = f"""
INSERT INTO users (user_id, name, created_at) SELECT i, 'name', now()
FROM generate_series(1, {CUSTOMERS}) AS i;
INSERT INTO products (product_id, name, category, created_at)
SELECT i, 'name', 'category ' || i %% 12, now() FROM generate_series(1, {PRODUCTS}) AS i;
INSERT INTO sales_by_product (product_id, day, orders, units, spend)
SELECT p, current_date - d, 1, 1, 20000
FROM generate_series(1, {DAYS}) AS d, generate_series(1, {PRODUCTS}) AS p
""".replace("%%", "%")


@dataclass(frozen=True)
class Point:
    """What an order costs at one size of the tables.

    Attributes:
        layout: plain or partitioned.
        indexes: whether the look-up indexes are there.
        rows: orders that were there before.
        ingest_us: CPU of the ingest, microseconds an order.
        database_us: CPU of PostgreSQL, microseconds an order.
        rate: orders a second.
    """

    layout: str
    indexes: bool
    rows: int
    ingest_us: float
    database_us: float
    rate: float


class Growth:
    """A database that is filled step by step, and a topic that is read step by step."""

    def __init__(self, rig: common.Rig, *, partitioned: bool, orders_each: int) -> None:
        self._rig = rig
        self._each = orders_each
        self._layout = "partitioned" if partitioned else "plain"
        self._env = {
            **rig.database(),
            "INGEST_TOPICS": "orders",
            "JANGTEO_DATA_DIR": str(rig.directory),
        }
        self._settings = rig.settings(self._env)
        with self._connect() as conn:
            conn.execute("ALTER SYSTEM SET autovacuum = off")
            conn.execute("SELECT pg_reload_conf()")
            postgres.migrate(conn, lean=True, partitioned=partitioned)
            with conn.transaction(), conn.cursor() as cur:
                partitions.make(cur, utc_now() - timedelta(days=DAYS + 31), utc_now())
            conn.execute(_AROUND)
        self.rows = 0
        self._published = 0
        self._minute = utc_now() - timedelta(hours=1)

    def _connect(self) -> postgres.Connection:
        return postgres.connect(self._settings.postgres, "bench", autocommit=True)

    def room_for(self, size: int, *, indexes: bool) -> bool:
        """Return whether the disk has room for the tables of a size."""
        each = ROW_BYTES + indexes * INDEX_BYTES
        free = shutil.disk_usage(self._rig.directory).free
        return free - (size - self.rows) * each > RESERVE_BYTES

    def fill(self, size: int) -> float:
        """Fill the tables up to a size; return the seconds."""
        started = time.perf_counter()
        failed: list[BaseException] = []

        def fill(table: str) -> None:
            try:
                with self._connect() as conn:
                    for low in range(self.rows, size, CHUNK):
                        high = min(low + CHUNK, size) - 1
                        self._refuse_full_disk()
                        conn.execute(FILL[table].encode(), {"low": low, "high": high})
            except BaseException as e:
                failed.append(e)

        threads = [threading.Thread(target=fill, args=(table,)) for table in FILL]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        self.rows = size
        with self._connect() as conn:
            # Hint bits and visibility: no measured order pays for what the load left behind.
            conn.execute("VACUUM (ANALYZE) orders, user_spend_windows, users")
        return time.perf_counter() - started

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self._rig.directory).free < RESERVE_BYTES // 2:
            raise RuntimeError("the disk is nearly full")

    def index(self, wanted: bool) -> None:
        """Build or drop the look-up indexes."""
        with self._connect() as conn:
            postgres.migrate(conn, lean=not wanted)

    def measure(self, *, indexes: bool) -> Point:
        """Store messages; return what one cost."""
        self._minute += timedelta(minutes=1)  # orders are of a minute: no id comes twice
        frame = orders.frame(
            self._each, users=CUSTOMERS, products=PRODUCTS, seed=self._published + 1,
            end=self._minute,
        )  # fmt: skip
        orders.preload(self._settings, frame)
        self._published += self._each
        self._rig.checkpoint()
        log = self._rig.directory / "growth.log"
        with log.open("wb") as out:
            argv = [sys.executable, "-m", "bytewax.run", "flows.ingest"]
            running = subprocess.Popen(argv, env={**os.environ, **self._env}, stderr=out)
        try:
            ours, theirs, seconds, n = self._watch(running, log)
        finally:
            running.terminate()
            running.wait(30)
        return Point(
            self._layout, indexes, self.rows, ours / n * 1e6, theirs / n * 1e6, n / seconds
        )

    def _watch(
        self, running: subprocess.Popen[bytes], log: Path
    ) -> tuple[float, float, float, int]:
        """Return CPU seconds of ingest and database, seconds, and orders, after the warm-up."""
        first = self._published - self._each
        start: tuple[float, float, float, int] | None = None
        with self._connect() as conn:
            while True:
                time.sleep(0.005)
                row = conn.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
                done = int(row[0] or 0) if row else 0
                if running.poll() is not None:
                    raise RuntimeError(f"the ingest ended:\n{log.read_text()[-2000:]}")
                if start is None and done >= first + self._each * WARM_UP:
                    start = self._now(running.pid, done)
                if start is not None and done >= self._published:
                    end = self._now(running.pid, done)
                    return end[0] - start[0], end[1] - start[1], end[2] - start[2], done - start[3]

    def _now(self, pid: int, done: int) -> tuple[float, float, float, int]:
        return common.cpu_s(pid), self._rig.server_cpu_s()[0], time.perf_counter(), done


def show(points: list[Point]) -> None:
    """Print the curve."""
    table = Table(title="What an order costs while the tables grow")
    for column in (
        "layout",
        "look-up indexes",
        "orders before",
        "ingest us",
        "PostgreSQL us",
        "/s",
    ):
        table.add_column(column, justify="right")
    for p in points:
        table.add_row(
            p.layout, "yes" if p.indexes else "no", f"{p.rows:,}", f"{p.ingest_us:.1f}",
            f"{p.database_us:.1f}", f"{p.rate:,.0f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def main() -> int:
    """Draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="100000,1000000,10000000,100000000")
    parser.add_argument("--layouts", default="plain", help="plain, partitioned or both, by commas")
    parser.add_argument("--orders", type=int, default=400_000, help="messages at each size")
    parser.add_argument("--indexes", action="store_true", help="also with the look-up indexes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    points: list[Point] = []
    for layout in args.layouts.split(","):
        with common.rig() as rig:
            kafka.create_topics(rig.settings({**rig.postgres.env, **rig.broker.env}).kafka)
            growth = Growth(rig, partitioned=layout == "partitioned", orders_each=args.orders)
            for size in map(int, args.sizes.split(",")):
                if not growth.room_for(size, indexes=False):
                    print(f"no room on the disk for {size:,} rows", flush=True)
                    break
                print(f"filled to {size:,} in {growth.fill(size):.0f} s", flush=True)
                points.append(growth.measure(indexes=False))
                print(points[-1], flush=True)
                if args.indexes and growth.room_for(size + size, indexes=True):
                    growth.index(True)
                    points.append(growth.measure(indexes=True))
                    print(points[-1], flush=True)
                    growth.index(False)
                if args.json:
                    common.save(args.json, [], points=[asdict(p) for p in points])
    show(points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
