"""A shop of a given number of customers, each with an order on average, and its cache worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import redis
from psycopg import sql

from benchmarks import common, orders
from generators.cache.customers import ShopClock
from generators.cache.worker import CacheWorker
from generators.random_streams import Ints
from generators.seed import seed_shop
from jangteo.stack.embedded import EmbeddedRedis
from shop import postgres
from shop.postgres import Connection
from shop.redis import cache

PRODUCTS: Final = 2_000
DAYS: Final = 90.0
INTERVAL_S: Final = 50.0
"""CACHE_REFRESH_INTERVAL's default."""

_COUNT: Final = """
UPDATE users AS u SET order_count = o.n, total_spent = o.spend, last_ordered_at = o.last
FROM (SELECT user_id, count(*) AS n, sum(amount)::bigint AS spend, max(ordered_at) AS last
      FROM orders GROUP BY user_id) AS o
WHERE u.user_id = o.user_id;
UPDATE products AS p SET order_count = o.n
FROM (SELECT product_id, count(*) AS n FROM orders GROUP BY product_id) AS o
WHERE p.product_id = o.product_id;
INSERT INTO sales_by_product (product_id, day, orders, units, spend)
SELECT product_id, (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS day, count(*), sum(quantity),
       sum(amount)
FROM orders GROUP BY product_id, day
"""
"""What the ingest would have counted: the cache worker reads it."""


class FilledShop:
    """A shop in a database of its own, and what fills and reads its cache.

    Args:
        rig: the servers; only its PostgreSQL must run.
        server: the Redis.
        customers: the number of customers, and of orders.
    """

    def __init__(self, rig: common.Rig, server: EmbeddedRedis, customers: int) -> None:
        self.customers = customers
        self.settings = rig.settings({**rig.database(), **server.env})
        self.redis: redis.Redis = cache.client(self.settings.redis_url, timeout=60.0)
        self.redis.flushdb()
        self._log = rig.postgres.log
        with self.session("fill") as conn:
            _fill(conn, customers)
        self.worker = CacheWorker(self.settings, self.redis, INTERVAL_S)
        while self.clock().catching_up or not self.worker.refreshes:
            self.worker.refresh()
        self.worker.reconcile()

    @contextmanager
    def session(self, name: str) -> Iterator[Connection]:
        """Lend a session of PostgreSQL in autocommit mode."""
        with postgres.connect(self.settings.postgres, name, autocommit=True) as conn:
            yield conn

    def clock(self) -> ShopClock:
        """Return the clock by which customers are due."""
        with self.session("clock") as conn:
            row = conn.execute(
                "SELECT orders, sign_ups, seed, orders_per_day, newest_user_id, newest_order_id,"
                " catching_up FROM simulation.clock"
            ).fetchone()
        return ShopClock(0, 0, 1, 1, catching_up=True) if row is None else ShopClock(*row)

    def log_statements(self) -> None:
        """Let PostgreSQL log every statement of the sessions that begin from now on.

        The wheel's PostgreSQL lacks pg_stat_statements.
        """
        with self.session("log") as conn:
            name = sql.Identifier(conn.info.dbname)
            conn.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
        self.worker = CacheWorker(self.settings, self.redis, INTERVAL_S)
        self.worker.refresh()  # its first one does more than the others

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the statements that PostgreSQL executes meanwhile, of any session.

        BEGIN and COMMIT are among them, and what a session sets when it opens.
        """
        start, found = self._log.stat().st_size, list[str]()
        yield found
        found += statements_in(self._log, start)

    def close(self) -> None:
        """Close the client of Redis; the database is the rig's."""
        self.redis.close()


_STATEMENT: Final = re.compile(r"^\S+ \S+ \S+ \[\d+\] \S* LOG:  (?:statement|execute [^:]*): (.*)")


def statements_in(log: Path, start: int = 0) -> list[str]:
    """Return the first lines of the statements in a log of PostgreSQL, from an offset on."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    return [m[1] for line in lines if (m := _STATEMENT.match(line))]


def _fill(conn: Connection, customers: int) -> None:
    seed_shop(conn, users=customers, products=PRODUCTS, seed=1)
    users, products = (
        _column(conn, f"SELECT {i} FROM {table} ORDER BY {i}")
        for table, i in (("users", "user_id"), ("products", "product_id"))
    )
    placed = orders.frame(customers, users=customers, products=PRODUCTS, days=DAYS)
    placed = placed.with_columns(
        user_id=pl.Series(users[placed["user_id"].to_numpy() - 1]),
        product_id=pl.Series(products[placed["product_id"].to_numpy() - 1]),
    )
    with conn.transaction(), conn.cursor() as cur:
        postgres.copy_frame(cur, "orders", placed, fmt="text")
        cur.execute(_COUNT)
    conn.execute("VACUUM ANALYZE")
    conn.execute("CHECKPOINT")


def _column(conn: Connection, query: str) -> Ints:
    return np.array([value for (value,) in conn.execute(query.encode())], np.int64)
