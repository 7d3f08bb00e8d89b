"""Steps of the tests that store batches in one transaction each."""

from __future__ import annotations

from flows.aggregates import fold_batch
from flows.batch import Batch, RawBatch
from flows.decoding.decode import decode_batch
from flows.transaction import BatchOutcome, Store
from shop import postgres
from tests.support.event_samples import (
    NOW,
)

WINDOW_S = 300


def register(conn: postgres.Connection, topic: str = "orders", log_id: str = "log-1") -> None:
    with conn.transaction():
        conn.execute(
            "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
            " SELECT %s, p, %s, 0 FROM generate_series(0, 3) AS p",
            (topic, log_id),
        )


def store_for(conn: postgres.Connection, topic: str = "orders", **options: int) -> Store:
    store = Store(topic, window_s=WINDOW_S, **options)
    store.prepare(conn)
    return store


def batch_of(raw: RawBatch) -> Batch:
    batch = decode_batch(raw, clock=lambda: NOW)
    return fold_batch(batch, window_s=WINDOW_S) if raw.topic == "orders" else batch


def apply(conn: postgres.Connection, raw: RawBatch, **options: int) -> BatchOutcome:
    return store_for(conn, raw.topic, **options).apply(conn, batch_of(raw))


def fetch(conn: postgres.Connection, query: str) -> list[tuple]:
    with conn.transaction():
        return conn.execute(query).fetchall()


def ledger(conn: postgres.Connection, topic: str = "orders") -> dict[int, tuple[int, ...]]:
    rows = fetch(
        conn,
        "SELECT partition, next_offset, stored, rejected, ignored FROM ingest_offsets"
        f" WHERE topic = '{topic}' AND next_offset > 0",
    )
    return {p: tuple(rest) for p, *rest in rows}
