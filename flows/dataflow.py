"""The dataflow of the ingest: for each topic a source, a decoder and a sink."""

from __future__ import annotations

import threading
from functools import partial

from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows import health, heartbeat, progress_watch, shutdown
from flows.aggregates import fold
from flows.decoding.decode import decode_batch
from flows.event_clock import watch
from flows.in_flight import InFlightWindows
from flows.metrics import IngestMetrics
from flows.sink import PostgresSink
from flows.source.kafka_source import KafkaSource
from flows.transaction import Store
from shop.postgres import window_length
from shop.settings import Settings, announce


def start(config: Settings) -> Dataflow:
    """Start what accompanies the dataflow (signals, health, heartbeat) and return the dataflow.

    Raises:
        JangteoError: if a setting does not fit the database, or a server's name is not valid.
    """
    stop = threading.Event()
    metrics = IngestMetrics()
    dataflow = build(config, stop, metrics)
    window_length.refuse_another(config)
    announce.servers(config, "kafka", "postgres", "redis")
    shutdown.calm_collector()
    shutdown.stop_on_signals(stop)
    endpoint = health.start(metrics, config)
    progress_watch.watch(metrics, config, stop)
    heartbeat.report(metrics, config, stop, f"{endpoint.url}/metrics" if endpoint else "")
    return dataflow


def build(config: Settings, stop: threading.Event, metrics: IngestMetrics) -> Dataflow:
    """Return the dataflow: a source, a decoder and a sink for each topic.

    Args:
        config: servers, topics, batch size and window length.
        stop: set to finish the batches in hand and end.
        metrics: records everything committed, and the state of the process.
    """
    kafka, postgres = config.kafka, config.postgres
    clocks = watch(config, stop)
    in_flight = InFlightWindows(stop, lambda: clocks.hindered)
    dataflow = Dataflow("ingest")
    for topic in config.ingest_topics:
        source = KafkaSource(
            topic, kafka, postgres, in_flight, metrics, batch_size=config.ingest_batch_size
        )
        store = Store(topic, window_s=config.spend_window, max_rejects=config.ingest_max_rejects)
        sink = PostgresSink(store, postgres, in_flight, metrics)
        messages = op.input(f"{topic}-kafka", dataflow, source)
        batch = op.map(f"{topic}-decode", messages, partial(decode_batch, clock=clocks.clock))
        if topic == "orders":
            batch = op.map(f"{topic}-spend", batch, fold(config.spend_window))
        op.output(f"{topic}-postgres", batch, sink)
    return dataflow
