"""Publish sign-ups to Kafka, on an S-curve that falls from 10 in 10 seconds."""

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


class SignUpSource(publisher.Source):
    """Makes customers who sign up now.

    Args:
        rng: the stream of their properties.
        ids: their ids, which carry the time of sign-up.
    """

    topic = "users"

    def __init__(self, rng: np.random.Generator, ids: IdGenerator) -> None:
        self._rng = rng
        self._ids = ids

    def make(self, n: int) -> pl.DataFrame:
        """Return `n` new customers."""
        ids = np.array([self._ids() for _ in range(n)], dtype=np.int64)
        return population.users(self._rng.random((n, population.USER_DRAWS)), ids)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    publisher.configure(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish sign-ups until stopped."""
    stop = command.stop_on_signals()
    name = publisher.process_name(SignUpSource.topic, args.node)
    source = SignUpSource(stream(publisher.seed_of(args, settings), name), IdGenerator(args.node))
    made = publisher.already_published(settings, source.topic, stop) if args.rate is None else 0
    return publisher.publish(args, settings, source, arrivals.SIGN_UPS, made=made, stop=stop)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.users", description=__doc__))
