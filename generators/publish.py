"""Compose a publishing process: pace, node lease, producer, faults, heartbeat, operator."""

from __future__ import annotations

import argparse
import threading
import time
from functools import partial
from typing import Final

import psycopg
from confluent_kafka import KafkaException

from generators import options
from generators.behaviour.arrivals import Law, Pacer, Poisson, law_for
from generators.cache import reading
from generators.faults.injector import FaultOptions, injecting
from generators.live.publisher import LivePublisher, LiveSource, PublishingReport
from generators.live.registrations import RegistrationSource, ShopSize
from generators.profiles import originals
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import TopicOutput
from generators.random_streams import stream
from shop import command, kafka, postgres
from shop.errors import ExitCode, JangteoError
from shop.log import get_logger
from shop.node_lease import NodeLease
from shop.redis import cache
from shop.redis.control import ControlReader
from shop.redis.heartbeat import HeartbeatSender
from shop.retry import NotAwaitedError, Outage, Patience, first_line, while_wanted
from shop.server_clock import ClockWatch
from shop.settings import Settings, announce

_SIZE: Final = "SELECT sign_ups, orders_per_day FROM simulation.clock"
SHORT_PERCENT: Final = 2.0
"""A rate that is missed by more is logged as missed."""


def registrations(args: argparse.Namespace, settings: Settings, topic: str, natural: Law) -> int:
    """Publish sign-ups or listings until stopped.

    Args:
        args: as `options.configure` describes them.
        settings: where the servers are.
        topic: ``users`` or ``products``.
        natural: the law of arrivals when no rate is given; depends on how many there were.
    """
    settings.require("generator")
    settings.refuse_invented(f"publish made-up {topic}", allowed=args.yes_production)
    stop = command.stop_on_signals()
    with options.leased(args, settings, topic, stop) as held:
        if held is None:
            return ExitCode.OK
        rng = stream(options.seed_of(args, settings), held.name)
        natural_rate = args.rate is None
        source = RegistrationSource(
            topic, rng, held.ids, clock=held.clock,
            r=cache.optional_client(settings) if natural_rate else None,
            size=size_at_start(settings) if natural_rate else None,
            curved=natural_rate and options.arrivals_of(args, settings) == "poisson",
        )  # fmt: skip
        made = 0
        if args.rate is None:
            made = already_published(settings, topic, stop, patience=options.patience(args))
        return publish(args, settings, source, natural, held, stop=stop, made=made)


def publish(
    args: argparse.Namespace,
    settings: Settings,
    source: LiveSource,
    natural: Law,
    held: NodeLease,
    *,
    stop: threading.Event,
    made: int = 0,
) -> int:
    """Run a generator from its command line until it is stopped or has reached its limit.

    Args:
        args: as `options.configure` describes them.
        settings: where the servers are.
        source: makes the events.
        natural: the law of arrivals when no rate is given.
        held: the lease of the node number of its ids.
        stop: ends the run.
        made: events of earlier runs, for laws that depend on them.
    """
    name, seed = held.name, options.seed_of(args, settings)
    speed = settings.speed if args.speed is None else args.speed
    law = law_for(natural, speed=speed, rate=args.rate)
    if options.arrivals_of(args, settings) == "poisson":
        law = Poisson(law)
    pacer = Pacer(law, stream(seed, f"arrivals/{name}"), made=made)
    producer = EventProducer(
        source.topic, lambda **o: kafka.producer(settings.kafka, name, **o), stamp=held.clock.stamp
    )
    announce.servers(settings, "postgres", "kafka", "redis")
    r = cache.optional_client(settings)
    clocks = ClockWatch(None, r, stop, clock=held.clock)
    clocks.start()
    get_logger().info("started", topic=source.topic, law=str(law), made=made, seed=seed)
    faults = FaultOptions(args.faults or 0.0, args.ledger, seed)
    with injecting(faults, settings, source.topic, producer, held, stop) as injected:
        publisher = LivePublisher(
            source,
            pacer,
            TopicOutput(
                source.topic,
                producer,
                wanted=ControlReader(r, name) if r else None,
                heartbeat=HeartbeatSender(r, name) if r else None,
            ),
            faults=injected,
            where=settings.kafka.where,
            hindered=lambda: held.trouble or clocks.trouble,
            node=lambda: held.node,
        )
        report = publisher.run(stop, limit=args.limit, seconds=args.seconds)
    publisher.check(stop, report.missing)
    if args.rate is not None and args.seconds is not None:
        log_rate(report, args.rate, chance=isinstance(law, Poisson))
    if args.seconds is not None and not report.sent and not stop.is_set():
        why = f" while waiting for {publisher.waiting_for}" if publisher.waiting_for else ""
        get_logger().warning(f"nothing was published{why}", seconds=args.seconds)
        return ExitCode.FAILED
    return ExitCode.OK if report.acknowledged == report.sent or stop.is_set() else ExitCode.FAILED


def log_rate(report: PublishingReport, target: float, *, chance: bool = False) -> None:
    """Log the sustained rate, and by how much it falls short of the target.

    Args:
        report: of the run.
        target: events per second.
        chance: whether the number of events was left to chance; two standard deviations of a
            Poisson count are then no shortfall.
    """
    short = round(100 * (1 - report.rate / target), 1)
    due = max(1.0, target * report.seconds)
    allowed = SHORT_PERCENT + (200 / due**0.5 if chance else 0.0)
    log = get_logger().warning if short > allowed else get_logger().info
    said = "the rate was met" if short <= allowed else "the rate was not met"
    log(said, target=target, sustained=round(report.rate), short_percent=max(0.0, short))


def size_at_start(settings: Settings) -> ShopSize | None:
    """Return the size of the shop by PostgreSQL; None if it is not known, or not to be had.

    The cache worker describes the shop in Redis, but some seconds after a start: until then a shop
    with a history would list products 300 times as often.
    """
    try:
        with postgres.connect(settings.postgres, "generator") as conn:
            row = conn.execute(_SIZE).fetchone()
            if row is None:
                return None
            return ShopSize(int(row[0]), int(row[1]), reading.has_history(conn))
    except (psycopg.Error, JangteoError) as e:
        get_logger().debug("size of the shop not known", error=first_line(e))
        return None


def already_published(
    settings: Settings, topic: str, stop: threading.Event, *, patience: float | None = None
) -> int:
    """Return how many events generators have published to a topic, copies of rows not included.

    Waits until Kafka answers or `stop`, for `patience` seconds at most.

    Raises:
        UnreachableError: if Kafka has not answered by then.
    """
    ends = time.monotonic() + patience if patience else float("inf")
    outage, answers = Outage(settings.kafka.where), Patience(kafka.ASK_S, kafka.LONGEST_ASK_S)
    while not stop.is_set():
        ask = partial(originals, settings, topic, timeout=answers.seconds)
        try:
            with answers.waiting():
                count = while_wanted(ask, stop.is_set)
        except NotAwaitedError:
            break
        except KafkaException as e:
            left = ends - time.monotonic()
            if patience and left <= 0:
                raise kafka.unreachable(settings.kafka, patience, e) from None
            stop.wait(min(outage.failed(e), left))
        else:
            outage.over()
            return count
    return 0
