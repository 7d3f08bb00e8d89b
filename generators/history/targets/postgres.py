"""A history into PostgreSQL: a transaction for each day, and a last one that completes it.

1. begin: the tables are empty or are emptied; guards keep every other session from writing.
2. each day: orders, spend windows and grade changes, and how far it is, in one transaction.
3. finish: customers and products with the sums of all days, guards gone, in one transaction.

Primary keys stay in place, so half a history is a shop that can be asked and given up: ids and
times ascend, so they grow at one edge. The look-up indexes are dropped at the beginning and built
at the end, from sorted rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal

import polars as pl
from psycopg import sql

from generators.history.fingerprint import fingerprint
from generators.history.history import Ending, ShopState
from generators.history.plan import Day
from generators.history.prefetch import ahead
from generators.history.request import Begun, HistoryRequest, read
from generators.history.resume import store
from generators.history.targets.begin import RunState
from shop import postgres
from shop.errors import JangteoError, UsageError
from shop.grading_policy import GradePolicy
from shop.log import get_logger
from shop.optional.registry import TABLES
from shop.postgres import Connection, Cursor, lookups, partitions, window_length
from shop.postgres.binary_copy import binary
from shop.postgres.sqlstate import retried
from shop.settings import PostgresSettings
from shop.spend_windows import fits_business_days, window_start

GUARDED: Final = ("user_spend_windows", "orders", *TABLES, "users", "products")
"""In the order in which every writer locks them (`postgres.SHOP_TABLES`)."""
_LOCKED: Final = (
    "simulation.clock",
    *postgres.SHOP_TABLES[:-1],
    "grade_state",
    postgres.SHOP_TABLES[-1],
)
"""All that `empty_shop` changes, in the order in which a cache worker, an ingest and a grader lock
it. The cache worker locks its clock before anything else."""
CHUNK: Final = 250_000


_ERASE: Final = (
    "SELECT erase_customers(array_agg(user_id)) FROM users_history WHERE kind = 'CLOSED'"
    " HAVING count(*) > 0"
)


class PostgresTarget:
    """Writes a history into the shop's tables.

    Args:
        settings: which server.
        window_s: length of the spend windows, seconds.
        policy: the grades.
        truncate: empty the tables if they are not.
    """

    everything = False
    """Days that are there already need not be given again."""
    live = True
    """The shop continues from here: what is still to come is stored for it."""
    keeps_state = True
    profiles = False

    def __init__(
        self, settings: PostgresSettings, *, window_s: int, policy: GradePolicy, truncate: bool
    ) -> None:
        self._settings = settings
        self._window_s = window_s
        self._policy = policy
        self._truncate = truncate
        self._looked_over: dict[str, int] = {}  # the first pages whose rows no session has read
        self._conn = self._connect()

    def _connect(self) -> Connection:
        with postgres.connection(self._settings, "backfill", autocommit=True) as conn:
            if (postgres.schema_version(conn) or 0) < len(postgres.migrations()):
                raise JangteoError("the database has not this version's schema: run `jangteo init`")
        conn = postgres.connect(self._settings, "backfill", autocommit=True)
        # A day that a crash of the server undoes is simply written again.
        conn.execute("SET synchronous_commit = off")
        conn.execute("SET jangteo.backfill = 'on'")
        row = conn.execute("SELECT pg_try_advisory_lock(%s)", (postgres.BACKFILL_LOCK,)).fetchone()
        if row is None or not row[0]:
            conn.close()
            raise UsageError("another backfill is writing to this database")
        return conn

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Make ready; return where it stands.

        Args:
            request: what is asked for.
            end: of a history that begins now; an unfinished one keeps its own.

        Raises:
            UsageError: if another one is unfinished, or the tables are not empty.
        """
        return retried(partial(self._begin, request, end))

    def _begin(self, request: HistoryRequest, end: datetime) -> Begun:
        with self._conn.transaction(), self._conn.cursor() as cur:
            cur.execute(
                "SELECT request, ends_at, next_day, fingerprint, finished_at FROM backfill_runs"
            )
            row = cur.fetchone()
            found = row and RunState(
                request=read(row[0]), ends_at=row[1], next_day=row[2], fingerprint=row[3],
                finished=row[4] is not None,
            )  # fmt: skip
            resume = partial(
                RunState.resume, request=request, end=end, truncate=self._truncate,
                give_up="run `jangteo backfill --discard`",
            )  # fmt: skip
            if found and not found.finished and (begun := resume(found)):
                return begun
            lock(cur, _LOCKED)
            empty = self._is_empty(cur)
            if found and not empty and (begun := resume(found)):
                return begun
            if not empty and not self._truncate:
                raise UsageError(
                    "the shop is not empty: a history begins with an empty one; "
                    "--truncate empties it (all users, products, orders)"
                )
            empty_shop(cur)
            lookups.drop(cur)
            partitions.make(cur, end - timedelta(days=request.days), end)
            window_length.claim(cur, self._window_s)
            cur.execute(
                "INSERT INTO backfill_runs (request, ends_at, fingerprint) VALUES (%s, %s, 0)",
                (request.as_json(), end),
            )
            for table in GUARDED:
                _guard(cur, "CREATE", table)
        return Begun(end)

    def _is_empty(self, cur: Cursor) -> bool:
        rows = sql.SQL(" OR ").join(
            sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(table))
            for table in postgres.SHOP_TABLES
        )
        row = cur.execute(sql.SQL("SELECT NOT ({})").format(rows)).fetchone()
        return bool(row and row[0])

    def prepare(self, day: Day) -> Callable[[], None]:
        """Make the rows of a day, which needs no server; return what writes them."""
        rows = {"orders": binary(day.orders, "orders")}
        if fits_business_days(self._window_s):
            folded = fold(day.orders, self._window_s)
            rows["user_spend_windows"] = binary(folded, "user_spend_windows")
        if day.grades is not None:
            rows["grade_history"] = binary(day.grades, "grade_history")
        for topic in day.topics.values():
            rows |= {table: postgres.copy_data(f) for table, f in topic.tables().items()}
        return partial(self._write, day, rows, fingerprint(day))

    def _write(self, day: Day, rows: Mapping[str, postgres.CopyData], bits: int) -> None:
        retried(partial(self._store, day, rows, bits))
        if day.grades is not None:
            self._look_over()

    def _store(self, day: Day, rows: Mapping[str, postgres.CopyData], bits: int) -> None:
        with self._conn.transaction(), self._conn.cursor() as cur:
            for table, data in rows.items():
                postgres.copy_into(cur, table, data)
            if day.grades is not None:
                self._note_grading(cur, day, day.grades)
                cur.execute("SET LOCAL synchronous_commit = on")  # for `_look_over`
            cur.execute(
                "UPDATE backfill_runs SET next_day = %s, orders = orders + %s,"
                " fingerprint = fingerprint # %s WHERE next_day = %s",
                (day.number + 1, len(day.orders), bits, day.number),
            )
            if cur.rowcount != 1:
                raise JangteoError(f"day {day.number} is not the next one: nothing was written")

    def _note_grading(self, cur: Cursor, day: Day, changes: pl.DataFrame) -> None:
        before, after = (
            changes[c].replace_strict(self._policy.ranks, return_dtype=pl.Int64)
            for c in ("from_grade", "to_grade")
        )
        up = int((after > before).sum())
        cur.execute(
            "INSERT INTO grade_runs (as_of, mode, users, changed, upgraded, downgraded, examined,"
            " started_at, finished_at)"
            " VALUES (%(as_of)s, 'full', %(users)s, %(n)s, %(up)s, %(down)s, %(users)s,"
            " %(as_of)s, %(as_of)s)",
            {
                "as_of": day.start, "users": day.customers, "n": len(changes), "up": up,
                "down": len(changes) - up,
            },
        )  # fmt: skip

    def _look_over(self) -> None:
        """Look at the new rows, orders by way of their range index, while they are in memory.

        The first session that reads a row sets a hint bit in its page: it is committed. With
        checksums, the default since PostgreSQL 18, that is free in a page written since the last
        checkpoint; any other page is logged whole, and all of them took the first reader of a year
        20 s. No hint bit is set for a commit that may still be lost, or for the 32 transactions
        around it: so the last one was synchronous.
        """
        self._conn.execute(_SUMMARIZE)
        for leaf in self._leaves("user_spend_windows"):
            self._conn.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE ctid >= %s::tid").format(leaf),
                (f"({self._looked_over.get(leaf.as_string(), 0)},1)",),
            )
            row = self._conn.execute(_PAGES, (leaf.as_string(),)).fetchone()
            self._looked_over[leaf.as_string()] = row[0] if row else 0

    def _leaves(self, table: str) -> list[sql.Identifier]:
        return leaves(self._conn.cursor(), table)

    def finish(self, ending: Ending) -> None:
        """Write customers and products; from here on it is a shop like any other."""
        self._conn.execute("SET synchronous_commit = on")
        retried(partial(self._finish, ending))
        self._look_over()
        for table in postgres.SHOP_TABLES:
            self._conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))

    def _finish(self, ending: Ending) -> None:
        # On a busy machine this took 6 of the 10 minutes of 90 days: each step is logged.
        log = get_logger()
        with self._conn.transaction(), self._conn.cursor() as cur:
            # First, as the cache worker locks it first; it may have counted half a history.
            postgres.truncate_simulation(self._conn)
            if not fits_business_days(self._window_s):
                window_length.fold_all(cur, self._window_s)
            log.info("finishing", step="customers and products")
            with contextlib.closing(ahead(ending.users, _user_rows)) as parts:
                for _, rows in parts:
                    postgres.copy_into(cur, "users", rows)
            cur.execute(_ERASE)
            postgres.copy_frame(cur, "products", ending.products)
            # The guards keep an ingest from going further than the first of these, with no lock
            # but on that one: it releases it, and all of them can be locked in order.
            lock(cur, GUARDED)
            log.info("finishing", step="indexes")
            lookups.create(cur)
            log.info("finishing", step="rollups")
            cur.execute("SELECT rebuild_sales(), rebuild_customer_rollups()")
            cur.execute("SELECT forget_grade_state()")
            for table in GUARDED:
                _guard(cur, "DROP", table)
            store.write(cur, ending)
            if ending.shop is not None:
                _open_shop(cur, ending.shop)
            cur.execute("UPDATE backfill_runs SET finished_at = now()")

    def discard(self) -> bool:
        """Give up an unfinished history; return whether there was one."""
        return retried(self._discard)

    def _discard(self) -> bool:
        with self._conn.transaction(), self._conn.cursor() as cur:
            row = cur.execute("SELECT FROM backfill_runs WHERE finished_at IS NULL").fetchone()
            if row is not None:
                lock(cur, _LOCKED)
                empty_shop(cur)
                lookups.create(cur)
                for table in GUARDED:
                    _guard(cur, "DROP", table)
            return row is not None


def _open_shop(cur: Cursor, shop: ShopState) -> None:
    """Leave the customers as the live shop needs them."""
    for part in shop.customers.iter_slices(CHUNK):
        postgres.copy_frame(cur, "simulation.customers", part)
    cur.execute(
        "INSERT INTO simulation.clock"
        " (orders, sign_ups, seed, orders_per_day, newest_user_id, newest_order_id)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (
            shop.orders, len(shop.customers), shop.seed, shop.orders_per_day,
            shop.customers["user_id"].max(), shop.customers["last_order_id"].max() or 0,
        ),
    )  # fmt: skip


def _user_rows(part: pl.DataFrame) -> postgres.CopyData:
    return postgres.copy_data(part)


def empty_shop(cur: Cursor) -> None:
    """Empty the shop's tables, and forget what was known of their history."""
    cur.execute("TRUNCATE simulation.clock, simulation.customers")
    tables = sql.SQL(", ").join(map(sql.Identifier, postgres.SHOP_TABLES))
    cur.execute(sql.SQL("TRUNCATE {}").format(tables))
    cur.execute("SELECT forget_grade_state()")
    cur.execute("DELETE FROM spend_window_length")
    cur.execute("DELETE FROM backfill_state")
    cur.execute("DELETE FROM backfill_runs")


def fold(orders: pl.DataFrame, window_s: int) -> pl.DataFrame:
    """Return the spend windows of orders: user_id, window_start, orders, spend, by key."""
    return (
        orders.lazy()
        .filter(pl.col("status") == "PAID")
        .group_by("user_id", window_start(window_s))
        .agg(pl.len().cast(pl.Int64).alias("orders"), pl.col("amount").sum().alias("spend"))
        .sort("window_start", "user_id")
        .collect()
    )


def lock(cur: Cursor, tables: Sequence[str]) -> None:
    """Take tables for this transaction alone, one after the other."""
    names = sql.SQL(", ").join(sql.Identifier(*table.split(".")) for table in tables)
    cur.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))


def leaves(cur: Cursor, table: str) -> list[sql.Identifier]:
    """Return the tables that hold a table's rows: its partitions, or itself."""
    cur.execute(
        # The tree of a table that is not partitioned is empty.
        "SELECT n.nspname, c.relname FROM (SELECT relid FROM pg_partition_tree(%(table)s::regclass)"
        " UNION SELECT %(table)s::regclass) AS t"
        " JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' ORDER BY 1, 2",
        {"table": table},
    )
    return [sql.Identifier(*names) for names in cur.fetchall()]


# The range index of each table that holds orders, whatever its name there.
_SUMMARIZE: Final = """
SELECT brin_summarize_new_values(i.indexrelid)
FROM (SELECT relid FROM pg_partition_tree('orders') UNION SELECT 'orders'::regclass) AS t
JOIN pg_index AS i ON i.indrelid = t.relid
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
JOIN pg_am AS a ON a.oid = c.relam AND a.amname = 'brin'
"""
_PAGES: Final = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::integer"


def _guard(cur: Cursor, verb: Literal["CREATE", "DROP"], table: str) -> None:
    """Keep other sessions from writing to a table, and autovacuum from competing with a bulk load.

    Afterwards autovacuum works on the table as always. Of a partitioned table it works on the
    partitions, which have the setting.
    """
    trigger = {
        "CREATE": "CREATE TRIGGER backfill_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE"
        " ON {} FOR EACH STATEMENT EXECUTE FUNCTION refuse_during_backfill()",
        "DROP": "DROP TRIGGER IF EXISTS backfill_guard ON {}",
    }
    storage = {
        "CREATE": "ALTER TABLE {} SET (autovacuum_enabled = off)",
        "DROP": "ALTER TABLE {} RESET (autovacuum_enabled)",
    }
    cur.execute(sql.SQL(trigger[verb]).format(sql.Identifier(table)))
    for leaf in leaves(cur, table):
        cur.execute(sql.SQL(storage[verb]).format(leaf))
