"""What a history costs: written by the backfill, copied raw, and inserted row by row.

    python -m benchmarks.backfill [--days 365] [--json FILE]

Into an embedded PostgreSQL, fsync on, everything on this machine. The limit is COPY: the rows that
the backfill has written, read into memory beforehand and copied into the same tables with the same
keys over one connection, as text and in binary; the time counts from the first byte to the last
commit, each contestant begins after a checkpoint, and what an earlier one filled is gone. A script
makes each order with Faker and random, and inserts it and its totals, a commit every thousand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from faker import Faker
from psycopg import sql
from rich.console import Console
from rich.table import Table

from benchmarks import common
from jangteo.stack import embedded
from shop import postgres
from shop.clock import utc_now
from shop.ids import IdGenerator

TABLES = ("users", "products", "user_spend_windows", "orders", "simulation.customers")
SCRIPT_ROWS = 5_000


@dataclass(frozen=True)
class BackfillFigure:
    """A way to fill the shop: orders per second, and the memory of its processes where known."""

    name: str
    orders: int
    seconds: float
    peak_mb: dict[str, int] | None = None

    @property
    def rate(self) -> float:
        """Orders per second."""
        return self.orders / self.seconds


def backfill(env: dict[str, str], words: list[str]) -> BackfillFigure:
    """Run the command as a user does; its last line says what it did."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "generators.backfill", *words],
        env={**os.environ, **env, "LOG_FORMAT": "json"}, stderr=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    said = json.loads(done.stderr.strip().splitlines()[-1])
    return BackfillFigure("backfill", said["orders"], seconds, said["peak_mb"])


Blocks = dict[str, tuple[sql.Composed, list[bytes]]]
"""Table -> the statement that copies into it, and what it copies."""


def read(source: postgres.Connection, fmt: str) -> Blocks:
    """Return what a database holds, as COPY writes it."""
    found = {}
    for table in TABLES:
        columns = _columns(source, table)
        with source.cursor().copy(_copy(table, columns, "TO STDOUT", fmt)) as out:
            found[table] = _copy(table, columns, "FROM STDIN", fmt), [bytes(b) for b in out]
    return found


def raw_copy(rig: common.Rig, blocks: Blocks, orders: int, name: str) -> BackfillFigure:
    """COPY rows into a database of their own, with the same keys."""
    rig.drop_databases()
    settings = rig.settings(rig.database()).postgres
    rig.checkpoint()
    with postgres.connection(settings, "bench") as conn:
        began = time.perf_counter()
        for statement, parts in blocks.values():
            with conn.transaction(), conn.cursor().copy(statement) as to:
                for part in parts:
                    to.write(part)
        return BackfillFigure(name, orders, time.perf_counter() - began)


def _columns(conn: postgres.Connection, table: str) -> list[str]:
    with conn.cursor() as cur:
        cur.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(*table.split("."))))
        return [c.name for c in cur.description or () if c.name != "ingested_at"]


def _copy(table: str, columns: list[str], way: str, fmt: str) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) {} WITH (FORMAT {})").format(
        sql.Identifier(*table.split(".")), names, sql.SQL(way), sql.SQL(fmt)
    )


def script(conn: postgres.Connection, rows: int) -> BackfillFigure:
    """What a user would write: a customer now and then, an order, its totals, row by row."""
    fake, rng, ids = Faker("ko_KR"), random.Random(1), IdGenerator(3)
    users = [ids() for _ in range(100)]
    began = time.perf_counter()
    at = utc_now() - timedelta(days=365)
    for n in range(rows):
        at += timedelta(seconds=rng.uniform(3, 5))
        user = rng.choice(users)
        amount = rng.randrange(1_000, 200_000, 100)
        if n % 20 == 0:
            user = ids()
            users.append(user)
            conn.execute(
                "INSERT INTO users (user_id, name, email, city, created_at)"
                " VALUES (%s, %s, %s, %s, %s)",
                (user, fake.name(), fake.email(), fake.city(), at),
            )
        conn.execute(
            "INSERT INTO orders VALUES (%s, 1, %s, %s, 1, %s, 0, %s, 'CARD', 'PAID', NULL, %s, %s)",
            (ids(), user, rng.randrange(1, 20_000), amount, amount, at, at),
        )
        conn.execute(
            "INSERT INTO user_spend_windows VALUES (%s, date_bin('5 min', %s, 'epoch'), 1, %s)"
            " ON CONFLICT (window_start, user_id) DO UPDATE"
            " SET orders = user_spend_windows.orders + 1,"
            " spend = user_spend_windows.spend + excluded.spend",
            (user, at, amount),
        )
        conn.execute(
            "UPDATE users SET order_count = order_count + 1, total_spent = total_spent + %s,"
            " last_ordered_at = %s WHERE user_id = %s",
            (amount, at, user),
        )
        if n % 1_000 == 999:
            conn.commit()
    conn.commit()
    return BackfillFigure("Faker and INSERT, row by row", rows, time.perf_counter() - began)


def run(words: list[str]) -> list[BackfillFigure]:
    """Let each fill a database, one after the other, on one server."""
    with tempfile.TemporaryDirectory() as directory:
        rig = common.Rig(Path(directory))
        redis = embedded.EmbeddedRedis(Path(directory))
        rig.postgres.start()
        redis.start()
        try:
            rig.broker.start()
            env = rig.database()
            rig.checkpoint()
            ours = backfill({**env, **redis.env, "JANGTEO_DATA_DIR": directory}, words)
            with postgres.connection(rig.settings(env).postgres, "bench") as conn:
                written = {fmt: read(conn, fmt) for fmt in ("text", "binary")}
            limits = [
                raw_copy(rig, written.pop(fmt), ours.orders, f"raw COPY of the same rows, {fmt}")
                for fmt in ("text", "binary")
            ]
            rig.drop_databases()
            settings = rig.settings(rig.database()).postgres
            with postgres.connection(settings, "bench") as conn:
                return [*limits, ours, script(conn, SCRIPT_ROWS)]
        finally:
            rig.broker.stop()
            redis.stop()
            rig.postgres.stop()


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--end", default=None)
    parser.add_argument("--orders-per-day", type=int, default=21_600)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    words = [
        "--days", str(args.days),
        "--orders-per-day", str(args.orders_per_day), *(["--end", args.end] if args.end else []),
    ]  # fmt: skip
    results = run(words)
    table = Table("", "orders", "seconds", "orders/s", "of COPY", "peak MB")
    for r in results:
        peak = re.sub(r"[{}']", "", str(r.peak_mb or ""))
        table.add_row(
            r.name, f"{r.orders:,}", f"{r.seconds:.1f}", f"{r.rate:,.0f}",
            f"{r.rate / results[0].rate:.3f}", peak,
        )  # fmt: skip
    console = Console()
    console.print(common.machine())
    console.print(table)
    console.print(f"backfill against the script: {results[-2].rate / results[-1].rate:,.0f} times")
    if args.json:
        base, of, chart = results[0].rate, "COPY as text", "A history into PostgreSQL, orders/s"
        found = [
            common.Result(r.name, r.rate, "orders/s", r.rate / base, of, chart=chart)
            for r in results
        ]
        ours = results[-2]
        found.append(common.Result(f"{ours.name}: seconds", ours.seconds, "s"))
        found.append(common.Result(f"{ours.name}: orders", ours.orders, "orders"))
        common.save(args.json, found, figures=[asdict(r) for r in results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
