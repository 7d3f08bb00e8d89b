"""A transaction of the ingest in a thread, for batches that PostgreSQL refuses."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flows import sink
from flows.aggregates import fold_batch
from flows.batch import Batch, RawBatch
from flows.decoding.decode import decode_batch
from flows.in_flight import InFlightWindow
from flows.metrics import POSTGRES, IngestMetrics
from flows.transaction import Store
from shop.settings import Settings
from tests.support.event_samples import (
    NOW,
)

WINDOW_S = 300
TOPICS = ("orders", "users", "products")


class Ingesting:
    """The sink's own writer, against a real server; batches are handed to it as Bytewax would."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.stop = threading.Event()
        self.metrics = IngestMetrics()
        self._in_flight = InFlightWindow(self.stop)
        self._writer = sink.Writer(
            Store(topic, window_s=WINDOW_S), settings.postgres, self._in_flight, self.metrics
        )
        self._writer.start()

    def put(self, raw: RawBatch) -> None:
        self.put_together([raw])

    def put_together(self, batches: Sequence[RawBatch]) -> None:
        """Hand batches over that are all on their way before the first one arrives."""
        for raw in batches:
            self._in_flight.handed_out(len(raw))
        for raw in batches:
            self._writer.put(batch_of(raw))

    def stored(self) -> bool:
        return self._in_flight.idle

    def held(self) -> bool:
        return self.metrics.is_away(POSTGRES)

    def end(self) -> None:
        self.stop.set()
        self._writer.finish(timeout=30)
        assert not self._writer.is_alive()


def batch_of(raw: RawBatch) -> Batch:
    batch = decode_batch(raw, clock=lambda: NOW)
    return fold_batch(batch, window_s=WINDOW_S) if raw.topic == "orders" else batch
