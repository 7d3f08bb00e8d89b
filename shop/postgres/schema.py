"""The schema: its tables, numbered migrations, roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from psycopg import sql

from shop.errors import JangteoError
from shop.optional.registry import TABLES
from shop.postgres import lookups, partitions
from shop.postgres.connections import Connection, Cursor
from shop.postgres.sqlstate import retried

BACKFILL_LOCK: Final = 0x6A616E68  # "janh": one backfill at a time per database
_MIGRATION_LOCK: Final = 0x6A616E67  # "jang": one migration at a time per database
SHOP_TABLES: Final = (
    "user_spend_windows", "orders", *TABLES, "users", "products", "sales_by_product",
    "sales_by_category", "sales_by_payment_method", "sales_by_hour", "sales_by_cohort",
    "sign_ups_by_day", "grade_history", "grade_runs", "grade_moves_by_day",
)  # fmt: skip
"""The tables that --truncate empties. `ingest_offsets` is not one of them: the offsets stay
applied, or the emptied shop would fill with the orders of customers that it no longer has.

They are in the order in which every writer locks them, so that no two wait for each other."""


def truncate_simulation(conn: Connection) -> None:
    """Empty the state of the simulated customers, in the transaction that empties the shop.

    Before the tables of the shop: the cache worker locks in this order.
    """
    conn.execute("TRUNCATE simulation.clock, simulation.customers")


def _sql_folder() -> Path:
    packaged = Path(__file__).with_name("_sql")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "deploy" / "sql"


def migrations() -> list[tuple[int, str, str]]:
    """Return (number, name, SQL) of the migrations, in order."""
    folder = _sql_folder()
    found = []
    for path in sorted(folder.glob("[0-9]*.sql")):
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", path.name)
        if match:
            found.append((int(match[1]), match[2], path.read_text(encoding="utf-8")))
    numbers = [n for n, _, _ in found]
    if len(set(numbers)) != len(numbers) or numbers[:1] != [1]:
        raise JangteoError(f"the migrations in {folder} are not numbered 0001, 0002, ...")
    return found


def migrate(
    conn: Connection, *, lean: bool | None = None, partitioned: bool | None = None
) -> list[str]:
    """Bring the schema to the newest version; return the names of the applied migrations.

    Safe to run from many processes at once: an advisory lock lets one through at a time.

    Args:
        conn: of the tables' owner, outside a transaction.
        lean: whether the database has no look-up indexes from now on; None: as it is.
        partitioned: whether orders and windows are partitioned by month from now on; None: as they
            are.

    Raises:
        JangteoError: if the database is newer than this program.
    """
    applied = retried(partial(_migrate, conn))  # the shop may be running
    partitions.fit(conn, wanted=partitioned)
    retried(partial(lookups.fit, conn, lean=lean))
    return applied


def _migrate(conn: Connection) -> list[str]:
    applied = []
    known = migrations()
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        cur.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "version integer PRIMARY KEY, name text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        current = _version(cur)
        if current > len(known):
            raise JangteoError(
                f"the database has schema version {current}, this program knows {len(known)}: "
                "install the newer jangteo"
            )
        cur.execute("SELECT version FROM schema_migrations")
        there = {number for (number,) in cur.fetchall()}
        for number, name, text in known:
            if number in there:
                continue
            cur.execute(text)
            cur.execute("INSERT INTO schema_migrations VALUES (%s, %s)", (number, name))
            applied.append(name)
    return applied


def grant_roles(conn: Connection) -> list[str]:
    """Create the group roles of `deploy/sql/roles.sql`, with their rights; return their names.

    Doing it twice changes nothing.

    Args:
        conn: a session of the tables' owner, who may create roles; the schema is the newest.
    """
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        cur.execute((_sql_folder() / "roles.sql").read_text(encoding="utf-8").encode())
        cur.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^jangteo_' ORDER BY 1")
        return [str(name) for (name,) in cur.fetchall()]


def make_logins(conn: Connection, passwords: Mapping[str, str]) -> list[str]:
    """Create the role as which each kind of process logs in, or give it this password.

    The server receives the password's hash, as it stores it: the password itself would be
    readable in its log and in `pg_stat_activity`.

    Args:
        conn: the session of `grant_roles`, which must come first.
        passwords: passwords by kind of process: `shop_KIND` is a member of `jangteo_KIND`.

    Returns:
        The names of the roles.
    """
    names = []
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        for kind, password in passwords.items():
            name = f"shop_{kind}"
            stored = conn.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            there = cur.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
            role, group = sql.Identifier(name), sql.Identifier(f"jangteo_{kind}")
            verb = sql.SQL("CREATE" if there is None else "ALTER")
            cur.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, sql.Literal(stored))
            )
            cur.execute(sql.SQL("GRANT {} TO {}").format(group, role))
            names.append(name)
    return names


def schema_version(conn: Connection) -> int | None:
    """Return the number of migrations that are applied, None before the first."""
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT to_regclass('schema_migrations')")
        row = cur.fetchone()
        return _version(cur) if row and row[0] else None


def _version(cur: Cursor) -> int:
    cur.execute("SELECT count(*) FROM schema_migrations")
    row = cur.fetchone()
    return int(row[0]) if row else 0
