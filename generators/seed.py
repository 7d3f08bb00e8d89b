"""Give the shop a start population: customers and products of the last two years.

The rows are written to PostgreSQL and their events are published, so that a consumer of the topics
knows every customer and product from the beginning.

The same seed and sizes give the same rows, so seeding again adds nothing. The two years end at the
last midnight in Seoul, or, in a shop that was seeded before, at the midnight of that seeding.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from generators import options, profiles
from generators.behaviour import population
from generators.portable_math import log
from generators.random_streams import Floats, Ints, stream
from shop import command, kafka, node_lease, postgres
from shop.clock import KST, UTC, Clock, utc_now
from shop.errors import ExitCode, JangteoError, UsageError
from shop.events import ID_FIELD
from shop.ids import EPOCH_MS, NODES, SEQUENCE_BITS, ids_at
from shop.log import get_logger
from shop.node_lease import SEED_NODE
from shop.postgres import Connection, Cursor
from shop.retry import first_line
from shop.settings import Settings, announce

USERS: Final = 10_000
PRODUCTS: Final = 2_000
SPAN: Final = timedelta(days=730)
GROWTH: Final = 4.0
"""Sign-ups per day at the end of the span, relative to its beginning; our estimate."""
CHUNK: Final = 250_000
"""Rows made and copied at a time: about 100 MB."""
DAY: Final = timedelta(days=1)


def creation_ids(u: Floats, anchor: datetime) -> Ints:
    """Return ids whose times lie within `SPAN` before `anchor`, ever denser towards it.

    The newest lies within the last day, so that `find_anchor` finds the anchor again.

    Args:
        u: shape (n,), uniform in [0, 1); n at least 1.
        anchor: the end, UTC.

    Returns:
        Shape (n,), ascending.
    """
    # Inverse of the cumulative share (GROWTH^t - 1) / (GROWTH - 1), t in [0, 1).
    t = log(1 + u * (GROWTH - 1)) / log(GROWTH)
    end = int(anchor.timestamp() * 1000) - EPOCH_MS
    span = int(SPAN / timedelta(milliseconds=1))
    back = ((1 - t) * span).astype(np.int64) + 1
    newest = int(np.argmin(back))
    back[newest] = min(int(back[newest]), int(u[0] * 86_400_000) + 1)
    return ids_at(np.sort(end - back), SEED_NODE)


def midnight_after(moment: datetime) -> datetime:
    """Return the first midnight in Seoul at or after a moment, in UTC.

    >>> midnight_after(datetime(2026, 1, 1, 15, 0, tzinfo=UTC)).isoformat()
    '2026-01-01T15:00:00+00:00'
    >>> midnight_after(datetime(2026, 1, 1, 15, 1, tzinfo=UTC)).isoformat()
    '2026-01-02T15:00:00+00:00'
    """
    day = moment.astimezone(KST).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day if day >= moment else day + DAY).astimezone(UTC)


def find_anchor(cur: Cursor, clock: Clock) -> datetime:
    """Return the midnight at which the seeded rows end, or will end if there are none yet."""
    node = sql.SQL("({} >> {}) & {} = {}")
    newest: list[datetime] = []
    for table in ("users", "products"):
        seeded = node.format(sql.Identifier(ID_FIELD[table]), SEQUENCE_BITS, NODES - 1, SEED_NODE)
        cur.execute(
            sql.SQL("SELECT created_at FROM {} WHERE {} ORDER BY created_at DESC LIMIT 1").format(
                sql.Identifier(table), seeded
            )
        )
        newest += [row[0] for row in cur.fetchall() if row[0] is not None]
    return midnight_after(max(newest)) if newest else midnight_after(clock()) - DAY


@dataclass(frozen=True)
class SeedTable:
    """What is seeded: a table, how its rows are made, and uniform numbers per row."""

    table: str
    make: Callable[[Floats, Ints], pl.DataFrame]
    draws: int


CUSTOMERS: Final = SeedTable("users", population.users, population.USER_DRAWS)
GOODS: Final = SeedTable("products", population.products, population.PRODUCT_DRAWS)


def seed_table(cur: Cursor, kind: SeedTable, n: int, *, seed: int, anchor: datetime) -> int:
    """Add `n` rows to a table where they are not there yet; return how many were added."""
    if not n:
        return 0
    ids = creation_ids(stream(seed, f"seed/{kind.table}/times").random(n), anchor)
    rng = stream(seed, f"seed/{kind.table}")
    added = 0
    for start in range(0, n, CHUNK):
        part = ids[start : start + CHUNK]
        rows = kind.make(rng.random((len(part), kind.draws)), part)
        if kind is GOODS:  # their prices are those of the day on which the shop opens
            rows = rows.with_columns(updated_at=pl.lit(anchor).cast(rows["updated_at"].dtype))
        added += _add(cur, kind.table, rows)
    return added


def _add(cur: Cursor, table: str, frame: pl.DataFrame) -> int:
    """COPY straight into the table; only if a row is there already, go through a staging table."""
    if _begun(cur, table, frame):  # what COPY would find out, but as an error in the server's log
        return _add_missing(cur, table, frame)
    try:
        with cur.connection.transaction():
            return postgres.copy_frame(cur, table, frame, fmt="text")
    except psycopg.errors.UniqueViolation:
        return _add_missing(cur, table, frame)


def _begun(cur: Cursor, table: str, frame: pl.DataFrame) -> bool:
    """Tell whether the first or the last of these rows is there, as where it was seeded before."""
    column = ID_FIELD[table]
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} = ANY(%s))").format(
        sql.Identifier(table), sql.Identifier(column)
    )
    cur.execute(query, ([frame[column][0], frame[column][-1]],))
    (begun,) = cur.fetchone() or (False,)
    return bool(begun)


def _add_missing(cur: Cursor, table: str, frame: pl.DataFrame) -> int:
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    names = {"table": sql.Identifier(table), "columns": columns}
    cur.execute(
        sql.SQL(
            "CREATE TEMP TABLE staging ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0"
        ).format(**names)
    )
    postgres.copy_frame(cur, "staging", frame, fmt="text")
    cur.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM staging ON CONFLICT DO NOTHING"
        ).format(**names)
    )
    added = cur.rowcount
    cur.execute("DROP TABLE staging")
    return added


def seed_shop(
    conn: Connection, *, users: int, products: int, seed: int, clock: Clock = utc_now
) -> tuple[int, int]:
    """Seed in one transaction; return how many users and products were added."""
    with conn.transaction(), conn.cursor() as cur:
        anchor = find_anchor(cur, clock)
        added = seed_table(cur, CUSTOMERS, users, seed=seed, anchor=anchor)
        cur.execute("SELECT recount_sign_ups()")
        return added, seed_table(cur, GOODS, products, seed=seed, anchor=anchor)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--users", type=command.count, default=USERS, metavar="N",
        help=f"create N customers (default: {USERS})",
    )  # fmt: skip
    parser.add_argument(
        "--products", type=command.count, default=PRODUCTS, metavar="N",
        help=f"create N products (default: {PRODUCTS})",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=command.count, metavar="N",
        help="seed of all random numbers (default: SHOP_SEED, 1)",
    )  # fmt: skip
    parser.add_argument(
        "--truncate", action="store_true", help="delete all users, products and orders first"
    )
    parser.add_argument(
        "--unless-production",
        action="store_true",
        help="do nothing, successfully, with DB_TYPE=production and without permission",
    )
    parser.add_argument(
        "--no-publish",
        action="store_true",
        help="write only to PostgreSQL; `jangteo generate profiles` publishes later",
    )
    options.invented(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Seed the shop."""
    try:
        settings.require("generator")
        settings.refuse_invented("write made-up customers", allowed=args.yes_production)
    except UsageError as e:
        if not args.unless_production:
            raise
        get_logger().info(f"nothing was written: {e}")
        return ExitCode.OK
    if args.truncate:
        settings.refuse_in_production(
            "empty the shop", "--yes-production", allowed=args.yes_production
        )
    seed = settings.seed if args.seed is None else args.seed
    # In production a Kafka that nobody named is a mistake, and not a wish to do without it.
    published = not args.no_publish and (
        settings.db_type == "production" or bool(settings.env.get("KAFKA_BOOTSTRAP_SERVERS"))
    )
    if published:
        announce.servers_in_production(settings, "postgres", "kafka")
        kafka.wait_until_up(settings.kafka)  # before anything is written
    else:
        announce.servers_in_production(settings, "postgres")
    began = time.monotonic()
    with (
        node_lease.leased(settings.postgres, "seed", exact=SEED_NODE) as held,
        postgres.connection(settings.postgres, "seed") as conn,
    ):
        assert held is not None  # noqa: S101  (nobody stops it while it waits)
        try:
            if args.truncate:
                postgres.truncate_simulation(conn)
                tables = sql.SQL(", ").join(map(sql.Identifier, postgres.SHOP_TABLES))
                conn.execute(sql.SQL("TRUNCATE {}").format(tables))
            users, products = seed_shop(
                conn, users=args.users, products=args.products, seed=seed, clock=held.clock
            )
        except psycopg.errors.UndefinedTable:
            raise JangteoError("the database has no schema yet: run `jangteo init`") from None
        except psycopg.errors.LockNotAvailable as e:
            raise JangteoError(first_line(e)) from None
    log = get_logger()
    copies: dict[str, int] = {}
    stop = threading.Event()
    if published:
        stop = command.stop_on_signals()  # from here on a part of it is useful
        copies = profiles.publish_missing(settings, stop)
    else:
        log.warning(
            "not published: the topics lack these customers and products until "
            "`jangteo generate profiles` publishes them"
        )
    seconds = round(time.monotonic() - began, 2)
    log.info("seeded", users=users, products=products, seed=seed, published=copies, seconds=seconds)
    if stop.is_set():
        raise JangteoError(f"stopped before all of it was published: {profiles.RESUME}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.seed", description=__doc__))
