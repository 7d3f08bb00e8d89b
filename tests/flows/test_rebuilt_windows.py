"""The ingest and a rebuild of the windows: the same sums, and never two lengths in one table."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from flows.aggregates import fold_batch
from flows.decoding.decode import decode_batch
from flows.transaction import BatchOutcome, Store
from jangteo.stack.consistency import check
from shop import postgres
from shop.events import Order
from shop.postgres import Connection, window_length
from shop.postgres.window_length import WindowLengthError
from shop.settings import Settings
from tests.support.event_samples import NOW, order, orders_batch
from tests.support.layouts import both_layouts

HELD = (
    "SELECT window_start, user_id, orders, spend FROM user_spend_windows WHERE orders <> 0"
    " ORDER BY 1, 2"
)


@pytest.fixture
def conn(database: Settings) -> Iterator[Connection]:
    with postgres.connect(database.postgres, "test", autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
            " VALUES ('orders', 0, 'log-1', 0)"
        )
        yield connection


def store_for(conn: Connection, window_s: int) -> Store:
    store = Store("orders", window_s=window_s)
    store.prepare(conn)
    return store


def apply(
    conn: Connection, store: Store, orders: list[Order], start: int, window_s: int
) -> BatchOutcome:
    batch = decode_batch(orders_batch(orders, start=start), clock=lambda: NOW)
    return store.apply(conn, fold_batch(batch, window_s=window_s))


@both_layouts
def test_a_cancellation_after_a_rebuild_takes_from_the_new_window(conn: Connection) -> None:
    earlier = NOW - timedelta(minutes=6)
    old = store_for(conn, 300)
    apply(conn, old, [order(1), order(2, ordered_at=earlier)], 0, 300)
    assert len(conn.execute(HELD).fetchall()) == 2
    window_length.rebuild(conn, 3_600)

    cancelled = [order(1, rev=2, status="CANCELLED", updated_at=NOW)]
    before = conn.execute(HELD).fetchall()
    with pytest.raises(WindowLengthError, match="holds windows of 3600 s"):
        apply(conn, old, cancelled, 2, 300)
    assert conn.execute(HELD).fetchall() == before
    with pytest.raises(WindowLengthError):
        store_for(conn, 300)

    assert apply(conn, store_for(conn, 3_600), cancelled, 2, 3_600) == BatchOutcome(stored=1)
    ((start, *sums),) = conn.execute(HELD).fetchall()
    assert start == NOW.replace(minute=0, second=0, microsecond=0)
    assert sums == [7, 1, 2_000]
    assert check(conn) == []


@both_layouts
def test_what_the_ingest_added_up_is_what_a_rebuild_folds(conn: Connection) -> None:
    """Duplicates, late orders and revisions in any order, in batches cut anywhere."""
    rng = random.Random(5)
    events = [
        order(
            rng.randrange(1, 120),
            rev=(rev := rng.choice([1, 1, 1, 2, 3])),
            user_id=rng.randrange(1, 9),
            quantity=rng.randrange(1, 5),
            status="PAID" if rev == 1 else rng.choice(["PAID", "CANCELLED", "REFUNDED"]),
            ordered_at=NOW - timedelta(seconds=rng.randrange(7_200)),
        )
        for _ in range(400)
    ]
    store = store_for(conn, 300)
    done = 0
    while done < len(events):
        n = rng.randrange(1, 60)
        apply(conn, store, events[done : done + n], done, 300)
        done = min(done + n, len(events))
    added_up = conn.execute(HELD).fetchall()
    assert len(added_up) > 50
    assert window_length.rebuild(conn, 300).windows == len(added_up)
    assert conn.execute(HELD).fetchall() == added_up
