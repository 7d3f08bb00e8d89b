"""Publish sign-ups to Kafka, on an S-curve that falls from 10 in 10 seconds."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import polars as pl

from generators import arrivals, options, population, publisher
from generators.streams import Floats, stream
from shop import command
from shop.clock import Clock, utc_now
from shop.errors import ExitCode
from shop.ids import EPOCH_MS, IdGenerator
from shop.settings import Settings


class SignUpSource(publisher.Source):
    """Makes customers who sign up now.

    Args:
        rng: the stream of their properties.
        ids: their ids, which carry the time of sign-up.
        clock: UTC.
    """

    topic = "users"

    def __init__(
        self, rng: np.random.Generator, ids: IdGenerator, *, clock: Clock = utc_now
    ) -> None:
        self._rng = rng
        self._ids = ids
        self._clock = clock

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return the customers who signed up so many seconds ago."""
        ms = arrivals.instants(self._clock(), ago) // 1_000 - EPOCH_MS
        return population.users(
            self._rng.random((len(ago), population.USER_DRAWS)), self._ids.at(ms)
        )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    options.configure(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish sign-ups until stopped."""
    settings.refuse_invented("publish made-up sign-ups", allowed=args.yes_production)
    stop = command.stop_on_signals()
    with options.leased(args, settings, SignUpSource.topic, stop) as held:
        if held is None:
            return ExitCode.OK
        rng = stream(options.seed_of(args, settings), held.name)
        source = SignUpSource(rng, held.ids, clock=held.clock)
        made = publisher.already_published(settings, source.topic, stop) if args.rate is None else 0
        return publisher.publish(
            args, settings, source, arrivals.SIGN_UPS, held, stop=stop, made=made
        )


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.users", description=__doc__))
