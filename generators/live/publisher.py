"""Publish what a source makes now, at its own pace: users, products and orders alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl

from generators.behaviour.arrivals import Pacer
from generators.publishing.loop import MOST_AT_ONCE, PublishingLoop, TopicOutput
from generators.publishing.reliable_producer import Done
from generators.random_streams import Floats
from shop.events import Event
from shop.log import get_logger
from shop.node_lease import LeaseLostError
from shop.redis import control

TICK_S: Final = 0.05
"""Events are made at most this often, at high rates thousands at a time: making one alone costs
1.5 ms, in a thousand 4 microseconds."""


class LiveSource(Protocol):
    """Makes the events of one topic. Only `make` must be written."""

    topic: str

    def lacks(self) -> str:
        """Return what is missing before events can be made, for people; empty if nothing."""
        return ""

    def pace(self) -> float:
        """Return the factor on the rate at this moment."""
        return 1.0

    def counted(self) -> int | None:
        """Return the number of events so far where it is newly known, for laws that depend on it.

        None leaves the number at what this process has counted itself.
        """
        return None

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return the next events as columns; called only when nothing is missing.

        Args:
            ago: shape (n,), how many seconds before now each happened, descending.
        """
        ...

    def later(self) -> Iterable[tuple[Event, Done]]:
        """Return the revisions of earlier events that are due, each with its callback."""
        return ()

    def close(self) -> None:
        """Called at the end, when everything published is acknowledged or given up."""
        return

    def status(self) -> Mapping[str, str | float]:
        """Return the source's own fields of the heartbeat."""
        return {}


class FaultInjection(Protocol):
    """Adds faulty messages to the good ones."""

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Called with the good messages just sent."""
        ...

    def settle(self) -> None:
        """Record in the ledger what has been acknowledged; called often."""
        ...

    def close(self) -> None:
        """Record the rest, at the end."""
        ...


@dataclass(frozen=True)
class PublishingReport:
    """What a run published.

    Attributes:
        sent: messages handed over.
        acknowledged: messages that Kafka has acknowledged.
        made: new events among the messages sent; the others are faults and later revisions.
        missing: messages that were given up, and may be in the topic or not.
        seconds: from the start to the last acknowledgement.
    """

    sent: int
    acknowledged: int
    made: int
    missing: int
    seconds: float

    @property
    def rate(self) -> float:
        """New events per second that Kafka has acknowledged, at least."""
        return max(0, self.made - (self.sent - self.acknowledged)) / max(self.seconds, 1e-9)


class LivePublisher(PublishingLoop):
    """Publishes what a source makes, at the pace of a law, until stopped.

    Args:
        source: makes the events.
        pacer: decides when events are due.
        output: takes them to Kafka.
        faults: adds faulty messages; None for no faults.
        where: Kafka's address, for people.
        hindered: returns why no event may be made now, whatever the source needs; empty if it may.
        node: node number of the ids, for the heartbeat.
    """

    def __init__(
        self,
        source: LiveSource,
        pacer: Pacer,
        output: TopicOutput,
        *,
        faults: FaultInjection | None = None,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
        node: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__([output], where=where, hindered=hindered)
        self._source = source
        self._pacer = pacer
        self._output = output
        self._producer = output.producer
        self._faults = faults
        self._node = node
        self._limit: int | None = None
        self._ends = float("inf")
        self._made = 0

    def run(
        self, stop: threading.Event, *, limit: int | None = None, seconds: float | None = None
    ) -> PublishingReport:
        """Publish until `stop`, `limit` events or the end of `seconds`; wait for the rest."""
        began = time.monotonic()
        self._ends = began + seconds if seconds else float("inf")
        self._limit, self._over = limit, limit == 0
        self._pacer.restart()  # what the start-up took is not a backlog
        missing = self._publish(stop, self._ends)
        seconds = time.monotonic() - began
        self._source.close()
        if self._faults is not None:
            self._faults.close()
        report = PublishingReport(
            self._producer.sent, self._producer.acknowledged, self._made, missing, seconds
        )
        log = get_logger().warning if missing else get_logger().info
        log("stopped", sent=report.sent, acknowledged=report.acknowledged, missing=missing)
        self._beat("stopped")
        return report

    def _step(self, stop: threading.Event, began: float) -> None:
        if self._output.control.paused:
            stop.wait(min(self._poll_s, max(0.0, self._ends - time.monotonic())))
            return
        room = min(MOST_AT_ONCE, self._producer.room)
        self._make(room if self._limit is None else min(room, self._limit - self._made))
        if not self._over:
            self._rest(stop, began)
        self._over = self._over or self._made == self._limit

    def _make(self, limit: int) -> None:
        """Publish what is due, at most `limit` new events."""
        for event, done in self._source.later():
            self._producer.send(event, done)
        if self._faults is not None:
            self._faults.settle()
        due = self._pacer.due(limit)
        if not len(due):
            return
        try:
            events = self._source.make(np.maximum(0.0, time.monotonic() - due))
        except LeaseLostError:  # since we looked: the process was suspended, say
            return
        keys, values = self._output.publish(events)
        if self._faults is not None:
            self._faults(keys, values)
        self._made += len(due)

    def _rest(self, stop: threading.Event, began: float) -> None:
        """Wait for the next event, at least until the tick is over; not at all while behind."""
        now = time.monotonic()
        pause = min(max(self._pacer.wait(), began + TICK_S - now), self._poll_s, self._ends - now)
        if self._producer.full:
            self._producer.poll(max(0.0, min(TICK_S, self._ends - now)))
        elif pause > 0:
            stop.wait(pause)

    def _has_end(self) -> bool:
        return self._limit is not None or time.monotonic() >= self._ends

    def _lacks(self) -> str:
        return self._source.lacks()

    def _resumed(self) -> None:
        self._pacer.restart()

    def _obey(self) -> None:
        super()._obey()
        counted = self._source.counted()
        if counted is not None:
            self._pacer.made = counted
        self._pacer.factor = self._factor * self._source.pace()

    @property
    def _factor(self) -> float:
        """The operator's factor if it is a valid one, else 1."""
        factor = self._output.control.rate
        return factor if 0 < factor <= control.MAX_RATE else 1.0

    def _fields(self, _output: TopicOutput) -> Mapping[str, str | float]:
        return {
            "factor": self._factor,
            "pace": round(self._pacer.factor, 3),
            "node": self._node(),
            **self._source.status(),
        }
