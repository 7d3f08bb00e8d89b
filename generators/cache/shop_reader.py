"""What a refresh reads: the state of the customers, brought up to date, and what to cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import psycopg

from generators.cache import customers, reading
from generators.cache.customers import ShopClock
from generators.cache.lately_sold import LatelySold
from shop import postgres
from shop.clock import UTC
from shop.log import get_logger
from shop.postgres import Connection
from shop.postgres.patience import patient
from shop.postgres.sqlstate import retried
from shop.redis.cache import CachedProduct, CachedUser
from shop.settings import PostgresSettings, Settings

COUNTING_S: Final = 5.0
"""Seconds for which a refresh counts a shop that is not counted yet; then the cache is filled from
what is known, and the next refresh continues."""
LOOK_BACK_EVERY_S: Final = 60.0
"""How often a refresh looks for rows that were stored minutes late."""
RECONCILE_S: Final = 600.0
"""How often whole tables are compared."""
_BY_KEY: Final = (
    "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
)
"""For the rest of a transaction: some hundred customers are due, and are looked up by their key.
The planner expects up to the limit of 50,000 and would read all users: 0.3 s of 300,000."""
WIN_BACK_EVERY: Final = timedelta(hours=1)
"""How often customers are brought back while a campaign runs: it reads all who have bought."""
LIMITS: Final = {
    # A worker that is stopped while it holds the clock must not stop the others.
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # What it stores follows from the tables. A crash of the server may undo the last refreshes,
    # each as a whole, and the next one counts again: no refresh waits for the disk.
    "synchronous_commit": "off",
}


class Shop(NamedTuple):
    """What a refresh reads, all as of one moment."""

    clock: ShopClock
    users: list[CachedUser]
    products: list[CachedProduct]
    has_history: bool


class ShopReader:
    """Brings the state of the customers up to date, and reads what to cache.

    Args:
        settings: where PostgreSQL is, how much to cache, the seed of a new shop.
        name: of its connections.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self, settings: Settings, name: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._name = name
        self._monotonic = monotonic
        self._looked_back = self._reconciled = float("-inf")
        self._kept: Connection | None = None
        self._sold = LatelySold(monotonic)
        self._won_back = datetime.min.replace(tzinfo=UTC)

    def read(self, win_back: datetime | None = None) -> Shop:
        """Return what to cache; of a shop that is not counted yet, what is known by then.

        Args:
            win_back: the time, if a campaign runs now that brings customers back who have left.

        Raises:
            psycopg.Error: if PostgreSQL does not answer or has no schema.
        """
        until = self._monotonic() + COUNTING_S
        with self._session() as conn:
            while True:
                done, shop = retried(partial(self._count, conn, until, win_back))
                if shop is not None:
                    if not done:
                        counted = shop.clock
                        get_logger().info(
                            "counting the customers and orders of an older shop",
                            customers=counted.sign_ups, orders=counted.orders,
                        )  # fmt: skip
                    return shop

    def reconcile(self) -> None:
        """Count what was stored late, if it is time for that: it reads whole tables.

        Raises:
            psycopg.Error: if PostgreSQL does not answer.
        """
        if self._monotonic() - self._reconciled < RECONCILE_S:
            return
        with self._session() as conn:
            while not retried(partial(self._reconcile, conn)):
                pass
        self._reconciled = self._monotonic()

    def lend(self, read: Callable[[Connection], None]) -> None:
        """Let somebody read in the session.

        Raises:
            psycopg.Error: if PostgreSQL does not answer.
        """
        with self._session() as conn:
            read(conn)

    @contextlib.contextmanager
    def _session(self) -> Iterator[Connection]:
        """Lend the session, which is kept: opening one takes as long as half of the queries.

        One that has ended since, as when PostgreSQL was restarted, is replaced.
        """
        conn = self._kept
        if conn is None or not _answers(conn, self._settings.postgres):
            conn = self._connect()
        self._kept = None
        try:
            yield conn
        except BaseException:
            conn.close()
            raise
        self._kept = conn

    def _connect(self) -> Connection:
        conn = postgres.connect(self._settings.postgres, self._name, autocommit=True, limits=LIMITS)
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        # The plan must know how many are due: a generic one takes a third of all customers to be.
        conn.prepare_threshold = None
        return conn

    def _count(
        self, conn: Connection, until: float, win_back: datetime | None
    ) -> tuple[bool, Shop | None]:
        """Count a chunk, and read what to cache if that was all or the time is over."""
        began = self._monotonic()
        long = began - self._looked_back >= LOOK_BACK_EVERY_S
        back = customers.LONG_LOOK_BACK_S if long else customers.LOOK_BACK_S
        with conn.transaction(), conn.cursor() as cur:
            clock = customers.locked_clock(cur, self._settings.seed)
            clock, done = customers.count_new(cur, clock, back_s=back)
            if done and clock.catching_up:
                clock, done = customers.reconcile(cur, clock)
                if done:
                    customers.settle(cur, clock)
                    clock = clock._replace(catching_up=False)
            customers.save(cur, clock)
            if done and win_back is not None and win_back - self._won_back >= WIN_BACK_EVERY:
                found = customers.win_back(cur, clock, win_back)
                get_logger().info("customers who had left are due again", customers=found)
                self._won_back = win_back
            shop = None
            if done or began >= until:
                sold = self._sold.read(conn, clock.orders)
                size = self._settings.cache_batch_size
                products = reading.read_products(conn, size, sold)
                cur.execute(_BY_KEY)
                users = reading.read_users(conn, size, clock)
                shop = Shop(clock, users, products, reading.has_history(conn))
        if long:
            self._looked_back = began
        return done, shop

    def _reconcile(self, conn: Connection) -> bool:
        with conn.transaction(), conn.cursor() as cur:
            clock = customers.locked_clock(cur, self._settings.seed)
            clock, counted = customers.count_new(cur, clock, back_s=0)
            done = False
            if counted:
                clock, done = customers.reconcile(cur, clock)
            customers.save(cur, clock)
        return done


def _answers(conn: Connection, settings: PostgresSettings) -> bool:
    """Return whether a session is still there; close it if not."""
    try:
        with patient(conn, settings):
            conn.execute("SELECT")
    except psycopg.Error:
        conn.close()
        return False
    return True
