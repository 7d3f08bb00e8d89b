"""The loop that the generators of users, products and orders share: pace, make, publish, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl

from generators.behaviour.arrivals import Pacer
from generators.publishing.encoding import encode_columns
from generators.publishing.event_producer import EventProducer
from generators.publishing.rate_meter import RateMeter
from generators.publishing.reliable_producer import Done
from generators.publishing.steering import Steering
from generators.random_streams import Floats
from shop.events import ID_FIELD, Event
from shop.log import get_logger
from shop.node_lease import LeaseLostError
from shop.redis import control
from shop.redis.control import Control
from shop.redis.heartbeat import HeartbeatSender

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


class EventMaker(Protocol):
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


class FaultInjection(Protocol):
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
class PublishingReport:
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


class PublishingLoop:
    """Publishes what a source makes, at the pace of a law, until told to stop.

    Args:
        source: makes the events.
        pacer: says when.
        producer: takes them to Kafka.
        pulse: told once a second how it goes; None: nobody is.
        steering: what the operator wants; None: there is no operator.
        faults: adds faulty messages; None: no faults.
        where: Kafka's address, for people.
        hindered: why no event may be made now, whatever the source says; empty if it may.
        node: of the ids, for the heartbeat.
        monotonic: seconds of a clock that never steps.

    Attributes:
        waiting_for: what is missing before events can be made, for people; empty if nothing.
    """

    def __init__(
        self,
        source: EventMaker,
        pacer: Pacer,
        producer: EventProducer,
        pulse: HeartbeatSender | None = None,
        *,
        steering: Steering | None = None,
        faults: FaultInjection | None = None,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
        node: Callable[[], int] = lambda: 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hindered = hindered
        self._node = node
        self._faults = faults
        self._source = source
        self._pacer = pacer
        self._producer = producer
        self._pulse = pulse
        self._steering = steering
        self._where = where
        self._monotonic = monotonic
        self._control = Control()
        self.waiting_for = ""
        self._say_again_at = 0.0
        self._last_id = 0
        self._made = 0
        self._meter = RateMeter(monotonic)

    def run(
        self, stop: threading.Event, *, limit: int | None = None, seconds: float | None = None
    ) -> PublishingReport:
        """Publish until `stop`, `limit` events or the end of `seconds`; wait for the rest."""
        began = self._monotonic()
        ends = began + seconds if seconds else float("inf")
        self._pacer.restart()  # what it took to get here is nobody's order
        over = False
        while not over and not stop.is_set() and (limit is None or self._made < limit):
            tick = self._monotonic()
            over = tick >= ends  # what was due until then is still made
            self._producer.poll()
            self._steer()
            self._note(self._trouble())
            self._beat()
            if self.waiting_for or self._control.paused:
                stop.wait(min(POLL_S, max(0.0, ends - self._monotonic())))
                continue
            room = min(CATCH, self._producer.room)
            self._publish(room if limit is None else min(room, limit - self._made))
            if not over:
                self._rest(stop, tick, ends)
        return self._finish(stop, began)

    def _rest(self, stop: threading.Event, tick: float, ends: float) -> None:
        """Wait for the next event, at least until the tick is over; not at all while behind."""
        now = self._monotonic()
        pause = min(max(self._pacer.wait(), tick + TICK_S - now), POLL_S, ends - now)
        if self._producer.full:
            self._producer.poll(max(0.0, min(TICK_S, ends - now)))
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
        if trouble := self._producer.trouble:
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
            self._producer.send(event, done)
        if self._faults is not None:
            self._faults.settle()
        due = self._pacer.due(limit)
        if not len(due):
            return
        try:
            frame = self._source.make(np.maximum(0.0, self._monotonic() - due))
        except LeaseLostError:  # since we looked: a process that was stopped, say
            return
        keys, values = encode_columns(self._source.topic, frame)
        self._producer.post_all(keys, values)
        if self._faults is not None:
            self._faults(keys, values)
        self._made += len(due)
        self._last_id = int(frame[ID_FIELD[self._source.topic]][-1])

    def _finish(self, stop: threading.Event, began: float) -> PublishingReport:
        """Take the outstanding acknowledgements; without a time limit while nobody says stop."""
        while self._producer.pending and not stop.is_set():
            self._producer.poll(POLL_S)
            self._note(self._trouble() if self._producer.trouble else "")
            self._beat()
        missing = self._producer.close(FLUSH_AWAY_S if self._producer.trouble else FLUSH_S)
        seconds = self._monotonic() - began
        self._source.close()
        if self._faults is not None:
            self._faults.close()
        report = PublishingReport(
            self._producer.sent, self._producer.acknowledged, self._made, seconds
        )
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
            published=self._producer.acknowledged,
            rate=round(self._meter(self._producer.acknowledged), 2),
            last_id=self._last_id,
            waiting_for=self.waiting_for,
            paused=str(self._control.paused).lower(),
            factor=self._rate_factor,
            pace=round(self._pacer.factor, 3),
            node=self._node(),
            **self._source.status(),
        )
