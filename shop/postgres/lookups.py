"""The indexes that people look up by: there by default, left out by `jangteo init --lean`.

The ingest needs none of them. Each costs a random write a row, which is nothing at a shop's rates
and half of the limit in a load test; docs/database.md has the figures.
"""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from shop.log import get_logger
from shop.postgres.connections import Connection, Cursor
from shop.retry import first_line

INDEXES: Final[dict[str, tuple[str, str]]] = {
    "orders_user": ("orders", "user_id, ordered_at"),
    "orders_product": ("orders", "product_id, ordered_at"),
    "user_spend_windows_user": ("user_spend_windows", "user_id, window_start"),
    "grade_history_user": ("grade_history", "user_id, as_of"),
    "users_stubs": ("users", "user_id"),
    "users_grade": ("users", "grade, user_id"),
}
"""Name, table and columns."""
_ONLY: Final = {
    "users_stubs": sql.SQL(" WHERE created_at IS NULL"),
    "users_grade": sql.SQL(" WHERE grade <> 'BRONZE'"),
}
"""Of which rows, where not of all; in a load test every customer is a stub. BRONZE is the
grade of new customers and of nine in ten: a sign-up writes nothing into the index of the others."""
SMALL_BYTES: Final = 64 * 1024 * 1024
"""A table below this is indexed in under a second, while writers wait; a larger one without a lock
that stops them, at twice the time."""
_LOCK: Final = 0x6A616E69  # "jani": one process builds indexes at a time per database
_MEMORY: Final = "SET LOCAL maintenance_work_mem = '256MB'"
_VALID: Final = """
SELECT i.relname, x.indisvalid FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE i.relnamespace = 'public'::regnamespace AND i.relname = ANY(%s)
"""
_SIZE: Final = """
SELECT coalesce(sum(pg_relation_size(t.relid)), 0)::bigint, count(*) > 1
FROM (SELECT relid FROM pg_partition_tree(%(table)s::regclass)
      UNION SELECT %(table)s::regclass) AS t
"""
_UNCHECKED: Final = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'c' AND NOT convalidated AND conparentid = 0
  AND connamespace = 'public'::regnamespace
"""


def create(cur: Cursor) -> None:
    """Create all that the layout asks for and that are missing, inside a transaction.

    For a bulk load that holds the tables for itself: building from sorted rows takes a tenth of
    the time that inserting one by one does.
    """
    row = cur.execute("SELECT lookup_indexes FROM schema_layout").fetchone()
    if row and row[0]:
        cur.execute(_MEMORY)
        for name in INDEXES:
            cur.execute(_statement(name))


def drop(cur: Cursor) -> None:
    """Drop all of them, inside a transaction; `create` brings them back."""
    for name in INDEXES:
        cur.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))


def fit(conn: Connection, *, lean: bool | None = None) -> list[str]:
    """Create or drop the indexes as the layout wants, and check rows against new constraints.

    The shop may be running: of large tables the indexes are built CONCURRENTLY. Killed half-way,
    the next call begins again with the index that is not whole.

    Args:
        conn: of the tables' owner, outside a transaction.
        lean: whether the layout has none from now on; None: as it is.

    Returns:
        The names of the indexes that were created.
    """
    before = conn.autocommit
    conn.autocommit = True
    try:
        return _fit(conn, lean)
    finally:
        conn.autocommit = before


def _fit(conn: Connection, lean: bool | None) -> list[str]:
    if lean is not None:
        conn.execute(
            "UPDATE schema_layout SET lookup_indexes = %(on)s WHERE lookup_indexes <> %(on)s",
            {"on": not lean},
        )
    row = conn.execute(
        "SELECT lookup_indexes, EXISTS (SELECT FROM backfill_runs WHERE finished_at IS NULL)"
        " FROM schema_layout"
    ).fetchone()
    wanted, half_done = row or (True, False)
    if half_done:
        return []  # the backfill builds them at its end
    if not wanted:
        with conn.transaction(), conn.cursor() as cur:
            drop(cur)
        return []
    missing, unchecked = _missing(conn), conn.execute(_UNCHECKED).fetchall()
    if not missing and not unchecked:
        return []
    # Whoever waited inside a statement would keep a snapshot, which CONCURRENTLY waits for.
    while not _one(conn, "SELECT pg_try_advisory_lock(%s)", _LOCK):
        time.sleep(0.2)
    try:
        missing = _missing(conn)
        for name in missing:
            _build(conn, name)
        for table, constraint in unchecked:
            _validate(conn, table, constraint)
    finally:
        conn.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
    return missing


def missing(conn: Connection) -> list[str]:
    """Return the names of the indexes that are not there, or not whole."""
    return _missing(conn)


def _missing(conn: Connection) -> list[str]:
    valid: dict[str, bool] = dict(conn.execute(_VALID, (list(INDEXES),)).fetchall())
    return [name for name in INDEXES if not valid.get(name)]


def _build(conn: Connection, name: str) -> None:
    table, _ = INDEXES[name]
    row = conn.execute(_SIZE, {"table": table}).fetchone()
    size, partitioned = row or (0, False)
    conn.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))
    # PostgreSQL builds no index of a partitioned table CONCURRENTLY.
    if partitioned or size < SMALL_BYTES:
        with conn.transaction():
            conn.execute(_MEMORY)
            conn.execute(_statement(name))
    else:
        get_logger().info("building an index", index=name, table=table, megabytes=size >> 20)
        conn.execute(_statement(name, concurrently=True))


def _validate(conn: Connection, table: str, constraint: str) -> None:
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    try:
        conn.execute(statement.format(sql.SQL(table), sql.Identifier(constraint)))
    except psycopg.errors.CheckViolation as e:
        get_logger().warning("rows break a constraint; new ones cannot", error=first_line(e))


def _statement(name: str, *, concurrently: bool = False) -> sql.Composed:
    table, columns = INDEXES[name]
    how = sql.SQL("CONCURRENTLY ") if concurrently else sql.SQL("")
    return sql.SQL("CREATE INDEX {}IF NOT EXISTS {} ON {} ({}){}").format(
        how,
        sql.Identifier(name),
        sql.Identifier(table),
        sql.SQL(columns),
        _ONLY.get(name, sql.SQL("")),
    )


def _one(conn: Connection, query: str, *parameters: object) -> object:
    row = conn.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
