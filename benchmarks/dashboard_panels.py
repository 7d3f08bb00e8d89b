"""Time every panel of the dashboards that asks PostgreSQL, and count the rows that it reads.

    python -m benchmarks.dashboard_panels [--days 365] [--rounds 10] [--json FILE]

The queries are those of the dashboards' files, with Grafana's macros filled in and every value of
the filters chosen, on the shop of the running stack or of `POSTGRES_*`. Each runs on one core, as
parallel workers only help where cores are idle. `ms` is the best of the rounds; `CPU ms` is the
least CPU time of the server's process, which is what a machine at rest needs and what is held
against the goal. Rows are those that the scans of the plan looked at, whether they kept them or
not. Exit code 1 if a panel misses the goal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import common
from benchmarks.dashboard_pictures import DASHBOARDS, expanded
from shop import postgres, settings
from shop.clock import utc_now
from shop.postgres import Connection

GOAL_MS: Final = 200


@dataclass(frozen=True)
class PanelCost:
    """What one panel costs.

    Attributes:
        page: dashboard.
        title: of the panel.
        ms: elapsed milliseconds of its query, the rows fetched.
        cpu_ms: CPU milliseconds of the server's process; elapsed ones if it is elsewhere.
        rows: rows that its scans looked at.
        blocks: blocks of 8 kB that it touched.
        found: rows that it returned.
    """

    page: str
    title: str
    ms: float
    cpu_ms: float
    rows: float
    blocks: float
    found: float


def rows_read(plan: dict[str, Any]) -> int:
    """Return the number of rows that the scans of a plan looked at, over all loops.

    >>> scan = {"Relation Name": "t", "Actual Rows": 3, "Actual Loops": 2}
    >>> rows_read({"Plans": [{**scan, "Rows Removed by Filter": 4}, scan]})
    20
    """
    looked = 0.0
    if "Relation Name" in plan:
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        kept = plan["Actual Rows"] + sum(plan.get(name, 0) for name in removed)
        looked = kept * plan["Actual Loops"]
    return int(looked) + sum(rows_read(part) for part in plan.get("Plans", ()))


def measured(
    conn: Connection, query: str, rounds: int, server: psutil.Process | None
) -> dict[str, float]:
    """Run a query several times; return the figures of a `PanelCost`."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}"
    (answer,) = conn.execute(explain.encode()).fetchone() or ([{}],)
    plan = answer[0]["Plan"]
    found, best, least = 0, float("inf"), float("inf")
    for _ in range(rounds):
        cpu, began = _cpu_s(server), time.perf_counter()
        found = len(conn.execute(query.encode()).fetchall())
        took, used = time.perf_counter() - began, _cpu_s(server) - cpu
        best, least = min(best, took), min(least, used if server else took)
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return {"ms": best * 1e3, "cpu_ms": least * 1e3, "rows": rows_read(plan), "blocks": blocks,
            "found": found}  # fmt: skip


def _cpu_s(server: psutil.Process | None) -> float:
    """Return the CPU seconds of a process, as exactly as the kernel counts them."""
    if server is None:
        return 0.0
    return int(Path(f"/proc/{server.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def _backend(conn: Connection) -> psutil.Process | None:
    """Return the server's process of this session, if it is on this machine."""
    try:
        process = psutil.Process(conn.info.backend_pid)
        return process if process.name().startswith("postgres") else None
    except psutil.Error:
        return None


def queries(since: datetime, until: datetime) -> Iterator[tuple[str, str, str]]:
    """Yield page, title and query of every panel and every mark that asks PostgreSQL."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        asked = [(p["title"], target) for p in model["panels"] for target in p["targets"]]
        asked += [(f"marks: {m['name']}", m["target"]) for m in model["annotations"]["list"]]
        for title, target in asked:
            if "rawSql" in target:
                yield path.stem, title, expanded(target["rawSql"], since, until)


def show(panels: list[PanelCost]) -> None:
    """Print what the panels cost."""
    table = Table("page", "panel", title="Panels of the dashboards")
    for column in ("ms", "CPU ms", "rows read", "blocks", "rows"):
        table.add_column(column, justify="right")
    for p in panels:
        late = " !" if p.cpu_ms > GOAL_MS else ""
        table.add_row(
            p.page, p.title, f"{p.ms:,.1f}", f"{p.cpu_ms:,.1f}{late}", f"{p.rows:,.0f}",
            f"{p.blocks:,.0f}", f"{p.found:,.0f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main() -> int:
    """Measure all panels; return 1 if one misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--days", type=float, default=365, help="ask for the last DAYS days")
    parser.add_argument("--rounds", type=int, default=10, help="run each query N times")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    until = utc_now()
    since = until - timedelta(days=args.days)
    reached = settings.load(dict(os.environ)).postgres
    with postgres.connect(reached, "panels", autocommit=True) as conn:
        conn.execute("SET max_parallel_workers_per_gather = 0")
        server = _backend(conn)
        panels = [
            PanelCost(page, title, **measured(conn, query, args.rounds, server))
            for page, title, query in queries(since, until)
        ]
    show(panels)
    if args.json:
        common.save(args.json, [], panels=[asdict(p) for p in panels])
    slow = [p for p in panels if p.cpu_ms > GOAL_MS]
    print(f"{len(panels)} panels, {len(slow)} above {GOAL_MS} ms of CPU")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
