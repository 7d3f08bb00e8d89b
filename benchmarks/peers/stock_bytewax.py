"""Bytewax as its documentation shows it: the stock KafkaSource, one item a message, a sink."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks.peers.common import BOOTSTRAP, COLUMNS, POSTGRES, UPSERT, Progress


class _StockPartition(StatelessSinkPartition[Sequence[Any]]):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._conn = psycopg.connect(**POSTGRES)

    def write_batch(self, items: Sequence[Sequence[Any]]) -> None:
        with self._conn.cursor() as cur:
            cur.executemany(UPSERT, items)
        self._conn.commit()
        self._progress.committed(len(items))


class UpsertSink(DynamicSink[Sequence[Any]]):
    """Upserts what one activation brings, in one transaction."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _StockPartition:  # noqa: ARG002  (the signature is Bytewax's)
        """Build the sink of a worker."""
        return _StockPartition(self._progress)


def main() -> None:
    """Run until the end of the topic."""
    progress = Progress(int(sys.argv[1]))

    def decode(message: Any) -> list[Any]:
        progress.start()
        order = json.loads(message.value)
        return [order[c] for c in COLUMNS]

    flow = Dataflow("stock")
    messages = op.input("kafka", flow, KafkaSource([BOOTSTRAP], ["orders"], tail=False))
    rows = op.map("decode", messages, decode)
    op.output("postgres", rows, UpsertSink(progress))
    run_main(flow)  # type: ignore[no-untyped-call]  # Bytewax has no types there


if __name__ == "__main__":
    main()
