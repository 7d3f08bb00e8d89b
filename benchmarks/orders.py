"""Orders for the benchmarks: made in columns, preloaded into a topic."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

import numpy as np
import polars as pl

from shop import kafka
from shop.clock import utc_now
from shop.events import ORDER_STATUSES, PAYMENT_METHODS, SCHEMAS, VERSION
from shop.ids import EPOCH_MS, ids_at
from shop.settings import Settings

CHUNK = 100_000
BULK = {"linger.ms": 50, "batch.num.messages": 10_000, "queue.buffering.max.messages": 500_000}
"""Of a producer that has much to send and no hurry with any of it."""


def frame(
    n: int,
    *,
    users: int,
    products: int,
    seed: int = 1,
    end: datetime | None = None,
    days: float = 0.0,
) -> pl.DataFrame:
    """Return `n` first revisions, columns as `SCHEMAS["orders"]`.

    Args:
        n: orders.
        users: customers, drawn evenly: the hardest case for per-customer sums.
        products: drawn with a Zipf-like skew.
        seed: of the random numbers.
        end: time of the last order; now by default.
        days: how far back the first order lies; 0: all within a minute.
    """
    rng = np.random.default_rng(seed)
    last = int((end or utc_now()).timestamp() * 1000)
    length = max(int(days * 86_400_000), 60_000)
    ms = np.sort(last - (rng.random(n) * length).astype(np.int64))
    quantity = 1 + (rng.random(n) ** 4 * 4).astype(np.int64)
    price = (10 + rng.integers(0, 500, n)) * 100
    at = pl.Series(ms * 1000).cast(pl.Datetime("us", "UTC"))
    columns = {
        "order_id": ids_at(ms - EPOCH_MS, node=9),
        "rev": np.ones(n, np.int64),
        "user_id": 1 + (rng.random(n) * users).astype(np.int64),
        "product_id": 1 + (rng.random(n) ** 3 * products).astype(np.int64),
        "quantity": quantity,
        "unit_price": price,
        "discount": np.zeros(n, np.int64),
        "amount": quantity * price,
        "payment_method": np.array(PAYMENT_METHODS)[rng.integers(0, len(PAYMENT_METHODS), n)],
        "status": [ORDER_STATUSES[0]] * n,
        "scenario": [None] * n,
        "ordered_at": at,
        "updated_at": at,
    }
    return pl.DataFrame(columns, schema=SCHEMAS["orders"])


def messages(orders: pl.DataFrame) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, payload) of each order, as our producers write them."""
    times = pl.col("ordered_at", "updated_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    for part in orders.iter_slices(CHUNK):
        buffer = io.BytesIO()
        part.select(pl.lit(VERSION).alias("v"), pl.all()).with_columns(times).write_ndjson(buffer)
        keys = part["user_id"].cast(pl.String).to_list()
        for key, payload in zip(keys, buffer.getvalue().splitlines(), strict=True):
            yield key.encode(), payload


def preload(settings: Settings, orders: pl.DataFrame, topic: str = "orders") -> float:
    """Publish orders; return the seconds it took, making the messages included."""
    return publish(settings, messages(orders), topic)


def publish(
    settings: Settings, made: Iterable[tuple[bytes, bytes]], topic: str = "orders"
) -> float:
    """Hand messages to librdkafka; return the seconds until Kafka has acknowledged all."""
    started = time.perf_counter()
    producer = kafka.producer(settings.kafka, "bench", **BULK)
    for i, (key, payload) in enumerate(made):
        while True:
            try:
                producer.produce(topic, payload, key=key)
                break
            except BufferError:
                producer.poll(0.05)
        if i % 1_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the broker did not take the orders")
    return time.perf_counter() - started
