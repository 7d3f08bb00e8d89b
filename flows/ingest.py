"""Kafka to PostgreSQL, exactly once, with windowed spend per user.

    python -m bytewax.run flows.ingest

One item is a micro-batch of one topic. It is read from PostgreSQL's offsets, decoded and validated
in columns, its spend folded, and stored with its offsets in one transaction. To scale out, start
more of these processes: Kafka gives each its share of the partitions.

    kafka source -> decode and validate -> fold spend -> postgres sink
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from shop import command, log, settings
from shop.errors import JangteoError
from shop.output import prepare, say

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow


def get_flow() -> Dataflow:
    """Build the dataflow from the environment; a wrong setting ends the process in one line."""
    prepare()
    try:
        config = settings.load()
        config.require("ingest")
        log.configure("ingest", level=config.log_level, fmt=config.log_format)
        with command.importing():
            from flows import dataflow  # noqa: PLC0415  (0.6 s of CPU that a wrong setting need not wait for)
        return dataflow.start(config)
    except JangteoError as e:
        say(f"flows.ingest: {log.redact(str(e))}", to=sys.stderr)
        sys.exit(e.exit_code)


def __getattr__(name: str) -> Dataflow:
    """Build `flow` when `bytewax.run` asks for it, not when a test imports this module."""
    if name == "flow":
        try:
            return get_flow()
        except AttributeError as e:  # a defect in there would read "no attribute flow"
            raise RuntimeError(f"the dataflow cannot be built: {e}") from e
    raise AttributeError(name)
