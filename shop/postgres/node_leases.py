"""The table node_leases: its rows, its statements, what its errors mean."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from shop.boot_clock import host_id, process_started
from shop.clock import KST
from shop.errors import JangteoError, UnreachableError
from shop.ids import EPOCH_MS
from shop.postgres.connections import Connection
from shop.retry import first_line
from shop.settings import PostgresSettings

TTL_S: Final = 180.0
"""Seconds for which a lease lasts without renewal; that of a process which ended on the same
machine ends at once."""
RENEW_EVERY_S: Final = 10.0
RESERVED_MS: Final = int(TTL_S * 1_000)
"""Seconds ahead of PostgreSQL's clock for which a renewal reserves ids."""
_TERMS: Final = {
    "now_ms": sql.SQL("(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - {})").format(
        EPOCH_MS
    ),
    "until": sql.SQL("clock_timestamp() + make_interval(secs => {})").format(TTL_S),
    "reserved": sql.Literal(RESERVED_MS),
}
_READ: Final = sql.SQL(
    "SELECT node, ceiling_ms, holder, name, host, hostname, pid, pid_started, acquired_at,"
    " extract(epoch FROM expires_at - clock_timestamp())::float8 FROM node_leases ORDER BY node"
)
TIME: Final = sql.SQL("SELECT {now_ms}, clock_timestamp()").format(**_TERMS)
TAKE: Final = sql.SQL(
    "UPDATE node_leases SET holder = %s, name = %s, host = %s, hostname = %s, pid = %s,"
    " pid_started = %s, acquired_at = clock_timestamp(), expires_at = {until},"
    " ceiling_ms = greatest(ceiling_ms, {now_ms}) + {reserved} WHERE node = %s RETURNING ceiling_ms"
).format(**_TERMS)
RENEW: Final = sql.SQL(
    "UPDATE node_leases SET expires_at = {until},"
    " ceiling_ms = greatest(ceiling_ms, %s + {reserved}, {now_ms} + {reserved})"
    " WHERE node = %s AND holder = %s RETURNING ceiling_ms, clock_timestamp()"
).format(**_TERMS)
RELEASE: Final = sql.SQL(
    "UPDATE node_leases SET holder = NULL, expires_at = NULL,"
    " ceiling_ms = least(ceiling_ms, greatest(%s, {now_ms})) WHERE node = %s AND holder = %s"
).format(**_TERMS)


class Holder(NamedTuple):
    """A row of node_leases: who holds a node number."""

    node: int
    ceiling_ms: int
    holder: str | None
    name: str | None
    host: str | None
    hostname: str | None
    pid: int | None
    pid_started: str | None
    acquired_at: datetime | None
    left_s: float | None
    """Seconds until the lease ends, by PostgreSQL's clock; None if nobody holds it."""

    @property
    def dead(self) -> bool:
        """Whether its process is known to have ended, which only its own machine can know."""
        return (
            self.host == host_id()
            and self.pid is not None
            and process_started(self.pid) != self.pid_started
        )

    @property
    def living(self) -> bool:
        """Whether the number is taken."""
        return self.left_s is not None and self.left_s > 0 and not self.dead

    @property
    def beats(self) -> bool:
        """Whether it was renewed recently, and not by the predecessor of a restarted container."""
        restarted = (self.hostname, self.pid) == (platform.node(), os.getpid())
        return (self.left_s or 0) > TTL_S - 3 * RENEW_EVERY_S and not (
            restarted and self.host != host_id()
        )

    def describe(self) -> str:
        """Return its name, process and machine, for messages."""
        since = (
            f" since {self.acquired_at.astimezone(KST):%H:%M:%S} KST" if self.acquired_at else ""
        )
        return f"{self.name} (pid {self.pid} on {self.hostname}{since})"


def holders(conn: Connection, *, lock: bool = False) -> list[Holder]:
    """Return all node numbers and who holds them.

    Args:
        conn: in a transaction if `lock`.
        lock: no other session can take, renew or release one until the transaction ends.
    """
    rows = conn.execute(_READ + sql.SQL(" FOR UPDATE") if lock else _READ).fetchall()
    return [Holder(*row) for row in rows]


def explained(error: psycopg.Error, where: PostgresSettings) -> JangteoError:
    """Return the one-line error for an error that a retry does not fix."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return JangteoError(
            f"{where.where} has no table of node leases, without which no id may be made: "
            "run `jangteo init`"
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return JangteoError(
            f"{where.where} does not let {where.user} lease a node number "
            f"({first_line(error)}): run `jangteo init --roles` as the tables' owner"
        )
    if isinstance(error, psycopg.OperationalError):
        return UnreachableError(
            f"cannot reach {where.where}: {first_line(error)}; it leases the node numbers of ids"
        )
    return JangteoError(f"{where.where} refuses a node lease: {first_line(error)}")
