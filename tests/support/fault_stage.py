"""A stage for faults: ingest processes under load, and the verdict after they have caught up."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psycopg
from confluent_kafka import Consumer, TopicPartition

from jangteo.stack import accounting
from jangteo.stack.consistency import check
from shop import kafka, postgres
from shop.events import Order
from shop.optional.registry import OPTIONAL
from shop.postgres import Connection
from shop.settings import Settings
from tests.faults.load import Load, Sent
from tests.support.event_samples import Message
from tests.support.ingest_processes import Ingest, caught_up
from tests.support.waiting import wait_until

SMALL: dict[str, str] = {"INGEST_TOPICS": "orders", "INGEST_BATCH_SIZE": "200"}
"""Batches are small, so that faults hit many transactions."""


Answer = TypeVar("Answer")
Place = tuple[int, int]
"""Place of a message: partition and offset."""
MOST_COPIES = 50
"""More unacknowledged places than this are no longer a matter of a few copies."""
NOWHERE = -1
"""The offset of a message that was acknowledged but is not in the log."""


class Stage:
    """Ingest processes, loads, and their results.

    Args:
        env: of the processes.
        settings: the same as settings.
        directory: for logs.
    """

    def __init__(self, env: dict[str, str], settings: Settings, directory: Path) -> None:
        self.env = env
        self.settings = settings
        self._directory = directory
        self._numbers = itertools.count(1)
        self.members: list[Ingest] = []
        self.loads: list[Load] = []
        self._conn: Connection | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for load in self.loads:
            load.abandon()
        for member in self.members:
            member.__exit__(kind, error, trace)
        self._drop()

    def ingest(self, **env: str) -> Ingest:
        """Start another member of the group."""
        log = self._directory / f"ingest-{next(self._numbers)}.log"
        member = Ingest(self.env, log, **{**SMALL, **env})
        self.members.append(member)
        return member

    def load(self, seed: int, *, rate: float = 1_000, limit: int | None = None) -> Load:
        """Start to publish; with a limit, return when all of it is acknowledged."""
        load = Load(self.settings, seed, rate=rate, limit=limit)
        self.loads.append(load)
        load.start()
        if limit is not None:
            load.join()
        return load

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a new connection: the servers may have been restarted since the last one."""
        with postgres.connect(self.settings.postgres, "verdict", autocommit=True) as conn:
            yield conn

    def _ask(self, ask: Callable[[Connection], Answer]) -> Answer:
        """Query on a kept connection: a new one for each query costs 15 ms of CPU.

        Where the server, or the connection, has gone meanwhile, on a new one.
        """
        for kept in (self._conn is not None, False):
            if self._conn is None:
                self._conn = postgres.connect(self.settings.postgres, "asks", autocommit=True)
            try:
                return ask(self._conn)
            except psycopg.OperationalError:
                self._drop()
                if not kept:
                    raise
        raise AssertionError

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def taken(self) -> int:
        """Return how many messages PostgreSQL has accounted for."""

        def ask(conn: Connection) -> int:
            row = conn.execute("SELECT coalesce(sum(next_offset), 0) FROM ingest_offsets")
            return int((row.fetchone() or (0,))[0])

        return self._ask(ask)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition of orders that has been read."""
        read = (
            "SELECT partition, next_offset FROM ingest_offsets"
            " WHERE topic = 'orders' AND next_offset > 0"
        )
        return dict(self._ask(lambda conn: conn.execute(read).fetchall()))

    def wait_taken(self, more: int, *, since: int | None = None, timeout: float = 60.0) -> None:
        """Wait until that number of further messages is accounted for."""
        goal = more + (self.taken() if since is None else since)
        wait_until(lambda: self.taken() >= goal, f"{more} more messages taken", timeout)

    def wait_shared(self, *among: Ingest, timeout: float = 60.0) -> None:
        """Wait until these members, and they alone, have all partitions of orders."""

        def shared() -> bool:
            owned = [owns(member) for member in among]
            return all(owned) and sum(owned) == self.settings.kafka.partitions

        wait_until(shared, f"{len(among)} members share the partitions", timeout)

    def settle(self, timeout: float = 90.0) -> None:
        """End the load, let the members catch up, and require a verdict without violations."""
        for load in self.loads:
            load.stop()
        wait_until(self.caught_up, "everything applied", timeout)
        if found := self.violations():
            raise AssertionError("\n".join(found))

    def caught_up(self) -> bool:
        """Return whether every message of the log is accounted for exactly once."""
        return self._ask(lambda conn: caught_up(self.settings, conn))

    def violations(self) -> list[str]:
        """Return the broken promises as text; none if all hold."""
        with self.reading() as conn:
            return violations(self.settings, conn, self.loads)


def answers(member: Ingest) -> bool:
    """Return whether a member is past its imports; before that, SIGTERM just ends it."""
    return "event=metrics " in member.log()


def owns(member: Ingest) -> int:
    """Return the number of partitions that a member reports; the broker may not list them."""
    events = re.findall(r'event="partitions (assigned|revoked)".* partitions=(\d+)', member.log())
    return int(events[-1][1]) if events and events[-1][0] == "assigned" else 0


def violations(settings: Settings, conn: Connection, loads: list[Load]) -> list[str]:
    """Compare the log, the counts, the rows and the dead letters with what was acknowledged.

    P1: every acknowledged message is stored or rejected, once. P2: the money agrees. And no dead
    letter but the poison that was sent.
    """
    found = [f"not acknowledged: {why}" for load in loads for why in load.refused[:3]]
    acknowledged = _placed(settings, loads)
    found += _books(settings, conn, acknowledged)
    expected = {at: s.reason for at, s in acknowledged.items() if s.reason is not None}
    rows = conn.execute(  # those of optional topics are held against the load that sent them
        'SELECT partition, "offset", reason FROM rejected_messages WHERE topic <> ALL(%s)',
        (list(OPTIONAL),),
    ).fetchall()
    rejected = {(p, o): reason for p, o, reason in rows}
    for at in expected.keys() | rejected.keys():
        if expected.get(at) != rejected.get(at):
            found.append(f"{at}: rejected for {rejected.get(at)}, expected {expected.get(at)}")
    found += _rows(conn, [s.order for s in acknowledged.values() if s.order is not None])
    return found[:20] + check(conn)


def _placed(settings: Settings, loads: list[Load]) -> dict[Place, Sent]:
    """Return what was acknowledged, by its place, and copies that were not acknowledged.

    When a partition changes its leader, librdkafka's idempotent producer may write messages twice
    and be told of one place, or of none (its issue 4953). A place that nobody was told of is
    taken for such a copy if it holds, byte for byte, what was acknowledged; otherwise it stays
    unexplained, as does an acknowledged message that is nowhere.
    """
    placed = {at: sent for load in loads for at, sent in load.acknowledged.items()}
    unplaced = [found for load in loads for found in load.unplaced]
    known = {sent.message: sent for sent in [*placed.values(), *(sent for _, sent in unplaced)]}
    log = (
        (p, o) for p, end in kafka.end_offsets(settings.kafka, "orders").items() for o in range(end)
    )
    for place, message in _read(settings, [at for at in log if at not in placed]):
        if message in known:
            placed[place] = known[message]
    there = {sent.message for sent in placed.values()}
    for partition, sent in unplaced:
        if sent.message not in there:
            placed[partition, NOWHERE] = sent
    return placed


def _read(settings: Settings, places: list[Place]) -> Iterator[tuple[Place, Message]]:
    """Yield the messages of the log at these places."""
    if not places:
        return
    consumer = Consumer(
        {**kafka.client_config(settings.kafka, "verdict"), "group.id": "verdict",
         "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )  # fmt: skip
    try:
        for partition, offset in places[:MOST_COPIES]:
            consumer.assign([TopicPartition("orders", partition, offset)])
            found = None
            while found is None or found.error():
                found = consumer.poll(1)
            if found.offset() == offset:
                yield (partition, offset), (found.key(), found.value())
    finally:
        consumer.close()


def _books(settings: Settings, conn: Connection, acknowledged: Iterable[Place]) -> list[str]:
    topic = kafka.describe_topics(kafka.admin(settings.kafka), ["orders"])["orders"]
    ends = {p: end for p, end in kafka.end_offsets(settings.kafka, "orders").items() if end}
    books = accounting.read_ledger(conn).get(("orders", topic.log_id), {})
    found = []
    places: dict[int, list[int]] = {}
    for partition, offset in acknowledged:
        places.setdefault(partition, []).append(offset)
    for partition in sorted(ends.keys() | places.keys()):
        end, told = ends.get(partition, 0), sorted(places.get(partition, []))
        if told != list(range(end)):
            strange = sorted(set(told) ^ set(range(end)))
            found.append(
                f"orders[{partition}]: the log holds {end} messages, {len(told)} were "
                f"acknowledged; in one of the two only: {strange[:10]}"
            )
    for partition, end in ends.items():
        entry = books.get(partition, accounting.OffsetRow())
        counted = entry.stored + entry.rejected + entry.ignored
        if not end == entry.next_offset == counted:
            found.append(f"orders[{partition}]: {end} messages in the log, {entry}")
    return found


def _rows(conn: Connection, orders: list[Order]) -> list[str]:
    newest: dict[int, Order] = {}
    for order in orders:
        if order.order_id not in newest or order.rev > newest[order.order_id].rev:
            newest[order.order_id] = order
    expected = {i: (o.rev, o.user_id, o.status, o.amount) for i, o in newest.items()}
    rows = conn.execute("SELECT order_id, rev, user_id, status, amount FROM orders").fetchall()
    stored = {i: tuple(rest) for i, *rest in rows}
    return [
        f"order {i}: stored {stored.get(i)}, published {expected.get(i)}"
        for i in sorted(expected.keys() | stored.keys())
        if expected.get(i) != stored.get(i)
    ]


def drain_time(member: Ingest) -> float:
    """Send SIGTERM; return the seconds to its end, which must be with 0 and within 10 s."""
    began = time.monotonic()
    code = member.stop()
    took = time.monotonic() - began
    assert code == 0, f"exit code {code}"
    return took
