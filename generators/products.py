"""Publish newly listed products to Kafka, one every 6 to 8 seconds."""

from __future__ import annotations

import argparse
import sys

from generators import options, publish
from generators.behaviour import arrivals
from shop import command
from shop.settings import Settings

configure = options.configure


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish until stopped."""
    return publish.registrations(args, settings, "products", arrivals.PRODUCTS)


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.products", description=__doc__)
    )
