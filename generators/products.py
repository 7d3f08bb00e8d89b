"""Publish newly listed products to Kafka, one every 6 to 8 seconds."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import polars as pl

from generators import arrivals, population, publisher
from generators.streams import stream
from shop import command
from shop.ids import IdGenerator
from shop.settings import Settings


class ListingSource(publisher.Source):
    """Makes products that are listed now.

    Args:
        rng: the stream of their properties.
        ids: their ids, which carry the time of listing.
    """

    topic = "products"

    def __init__(self, rng: np.random.Generator, ids: IdGenerator) -> None:
        self._rng = rng
        self._ids = ids

    def make(self, n: int) -> pl.DataFrame:
        """Return `n` new products."""
        ids = np.array([self._ids() for _ in range(n)], dtype=np.int64)
        return population.products(self._rng.random((n, population.PRODUCT_DRAWS)), ids)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    publisher.configure(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish products until stopped."""
    stop = command.stop_on_signals()
    name = publisher.process_name(ListingSource.topic, args.node)
    source = ListingSource(stream(publisher.seed_of(args, settings), name), IdGenerator(args.node))
    made = publisher.already_published(settings, source.topic, stop) if args.rate is None else 0
    return publisher.publish(args, settings, source, arrivals.PRODUCTS, made=made, stop=stop)


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.products", description=__doc__)
    )
