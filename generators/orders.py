"""Publish orders to Kafka, one every 3 to 5 seconds, by customers and of products in the cache.

Redis has the cache, PostgreSQL leases the node number of the ids. Without the servers, or with an
empty cache, the generator waits. Some orders are cancelled or sent back later; scenarios change who
buys what, and how often.
"""

from __future__ import annotations

import argparse
import sys

from generators import options, publish
from generators.behaviour import arrivals
from generators.live.orders import OrderSource
from shop import command
from shop.errors import ExitCode
from shop.redis import cache
from shop.settings import Settings

configure = options.configure


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish orders until stopped."""
    settings.require("generator")
    settings.refuse_invented("publish made-up orders", allowed=args.yes_production)
    r = cache.client(settings.redis_url)
    stop = command.stop_on_signals()
    with options.leased(args, settings, OrderSource.topic, stop) as held:
        if held is None:
            return ExitCode.OK
        source = OrderSource(
            r,
            options.seed_of(args, settings),
            held.name,
            held.ids,
            speed=settings.speed if args.speed is None else args.speed,
            scaled=args.rate is None,
            curved=args.rate is None and options.arrivals_of(args, settings) == "poisson",
            clock=held.clock,
        )
        return publish.publish(args, settings, source, arrivals.ORDERS, held, stop=stop)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.orders", description=__doc__))
