"""Why the ingest waits: a read-only database, another session's lock, or its own reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shop.errors import Trouble
from shop.output import escape
from shop.postgres.connections import Connection
from shop.redis import cache

if TYPE_CHECKING:
    import redis

SAID_CHARACTERS: Final = 400
"""Characters of a heartbeat's reason that are shown; PostgreSQL's may quote a whole row."""


def reasons(conn: Connection) -> tuple[str, ...]:
    """Return why sessions of the ingest wait, one line each; empty if none waits.

    Args:
        conn: any session; only `pg_read_all_stats` sees what sessions of other roles do.

    Raises:
        psycopg.Error: if PostgreSQL does not answer.
    """
    return (*_read_only(conn), *blockers(conn))


def said(client: redis.Redis) -> tuple[str, ...]:
    """Return the reason for which each ingest waits by its heartbeat, such as a refused batch.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    return tuple(
        Trouble(
            "waits",
            ingest=escape(beat.name),
            error=escape(beat.fields["reason"])[:SAID_CHARACTERS],
        )
        for beat in cache.heartbeats(client)
        if beat.name.startswith("ingest") and beat.state == "waiting" and beat.fields.get("reason")
    )


def _read_only(conn: Connection) -> tuple[str, ...]:
    row = conn.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")
    replica, read_only = row.fetchone() or (False, "off")
    if replica:
        return (Trouble("standby"),)
    if read_only == "on":
        return (Trouble("read_only", setting="default_transaction_read_only"),)
    return ()


_BLOCKERS: Final = """
SELECT DISTINCT waiting.application_name,
       extract(epoch FROM clock_timestamp() - waiting.query_start)::bigint,
       holder.pid, coalesce(nullif(holder.application_name, ''), 'no application_name'),
       holder.usename, coalesce(holder.state, 'state not shown'),
       extract(epoch FROM clock_timestamp() - holder.xact_start)::bigint,
       regexp_replace(left(coalesce(holder.query, ''), 80), '\\s+', ' ', 'g')
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
  AND waiting.application_name LIKE 'jangteo-ingest-%'
ORDER BY 2 DESC
LIMIT 5
"""


def blockers(conn: Connection) -> tuple[str, ...]:
    """Return the holders of the locks that sessions of the ingest wait for, one line each."""
    rows = conn.execute(_BLOCKERS).fetchall()
    return tuple(
        Trouble(
            "blocked",
            ingest=name.removeprefix("jangteo-"),
            seconds=waited or 0,
            pid=pid,
            who=f"{escape(holder)}, {user}, {state}",
            lasts=lasts or 0,
            query=escape(query),
        )
        for name, waited, pid, holder, user, state, lasts, query in rows
    )
