"""Node leases: two makers of ids never share a node number, and no id is made twice.

A node number (0 to 15, part of every id) is leased from PostgreSQL, for `TTL_S` by its clock, and
renewed by a thread. Two things keep ids apart:

- the lease: a number that a living process holds is given to no other process;
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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg

from shop import postgres
from shop.boot_clock import boottime, host_id, process_started
from shop.errors import JangteoError, UsageError
from shop.events import MAX_FUTURE
from shop.ids import EPOCH, EPOCH_MS, NODES, IdGenerator
from shop.log import get_logger
from shop.postgres import Connection, node_leases
from shop.postgres.node_leases import (
    RENEW_EVERY_S,
    TTL_S,
    Holder,
    explained,
    holders,
)
from shop.postgres.patience import FIRST_S
from shop.postgres.sqlstate import Verdict, judge
from shop.retry import Outage, first_line
from shop.server_clock import ServerClock, format_offset
from shop.settings import PostgresSettings, Settings

HISTORY_NODE: Final = NODES - 3
"""Node of a history and its continuation: the same rows from the same seed need the same node."""
FAULT_NODE: Final = NODES - 2
"""Node of rows that exist because of a fault; further processes that make faults take others."""
SEED_NODE: Final = NODES - 1
"""Node of the start population: the same rows from the same seed need the same node."""
LIVE_NODES: Final = range(HISTORY_NODE)
"""Nodes of generators. A history's ids carry times long past, so no generator uses its node."""
MARGIN_S: Final = 20.0
"""How long before the end of its lease a holder stops making ids."""
AHEAD: Final = MAX_FUTURE / 2
"""How far ahead of PostgreSQL's clock a generator's ids may be after that clock was set back: the
ingest rejects customers and products whose ids, and so whose dates, are `MAX_FUTURE` ahead."""
_FIXED: Final = (HISTORY_NODE, SEED_NODE)
"""Their ids carry the times of the rows that they identify, not that of the clock."""


class LeaseLostError(JangteoError):
    """The lease has ended, or ends before it is known to be renewed: no id may be made now."""


class _Granted(NamedTuple):
    node: int
    name: str
    floor_ms: int


class NodeLease:
    """A node number that this process holds until `release`.

    Args:
        where: address of PostgreSQL.
        name: name of the process; the first to have it keeps it, others get the number appended.
        nodes: numbers to choose from, the preferred first.
        exact: the only acceptable number; part of the name if it is not 0 and `named`.
        named: whether this is a generator, whose name is made unique and whose number may be given
            by hand.
        seconds: returns the seconds since boot.

    Attributes:
        clock: a clock that follows PostgreSQL's, see `shop.server_clock`.
        node: the leased number.
        name: name of the process.
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
        """Makes ids of this node; raises `LeaseLostError` while `trouble` has a reason."""

    # -- taking, keeping, giving back ------------------------------------------------------------

    def take(self, stop: threading.Event | None = None, patience: float | None = None) -> bool:
        """Take a number; while PostgreSQL is away, wait for it if there is a `stop`.

        Args:
            stop: ends the wait.
            patience: seconds to wait at most; None waits until `stop`.

        Returns:
            False if stopped before PostgreSQL answered.

        Raises:
            UsageError: if the number is taken, or all are; the message names the holders.
            JangteoError: if PostgreSQL refuses; the message says what to do.
            UnreachableError: if it does not answer in time, or there is no `stop`.
        """
        ends = time.monotonic() + patience if patience else float("inf")
        outage = Outage(self._where.where, why="a node lease, without which no id may be made")
        while stop is None or not stop.is_set():
            try:
                with self._connected() as conn:
                    self._grant(conn)
            except psycopg.Error as e:
                left = ends - time.monotonic()
                if stop is None or left <= 0 or judge(e) is not Verdict.RETRY:
                    raise explained(e, self._where) from None
                stop.wait(min(outage.failed(e), left))
            else:
                outage.over()
                self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
                self._thread.start()
                log = get_logger().info if self._named else get_logger().debug
                log("node leased", node=self.node, name=self.name)
                return True
        return False

    def release(self) -> None:
        """Release the number and its unused reserve; never raises."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(FIRST_S + 1.0)
        if self._closed or self._thread is None:
            return
        self._closed, self._deadline = True, float("-inf")  # from here on no id is made
        try:
            with self._connected(timeout=2) as conn:
                conn.execute(node_leases.RELEASE, (self.ids.last_ms + 1, self.node, self._token))
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
        """Refuse ids that are not certainly reserved for this process."""
        if trouble := self.trouble:
            raise LeaseLostError(f"waiting for {trouble}")
        if last_ms >= self._ceiling_ms:
            raise LeaseLostError(
                f"ids of node {self.node} are reserved up to {self._ceiling_ms} ms only"
            )

    # -- with PostgreSQL -------------------------------------------------------------------------

    def _connected(self, timeout: int | None = None) -> Connection:
        """Connect for one exchange: a session kept open could be cut without notice."""
        conn = postgres.connect(self._where, f"lease-{self.name}", autocommit=True, timeout=timeout)
        # What was reserved must survive a crash of the server, with any default of the role.
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
            now_ms = _one(conn.execute(node_leases.TIME))
            self.clock.see(now_ms[1], before, self._seconds())
            granted = self._choose(found, now_ms[0])
            mine = (self._token, granted.name, host_id(), platform.node(), os.getpid())
            started = process_started(os.getpid())
            row = _one(conn.execute(node_leases.TAKE, (*mine, started, granted.node)))
        self.node, self.name = granted.node, granted.name
        self.ids.move(granted.node, granted.floor_ms)
        self._ceiling_ms = row[0]
        self._deadline = before + TTL_S - MARGIN_S
        self._why = ""

    def _choose(self, found: list[Holder], now_ms: int) -> _Granted:
        by_node = {h.node: h for h in found}
        ours = [h.node for h in found if h.holder == self._token]
        # A number that this process holds already: the answer to an earlier attempt was lost.
        free = ours or [n for n in self._nodes if n in by_node and not by_node[n].living]
        if not free:
            raise UsageError(self._taken([by_node[n] for n in self._nodes if n in by_node]))
        free = self._datable(free, by_node, now_ms)
        # Prefer one whose reserve has passed: its ids then carry the time at which they were made.
        passed = [n for n in free if by_node[n].ceiling_ms <= now_ms]
        node = passed[0] if passed else min(free, key=lambda n: by_node[n].ceiling_ms)
        name = self._wanted
        if self._named:
            names = {h.name for h in found if h.living and h.beats}
            if self._exact or name in names:
                name = f"{name}-{node}"
        return _Granted(node, name, by_node[node].ceiling_ms)

    def _datable(self, free: list[int], by_node: dict[int, Holder], now_ms: int) -> list[int]:
        """Return the numbers whose next ids the ingest would take; those of a fixed node pass.

        Raises:
            UsageError: if there is none; the message says until when.
        """
        latest = now_ms + AHEAD // timedelta(milliseconds=1)
        near = [n for n in free if n in _FIXED or by_node[n].ceiling_ms <= latest]
        if not near:
            first = min(by_node[n].ceiling_ms for n in free)
            which = f"node {free[0]}" if self._exact is not None else "every free node"
            ahead = format_offset((first - now_ms) / 1e3)
            raise UsageError(
                f"ids of {which} are made up to {_at(first)}, {ahead} PostgreSQL's clock, which "
                "was set back: correct it, or wait"
                + ("" if self._exact is None else ", or leave --node out to get another node")
            )
        return near

    def _taken(self, held: Sequence[Holder]) -> str:
        if self._exact is not None and held:
            by = held[0].describe()
            if self._named:
                return f"--node {self._exact} is taken by {by}; leave --node out to get a free one"
            return f"its ids need node {self._exact}, which {by} holds; run it when that has ended"
        who = ", ".join(f"{h.node} {h.describe()}" for h in held)
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
        row = conn.execute(node_leases.RENEW, (self.ids.last_ms, self.node, self._token)).fetchone()
        if row is None:
            return False
        self.clock.see(row[1], before, self._seconds())
        self._ceiling_ms = row[0]
        self._deadline = before + TTL_S - MARGIN_S
        return True


@contextmanager
def leased(
    where: PostgresSettings,
    name: str,
    stop: threading.Event | None = None,
    *,
    patience: float | None = None,
    **options: Any,
) -> Iterator[NodeLease | None]:
    """Hold a lease; see `NodeLease`. None if stopped before PostgreSQL answered."""
    lease = NodeLease(where, name, **options)
    try:
        yield lease if lease.take(stop, patience) else None
    finally:
        lease.release()


def server(settings: Settings) -> PostgresSettings:
    """Return the address of PostgreSQL, which leases node numbers.

    Raises:
        JangteoError: if it is not set, or is not allowed in production.
    """
    try:
        return settings.postgres
    except JangteoError as e:
        raise type(e)(f"{e}; the node number of its ids is leased there") from None


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1_000) - EPOCH_MS


def _at(ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S} UTC"


def _one(cur: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cur.fetchone()
    if row is None:
        raise JangteoError("the table node_leases is incomplete: run `jangteo init`")
    return row
