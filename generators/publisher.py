"""The loop that the generators of users, products and orders share: pace, make, publish, report."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl
from confluent_kafka import KafkaException

from generators.arrivals import Law, Pacer, Poisson, law_for
from generators.encoding import encode_columns
from generators.lane import Done
from generators.meter import Meter
from generators.options import arrivals_of, seed_of
from generators.outbox import Outbox
from generators.profiles import originals
from generators.spoiler import spoiling
from generators.steering import Steering
from generators.streams import Floats, stream
from shop import announce, cache, control, kafka
from shop.control import Control
from shop.errors import ExitCode
from shop.lease import LeaseLostError, NodeLease
from shop.log import get_logger
from shop.model import ID_FIELD, Event
from shop.outage import Outage
from shop.pulse import Pulse
from shop.settings import Settings
from shop.timing import ClockWatch

TICK_S: Final = 0.05
"""Events are made at most this often, at high rates thousands at a time: making one alone costs
1.5 ms, in a thousand 4 microseconds."""
POLL_S: Final = 0.2
"""Delivery reports are taken, and waiting is looked at again, at least this often."""
FLUSH_S: Final = 4.0
"""At the end, how long to wait for acknowledgements: a stop ends within 5 s."""
FLUSH_AWAY_S: Final = 1.0
"""The same when Kafka has been silent for a while already."""
AGAIN_S: Final = 60.0
"""How often it is logged again that, and for what, a generator waits."""
CATCH: Final = 10_000
"""Events made at a time at most, so that neither a stop nor the operator has to wait."""
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

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return the next events as columns; called only when nothing is lacking.

        Args:
            ago: shape (n,), how many seconds before now each happened, descending.
        """
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


class Spoil(Protocol):
    """Adds faulty messages beside good ones."""

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Called with the good messages just sent."""
        ...

    def settle(self) -> None:
        """Enter in the ledger what has been acknowledged; called often."""
        ...

    def close(self) -> None:
        """The same at the end."""
        ...


@dataclass(frozen=True)
class Report:
    """What a run published.

    Attributes:
        sent: messages handed over.
        acknowledged: of those, by Kafka.
        made: new events among the messages sent; the others are faults and later revisions.
        seconds: from the start to the last acknowledgement.
    """

    sent: int
    acknowledged: int
    made: int
    seconds: float

    @property
    def rate(self) -> float:
        """New events per second that Kafka has acknowledged, at least."""
        return max(0, self.made - (self.sent - self.acknowledged)) / max(self.seconds, 1e-9)


class Publisher:
    """Publishes what a source makes, at the pace of a law, until told to stop.

    Args:
        source: makes the events.
        pacer: says when.
        outbox: takes them to Kafka.
        pulse: told once a second how it goes; None: nobody is.
        steering: what the operator wants; None: there is no operator.
        spoil: adds faulty messages; None: no faults.
        where: Kafka's address, for people.
        hindered: why no event may be made now, whatever the source says; empty if it may.
        node: of the ids, for the heartbeat.
        monotonic: seconds of a clock that never steps.

    Attributes:
        waiting_for: what is missing before events can be made, for people; empty if nothing.
    """

    def __init__(
        self,
        source: Source,
        pacer: Pacer,
        outbox: Outbox,
        pulse: Pulse | None = None,
        *,
        steering: Steering | None = None,
        spoil: Spoil | None = None,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
        node: Callable[[], int] = lambda: 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hindered = hindered
        self._node = node
        self._spoil = spoil
        self._source = source
        self._pacer = pacer
        self._outbox = outbox
        self._pulse = pulse
        self._steering = steering
        self._where = where
        self._monotonic = monotonic
        self._control = Control()
        self.waiting_for = ""
        self._say_again_at = 0.0
        self._last_id = 0
        self._made = 0
        self._meter = Meter(monotonic)

    def run(
        self, stop: threading.Event, *, limit: int | None = None, seconds: float | None = None
    ) -> Report:
        """Publish until `stop`, `limit` events or the end of `seconds`; wait for the rest."""
        began = self._monotonic()
        ends = began + seconds if seconds else float("inf")
        self._pacer.restart()  # what it took to get here is nobody's order
        over = False
        while not over and not stop.is_set() and (limit is None or self._made < limit):
            tick = self._monotonic()
            over = tick >= ends  # what was due until then is still made
            self._outbox.poll()
            self._steer()
            self._note(self._trouble())
            self._beat()
            if self.waiting_for or self._control.paused:
                stop.wait(min(POLL_S, max(0.0, ends - self._monotonic())))
                continue
            room = min(CATCH, self._outbox.room)
            self._publish(room if limit is None else min(room, limit - self._made))
            if not over:
                self._rest(stop, tick, ends)
        return self._finish(stop, began)

    def _rest(self, stop: threading.Event, tick: float, ends: float) -> None:
        """Wait for the next event, at least until the tick is over; not at all while behind."""
        now = self._monotonic()
        pause = min(max(self._pacer.wait(), tick + TICK_S - now), POLL_S, ends - now)
        if self._outbox.full:
            self._outbox.poll(max(0.0, min(TICK_S, ends - now)))
        elif pause > 0:
            stop.wait(pause)

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
        return self._hindered() or self._source.lacks()

    def _note(self, waiting_for: str) -> None:
        """Say that something is missing, again every minute, and once that it is there."""
        now = self._monotonic()
        if waiting_for and (not self.waiting_for or now >= self._say_again_at):
            self._say_again_at = now + AGAIN_S
            get_logger().warning("waiting", waiting_for=waiting_for)
        elif self.waiting_for and not waiting_for:
            get_logger().info("going on")
            self._pacer.restart()
        self.waiting_for = waiting_for

    def _publish(self, limit: int) -> None:
        """Publish what is due, at most `limit` new events."""
        for event, done in self._source.later():
            self._outbox.send(event, done)
        if self._spoil is not None:
            self._spoil.settle()
        due = self._pacer.due(limit)
        if not len(due):
            return
        try:
            frame = self._source.make(np.maximum(0.0, self._monotonic() - due))
        except LeaseLostError:  # since we looked: a process that was stopped, say
            return
        keys, values = encode_columns(self._source.topic, frame)
        self._outbox.post_all(keys, values)
        if self._spoil is not None:
            self._spoil(keys, values)
        self._made += len(due)
        self._last_id = int(frame[ID_FIELD[self._source.topic]][-1])

    def _finish(self, stop: threading.Event, began: float) -> Report:
        """Take the outstanding acknowledgements; without a time limit while nobody says stop."""
        while self._outbox.pending and not stop.is_set():
            self._outbox.poll(POLL_S)
            self._note(self._trouble() if self._outbox.trouble else "")
            self._beat()
        missing = self._outbox.close(FLUSH_AWAY_S if self._outbox.trouble else FLUSH_S)
        seconds = self._monotonic() - began
        self._source.close()
        if self._spoil is not None:
            self._spoil.close()
        report = Report(self._outbox.sent, self._outbox.acknowledged, self._made, seconds)
        log = get_logger().warning if missing else get_logger().info
        log("stopped", sent=report.sent, acknowledged=report.acknowledged, missing=missing)
        self._beat("stopped")
        return report

    def _beat(self, state: str = "") -> None:
        if self._pulse is None:
            return
        at_work = "paused" if self._control.paused else "running"
        state = state or ("waiting" if self.waiting_for else at_work)
        self._pulse(
            state,
            force=state == "stopped",
            published=self._outbox.acknowledged,
            rate=round(self._meter(self._outbox.acknowledged), 2),
            last_id=self._last_id,
            waiting_for=self.waiting_for,
            paused=str(self._control.paused).lower(),
            factor=self._rate_factor,
            pace=round(self._pacer.factor, 3),
            node=self._node(),
            **self._source.status(),
        )


def publish(
    args: argparse.Namespace,
    settings: Settings,
    source: Source,
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
    name = held.name
    speed = settings.speed if args.speed is None else args.speed
    law = law_for(natural, speed=speed, rate=args.rate)
    if arrivals_of(args, settings) == "poisson":
        law = Poisson(law)
    pacer = Pacer(law, stream(seed_of(args, settings), f"arrivals/{name}"), made=made)
    outbox = Outbox(
        source.topic, lambda **o: kafka.producer(settings.kafka, name, **o), stamp=held.clock.stamp
    )
    announce.servers(settings, "postgres", "kafka", "redis")
    r = cache.client_if_named(settings)
    clocks = ClockWatch(None, r, stop, clock=held.clock)
    clocks.start()
    get_logger().info(
        "started", topic=source.topic, law=str(law), made=made, seed=seed_of(args, settings)
    )
    with spoiling(args, settings, source.topic, outbox, held, stop) as spoil:
        publisher = Publisher(
            source,
            pacer,
            outbox,
            Pulse(r, name) if r else None,
            steering=Steering(r, name) if r else None,
            spoil=spoil,
            where=settings.kafka.where,
            hindered=lambda: held.trouble or clocks.trouble,
            node=lambda: held.node,
        )
        report = publisher.run(stop, limit=args.limit, seconds=args.seconds)
    if args.rate is not None and args.seconds is not None:
        say_rate(report, args.rate, chance=isinstance(law, Poisson))
    if args.seconds is not None and not report.sent and not stop.is_set():
        why = f" while waiting for {publisher.waiting_for}" if publisher.waiting_for else ""
        get_logger().warning(f"nothing was published{why}", seconds=args.seconds)
        return ExitCode.FAILED
    return ExitCode.OK if report.acknowledged == report.sent or stop.is_set() else ExitCode.FAILED


def say_rate(report: Report, target: float, *, chance: bool = False) -> None:
    """Say what was sustained, and by how much it falls short of what was asked.

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


def already_published(settings: Settings, topic: str, stop: threading.Event) -> int:
    """Return how many events generators have published to a topic, copies of rows not included.

    Waits until Kafka answers or `stop`.
    """
    outage = Outage(settings.kafka.where)
    while not stop.is_set():
        try:
            count = originals(settings, topic, timeout=3.0)
        except KafkaException as e:
            stop.wait(outage.failed(e))
        else:
            outage.over()
            return count
    return 0
