"""Kafka to PostgreSQL, exactly once, with windowed spend per user.

    python -m bytewax.run flows.ingest

One item is a micro-batch of one topic. It is read from PostgreSQL's offsets, decoded and validated
in columns, its spend folded, and stored with its offsets in one transaction. To scale out, start
more of these processes: Kafka gives each its share of the partitions.

    kafka source -> decode and validate -> fold spend -> postgres sink
"""

from __future__ import annotations

import sys
import threading
from functools import partial

from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows import health, heartbeat, progress_watch, shutdown
from flows.aggregates import fold
from flows.decode import decode_batch
from flows.event_clock import watch
from flows.in_flight import InFlightWindows
from flows.metrics import IngestMetrics
from flows.sink import PostgresSink
from flows.source.kafka_source import KafkaSource
from flows.transaction import Store
from shop import log, settings
from shop.errors import JangteoError
from shop.output import prepare, say
from shop.postgres import window_length
from shop.settings import Settings, announce


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


def get_flow() -> Dataflow:
    """Build the dataflow from the environment; a wrong setting ends the process in one line."""
    prepare()
    try:
        config = settings.load()
        config.require("ingest")
        log.configure("ingest", level=config.log_level, fmt=config.log_format)
        stop = threading.Event()
        metrics = IngestMetrics()
        dataflow = build(config, stop, metrics)
        window_length.refuse_another(config)
        announce.servers(config, "kafka", "postgres", "redis")
    except JangteoError as e:
        say(f"flows.ingest: {log.redact(str(e))}", to=sys.stderr)
        sys.exit(e.exit_code)
    shutdown.calm_collector()
    shutdown.stop_on_signals(stop)
    endpoint = health.start(metrics, config)
    progress_watch.watch(metrics, config, stop)
    heartbeat.report(metrics, config, stop, f"{endpoint.url}/metrics" if endpoint else "")
    return dataflow


def __getattr__(name: str) -> Dataflow:
    """Build `flow` when `bytewax.run` asks for it, not when a test imports this module."""
    if name == "flow":
        try:
            return get_flow()
        except AttributeError as e:  # a defect in there would read "no attribute flow"
            raise RuntimeError(f"the dataflow cannot be built: {e}") from e
    raise AttributeError(name)
