"""PostgreSQL: connections, numbered migrations, COPY."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg
from psycopg import sql

from shop.errors import JangteoError, UnreachableError
from shop.postgres import pooler, session
from shop.postgres.deadline import Deadline
from shop.postgres.sqlstate import retried
from shop.settings import PostgresSettings

if TYPE_CHECKING:
    import polars as pl

CONNECT_TIMEOUT_S: Final = 5
_MIGRATION_LOCK: Final = 0x6A616E67  # "jang": one migration at a time per database
_KEEPALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SERVER_KEEPALIVE: Final = {
    # The same from the server's side: where our host vanishes, its sessions and their locks are
    # gone after 25 s instead of two hours. Ignored on a UNIX socket.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # A session that waits for a lock looks, too, whether its client is still there.
    "client_connection_check_interval": "10s",
}
_UNHURRIED: Final = {
    "statement_timeout": 80000,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
"""What may end a session before it has set its own limits; since which version of the server."""
_NO_FILE: Final = f"{os.devnull}/none"  # without a password libpq would look into ~/.pgpass

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]
SHOP_TABLES: Final = (
    "user_spend_windows", "orders", "users", "products", "grade_history", "grade_runs",
)  # fmt: skip
"""What --truncate empties. Not `ingest_offsets`: what was taken from Kafka stays taken, or the
emptied shop would fill with the orders of customers it no longer has.

In the order in which every writer locks them, so that none of two waits for the other."""


def connect(
    settings: PostgresSettings,
    name: str,
    *,
    autocommit: bool = False,
    timeout: int = CONNECT_TIMEOUT_S,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> Connection:
    """Open a session under the contract of `shop.postgres.session`: the one place where any is opened.

    Args:
        settings: where.
        name: shown in `pg_stat_activity` as ``jangteo-NAME``.
        autocommit: each statement its own transaction.
        timeout: seconds to wait for the server.
        limits: server settings for the purpose of this session, set in the same round trip, e.g.
            ``{"idle_in_transaction_session_timeout": "60s", "tcp_keepalives_idle": "10"}``. The
            contract has no limits; these win over it.

    Raises:
        psycopg.OperationalError: if the server does not answer or does not let us in.
        SessionError: if the session would not be ours: see `shop.postgres.session` and `shop.postgres.pooler`.
    """
    session.leave_environment()
    parameters: dict[str, Any] = {
        **settings.conninfo(),
        **_KEEPALIVE,
        "connect_timeout": timeout,
        "application_name": f"jangteo-{name}",
        "client_encoding": "UTF8",
        "passfile": _NO_FILE,
    }
    within = time.monotonic() + timeout
    try:
        return _opened(parameters, limits, timeout, autocommit=autocommit)
    except _LostError as e:
        if time.monotonic() >= within:
            raise e.error from None
        # A role's or database's limit of milliseconds ends a session before it can set its own:
        # startup parameters beat it. Not at once: PgBouncer refuses them.
        options = " ".join(f"-c {n}=0" for n, since in _UNHURRIED.items() if e.version >= since)
        with contextlib.suppress(psycopg.Error, _LostError):
            return _opened(
                {**parameters, "options": options}, limits, timeout, autocommit=autocommit
            )
        raise e.error from None


class _LostError(Exception):
    """A session that was opened and ended before it was ours."""

    def __init__(self, error: psycopg.Error, version: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.version = version


def _opened(
    parameters: Mapping[str, Any], limits: Mapping[str, str], timeout: int, *, autocommit: bool
) -> Connection:
    conn: Connection = psycopg.connect(**parameters, autocommit=True)
    version = conn.info.server_version
    try:
        try:
            with Deadline(conn, timeout):
                pooled = session.establish(conn, {**_SERVER_KEEPALIVE, **limits})
        except psycopg.Error as e:
            raise _LostError(e, version) from e
        if pooled:
            pooler.require_session_mode(conn, parameters)
            # A pool without a reset query keeps the statements that others have prepared.
            conn.prepare_threshold = None
        conn.autocommit = autocommit
    except BaseException:
        conn.close()
        raise
    return conn


@contextlib.contextmanager
def connection(
    settings: PostgresSettings,
    name: str,
    *,
    autocommit: bool = False,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Connection]:
    """Like `connect`, closed at the end, with an unreachable server said in one line.

    Raises:
        UnreachableError: which server, where, and libpq's first line.
    """
    try:
        conn = connect(settings, name, autocommit=autocommit, limits=limits)
    except psycopg.OperationalError as e:
        reason = next(iter(str(e).strip().splitlines()), "no answer")
        raise UnreachableError(f"cannot reach {settings.where}: {reason}") from None
    with conn:
        yield conn


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
    if [n for n, _, _ in found] != list(range(1, len(found) + 1)) or not found:
        raise JangteoError(f"the migrations in {folder} are not numbered 0001, 0002, ...")
    return found


def migrate(conn: Connection) -> list[str]:
    """Bring the schema to the newest version; return the names of what was applied.

    Safe to run from many processes at once: an advisory lock lets one through at a time.

    Raises:
        JangteoError: if the database is newer than this program.
    """
    return retried(partial(_migrate, conn))  # the shop may be running


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
        for number, name, text in known[current:]:
            cur.execute(text)
            cur.execute("INSERT INTO schema_migrations VALUES (%s, %s)", (number, name))
            applied.append(name)
    return applied


def grant_roles(conn: Connection) -> list[str]:
    """Make the group roles of `deploy/sql/roles.sql`, with their rights; return their names.

    Doing it twice changes nothing.

    Args:
        conn: of the tables' owner, who may create roles; the schema is the newest.
    """
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        cur.execute((_sql_folder() / "roles.sql").read_text(encoding="utf-8").encode())
        cur.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^jangteo_' ORDER BY 1")
        return [str(name) for (name,) in cur.fetchall()]


def make_logins(conn: Connection, passwords: Mapping[str, str]) -> list[str]:
    """Make the role as which each kind of process logs in, or give it this password.

    The server is told what it would store of the password, not the password: that would stand in
    its log and in `pg_stat_activity`.

    Args:
        conn: as for `grant_roles`, after it.
        passwords: by kind of process: `shop_KIND` is a member of `jangteo_KIND`.

    Returns:
        Their names.
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
    """Return the schema's version, None before the first migration."""
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("SELECT to_regclass('schema_migrations')")
        row = cur.fetchone()
        return _version(cur) if row and row[0] else None


def _version(cur: Cursor) -> int:
    cur.execute("SELECT coalesce(max(version), 0) FROM schema_migrations")
    row = cur.fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class CopyData:
    """Rows as COPY takes them.

    Attributes:
        columns: their names.
        fmt: how the rows are written.
        data: the rows.
    """

    columns: Sequence[str]
    fmt: Literal["csv", "text", "binary"]
    data: memoryview = field(repr=False)


def copy_data(frame: pl.DataFrame, *, fmt: Literal["csv", "text"] = "csv") -> CopyData:
    """Write a frame as COPY takes it.

    Args:
        frame: columns named as the table's.
        fmt: ``text`` is about a tenth faster for the server to parse; only for frames whose
            strings hold no tab, newline or backslash.
    """
    buffer = io.BytesIO()
    if fmt == "text":
        frame.write_csv(
            buffer, include_header=False, separator="\t", quote_style="never", null_value="\\N"
        )
    else:
        frame.write_csv(buffer, include_header=False)
    return CopyData(frame.columns, fmt, buffer.getbuffer())


def copy_into(cur: Cursor, table: str, rows: CopyData) -> None:
    """COPY rows into the columns of the same names; inside a transaction."""
    with cur.copy(_copy_statement(table, rows)) as copy:
        copy.write(rows.data)


def copy_frame(
    cur: Cursor, table: str, frame: pl.DataFrame, *, fmt: Literal["csv", "text"] = "csv"
) -> int:
    """COPY a frame into the columns of the same names; return the number of rows.

    Args:
        cur: inside a transaction.
        table: table name.
        frame: columns named as the table's.
        fmt: see `copy_data`.
    """
    copy_into(cur, table, copy_data(frame, fmt=fmt))
    return frame.height


def _copy_statement(table: str, rows: CopyData) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT {})").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.columns)),
        sql.SQL(rows.fmt),
    )  # fmt: skip
