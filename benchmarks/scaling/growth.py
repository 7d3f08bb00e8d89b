"""What an order costs the ingest while the tables grow: from 10^5 to 10^8 rows in one run.

    python -m benchmarks.scaling.growth [--layouts plain,partitioned] [--indexes] [--json FILE]

The tables are filled to each size inside the server, with made-up rows 631 ms apart (10^8 of them
are two years), of a million customers. Then the ingest stores real messages from a topic, the same
number at each size and in several rounds, and the CPU of the ingest and of PostgreSQL between a
quarter and all of them is taken; the median of the rounds is shown. On a busy machine seconds
depend on the neighbours, CPU hardly does. Autovacuum is off meanwhile. Filled are `orders` and
`user_spend_windows`; users, products and rollups have as many rows as such a shop has, but not its
sums. A size for which the disk has no room is left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
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
from shop.ids import EPOCH_MS
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
# its own, at a random place of an index that begins with the customer. Only integers and doubles:
# with numeric, making a row cost more than storing it.
_ROWS = f"""
    SELECT %(base)s::bigint + i * {SPACING_MS} AS ms, 1 + (i * 7919) %% {CUSTOMERS} AS user_id,
           1 + floor(((i * 104729) %% 1000003 / 1000003::float8) ^ 3::float8 * {PRODUCTS})::bigint
               AS product_id,
           '2020-01-01Z'::timestamptz
               + (%(base)s::bigint + i * {SPACING_MS}) * interval '1 millisecond' AS at
    FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS i
"""
_FILL = {
    "orders": f"""
INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,
                    payment_method, status, scenario, ordered_at, updated_at)
SELECT ms << 12, 1, user_id, product_id, 1, 20000, 0, 20000, 'CARD', 'PAID', NULL, at, at
FROM ({_ROWS}) AS r
""",
    "user_spend_windows": f"""
INSERT INTO user_spend_windows (user_id, window_start, orders, spend)
SELECT user_id, date_bin('300 s', at, 'epoch') AS start, 1, 20000 FROM ({_ROWS}) AS r
ORDER BY start, user_id
""",
}
TABLES = tuple(_FILL)
_AROUND = f"""
INSERT INTO users (user_id, name, created_at) SELECT i, 'name', now()
FROM generate_series(1, {CUSTOMERS}) AS i;
INSERT INTO products (product_id, name, category, created_at)
SELECT i, 'name', 'category ' || i %% 12, now() FROM generate_series(1, {PRODUCTS}) AS i;
INSERT INTO sales_by_product (product_id, day, orders, units, spend)
SELECT p, current_date - d, 1, 1, 20000
FROM generate_series(1, {DAYS}) AS d, generate_series(1, {PRODUCTS}) AS p
""".replace("%%", "%")


def insert(conn: postgres.Connection, table: str, low: int, high: int) -> None:
    """Insert the made-up rows `low` to `high` - 1 of one of `TABLES`."""
    first = (utc_now() - timedelta(days=DAYS)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    base = int(first.timestamp() * 1000) - EPOCH_MS
    conn.execute(_FILL[table].encode(), {"base": base, "low": low, "high": high - 1})


@dataclass(frozen=True)
class Point:
    """What an order costs at one size of the tables.

    Attributes:
        layout: plain or partitioned.
        indexes: whether the look-up indexes are there.
        rows: orders that were there before.
        ingest_us: CPU of the ingest, microseconds an order.
        database_us: CPU of PostgreSQL, microseconds an order.
        wall_us: elapsed time, microseconds an order.
        spread_us: least and most of the CPU of both together, over the rounds.
    """

    layout: str
    indexes: bool
    rows: int
    ingest_us: float
    database_us: float
    wall_us: float
    spread_us: tuple[float, float]


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
                    conn.execute("SET synchronous_commit = off")
                    for low in range(self.rows, size, CHUNK):
                        self._refuse_full_disk()
                        insert(conn, table, low, min(low + CHUNK, size))
            except BaseException as e:
                failed.append(e)

        threads = [threading.Thread(target=fill, args=(table,)) for table in TABLES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        self.rows = size
        with self._connect() as conn:
            # Of each month a sample that is enough for its size; what is old is read by no order.
            conn.execute("SET default_statistics_target = 10")
            conn.execute("ANALYZE orders, user_spend_windows")
            conn.execute("VACUUM (ANALYZE) users, products, sales_by_product")
        return time.perf_counter() - started

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self._rig.directory).free < RESERVE_BYTES // 2:
            raise RuntimeError("the disk is nearly full")

    def index(self, wanted: bool) -> None:
        """Build or drop the look-up indexes."""
        with self._connect() as conn:
            postgres.migrate(conn, lean=not wanted)

    def measure(self, rounds: int, *, indexes: bool) -> Point:
        """Store messages in several rounds; return the median of what one cost."""
        found = [self._round() for _ in range(rounds)]
        ours, theirs, wall = (statistics.median(cost) for cost in zip(*found, strict=True))
        both = [found_ours + found_theirs for found_ours, found_theirs, _ in found]
        spread = (min(both), max(both))
        return Point(self._layout, indexes, self.rows, ours, theirs, wall, spread)

    def _round(self) -> tuple[float, float, float]:
        """Store messages; return microseconds an order: CPU of both, and elapsed."""
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
            *seconds, n = self._watch(running, log)
        finally:
            running.terminate()
            running.wait(30)
        ours, theirs, wall = (s / n * 1e6 for s in seconds)
        return ours, theirs, wall

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
    table = Table(title="What an order costs while the tables grow, microseconds")
    for column in ("layout", "indexes", "orders before", "ingest", "PostgreSQL", "both", "wall"):
        table.add_column(column, justify="right")
    for p in points:
        low, high = p.spread_us
        table.add_row(
            p.layout, "yes" if p.indexes else "no", f"{p.rows:,}", f"{p.ingest_us:.1f}",
            f"{p.database_us:.1f}", f"{low:.1f} to {high:.1f}", f"{p.wall_us:.1f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def main() -> int:
    """Draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="100000,1000000,10000000,30000000,100000000")
    parser.add_argument("--layouts", default="plain", help="plain, partitioned or both, by commas")
    parser.add_argument("--orders", type=int, default=200_000, help="messages of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds at each size")
    parser.add_argument("--indexes", action="store_true", help="also with the look-up indexes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    points: list[Point] = []
    for layout in args.layouts.split(","):
        with common.rig() as rig:
            kafka.create_topics(rig.settings({**rig.postgres.env, **rig.broker.env}).kafka)
            growth = Growth(rig, partitioned=layout == "partitioned", orders_each=args.orders)
            growth.measure(1, indexes=False)  # the first order of a shop: nothing is cached yet
            for size in map(int, args.sizes.split(",")):
                if not growth.room_for(size, indexes=False):
                    print(f"no room on the disk for {size:,} rows", flush=True)
                    break
                print(f"filled to {size:,} in {growth.fill(size):.0f} s", flush=True)
                points.append(growth.measure(args.rounds, indexes=False))
                print(points[-1], flush=True)
                if args.indexes and growth.room_for(size + size, indexes=True):
                    growth.index(True)
                    points.append(growth.measure(args.rounds, indexes=True))
                    print(points[-1], flush=True)
                    growth.index(False)
                if args.json:
                    common.save(args.json, [], points=[asdict(p) for p in points])
    show(points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
