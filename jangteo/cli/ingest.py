"""Run the ingest from Kafka to PostgreSQL: the Bytewax dataflow `flows.ingest`.

It is the same as `python -m bytewax.run flows.ingest`; the arguments are those of bytewax.run.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final, NoReturn

from shop import command
from shop.settings import Settings

DATAFLOW: Final = ("-m", "bytewax.run", "flows.ingest")


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo ingest`."""
    parser.add_foreign("bytewax.run")


def run(args: argparse.Namespace, settings: Settings) -> NoReturn:
    """Become the dataflow."""
    # Fail here, in one line, rather than in the dataflow's start.
    _ = settings.kafka, settings.postgres
    if args.data_dir:
        os.environ["JANGTEO_DATA_DIR"] = str(settings.data_dir)
    argv = [sys.executable, *DATAFLOW, *args.arguments]
    os.execv(sys.executable, argv)  # noqa: S606  (no shell is meant)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.cli.ingest", description=__doc__))
