"""The loop that the generators of users, products and orders share: pace, make, publish, report."""

from __future__ import annotations

import argparse
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec
import polars as pl
from confluent_kafka import KafkaException
from confluent_kafka import Message as KafkaMessage

from generators.arrivals import Law, Pacer, Poisson, law_for
from generators.encoding import Message, encode_frame
from generators.faults import DEFAULT_RATE, FAULT_NODE, Faults, Kind
from generators.ledger import Entry, Ledger, default_path
from generators.outbox import Done, Outbox
from generators.steering import Steering
from generators.streams import stream
from shop import cache, command, control, kafka
from shop.control import Control
from shop.errors import ExitCode
from shop.log import get_logger
from shop.model import ID_FIELD, TOPICS, Event
from shop.outage import Outage
from shop.pulse import Pulse
from shop.settings import Settings

SEED_NODE: Final = FAULT_NODE + 1
"""The id node of the start population, the last one; generators use those below the faults'."""
TICK_S: Final = 0.01
"""Events are made at most this often; at high rates many at a time."""
POLL_S: Final = 0.2
"""Delivery reports are taken, and waiting is looked at again, at least this often."""
FLUSH_S: Final = 4.0
"""At the end, how long to wait for acknowledgements: a stop ends within 5 s."""
FLUSH_AWAY_S: Final = 1.0
"""The same when Kafka has been silent for a while already."""
CATCH: Final = 10_000
"""Events made at a time at most, so that a stop does not have to wait."""
RATE_OVER_S: Final = 10.0
SHORT_PERCENT: Final = 2.0
"""A rate that is missed by more is said to be missed."""


class Source(Protocol):
    """Makes the events of one topic. Only `make` must be written."""

    topic: str

    def lacks(self) -> str:
        """Return what is missing before events can be made, for people; empty if nothing."""
        return ""

    def pace(self) -> float:
        """Return by how much the rate is multiplied at this moment."""
        return 1.0

    def make(self, n: int) -> pl.DataFrame:
        """Return the next `n` events as columns; called only when nothing is lacking."""
        ...

    def later(self) -> Iterable[tuple[Event, Done]]:
        """Return what has become of earlier events, and whom to tell that it is published."""
        return ()

    def close(self) -> None:
        """Called at the end, when everything published is acknowledged or given up."""
        return

    def status(self) -> Mapping[str, str | float]:
        """Return what else the heartbeat should say."""
        return {}


@dataclass(frozen=True)
class Report:
    """What a run published."""

    sent: int
    acknowledged: int
    seconds: float
    """From the start to the last acknowledgement."""

    @property
    def rate(self) -> float:
        """Acknowledged events per second."""
        return self.acknowledged / max(self.seconds, 1e-9)


class Publisher:
    """Publishes what a source makes, at the pace of a law, until told to stop.

    Args:
        source: makes the events.
        pacer: says when.
        outbox: takes them to Kafka.
        pulse: told once a second how it goes; None: nobody is.
        steering: what the operator wants; None: there is no operator.
        spoil: called with the good messages just sent, adds faulty ones; None: no faults.
        where: Kafka's address, for people.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        source: Source,
        pacer: Pacer,
        outbox: Outbox,
        pulse: Pulse | None = None,
        *,
        steering: Steering | None = None,
        spoil: Callable[[Sequence[Message]], None] | None = None,
        where: str = "Kafka",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spoil = spoil
        self._source = source
        self._pacer = pacer
        self._outbox = outbox
        self._pulse = pulse
        self._steering = steering
        self._where = where
        self._monotonic = monotonic
        self._control = Control()
        self._waiting_for = ""
        self._last_id = 0
        self._made = 0
        self._history: deque[tuple[float, int]] = deque()

    def run(
        self, stop: threading.Event, *, limit: int | None = None, seconds: float | None = None
    ) -> Report:
        """Publish until `stop`, `limit` events or the end of `seconds`; wait for the rest."""
        began = self._monotonic()
        ends = began + seconds if seconds else float("inf")
        while not stop.is_set() and (limit is None or self._made < limit):
            if self._monotonic() >= ends:
                break
            self._outbox.poll()
            self._steer()
            self._note(self._trouble())
            self._beat()
            if self._waiting_for or self._control.paused:
                stop.wait(POLL_S)
                continue
            if not self._outbox.full:
                self._publish(self._pacer.due(min(CATCH, limit - self._made if limit else CATCH)))
            stop.wait(min(max(self._pacer.wait(), TICK_S), POLL_S))
        return self._finish(stop, began)

    def _steer(self) -> None:
        """Obey the operator: pause, go on, faster, slower."""
        if self._steering is not None:
            before, self._control = self._control, self._steering()
            if before.paused != self._control.paused:
                get_logger().info("paused" if self._control.paused else "resumed")
                self._pacer.restart()
        self._pacer.factor = self._rate_factor * self._source.pace()

    @property
    def _rate_factor(self) -> float:
        """The operator's factor, where it is one."""
        factor = self._control.rate
        return factor if 0 < factor <= control.MAX_RATE else 1.0

    def _trouble(self) -> str:
        if trouble := self._outbox.trouble:
            return f"{self._where} ({trouble})"
        return self._source.lacks()

    def _note(self, waiting_for: str) -> None:
        """Say once that something is missing, and once that it goes on."""
        if waiting_for and not self._waiting_for:
            get_logger().warning("waiting", waiting_for=waiting_for)
        elif self._waiting_for and not waiting_for:
            get_logger().info("going on")
            self._pacer.restart()
        self._waiting_for = waiting_for

    def _publish(self, n: int) -> None:
        for event, done in self._source.later():
            self._outbox.send(event, done)
        if not n:
            return
        frame = self._source.make(n)
        messages = encode_frame(self._source.topic, frame)
        for key, value in messages:
            self._outbox.post(key, value)
        if self._spoil is not None:
            self._spoil(messages)
        self._made += n
        self._last_id = int(frame[ID_FIELD[self._source.topic]][-1])

    def _finish(self, stop: threading.Event, began: float) -> Report:
        """Take the outstanding acknowledgements; without a time limit while nobody says stop."""
        while self._outbox.pending and not stop.is_set():
            self._outbox.poll(POLL_S)
            self._note(self._trouble() if self._outbox.trouble else "")
            self._beat()
        missing = self._outbox.close(FLUSH_AWAY_S if self._outbox.trouble else FLUSH_S)
        self._source.close()
        seconds = self._monotonic() - began
        report = Report(self._outbox.sent, self._outbox.acknowledged, seconds)
        log = get_logger().warning if missing else get_logger().info
        log("stopped", sent=report.sent, acknowledged=report.acknowledged, missing=missing)
        self._beat("stopped")
        return report

    def _beat(self, state: str = "") -> None:
        if self._pulse is None:
            return
        at_work = "paused" if self._control.paused else "running"
        state = state or ("waiting" if self._waiting_for else at_work)
        self._pulse(
            state,
            force=state == "stopped",
            published=self._outbox.acknowledged,
            rate=round(self._rate(), 2),
            last_id=self._last_id,
            waiting_for=self._waiting_for,
            paused=str(self._control.paused).lower(),
            factor=self._rate_factor,
            pace=round(self._pacer.factor, 3),
            **self._source.status(),
        )

    def _rate(self) -> float:
        """Return acknowledged events per second over the last ten seconds."""
        now = self._monotonic()
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, self._outbox.acknowledged))
        while len(self._history) > 1 and now - self._history[0][0] > RATE_OVER_S:
            self._history.popleft()
        since, then = self._history[0]
        return (self._outbox.acknowledged - then) / max(now - since, 1.0)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options that all generators have."""
    parser.add_argument(
        "--speed", type=command.positive, help="multiply all rates (default: SHOP_SPEED, 1)"
    )
    parser.add_argument(
        "--rate", type=command.positive, help="events per second, instead of the shop's own law"
    )
    parser.add_argument("--seed", type=command.count, help="default: SHOP_SEED, 1")
    parser.add_argument(
        "--arrivals",
        choices=("seed", "poisson"),
        help="even gaps, or a Poisson process with the hours of a shop (default: SHOP_ARRIVALS)",
    )
    parser.add_argument(
        "--faults",
        type=share,
        metavar="RATE",
        help=f"faulty messages beside good ones, per good one, e.g. {DEFAULT_RATE}",
    )
    parser.add_argument(
        "--ledger", type=Path, help="where faults are entered (default: in DATA_DIR/faults)"
    )
    parser.add_argument("--limit", type=command.count, help="stop after so many events")
    parser.add_argument(
        "--for", dest="seconds", type=command.positive, metavar="SECONDS", help="stop after that"
    )
    parser.add_argument(
        "--node",
        type=int,
        choices=range(FAULT_NODE),
        default=0,
        metavar=f"0..{FAULT_NODE - 1}",
        help="for a second generator of the same kind: its own number (default: 0)",
    )


def share(text: str) -> float:
    """Read a number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def seed_of(args: argparse.Namespace, settings: Settings) -> int:
    """Return the seed that the command line or the settings give."""
    return settings.seed if args.seed is None else int(args.seed)


def process_name(topic: str, node: int) -> str:
    """Return the name of a generator's heartbeat and streams.

    >>> process_name("orders", 0), process_name("orders", 2)
    ('orders', 'orders-2')
    """
    return f"{topic}-{node}" if node else topic


def publish(
    args: argparse.Namespace,
    settings: Settings,
    source: Source,
    natural: Law,
    *,
    made: int = 0,
    stop: threading.Event | None = None,
) -> int:
    """Run a generator from its command line until it is stopped or has reached its limit.

    Args:
        args: as `configure` describes them.
        settings: where the servers are.
        source: makes the events.
        natural: the law of arrivals when no rate is given.
        made: events of earlier runs, for laws that depend on them.
        stop: ends the run; SIGTERM and SIGINT by default.
    """
    stop = stop or command.stop_on_signals()
    name = process_name(source.topic, args.node)
    speed = settings.speed if args.speed is None else args.speed
    if arrivals_of(args, settings) == "poisson":
        natural = Poisson(natural)
    law = law_for(natural, speed=speed, rate=args.rate)
    pacer = Pacer(law, stream(seed_of(args, settings), f"arrivals/{name}"), made=made)
    outbox = Outbox(source.topic, lambda **o: kafka.producer(settings.kafka, name, **o))
    r = cache.client(settings.redis_url, timeout=1.0) if settings.env.get("REDIS_URL") else None
    get_logger().info(
        "started", topic=source.topic, law=str(law), made=made, seed=seed_of(args, settings)
    )
    publisher = Publisher(
        source,
        pacer,
        outbox,
        Pulse(r, name) if r else None,
        steering=Steering(r, name) if r else None,
        spoil=spoiler(args, settings, source.topic, outbox) if args.faults else None,
        where=settings.kafka.where,
    )
    report = publisher.run(stop, limit=args.limit, seconds=args.seconds)
    if args.rate is not None and args.seconds is not None:
        say_rate(report, args.rate)
    return ExitCode.OK if report.acknowledged == report.sent or stop.is_set() else ExitCode.FAILED


def spoiler(
    args: argparse.Namespace, settings: Settings, topic: str, outbox: Outbox
) -> Callable[[Sequence[Message]], None]:
    """Return what adds faulty messages beside good ones, and enters them in the ledger.

    Raises:
        UsageError: if the ledger cannot be written.
    """
    name = process_name(topic, args.node)
    faults = Faults(topic, args.faults, stream(seed_of(args, settings), f"faults/{name}"))
    book = Ledger(args.ledger or default_path(settings.data_dir, name))

    def enter(message: KafkaMessage, kind: Kind, id_: int) -> None:
        where = {"partition": int(message.partition() or 0), "offset": int(message.offset() or 0)}
        book.add(Entry(topic=topic, kind=kind.name, route=kind.route, id=id_, **where))

    def spoil(messages: Sequence[Message]) -> None:
        for place, kind in faults.beside(len(messages)):
            event = msgspec.json.decode(messages[place][1], type=TOPICS[topic])
            for (key, value), id_ in faults.letters(kind, topic, event):
                outbox.post(key, value, partial(enter, kind=kind, id_=id_))

    return spoil


def say_rate(report: Report, target: float) -> None:
    """Say what was sustained, and by how much it falls short of what was asked."""
    short = round(100 * (1 - report.rate / target), 1)
    log = get_logger().warning if short > SHORT_PERCENT else get_logger().info
    said = "the rate was met" if short <= SHORT_PERCENT else "the rate was not met"
    log(said, target=target, sustained=round(report.rate), short_percent=max(0.0, short))


def arrivals_of(args: argparse.Namespace, settings: Settings) -> str:
    """Return the law of arrivals that the command line or the settings give."""
    return str(args.arrivals or settings.arrivals)


def already_published(settings: Settings, topic: str, stop: threading.Event) -> int:
    """Return how many events the topic has ever taken; waits until Kafka answers or `stop`."""
    outage = Outage(settings.kafka.where)
    while not stop.is_set():
        try:
            count = sum(kafka.end_offsets(settings.kafka, topic, timeout=3.0).values())
        except KafkaException as e:
            stop.wait(outage.failed(e))
        else:
            outage.over()
            return count
    return 0
