"""A plain loop as a competent engineer writes it: poll, json, executemany upsert, commit after."""

from __future__ import annotations

import json
import sys

import psycopg
from confluent_kafka import Consumer

from benchmarks.peers.common import BOOTSTRAP, COLUMNS, POSTGRES, UPSERT, Progress

BATCH = 5_000


def main() -> None:
    """Run until the given number of orders is stored."""
    progress = Progress(int(sys.argv[1]))
    consumer = Consumer({
        "bootstrap.servers": BOOTSTRAP,
        "group.id": "peer-plain-loop",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })  # fmt: skip
    consumer.subscribe(["orders"])
    with psycopg.connect(**POSTGRES) as conn:
        while True:
            messages = [m for m in consumer.consume(BATCH, 0.2) if m.error() is None]
            if not messages:
                continue
            progress.start()
            orders = [json.loads(m.value() or b"{}") for m in messages]
            with conn.cursor() as cur:
                cur.executemany(UPSERT, [[o[c] for c in COLUMNS] for o in orders])
            conn.commit()
            consumer.commit(asynchronous=False)
            if progress.committed(len(messages)):
                return


if __name__ == "__main__":
    main()
