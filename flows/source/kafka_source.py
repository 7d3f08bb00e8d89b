"""The source of the dataflow: micro-batches of one topic, read by one consumer for each worker."""

from __future__ import annotations

from bytewax.inputs import DynamicSource

from flows.batch import RawBatch
from flows.in_flight import InFlightWindows
from flows.metrics import IngestMetrics
from flows.source.consumer import TopicConsumer
from shop.settings import KafkaSettings, PostgresSettings


class KafkaSource(DynamicSource[RawBatch]):
    """Micro-batches of one topic; every worker is a member of the topic's group."""

    def __init__(
        self,
        topic: str,
        kafka_settings: KafkaSettings,
        postgres_settings: PostgresSettings,
        in_flight: InFlightWindows,
        metrics: IngestMetrics,
        *,
        batch_size: int,
    ) -> None:
        self._topic = topic
        self._metrics = metrics
        self._kafka = kafka_settings
        self._postgres = postgres_settings
        self._in_flight = in_flight
        self._batch_size = batch_size

    def build(self, step_id: str, worker_index: int, worker_count: int) -> TopicConsumer:  # noqa: ARG002  (the signature is Bytewax's)
        """Build the worker's consumer (called by Bytewax)."""
        return TopicConsumer(
            self._topic,
            self._kafka,
            self._postgres,
            self._in_flight.get(self._topic, worker_index),
            self._metrics,
            batch_size=self._batch_size,
        )
