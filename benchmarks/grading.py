"""What grading costs: all orders, what changed, and what a user would do instead.

    python -m benchmarks.grading [--users 1000000] [--orders 10000000] [--json FILE]

A year of orders is in an embedded PostgreSQL, fsync on, everything on this machine. The first
run grades everybody. Before each incremental run 10 minutes pass and 1 % of the customers, drawn
evenly (--share), change: of twenty, eighteen buy, one has an order of 250 days ago arrive late, and
one has their newest order cancelled. A checkpoint follows, so that whatever page the run writes
first goes into the log whole. The contestants then grade the same shop as the last of these runs,
at the same instant, one after the other, from the same grades, each after a checkpoint, and have to
write the same grades. The limits are one look at every customer and one COPY of the orders that
count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks import common, orders
from benchmarks.peers import graders
from grading.store import GradeRun, grade_users
from shop import postgres
from shop.clock import UTC
from shop.grading_policy import POLICY
from shop.ids import EPOCH_MS, ids_at
from shop.postgres import Connection

NOW = datetime(2026, 8, 31, 12, tzinfo=UTC)
STEP = timedelta(minutes=10)
"""Between two runs, as GRADE_INTERVAL has it."""
LOAD_ROWS = 1_000_000
FULL_RUN = "Jangteo, full run"
INCREMENTAL = "Jangteo, incremental"

_TOTALS = """
    INSERT INTO users (user_id, created_at, order_count, total_spent)
    SELECT u, %s, coalesce(n, 0), coalesce(s, 0) FROM generate_series(1, %s::bigint) u
    LEFT JOIN (SELECT user_id, count(*) n, sum(amount)::bigint s FROM orders GROUP BY 1) o
    ON o.user_id = u
"""
_ADD = """
    UPDATE users u SET order_count = order_count + o.n, total_spent = total_spent + o.s
    FROM (SELECT user_id, count(*) n, sum(amount)::bigint s FROM orders
          WHERE order_id > %s GROUP BY 1) o
    WHERE u.user_id = o.user_id
"""
_CANCEL = """
    WITH picked AS (
        SELECT DISTINCT ON (user_id) order_id FROM orders
        WHERE user_id = ANY(%s::bigint[]) AND status = 'PAID' ORDER BY user_id, order_id DESC
    ), cancelled AS (
        UPDATE orders SET status = 'CANCELLED', rev = 2
        WHERE order_id IN (SELECT order_id FROM picked) RETURNING user_id, amount
    )
    UPDATE users u SET order_count = order_count - 1, total_spent = total_spent - c.amount
    FROM cancelled c WHERE u.user_id = c.user_id
"""


@dataclass(frozen=True)
class GradingFigure:
    """One contestant: seconds, and what it wrote."""

    name: str
    seconds: float
    changed: int | None = None
    note: str = ""


def load(conn: Connection, frame: pl.DataFrame, users: int) -> int:
    """Store customers and orders, their totals agreeing, as an ingest would have left them."""
    with conn.transaction(), conn.cursor() as cur:
        for part in frame.iter_slices(LOAD_ROWS):
            postgres.copy_frame(cur, "orders", part, fmt="text")
        cur.execute(_TOTALS, (NOW - timedelta(days=365), users))
    conn.execute("VACUUM ANALYZE")
    conn.execute("CHECKPOINT")
    return frame.height


def change(conn: Connection, customers: np.ndarray, at: datetime, seed: int) -> None:
    """Let customers buy just before an instant; of twenty, one late and one cancels instead."""
    rng = np.random.default_rng(seed)
    cancelling, buying = np.split(customers, [len(customers) // 20])
    row = conn.execute("SELECT max(order_id) FROM orders").fetchone()
    newest = int(row[0]) if row else 0
    frame = orders.frame(len(buying), users=1, products=2_000, seed=seed, end=at)
    late = pl.Series(rng.random(len(buying)) < 1 / 19)
    frame = frame.with_columns(
        user_id=pl.Series(buying),
        order_id=pl.Series(ids_at(np.full(len(buying), _ms(at) - EPOCH_MS), node=8)),
        ordered_at=pl.when(late)
        .then(pl.col("ordered_at") - timedelta(days=250))
        .otherwise(pl.col("ordered_at")),
    )
    with conn.transaction(), conn.cursor() as cur:
        postgres.copy_frame(cur, "orders", frame, fmt="text")
        cur.execute(_ADD, (newest,))
        cur.execute(_CANCEL, (cancelling.tolist(),))
    conn.execute("CHECKPOINT")


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def ours(conn: Connection, at: datetime) -> GradeRun:
    """Grade as the grader does."""
    run = grade_users(conn, wait=True, clock=lambda: at)
    assert run is not None  # who waits gets a turn
    return run


def figure(name: str, seconds: float, changed: int | None = None, note: str = "") -> GradingFigure:
    """Return a figure, and say it at once: the whole takes minutes."""
    print(f"{name}: {seconds:.2f} s", flush=True)
    return GradingFigure(name, seconds, changed, note)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds that something takes, and what it returns."""
    began = time.perf_counter()
    changed = work()
    return time.perf_counter() - began, changed


def digest(conn: Connection) -> str:
    """Return what says whether two sets of grades are the same."""
    row = conn.execute(
        "SELECT md5(string_agg(user_id || grade, ',' ORDER BY user_id)) FROM users"
    ).fetchone()
    return str(row[0]) if row else ""


def limits(conn: Connection, at: datetime) -> list[GradingFigure]:
    """Time what no grader can do without: a look at the customers, or the orders that count."""

    def look() -> int:
        conn.execute("SELECT count(*) FROM users WHERE age(xmin) < 0")
        return 0

    def copy() -> int:
        with conn.cursor() as cur, cur.copy(graders.COUNTING, POLICY.window(at)) as blocks:
            return sum(len(block) for block in blocks)

    return [
        figure(
            "limit: a look at all customers", timed(look)[0], note="what incremental begins with"
        ),
        figure("limit: COPY of the orders", timed(copy)[0], note="as CSV, discarded"),
    ]


def incremental(
    conn: Connection, users: int, share: float, rounds: int
) -> tuple[GradingFigure, datetime, str]:
    """Change some customers and grade what changed, a few times; the last round is left as it is.

    Returns:
        The figure, the instant of the last run, and the digest of its grades.
    """
    seconds, runs, at = [], [], NOW + STEP
    ours(conn, at)  # the run before wrote many rows, all of which are examined once more
    for i in range(rounds):
        at += STEP
        rng = np.random.default_rng(100 + i)
        picked = 1 + rng.choice(users, max(20, int(users * share)), replace=False)
        change(conn, picked, at, seed=200 + i)
        conn.execute("DROP TABLE IF EXISTS kept")
        conn.execute("CREATE TABLE kept AS SELECT user_id, grade FROM users")
        conn.execute("ANALYZE kept")
        conn.execute("CHECKPOINT")
        began = time.perf_counter()
        runs.append(ours(conn, at))
        seconds.append(time.perf_counter() - began)
    last = runs[-1]
    if any(run.mode != "incremental" for run in runs):
        raise RuntimeError("a run was not incremental")
    note = (
        f"{last.examined:,} customers examined; median of {rounds}, {min(seconds):.2f} to "
        f"{max(seconds):.2f}; the last one's reading {last.read_s:.2f}, writing {last.write_s:.2f}"
    )
    return figure(INCREMENTAL, statistics.median(seconds), last.changed, note), at, digest(conn)


def full(conn: Connection, at: datetime, notes: list[str]) -> int:
    """Grade with nothing known from before; note what of the time is whose."""
    run = ours(conn, at)
    if run.mode != "full":
        raise RuntimeError("a run that has to be full was not")
    notes.append(
        f"no state: all orders of the period; reading {run.read_s:.2f}, writing {run.write_s:.2f}"
    )
    return run.changed


def others(conn: Connection, at: datetime, want: str, work: Path) -> list[GradingFigure]:
    """Let everybody else grade the same shop, and hold them to the same grades."""
    notes: list[str] = []
    contestants: list[tuple[str, Callable[[], int], str]] = [
        (FULL_RUN, lambda: full(conn, at, notes), ""),
        ("one SQL statement", lambda: graders.by_sql(conn, at), "GROUP BY, UPDATE, history"),
        ("pandas", lambda: graders.by_pandas(conn, at), "COPY as CSV, groupby, UPDATE"),
        ("DuckDB", lambda: graders.by_duckdb(conn, at, work), "COPY to a file, SQL, UPDATE"),
    ]
    found = []
    for name, grade, note in contestants:
        conn.execute(
            "UPDATE users u SET grade = k.grade FROM kept k"
            " WHERE u.user_id = k.user_id AND u.grade <> k.grade"
        )
        conn.execute("DELETE FROM grade_history WHERE as_of = %s", (at,))
        conn.execute("SELECT forget_grade_state()")
        conn.execute("CHECKPOINT")
        seconds, changed = timed(lambda grade=grade: grade())  # type: ignore[misc]  # mypy has no type for a lambda with a default
        if digest(conn) != want:
            raise RuntimeError(f"{name} found other grades than the incremental run")
        found.append(figure(name, seconds, changed, note or notes[-1]))
    return found


def show(figures: list[GradingFigure]) -> None:
    """Print the table, each against our full run."""
    base = next(f.seconds for f in figures if f.name == FULL_RUN)
    table = Table(title="Grading")
    for column in ("contestant", "seconds", "of our full", "changed", "what it does"):
        left = column in ("contestant", "what it does")
        table.add_column(column, justify="left" if left else "right")
    for f in figures:
        changed = "-" if f.changed is None else f"{f.changed:,}"
        table.add_row(f.name, f"{f.seconds:.2f}", f"{f.seconds / base:.0%}", changed, f.note)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def results(figures: list[GradingFigure]) -> list[common.Result]:
    """Return the figures for the report, with the goals of the grader."""
    seconds = {f.name: f.seconds for f in figures}
    sql, full_run = seconds["one SQL statement"], seconds[FULL_RUN]
    made = []
    for f in figures:
        base, of = (sql, "one SQL statement") if f.name == FULL_RUN else (full_run, FULL_RUN)
        goal = {FULL_RUN: "<= 1", INCREMENTAL: "<= 0.08"}.get(f.name, "")
        chart = "Grading, seconds"
        ratio = f.seconds / base
        made.append(common.Result(f.name, f.seconds, "s", ratio, of, goal, chart, f.note))
    return made


def measure(args: argparse.Namespace, rig: common.Rig) -> list[GradingFigure]:
    """Run the comparison on a fresh database of the server."""
    settings = rig.settings(rig.database())
    made = orders.frame(args.orders, users=args.users, products=2_000, end=NOW, days=365)
    with postgres.connect(settings.postgres, "bench", autocommit=True) as conn:
        seconds, _ = timed(lambda: load(conn, made, args.users))
        print(
            f"stored {args.orders:,} orders of {args.users:,} customers in {seconds:.1f} s",
            flush=True,
        )
        seconds, changed = timed(lambda: ours(conn, NOW).changed)
        first = figure("Jangteo, first run", seconds, changed, "everybody begins as BRONZE")
        conn.execute("VACUUM users")  # as autovacuum would, after that many new row versions
        ours_now, at, want = incremental(conn, args.users, args.share, args.rounds)
        return [*limits(conn, at), first, ours_now, *others(conn, at, want, rig.directory)]


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=10_000_000)
    parser.add_argument("--share", type=float, default=0.01, help="of the customers who change")
    parser.add_argument(
        "--rounds", type=int, default=5, help="incremental runs, each after changes"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        rig = common.Rig(Path(name))
        try:
            rig.postgres.start()
            figures = measure(args, rig)
        finally:
            rig.postgres.kill()
    show(figures)
    if args.json:
        sizes = {"users": args.users, "orders": args.orders, "share": args.share}
        common.save(args.json, results(figures), **sizes, figures=[asdict(f) for f in figures])
    return 0


if __name__ == "__main__":
    sys.exit(main())
