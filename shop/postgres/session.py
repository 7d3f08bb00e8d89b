"""The session contract: what every session of this program sets, in any environment.

What a session does with our bytes, times and names depends on settings that come from the
environment (`PG*`), from the server's configuration, from the role and from the database. Every
session sets the ones below in one statement right after it connects, which overrides all of those
and works through a pooler (PgBouncer refuses an `options` startup parameter). The same statement
reads them back.

Left to the operator, because our results do not depend on them, are `role` (a login may act as the
tables' owner), `default_transaction_read_only` (a freeze: writers wait and resume), durability
(`synchronous_commit`; offsets and rows are lost or kept together), tablespaces, `lc_*`, `jit`,
`enable_*`, `work_mem` and other costs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import pq

from shop.errors import UsageError

CONTRACT: Final[Mapping[str, str]] = {
    # Names: our tables before any temporary ones; functions and types of pg_catalog come first.
    "search_path": "public, pg_temp",
    # Times and numbers, as text in either direction.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    # Bytes and strings.
    "client_encoding": "UTF8",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # Transactions: the protocol of a batch is written for READ COMMITTED and savepoints.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    # A policy that hides rows makes sums wrong; with `off` such a query fails.
    "row_security": "off",
    # A limit for people's queries does not suit a batch; see `limits` of `shop.postgres.connect`.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""Settings that any user may set, in all supported versions."""

_NEWER: Final[Mapping[str, str]] = {"transaction_timeout": "0"}  # PostgreSQL 17
_SUPERUSERS: Final[Mapping[str, str]] = {
    # `replica` turns off the triggers by which the backfill keeps others from writing.
    "session_replication_role": "origin",
}
"""Only a superuser may set these: they are set if they differ; if that fails, we refuse."""

_OUTSIDE_CONNINFO: Final = (
    *("PGTZ", "PGDATESTYLE", "PGGEQO"),  # startup parameters; PgBouncer refuses the last
    *("PGSERVICEFILE", "PGSYSCONFDIR", "PGREALM", "PGLOCALEDIR"),
)
LIBPQ_VARIABLES: Final[tuple[str, ...]] = (
    *(o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar),
    *_OUTSIDE_CONNINFO,
)
"""Every environment variable that affects libpq's connections."""


class SessionError(UsageError):
    """A session has settings that change what our statements mean; the message says what to set."""


def leave_environment() -> None:
    """Remove libpq's variables from this process: POSTGRES_* alone define the connection.

    Some of them cannot be overridden by a connection parameter (PGTZ), others fail with errors
    that hide the cause (PGSERVICE).
    """
    for name in LIBPQ_VARIABLES:
        os.environ.pop(name, None)


def establish(conn: psycopg.Connection[Any], limits: Mapping[str, str]) -> bool:
    """Set the contract and read it back, in one round trip.

    Args:
        conn: a connection in autocommit mode, idle.
        limits: more settings for the session's purpose; they override the contract's.

    Returns:
        Whether there is a pooler between us and the server.

    Raises:
        SessionError: if the server did not accept the contract.
        psycopg.Error: if it does not answer.
    """
    wanted = {**CONTRACT, **_NEWER, **_SUPERUSERS}
    try:
        row = conn.execute(_statement(limits), prepare=False).fetchone()
    except psycopg.errors.InsufficientPrivilege as e:
        names = ", ".join(_SUPERUSERS)
        raise SessionError(
            f"the database or the role sets {names}, which {conn.info.user} may not set back "
            f"({e.diag.message_primary}); ALTER ROLE or ALTER DATABASE ... RESET {names}"
        ) from None
    pid, *values = row or (None,)
    for (name, value), got in zip(wanted.items(), values, strict=False):
        if got not in (value, None) and name not in limits:
            raise SessionError(
                f"{conn.info.host}:{conn.info.port} answers with {name}={got!r} although it was "
                f"set to {value!r}; connect to PostgreSQL itself, or to a pool in session mode"
            )
    return pid != conn.info.backend_pid


def _statement(limits: Mapping[str, str]) -> bytes:
    """Return the one statement; every name is qualified: the search path is not set yet."""
    parts = ["pg_catalog.pg_backend_pid()"]
    parts += [_set(n, limits.get(n, v)) for n, v in CONTRACT.items()]
    parts += [
        f"CASE WHEN pg_catalog.current_setting({_quoted(n)}, true) IS NOT NULL "
        f"THEN {_set(n, limits.get(n, v))} END"
        for n, v in _NEWER.items()
    ]
    parts += [
        f"CASE pg_catalog.current_setting({_quoted(n)}) WHEN {_quoted(v)} "
        f"THEN {_quoted(v)} ELSE {_set(n, v)} END"
        for n, v in _SUPERUSERS.items()
    ]
    known = {*CONTRACT, *_NEWER}
    parts += [_set(n, v) for n, v in limits.items() if n not in known]
    return ("SELECT " + ", ".join(parts)).encode()


def _set(name: str, value: str) -> str:
    return f"pg_catalog.set_config({_quoted(name)}, {_quoted(value)}, false)"


def _quoted(text: str) -> str:
    """Quote a constant of this program; it holds no character that depends on string rules.

    >>> _quoted("public, pg_temp")
    "'public, pg_temp'"
    """
    if "'" in text or "\\" in text:
        raise ValueError(text)
    return f"'{text}'"
