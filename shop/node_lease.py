"""Node leases: two makers of ids never share a node number, and no id is made twice.

A node number (0 to 15, part of every id) is leased from PostgreSQL, for `TTL_S` by its clock, and
renewed by a thread. Two things keep ids apart:

- the lease: a number that a living process holds is given to nobody else;
- the ceiling: a holder makes ids only below a time that PostgreSQL holds *already*, and the next
  holder begins there. So even a process that wakes up long after its lease has ended, or a clock
  that was set back, cannot repeat an id.

While PostgreSQL is away the holder continues until its lease ends for certain, by seconds since
boot; then it waits, and takes a lease again when PostgreSQL is back.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from shop import postgres
from shop.boot_clock import boottime, host_id, process_started
from shop.clock import KST
from shop.errors import JangteoError, UnreachableError, UsageError
from shop.events import MAX_FUTURE
from shop.ids import EPOCH, EPOCH_MS, NODES, IdGenerator
from shop.log import get_logger
from shop.postgres import Connection
from shop.postgres.sqlstate import Verdict, judge
from shop.retry import Outage, first_line
from shop.server_clock import ServerClock, in_words
from shop.settings import PostgresSettings, Settings

HISTORY_NODE: Final = NODES - 3
"""Of a history and of what continues it: the same rows from the same seed need the same node."""
FAULT_NODE: Final = NODES - 2
"""Of what exists because of a fault; several processes that make faults take others."""
SEED_NODE: Final = NODES - 1
"""Of the start population: the same rows from the same seed need the same node."""
LIVE_NODES: Final = range(HISTORY_NODE)
"""Of generators. A history's ids carry times long past, so no generator ever uses its node."""
TTL_S: Final = 180.0
"""How long the lease of a process is kept that nobody has heard of; of one that died on the same
machine, not at all."""
MARGIN_S: Final = 20.0
"""So long before its lease ends a holder stops making ids."""
RENEW_EVERY_S: Final = 10.0
RESERVED_MS: Final = int(TTL_S * 1_000)
"""How far ahead of PostgreSQL's clock a renewal reserves ids."""
AHEAD: Final = MAX_FUTURE / 2
"""How far ahead of PostgreSQL's clock a generator's ids may be, where that clock was set back: the
ingest rejects customers and products whose ids, and so whose dates, are `MAX_FUTURE` ahead."""
_FIXED: Final = (HISTORY_NODE, SEED_NODE)
"""Whose ids carry the times of what they are for, whatever the clock says."""
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
_TIME: Final = sql.SQL("SELECT {now_ms}, clock_timestamp()").format(**_TERMS)
_TAKE: Final = sql.SQL(
    "UPDATE node_leases SET holder = %s, name = %s, host = %s, hostname = %s, pid = %s,"
    " pid_started = %s, acquired_at = clock_timestamp(), expires_at = {until},"
    " ceiling_ms = greatest(ceiling_ms, {now_ms}) + {reserved} WHERE node = %s RETURNING ceiling_ms"
).format(**_TERMS)
_RENEW: Final = sql.SQL(
    "UPDATE node_leases SET expires_at = {until},"
    " ceiling_ms = greatest(ceiling_ms, %s + {reserved}, {now_ms} + {reserved})"
    " WHERE node = %s AND holder = %s RETURNING ceiling_ms, clock_timestamp()"
).format(**_TERMS)
_RELEASE: Final = sql.SQL(
    "UPDATE node_leases SET holder = NULL, expires_at = NULL,"
    " ceiling_ms = least(ceiling_ms, greatest(%s, {now_ms})) WHERE node = %s AND holder = %s"
).format(**_TERMS)


class LeaseLostError(JangteoError):
    """The lease has ended, or ends before it is known to be renewed: no id may be made now."""


class Holder(NamedTuple):
    """Who holds a node number; as PostgreSQL knows it."""

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
    """Seconds until it ends, by PostgreSQL's clock; None if nobody holds it."""

    @property
    def dead(self) -> bool:
        """Whether its process is known to be gone: only of this machine can that be known."""
        return (
            self.host == host_id()
            and self.pid is not None
            and process_started(self.pid) != self.pid_started
        )

    @property
    def living(self) -> bool:
        """Whether the number is not to be had."""
        return self.left_s is not None and self.left_s > 0 and not self.dead

    @property
    def beats(self) -> bool:
        """Whether it was renewed lately, and not by what a container restarted in its place ran."""
        restarted = (self.hostname, self.pid) == (platform.node(), os.getpid())
        return (self.left_s or 0) > TTL_S - 3 * RENEW_EVERY_S and not (
            restarted and self.host != host_id()
        )

    def in_words(self) -> str:
        """Say who it is."""
        since = (
            f" since {self.acquired_at.astimezone(KST):%H:%M:%S} KST" if self.acquired_at else ""
        )
        return f"{self.name} (pid {self.pid} on {self.hostname}{since})"


def holders(conn: Connection, *, lock: bool = False) -> list[Holder]:
    """Return all node numbers and who holds them.

    Args:
        conn: in a transaction if `lock`.
        lock: nobody else may take, renew or release one until the transaction ends.
    """
    rows = conn.execute(_READ + sql.SQL(" FOR UPDATE") if lock else _READ).fetchall()
    return [Holder(*row) for row in rows]


class _Granted(NamedTuple):
    node: int
    name: str
    floor_ms: int


class NodeLease:
    """A node number of our own, kept until `release`.

    Args:
        where: PostgreSQL.
        name: of the process; the first to have it keeps it, others get the number appended.
        nodes: numbers to choose from, the preferred first.
        exact: the only number that will do; part of the name if it is not 0 and `named`.
        named: of a generator, whose name is made unique and whose number may be given by hand.
        seconds: since boot.

    Attributes:
        clock: follows PostgreSQL's, see `shop.server_clock`.
        node: the number.
        name: of the process.
    """

    def __init__(
        self,
        where: PostgresSettings,
        name: str,
        *,
        nodes: Sequence[int] = LIVE_NODES,
        exact: int | None = None,
        named: bool = False,
        seconds: Callable[[], float] = boottime,
    ) -> None:
        self._where = where
        self._wanted = name
        self._nodes = nodes if exact is None else (exact,)
        self._exact = exact
        self._named = named
        self._seconds = seconds
        self._token = secrets.token_hex(16)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ceiling_ms = 0
        self._deadline = float("-inf")
        self._why = ""
        self._closed = False
        self.clock = ServerClock("PostgreSQL", seconds=seconds)
        self.node = 0
        self.name = name
        self.ids = IdGenerator(0, lambda: round(self.clock().timestamp() * 1e9), guard=self._guard)
        """Makes ids of this node; raises `LeaseLostError` while `trouble` says why."""

    # -- taking, keeping, giving back ------------------------------------------------------------

    def take(self, stop: threading.Event | None = None) -> bool:
        """Take a number; while PostgreSQL is away, wait for it if there is a `stop`.

        Returns:
            False if stopped before PostgreSQL answered.

        Raises:
            UsageError: if the number is taken, or all are; says by whom.
            JangteoError: if PostgreSQL refuses; says what to do.
            UnreachableError: if it does not answer and nobody waits.
        """
        outage = Outage(self._where.where, why="a node lease, without which no id may be made")
        while stop is None or not stop.is_set():
            try:
                with self._connected() as conn:
                    self._grant(conn)
            except psycopg.Error as e:
                if stop is None or judge(e) is not Verdict.RETRY:
                    raise explained(e, self._where) from None
                stop.wait(outage.failed(e))
            else:
                outage.over()
                self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
                self._thread.start()
                log = get_logger().info if self._named else get_logger().debug
                log("node leased", node=self.node, name=self.name)
                return True
        return False

    def release(self) -> None:
        """Give the number back, and what was reserved and not used; never raises."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(postgres.CONNECT_TIMEOUT_S + 1.0)
        if self._closed or self._thread is None:
            return
        self._closed, self._deadline = True, float("-inf")  # from here on no id is made
        try:
            with self._connected(timeout=2) as conn:
                conn.execute(_RELEASE, (self.ids.last_ms + 1, self.node, self._token))
        except (psycopg.Error, JangteoError) as e:  # it ends by itself
            get_logger().info("node lease not released", node=self.node, error=first_line(e))

    @property
    def trouble(self) -> str:
        """Why no id may be made now; empty if all is well."""
        if self._seconds() < self._deadline:
            last, latest = self.ids.last_ms, self.clock() + AHEAD
            if self.node in _FIXED or last <= _ms(latest):
                return ""
            return f"PostgreSQL's clock, which was set back: ids are made up to {_at(last)}"
        return self._why or f"a node lease ({self._where.where} does not renew it)"

    def _guard(self, last_ms: int) -> None:
        """Refuse ids that are not ours for certain."""
        if trouble := self.trouble:
            raise LeaseLostError(f"waiting for {trouble}")
        if last_ms >= self._ceiling_ms:
            raise LeaseLostError(
                f"ids of node {self.node} are reserved up to {self._ceiling_ms} ms only"
            )

    # -- with PostgreSQL -------------------------------------------------------------------------

    def _connected(self, timeout: int = postgres.CONNECT_TIMEOUT_S) -> Connection:
        """Connect for one exchange: a session kept open could be cut without our knowing."""
        conn = postgres.connect(self._where, f"lease-{self.name}", autocommit=True, timeout=timeout)
        # What was reserved must survive a crash of the server, whatever the role's default says.
        conn.execute("SET synchronous_commit = on")
        return conn

    def _grant(self, conn: Connection) -> None:
        """Take a number that is free, in one transaction.

        Raises:
            UsageError: if there is none.
        """
        before = self._seconds()
        with conn.transaction():
            found = holders(conn, lock=True)
            now_ms = _one(conn.execute(_TIME))
            self.clock.see(now_ms[1], before, self._seconds())
            granted = self._choose(found, now_ms[0])
            mine = (self._token, granted.name, host_id(), platform.node(), os.getpid())
            row = _one(conn.execute(_TAKE, (*mine, process_started(os.getpid()), granted.node)))
        self.node, self.name = granted.node, granted.name
        self.ids.move(granted.node, granted.floor_ms)
        self._ceiling_ms = row[0]
        self._deadline = before + TTL_S - MARGIN_S
        self._why = ""

    def _choose(self, found: list[Holder], now_ms: int) -> _Granted:
        by_node = {h.node: h for h in found}
        ours = [h.node for h in found if h.holder == self._token]
        # What is ours already: the answer to an earlier attempt was lost.
        free = ours or [n for n in self._nodes if n in by_node and not by_node[n].living]
        if not free:
            raise UsageError(self._taken([by_node[n] for n in self._nodes if n in by_node]))
        free = self._datable(free, by_node, now_ms)
        # One whose reserve has passed already: then ids carry the time at which they were made.
        passed = [n for n in free if by_node[n].ceiling_ms <= now_ms]
        node = passed[0] if passed else min(free, key=lambda n: by_node[n].ceiling_ms)
        name = self._wanted
        if self._named:
            names = {h.name for h in found if h.living and h.beats}
            if self._exact or name in names:
                name = f"{name}-{node}"
        return _Granted(node, name, by_node[node].ceiling_ms)

    def _datable(self, free: list[int], by_node: dict[int, Holder], now_ms: int) -> list[int]:
        """Return those whose next ids the ingest would take; ids of a fixed node are not made here.

        Raises:
            UsageError: if there is none; says until when.
        """
        latest = now_ms + AHEAD // timedelta(milliseconds=1)
        near = [n for n in free if n in _FIXED or by_node[n].ceiling_ms <= latest]
        if not near:
            first = min(by_node[n].ceiling_ms for n in free)
            which = f"node {free[0]}" if self._exact is not None else "every free node"
            raise UsageError(
                f"ids of {which} are made up to {_at(first)}, {in_words((first - now_ms) / 1e3)}"
                " PostgreSQL's clock, which was set back: set it right, or wait"
                + ("" if self._exact is None else ", or leave --node out to get another node")
            )
        return near

    def _taken(self, held: Sequence[Holder]) -> str:
        if self._exact is not None and held:
            by = held[0].in_words()
            if self._named:
                return f"--node {self._exact} is taken by {by}; leave --node out to get a free one"
            return f"its ids need node {self._exact}, which {by} holds; run it when that has ended"
        who = ", ".join(f"{h.node} {h.in_words()}" for h in held)
        return f"all {len(held)} node numbers are taken; end one of: {who}"

    def _keep(self) -> None:
        """Renew until released."""
        outage = Outage(self._where.where)
        pause = RENEW_EVERY_S
        while not self._stop.wait(pause):
            pause = RENEW_EVERY_S
            try:
                with self._connected() as conn:
                    if not self._renew(conn):
                        get_logger().warning("node lease lost, taking another", node=self.node)
                        self._deadline = float("-inf")
                        self._grant(conn)
                        get_logger().info("node leased", node=self.node, name=self.name)
            except psycopg.Error as e:
                pause = outage.failed(e)
            except JangteoError as e:
                self._why = f"a node lease ({first_line(e)})"
                get_logger().warning("no node lease", error=first_line(e))
            else:
                outage.over()

    def _renew(self, conn: Connection) -> bool:
        before = self._seconds()
        row = conn.execute(_RENEW, (self.ids.last_ms, self.node, self._token)).fetchone()
        if row is None:
            return False
        self.clock.see(row[1], before, self._seconds())
        self._ceiling_ms = row[0]
        self._deadline = before + TTL_S - MARGIN_S
        return True


@contextmanager
def leased(
    where: PostgresSettings, name: str, stop: threading.Event | None = None, **options: Any
) -> Iterator[NodeLease | None]:
    """Hold a lease; see `NodeLease`. None if stopped before PostgreSQL answered."""
    lease = NodeLease(where, name, **options)
    try:
        yield lease if lease.take(stop) else None
    finally:
        lease.release()


def server(settings: Settings) -> PostgresSettings:
    """Return where node numbers are leased.

    Raises:
        JangteoError: if that is not set, or is not allowed in production; says so.
    """
    try:
        return settings.postgres
    except JangteoError as e:
        raise type(e)(f"{e}; the node number of its ids is leased there") from None


def explained(error: psycopg.Error, where: PostgresSettings) -> JangteoError:
    """Turn an error that no retry mends into a line for a person."""
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


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1_000) - EPOCH_MS


def _at(ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S} UTC"


def _one(cur: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cur.fetchone()
    if row is None:
        raise JangteoError("the table node_leases is incomplete: run `jangteo init`")
    return row
