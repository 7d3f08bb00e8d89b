"""Samples the running shop in a thread of its own, so that nothing waits for a slow answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

import psycopg
import redis
from confluent_kafka import KafkaException

from jangteo.stack.accounting import Account, OffsetAccounting
from shop import postgres
from shop.clock import utc_now
from shop.events import TOPICS
from shop.ingest_progress import ProgressReader
from shop.postgres import Connection
from shop.redis import cache, cache_line, control
from shop.retry import first_line
from shop.server_clock import redis_time
from shop.settings import Settings

EVERY_S: Final = 1.0
LOG_EVERY_S: Final = 2.0
"""Asking Kafka for the ends of all logs takes half a second and 25 ms of CPU."""
QUIET_EVERY_S: Final = 6.0
"""Between two looks at Kafka and PostgreSQL while nothing is published or stored. What is stored
shows in the ingest's heartbeat, which is read every second, and ends the quiet."""
_WRITERS: Final = ("ingest", "grader")
"""What the names of processes begin with that write what is counted."""
_REST: Final = 20
"""Counting rows takes at most one twentieth of the time, however large the tables."""


_RECENT: Final = b"""
SELECT o.user_id, u.name, o.product_id, p.name, o.quantity, o.amount, o.status, o.ordered_at
FROM (SELECT * FROM orders ORDER BY order_id DESC LIMIT 5) AS o
LEFT JOIN users AS u USING (user_id) LEFT JOIN products AS p USING (product_id)
ORDER BY o.order_id DESC
"""


class RecentOrder(NamedTuple):
    """An order as people tell it; the name of a customer or product not known yet is None.

    `amount` is in KRW, `ordered_at` in UTC.
    """

    user_id: int
    customer: str | None
    product_id: int
    product: str | None
    quantity: int
    amount: int
    status: str
    ordered_at: datetime


@dataclass(frozen=True)
class ShopSample:
    """The last sample; what could not be read keeps its former value.

    Attributes:
        account: None before the first.
        counted: monotonic seconds at which `account` began to be taken; -inf before the first.
        rows: exact counts per table; up to minutes old where tables are huge.
        grades: customers per grade, as old as `rows`.
        monitor: the cache monitor line.
        away: the servers that did not answer.
        stalls: what keeps topics from advancing, one line each (see `shop.ingest_progress`).
        restarts: how often the operator asked for each process to be restarted.
        beats: the last heartbeat of each process, by name.
        orders: the newest orders, the newest first.
    """

    account: Account | None = None
    counted: float = float("-inf")
    rows: Mapping[str, int] = field(default_factory=dict)
    grades: Mapping[str, int] = field(default_factory=dict)
    monitor: str = ""
    away: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    beats: Mapping[str, cache.Heartbeat] = field(default_factory=dict)
    orders: tuple[RecentOrder, ...] = ()

    @property
    def lag(self) -> int | None:
        """Number of messages not yet taken by the ingest; None if not known."""
        return sum(self.account.lag.values()) if self.account else None


class Observer(threading.Thread):
    """Samples the shop.

    Args:
        settings: addresses of the servers.
        accounting: the opened accounts of the run.
    """

    def __init__(self, settings: Settings, accounting: OffsetAccounting) -> None:
        super().__init__(name="observer", daemon=True)
        self.latest = ShopSample()
        self._settings = settings
        self._accounting = accounting
        self._redis = cache.client(settings.redis_url)
        self._progress = ProgressReader(settings, "up-progress", patient=True, commits=False)
        self._conn: Connection | None = None
        self._count_due = float("-inf")
        self._log_due = float("-inf")
        self._logged_at = float("-inf")
        self._quiet = False
        self._reported: dict[str, tuple[int, Mapping[str, str]]] = {}
        self._every = EVERY_S
        self._log_every = LOG_EVERY_S
        self._wake = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until `stop`."""
        while not self._ended.is_set():
            self.sample()
            self._wake.wait(self._every)
            self._wake.clear()
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._conn:
            self._conn.close()
        self._progress.close()
        self._redis.close()

    def hasten(self) -> None:
        """Sample everything now, and more often from now on."""
        self._every = EVERY_S / 2
        self._log_due, self._log_every = float("-inf"), 0.0
        self._wake.set()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread."""
        self._ended.set()
        self._wake.set()
        self.join(timeout)

    def sample(self) -> None:
        """Take one sample, of what is due."""
        seen = replace(self.latest, away=())
        looks = (
            self._look_at_cache, self._look_at_progress, self._look_at_orders, self._look_at_tables,
            self._look_at_log,
        )  # fmt: skip
        for look in looks:
            try:
                seen = look(seen)
            except redis.RedisError as e:
                line = cache_line.away(e, utc_now(), self._settings.lang)
                seen = replace(seen, monitor=line, away=(*seen.away, f"Redis: {first_line(e)}"))
            except psycopg.Error as e:
                self._conn = None
                seen = replace(seen, away=(*seen.away, f"PostgreSQL: {first_line(e)}"))
            except KafkaException as e:
                seen = replace(seen, away=(*seen.away, f"Kafka: {e.args[0].str()}"))
            self.latest = seen

    def _look_at_cache(self, seen: ShopSample) -> ShopSample:
        line = cache_line.read(self._redis, redis_time(self._redis), self._settings.lang)
        beats = {beat.name: beat for beat in cache.heartbeats(self._redis)}
        self._notice(beats)
        return replace(seen, monitor=line, restarts=control.restarts(self._redis), beats=beats)

    def _notice(self, beats: Mapping[str, cache.Heartbeat]) -> None:
        """End the quiet if a process that writes rows reports other counts than the last time."""
        reported = {
            name: (beat.pid, beat.fields)
            for name, beat in beats.items()
            if name.startswith(_WRITERS)
        }
        if reported != self._reported:
            self._reported, self._quiet = reported, False
            self._log_due = min(self._log_due, self._logged_at + self._log_every)

    def _rests(self) -> bool:
        """Return whether a look at the rows would show what the last one showed."""
        return self._quiet and time.monotonic() < self._log_due

    def _look_at_orders(self, seen: ShopSample) -> ShopSample:
        if self._rests():
            return seen
        rows = self._connection().execute(_RECENT).fetchall()
        return replace(seen, orders=tuple(RecentOrder(*row) for row in rows))

    def _look_at_tables(self, seen: ShopSample) -> ShopSample:
        began = time.monotonic()
        if began < self._count_due or self._rests():
            return seen
        topics = tuple(seen.account.published) if seen.account else tuple(TOPICS)
        rows, grades = count(self._connection(), topics)
        took = time.monotonic() - began
        self._count_due = time.monotonic() + _REST * took
        return replace(seen, rows=rows, grades=grades)

    def _look_at_log(self, seen: ShopSample) -> ShopSample:
        began = time.monotonic()
        if began < self._log_due:
            return seen
        account = self._accounting.account(self._connection())
        self._quiet = account == seen.account and not seen.stalls and self._log_every > 0
        self._logged_at = began
        self._log_due = began + (QUIET_EVERY_S if self._quiet else self._log_every)
        return replace(seen, account=account, counted=began)

    def _look_at_progress(self, seen: ShopSample) -> ShopSample:
        """Sample what stalls first: the other samples may wait or fail for the same reason."""
        if time.monotonic() < self._log_due:
            return seen
        troubles = self._progress.look().troubles()
        stalls = tuple(f"{topic}: {line}" for topic, lines in troubles.items() for line in lines)
        return replace(seen, stalls=stalls)

    def _connection(self) -> Connection:
        if self._conn is None or self._conn.closed:
            # A count has all the time it needs, but does not wait behind another's lock.
            self._conn = postgres.connect(
                self._settings.postgres, "up", autocommit=True, limits={"lock_timeout": "2s"}
            )
        return self._conn


def count(
    conn: Connection, topics: Sequence[str] = tuple(TOPICS)
) -> tuple[dict[str, int], dict[str, int]]:
    """Return exact rows per table and customers per grade."""
    rows = {}
    for topic in topics:
        row = conn.execute(f"SELECT count(*) FROM {topic}".encode()).fetchone()  # noqa: S608  (topic: a contract's name)
        rows[topic] = int(row[0]) if row else 0
    grades = conn.execute("SELECT grade, count(*) FROM users GROUP BY grade ORDER BY 2 DESC, 1")
    return rows, {str(grade): int(number) for grade, number in grades.fetchall()}
