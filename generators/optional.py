"""Publish the events of optional topics: what follows from the orders and customers of the shop.

All topics are published by one process, each event when it is due. What is due while no such
process runs is published by the next one, dated by when it was due. Topics that do not exist are
created; without --with, those that exist are published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from confluent_kafka import KafkaException

from generators import options
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import TopicOutput
from generators.topics.interface import RunningShop
from generators.topics.publisher import OptionalPublisher
from generators.topics.registry import LIVE
from shop import command, kafka, postgres
from shop.errors import ExitCode, JangteoError, UsageError
from shop.log import get_logger
from shop.optional.option import add_with
from shop.optional.registry import OPTIONAL, SWITCHES
from shop.postgres import Connection
from shop.redis import cache
from shop.redis.control import ControlReader
from shop.redis.heartbeat import HeartbeatSender
from shop.server_clock import ClockWatch, ServerClock, postgres_time
from shop.settings import KafkaSettings, Settings, announce

NAME: Final = "optional"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_with(parser, "publish these topics (default: those that exist)")
    parser.add_argument(
        "--speed", type=command.positive, metavar="X",
        help="divide all delays by X, as the shop does (default: SHOP_SPEED, 1)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=command.count, metavar="N",
        help="seed of all random numbers (default: SHOP_SEED, 1)",
    )  # fmt: skip
    parser.add_argument("--limit", type=command.count, metavar="N", help="stop after N events")
    parser.add_argument(
        "--for", dest="seconds", type=command.positive, metavar="SECONDS", help="stop after SECONDS"
    )
    options.invented(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish until stopped."""
    settings.require("generator")
    settings.refuse_invented("publish a made-up shop", allowed=args.yes_production)
    announce.servers(settings, "postgres", "kafka", "redis")
    topics = _switched_on(settings.kafka, args.topics)
    stop = command.stop_on_signals()
    r = cache.client(settings.redis_url)
    clock = ServerClock("PostgreSQL")
    clocks = ClockWatch(None, r, stop, clock=clock)
    clocks.start()
    shop = RunningShop(
        seed=options.seed_of(args, settings),
        speed=settings.speed if args.speed is None else args.speed,
        connect=partial(_connect, settings, clock),
        redis=r,
        stopped=stop.is_set,
    )
    publisher = OptionalPublisher(
        {topic: LIVE[topic](shop) for topic in topics},
        [_output(topic, settings, clock) for topic in topics],
        clock=clock,
        seconds=args.seconds,
        limit=args.limit,
        heartbeat=HeartbeatSender(r, NAME),
        where=settings.kafka.where,
        hindered=lambda: clocks.trouble,
    )
    get_logger().info("started", topics=",".join(topics), seed=shop.seed)
    publisher.check(stop, publisher.run(stop))
    return ExitCode.OK


def _switched_on(settings: KafkaSettings, asked: Sequence[str]) -> Sequence[str]:
    """Return the topics to publish, which exist.

    Raises:
        UnreachableError: if no broker answers.
        UsageError: if none is asked for and none exists.
    """
    try:
        if asked:
            kafka.create_topics(settings, asked)
            return asked
        kafka.wait_until_up(settings)
        found = kafka.describe_topics(kafka.admin(settings, NAME), OPTIONAL)
    except KafkaException as e:
        raise JangteoError(f"{settings.where}: {e.args[0].str()}") from None
    if not found:
        raise UsageError(f"no optional topic exists: --with {','.join(SWITCHES)} creates them")
    return [name for name in OPTIONAL if name in found]


def _connect(settings: Settings, clock: ServerClock) -> Connection:
    conn = postgres.connect(settings.postgres, NAME, autocommit=True)
    clock.ask(lambda: postgres_time(conn))
    return conn


def _output(topic: str, settings: Settings, clock: ServerClock) -> TopicOutput:
    r = cache.client(settings.redis_url)
    producer = EventProducer(
        topic, lambda **o: kafka.producer(settings.kafka, NAME, **o), stamp=clock.stamp
    )
    return TopicOutput(topic, producer, ControlReader(r, topic), HeartbeatSender(r, topic))


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.optional", description=__doc__)
    )
