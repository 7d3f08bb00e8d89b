"""Connections to PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import psycopg

from shop.errors import UnreachableError
from shop.postgres import pooler, session
from shop.postgres.deadline import Deadline
from shop.postgres.patience import FIRST_S, patience_with
from shop.retry import NotAwaitedError, while_wanted
from shop.settings import PostgresSettings

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
    # A session that waits for a lock also checks whether its client is still connected.
    "client_connection_check_interval": "10s",
}
_UNHURRIED: Final = {
    "statement_timeout": 80000,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
"""Limits that may end a session before it has set its own; by the server version that adds them."""
_NO_FILE: Final = f"{os.devnull}/none"  # without a password libpq would look into ~/.pgpass

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]


def connect(
    settings: PostgresSettings,
    name: str,
    *,
    autocommit: bool = False,
    timeout: int | None = None,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> Connection:
    """Open a session under the contract of `shop.postgres.session`; no other code opens one.

    Args:
        settings: address and login.
        name: `pg_stat_activity` shows it as ``jangteo-NAME``.
        autocommit: whether each statement is its own transaction.
        timeout: seconds to wait for the server; None: as `shop.postgres.patience` says.
        limits: server settings for the purpose of this session, set in the same round trip, such
            as ``{"idle_in_transaction_session_timeout": "60s", "tcp_keepalives_idle": "10"}``.
            The contract has no limits; these override it.

    Raises:
        psycopg.OperationalError: if the server does not answer or does not let us in.
        SessionError: if the session cannot meet the contract; see `shop.postgres.session` and
            `shop.postgres.pooler`.
    """
    if timeout is None:
        known = patience_with(settings)
        with known.waiting():
            return connect(
                settings, name, autocommit=autocommit, timeout=known.seconds, limits=limits
            )
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
    """A session that ended before its settings were made."""

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
            # A pool without a reset query keeps statements that other clients have prepared.
            conn.prepare_threshold = None
        conn.autocommit = autocommit
    except BaseException:
        conn.close()
        raise
    return conn


def connect_unless(
    unwanted: Callable[[], bool],
    settings: PostgresSettings,
    name: str,
    *,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> Connection:
    """Like `connect`, but without waiting for the server once the connection is not wanted.

    Args:
        unwanted: asked ten times a second while the server is awaited.
        settings: as of `connect`.
        name: as of `connect`.
        limits: as of `connect`.

    Raises:
        psycopg.OperationalError: if it is not wanted any more, and as of `connect`.
        SessionError: as of `connect`.
    """
    try:
        return while_wanted(
            lambda: connect(settings, name, limits=limits), unwanted, discard=Connection.close
        )
    except NotAwaitedError as e:
        raise psycopg.OperationalError(str(e)) from None


@contextlib.contextmanager
def connection(
    settings: PostgresSettings,
    name: str,
    *,
    autocommit: bool = False,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Connection]:
    """Like `connect`, closed at the end, with one line about an unreachable server.

    A server that is there and answers late is tried again, with more time.

    Raises:
        UnreachableError: if it cannot be reached; has its address and libpq's first line.
    """
    known = patience_with(settings)
    while True:
        allowed = known.seconds
        try:
            conn = connect(settings, name, autocommit=autocommit, limits=limits)
        except psycopg.OperationalError as e:
            if known.seconds > allowed and _accepts(settings):
                continue
            reason = next(iter(str(e).strip().splitlines()), "no answer")
            raise UnreachableError(f"cannot reach {settings.where}: {reason}") from None
        break
    with conn:
        yield conn


def _accepts(settings: PostgresSettings) -> bool:
    """Return whether something accepts connections there: a server that is only slow does."""
    try:
        with socket.create_connection((settings.host, settings.port), timeout=FIRST_S):
            return True
    except OSError:  # a UNIX socket, too: what is behind it is not slow
        return False
