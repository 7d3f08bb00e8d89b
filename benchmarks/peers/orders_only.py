"""Our dataflow without what it does beyond the others: orders and offsets, no sums.

python -m bytewax.run 'benchmarks.peers.orders_only:get_flow()'
"""

from __future__ import annotations

import threading
from dataclasses import replace

from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows import shutdown
from flows.aggregates import order_copy
from flows.batch import INDEX, Batch
from flows.decoding.decode import decode_batch
from flows.in_flight import InFlightWindows
from flows.metrics import IngestMetrics
from flows.sink import PostgresSink
from flows.source.kafka_source import KafkaSource
from flows.transaction import Rest, Store, Stored
from shop import log, settings
from shop.postgres import Cursor


class OrdersOnly(Store):
    """Stores new orders and advances the offsets."""

    def _store_orders(self, cur: Cursor, rest: Rest) -> Stored:
        if not self._copy_optimistically(cur, rest.rows, rest.batch.copy):
            raise RuntimeError("the preloaded orders are new ones")
        return rest.rows[INDEX].to_numpy(), [], None


def with_copy(batch: Batch) -> Batch:
    """Write the rows for COPY next to the writer, as the whole flow does."""
    return replace(batch, copy=order_copy(batch.rows))


def get_flow() -> Dataflow:
    """Build the narrowed dataflow from the environment."""
    config = settings.load()
    log.configure("ingest", level=config.log_level, fmt=config.log_format)
    stop, counts = threading.Event(), IngestMetrics()
    in_flight = InFlightWindows(stop)
    flow = Dataflow("orders_only")
    size = config.ingest_batch_size
    source = KafkaSource(
        "orders", config.kafka, config.postgres, in_flight, counts, batch_size=size
    )
    messages = op.input("kafka", flow, source)
    batch = op.map("copy", op.map("decode", messages, decode_batch), with_copy)
    store = OrdersOnly("orders", window_s=config.spend_window)
    op.output("postgres", batch, PostgresSink(store, config.postgres, in_flight, counts))
    shutdown.calm_collector()
    shutdown.stop_on_signals(stop)
    return flow
