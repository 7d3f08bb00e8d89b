"""Grading as a user would write it without us: one SQL statement, pandas, DuckDB.

Each reads the whole period, writes the grades that changed and their history in one transaction,
and returns how many there were. Reading by COPY and writing by COPY and one UPDATE is the fastest
that each of them has; `read_sql` and `executemany` would be slower.
"""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from shop.grading_policy import POLICY
from shop.postgres import Connection

COUNTING = """
    COPY (SELECT user_id, amount FROM orders
          WHERE status = 'PAID' AND ordered_at >= %s AND ordered_at < %s)
    TO STDOUT WITH (FORMAT csv)
"""
_USERS = "COPY (SELECT user_id, grade FROM users) TO STDOUT WITH (FORMAT csv)"
_CASE = " ".join(
    f"WHEN coalesce(spend, 0) >= {g.threshold} THEN '{g.name}'" for g in reversed(POLICY.grades)
)
_GRADE = f"CASE {_CASE} ELSE '{POLICY.lowest}' END"
_SQL = f"""
    WITH spends AS (
        SELECT user_id, sum(amount)::bigint AS spend FROM orders
        WHERE status = 'PAID' AND ordered_at >= %(start)s AND ordered_at < %(end)s
        GROUP BY user_id
    ), graded AS (
        SELECT user_id, grade AS from_grade, {_GRADE} AS to_grade, coalesce(spend, 0) AS spend
        FROM users LEFT JOIN spends USING (user_id)
    ), changed AS (
        UPDATE users u SET grade = g.to_grade FROM graded g
        WHERE u.user_id = g.user_id AND g.from_grade <> g.to_grade
        RETURNING u.user_id, g.from_grade, g.to_grade, g.spend
    )
    INSERT INTO grade_history (user_id, from_grade, to_grade, cumulative_spend, as_of)
    SELECT user_id, from_grade, to_grade, spend, %(end)s FROM changed
"""
_DUCKDB = f"""
    WITH spends AS (
        SELECT user_id, sum(amount)::BIGINT AS spend
        FROM read_csv($orders, header = false,
                      columns = {{'user_id': 'BIGINT', 'amount': 'BIGINT'}})
        GROUP BY user_id
    ), graded AS (
        SELECT user_id, grade AS from_grade, {_GRADE} AS to_grade, coalesce(spend, 0) AS spend
        FROM read_csv($users, header = false,
                      columns = {{'user_id': 'BIGINT', 'grade': 'VARCHAR'}})
        LEFT JOIN spends USING (user_id)
    )
    SELECT * FROM graded WHERE from_grade <> to_grade ORDER BY user_id
"""


def by_sql(conn: Connection, at: datetime) -> int:
    """Let PostgreSQL do all of it."""
    start, end = POLICY.window(at)
    with conn.transaction():
        return conn.execute(_SQL, {"start": start, "end": end}).rowcount


def by_pandas(conn: Connection, at: datetime) -> int:
    """Add up in pandas."""
    with conn.transaction():
        orders = pd.read_csv(_fetch(conn, COUNTING, POLICY.window(at)), names=["user_id", "amount"])
        users = pd.read_csv(_fetch(conn, _USERS), names=["user_id", "from_grade"])
        spend = orders.groupby("user_id")["amount"].sum().rename("spend")
        graded = users.join(spend, on="user_id").fillna({"spend": 0}).astype({"spend": "int64"})
        edges = [*(g.threshold for g in POLICY), float("inf")]
        names = [g.name for g in POLICY]
        graded["to_grade"] = pd.cut(graded["spend"], edges, right=False, labels=names).astype(str)
        changed = graded[graded["from_grade"] != graded["to_grade"]].sort_values("user_id")
        _write(conn, changed[["user_id", "from_grade", "to_grade", "spend"]], at)
    return len(changed)


def by_duckdb(conn: Connection, at: datetime, work: Path) -> int:
    """Add up in DuckDB, from files; its own reader of PostgreSQL is an extension to download."""
    files = {"orders": work / "orders.csv", "users": work / "users.csv"}
    with conn.transaction():
        files["orders"].write_bytes(_fetch(conn, COUNTING, POLICY.window(at)).getbuffer())
        files["users"].write_bytes(_fetch(conn, _USERS).getbuffer())
        changed = duckdb.execute(_DUCKDB, {name: str(path) for name, path in files.items()}).df()
        _write(conn, changed, at)
    return len(changed)


def _fetch(conn: Connection, copy: str, parameters: tuple[Any, ...] = ()) -> io.BytesIO:
    buffer = io.BytesIO()
    with conn.cursor() as cur, cur.copy(copy, parameters) as blocks:
        for block in blocks:
            buffer.write(block)
    buffer.seek(0)
    return buffer


def _write(conn: Connection, changed: pd.DataFrame, at: datetime) -> None:
    conn.execute(
        "CREATE TEMP TABLE changed (user_id bigint PRIMARY KEY, from_grade text, to_grade text,"
        " spend bigint) ON COMMIT DROP"
    )
    with conn.cursor() as cur, cur.copy("COPY changed FROM STDIN WITH (FORMAT csv)") as copy:
        copy.write(changed.to_csv(index=False, header=False))
    conn.execute("UPDATE users u SET grade = c.to_grade FROM changed c WHERE u.user_id = c.user_id")
    conn.execute(
        "INSERT INTO grade_history (user_id, from_grade, to_grade, cumulative_spend, as_of)"
        " SELECT user_id, from_grade, to_grade, spend, %s FROM changed",
        (at,),
    )
