"""A few simulated days of a shop: blocks for the histories of topics, and rows for PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path

import polars as pl

from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.topics.interface import HistoryBlock
from shop import postgres
from shop.clock import KST, UTC
from shop.postgres import Connection

PAGE = " ".join(
    (Path(__file__).parents[3] / "docs" / "optional-topics.md").read_text(encoding="utf-8").split()
)
"""The page of optional topics, in one line: its figures are those that the tests measure."""
SEED = 1
START = datetime(2026, 3, 2, tzinfo=KST).astimezone(UTC)


@cache
def blocks(days: int, orders_per_day: int) -> tuple[HistoryBlock, ...]:
    plan = Plan(START, days, orders_per_day, seed=SEED)
    return tuple(day.block() for day in Simulation(plan, profiles=False).days())


def store_orders(conn: Connection, block: HistoryBlock, since: datetime, until: datetime) -> None:
    """Store the orders and sign-ups of a stretch of time, without names and cities."""
    users = block.users.select("user_id", "created_at")
    with conn.cursor() as cur:
        for table, time, rows in (
            ("users", "created_at", users),
            ("orders", "ordered_at", block.orders),
        ):
            now = rows.filter(pl.col(time).is_between(since, until, closed="left"))
            postgres.copy_frame(cur, table, now)
