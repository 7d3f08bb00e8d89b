"""A small shop with a history, for the tests of the dashboards.

Every row is written by the program that writes it in a real one: the backfill, then the ingest's
own store (new orders, rejected messages), then the grader.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

from flows.decoding.decode import decode_batch
from flows.transaction import Store
from grading.store import grade_users
from jangteo.stack import consistency
from shop import postgres
from shop import settings as shop_settings
from shop.clock import utc_now
from shop.ids import EPOCH, make_id
from shop.optional.registry import SWITCHES
from shop.postgres import Connection
from tests.support import python_process
from tests.support.event_samples import Message, changed, message, order, raw_batch

DAYS, ORDERS_PER_DAY = 90, 100
PARTITIONS = 12
LIVE, REJECTED, REPLAYED = 24, 40, 8
"""Orders, and rejected messages, that came after the history."""


def fill(env: Mapping[str, str]) -> None:
    """Fill the empty database that `env` names with ninety days up to now and a few events more."""
    size = ["--days", str(DAYS), "--orders-per-day", str(ORDERS_PER_DAY)]
    size += ["--with", ",".join(SWITCHES)]
    done = python_process.run(
        [sys.executable, "-m", "generators.backfill", *size],
        env=dict(env), capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reached = shop_settings.load(env, use_stack=False).postgres
    with postgres.connect(reached, "shop", autocommit=True) as conn:
        _go_on(conn)
        assert grade_users(conn, wait=True)
        assert consistency.check(conn) == []


def _go_on(conn: Connection) -> None:
    """Store what arrives in a recreated topic: orders, and messages to reject."""
    moment = utc_now().replace(microsecond=0)
    customers = [int(r[0]) for r in conn.execute("SELECT user_id FROM users LIMIT 23").fetchall()]
    ((product, history),) = conn.execute(
        "SELECT min(product_id), max(ends_at) FROM products, backfill_runs"
    ).fetchall()
    since_epoch = int((moment - EPOCH).total_seconds() * 1000)
    customers.append(make_id(since_epoch - 10_000))  # whose own event has not come yet
    assert len(customers) == LIVE
    orders = [
        order(
            make_id(since_epoch, sequence=n), user_id=customer, product_id=product,
            ordered_at=at, updated_at=at,
        )
        for n, customer in enumerate(customers)
        for at in [max(history, moment - timedelta(seconds=n % 7))]
    ]  # fmt: skip
    store = Store("orders", window_s=300)
    store.prepare(conn)
    for partition in range(PARTITIONS):
        _claim(conn, "old", partition)
        mine = orders[partition::PARTITIONS]
        _apply(conn, store, partition, [message("orders", o) for o in mine])
    key, good = message("orders", orders[0])
    bad = [(key, good[:-1]), (key, changed(orders[0], amount=...))] * (REJECTED // 2)
    start = len(orders[::PARTITIONS])
    _apply(conn, store, 0, bad, start=start)
    conn.execute(
        'UPDATE rejected_messages SET replayed_at = now() WHERE "offset" < %s', (start + REPLAYED,)
    )


def _apply(
    conn: Connection,
    store: Store,
    partition: int,
    messages: Sequence[Message],
    start: int = 0,
) -> None:
    if not start:
        _claim(conn, "new", partition)
    batch = raw_batch("orders", messages, start=start, partition=partition, log_id="new")
    store.apply(conn, decode_batch(batch, clock=utc_now))


def _claim(conn: Connection, log_id: str, partition: int) -> None:
    """Begin a partition at 0, as the source does."""
    conn.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', %s, %s, 0)",
        (partition, log_id),
    )
