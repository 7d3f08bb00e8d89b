"""Check that a pooler in front of PostgreSQL gives each client a session of its own.

Temporary tables, advisory locks and the session contract need one server connection for the whole
connection of a client: PgBouncer's session mode. In transaction mode another client may get our
server connection between two of our transactions; this is refused at the first connection.

A pooler is detected without a query: it makes up the process id that the protocol reports to a
client. Its mode is then tested once per process and address: while a second client is in a
transaction, either it holds the server connection that our client has just used, or our client
moves to another. Neither can happen in session mode, so a refusal is never wrong. Transaction mode
can go undetected only if other clients interleave in every round, and that costs no data: another
server connection lacks our staging tables, and the ingest stops with that error.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import psycopg
from psycopg import pq

from shop.postgres.session import SessionError

_ROUNDS: Final = 5
_PATIENCE_S: Final = 1.0
"""Seconds that the second client waits: a full pool in session mode lets it wait, too."""
_found_whole: Final[set[tuple[str, ...]]] = set()
_lock: Final = threading.Lock()


def require_session_mode(conn: psycopg.Connection[Any], parameters: Mapping[str, Any]) -> None:
    """Refuse a pooler that shares server connections; tested once per process and address.

    Args:
        conn: connection through the pooler, in autocommit mode, idle.
        parameters: libpq's parameters with which it was opened.

    Raises:
        SessionError: if the pooler gives server connections to other clients between transactions.
        psycopg.OperationalError: if it does not answer.
    """
    address = tuple(str(parameters[n]) for n in ("host", "port", "dbname", "user"))
    with _lock:
        if address in _found_whole:
            return
        if _shares(conn, parameters):
            raise SessionError(
                f"the pooler at {address[0]}:{address[1]} shares server connections between "
                "transactions; set pool_mode=session for this database or user in PgBouncer, "
                "or let POSTGRES_HOST and POSTGRES_PORT name PostgreSQL itself"
            )
        _found_whole.add(address)


def _shares(ours: psycopg.Connection[Any], parameters: Mapping[str, Any]) -> bool:
    try:
        other = psycopg.connect(**parameters, autocommit=True)
    except psycopg.OperationalError:  # no second client, so none to share with
        return False
    with closing(other):
        for _ in range(_ROUNDS):
            before = _pid(ours)
            taken = _pid_in_transaction(other)
            if taken is None:
                return False
            if taken == before or _pid(ours) != before:
                return True
            other.pgconn.exec_(b"ROLLBACK")
    return False


def _pid(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone()
    return int(row[0]) if row else 0


def _pid_in_transaction(conn: psycopg.Connection[Any]) -> int | None:
    """Begin, and return the server's process id; None if there is no server connection in time.

    Raises:
        SessionError: in statement mode, where there are no transactions.
    """
    conn.pgconn.send_query(b"BEGIN; SELECT pg_catalog.pg_backend_pid()")
    found = None
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        while conn.pgconn.is_busy():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([conn.pgconn.socket], [], [], left)[0]:
                conn.pgconn.finish()
                return None
            conn.pgconn.consume_input()
        result = conn.pgconn.get_result()
        if result is None:
            return found
        if result.status == pq.ExecStatus.TUPLES_OK:
            found = int(result.get_value(0, 0) or 0)
        elif result.status == pq.ExecStatus.FATAL_ERROR:
            message = result.error_message.decode(errors="replace").strip()
            raise SessionError(f"the pooler has no transactions ({message}); set pool_mode=session")
