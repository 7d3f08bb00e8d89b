"""Is a history like a real shop's? Asked of its tables, in SQL, with a target for each answer.

    python -m benchmarks.history_realism [--days 365] [--scale F] [--seed 1] [--images DIR]
    python -m benchmarks.history_realism --postgres "host=127.0.0.1 dbname=shop user=shop"

Writes a history into a PostgreSQL of its own, or asks one that is there, of which it changes
nothing: its tables are temporary. A target that is missed is printed as missed; the exit code is 0
all the same, as this is a measurement, not a check. Only orders and totals that disagree are an
error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks import common, history_sql
from benchmarks.realism.simulated import IMAGES
from benchmarks.targets import table
from jangteo.stack import consistency
from shop import postgres
from shop.grading_policy import POLICY
from shop.postgres import Connection

SPEND = "SELECT spend AS x FROM buyers"
ORDERS = "SELECT orders AS x FROM buyers"
UNITS = "SELECT sum(quantity) AS x FROM orders GROUP BY product_id"
LATE = 13
"""Weeks at the end over which the changes of grade are averaged."""


@contextlib.contextmanager
def history(args: argparse.Namespace) -> Iterator[Connection]:
    """Connect to the history: one that is there, or one made now."""
    if args.postgres:
        with psycopg.connect(args.postgres, options="-c timezone=UTC", autocommit=True) as conn:
            yield conn
        return
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        rig = common.Rig(Path(name))
        rig.postgres.start()
        try:
            env = {**rig.postgres.env, "JANGTEO_DATA_DIR": name}
            reached = rig.settings(env).postgres
            with postgres.connect(reached, "bench") as conn:
                postgres.migrate(conn)
            words = [
                word
                for option in ("days", "end", "orders_per_day", "scale", "seed")
                if (value := getattr(args, option)) is not None
                for word in (f"--{option.replace('_', '-')}", str(value))
            ]
            subprocess.run(
                [sys.executable, "-m", "generators.backfill", *words],
                env={**os.environ, **env},
                check=True,
            )
            with postgres.connect(reached, "bench", autocommit=True) as conn:
                yield conn
        finally:
            rig.postgres.stop()


def scenario_table(conn: Connection) -> str:
    """Return a Markdown table of what each scenario brought."""
    lines = [
        "| scenario | orders | of all | of revenue | mean KRW | cancelled |",
        "|---|---|---|---|---|---|",
    ]
    for name, orders, share, revenue, mean, cancelled in history_sql.scenarios_of(conn):
        lines.append(
            f"| {name or 'none'} | {orders:,} | {share:.1%} | {revenue:.1%} | {mean:,.0f} |"
            f" {cancelled:.1%} |"
        )
    return "\n".join(lines)


def grade_lines(conn: Connection) -> list[str]:
    """Return how customers are graded at the end, and how many changes a week brings."""
    _, held, changed = history_sql.grades_by_week(conn, POLICY.names)
    shares = ", ".join(
        f"{name} {n / held[-1].sum():.1%}" for name, n in zip(POLICY.names, held[-1], strict=True)
    )
    weekly = (changed[-LATE:] / held[-LATE:].sum(axis=1)).mean()
    return [
        f"grades at the last grading: {shares}",
        f"customers who change grade in a week, last {LATE} weeks: {weekly:.1%}",
    ]


def draw(conn: Connection, folder: Path) -> list[Path]:
    """Draw the pictures."""
    from benchmarks import pictures  # noqa: PLC0415  (matplotlib only where it is wanted)

    when, held, _ = history_sql.grades_by_week(conn, POLICY.names)
    curves = [
        (name, history_sql.lorenz(conn, query))
        for name, query in (
            ("spend of buyers", SPEND), ("orders of buyers", ORDERS), ("units of products", UNITS),
        )
    ]  # fmt: skip
    return [
        pictures.revenue(history_sql.revenue_by_day(conn), folder),
        pictures.grades(when, held, POLICY.names, folder),
        pictures.lorenz(curves, folder),
    ]


def main() -> int:
    """Print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_realism")
    parser.add_argument(
        "--postgres", metavar="DSN", help="a shop that is there, not one of its own"
    )
    for option, kind in (
        ("--days", int), ("--end", str), ("--orders-per-day", int), ("--scale", float),
        ("--seed", int),
    ):  # fmt: skip
        parser.add_argument(option, type=kind, help="of the backfill")
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--no-images", action="store_true")
    args = parser.parse_args()
    with history(args) as conn:
        began = time.perf_counter()
        history_sql.prepare(conn)
        found = history_sql.measure(conn)
        row = conn.execute(
            "SELECT (SELECT count(*) FROM placed), (SELECT count(*) FROM buyers),"
            " (SELECT count(*) FROM users), (SELECT count(*) FROM products)"
        ).fetchone()
        orders, buyers, users, products = row or (0, 0, 0, 0)
        print(
            f"{orders:,} orders of {buyers:,} buyers among {users:,} customers, {products:,}"
            f" products; asked in {time.perf_counter() - began:.0f} s\n"
        )
        print(table(found), scenario_table(conn), *grade_lines(conn), sep="\n\n")
        if not args.no_images:
            print("", *draw(conn, args.images), sep="\n")
        if wrong := consistency.check(conn):
            print("what does not add up:", *wrong, sep="\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
