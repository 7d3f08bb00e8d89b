"""Quix Streams with its PostgreSQL sink. Runs in an environment of its own: its dependencies
exclude ours."""  # noqa: D205, D209  (a licence note, not a summary)

from __future__ import annotations

import logging
import sys
from typing import Any

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from benchmarks.peers.common import BOOTSTRAP, POSTGRES, Progress


class CountingSink(PostgreSQLSink):  # type: ignore[misc]  # the package has no types here
    """The stock sink, counting what it has committed."""

    def __init__(self, progress: Progress, **options: Any) -> None:
        super().__init__(**options)
        self._progress = progress

    def write(self, batch: Any) -> None:
        """Write a batch and count it."""
        rows = batch.size
        super().write(batch)
        self._progress.committed(rows)


def main() -> None:
    """Run until the given number of orders is stored."""
    logging.disable(logging.INFO)
    total = int(sys.argv[1])
    progress = Progress(total)
    app = Application(
        broker_address=BOOTSTRAP,
        consumer_group="peer-quix",
        auto_offset_reset="earliest",
        commit_every=10_000,
        commit_interval=60,
        loglevel="WARNING",
    )

    def row(order: dict[str, Any]) -> dict[str, Any]:
        progress.start()
        return {k: v for k, v in order.items() if k != "v"}

    sink = CountingSink(
        progress,
        **POSTGRES,
        table_name="orders",
        primary_key_columns="order_id",
        upsert_on_primary_key=True,
        include_metadata=False,
        schema_auto_update=False,
    )
    app.dataframe(app.topic("orders", value_deserializer="json")).apply(row).sink(sink)
    app.run(count=total)


if __name__ == "__main__":
    main()
