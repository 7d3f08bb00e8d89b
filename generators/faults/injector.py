"""Publishes faulty messages in addition to good ones, and keeps their ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka import Message as KafkaMessage

from generators.faults.kinds import FaultGenerator, FaultyMessage
from generators.faults.ledger import (
    AcknowledgedFault,
    FaultLedger,
    IntendedFault,
    default_path,
    digest,
)
from generators.publishing.event_producer import EventProducer
from generators.random_streams import stream
from shop import kafka, node_lease
from shop.best_effort import BestEffort
from shop.clock import Clock, utc_now
from shop.events import TOPICS
from shop.log import get_logger
from shop.node_lease import FAULT_NODE, LIVE_NODES, LeaseLostError, NodeLease
from shop.settings import KafkaSettings, Settings

LOOK_EVERY_S: Final = 1.0
"""How often the identity of the log is looked at."""
LAST_LOOK_S: Final = 2.0
"""Seconds that the end of a run waits for the last look."""


class LogIdentity(NamedTuple):
    """The identity of a topic's log, and when it was asked for, monotonic seconds."""

    log_id: str
    asked: float


class LogIdentityWatch(threading.Thread):
    """Knows the incarnation of a topic's log; no caller waits for Kafka.

    Args:
        settings: Kafka's.
        topic: whose.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        super().__init__(name="log-watch", daemon=True)
        self._settings = settings
        self._topic = topic
        self._wake = threading.Event()
        self._answered = threading.Event()
        self._ended = False
        self.latest: LogIdentity | None = None

    def run(self) -> None:
        """Ask once a second until `stop`."""
        client = kafka.admin(self._settings, "faults")
        while not self._ended:
            asked = time.monotonic()
            try:
                info = kafka.describe_topics(client, [self._topic]).get(self._topic)
            except KafkaException as e:
                get_logger().debug("log not known", topic=self._topic, error=str(e))
            else:
                if info is not None:
                    self.latest = LogIdentity(info.log_id, asked)
                    self._answered.set()
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()

    def again(self, timeout: float) -> None:
        """Wait for an answer to a question that is asked after now."""
        now, ends = time.monotonic(), time.monotonic() + timeout
        while (self.latest is None or self.latest.asked < now) and time.monotonic() < ends:
            self._answered.clear()
            self._wake.set()
            self._answered.wait(0.1)

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._wake.set()


class FaultInjector:
    """Adds faulty messages to a topic, each entered in the ledger before and after.

    Coordinates are entered once the log was seen to be the same before and after the
    acknowledgement, so they are never those of another log than the entry says.

    While the ledger cannot be written, on a full disk, there are no faults; good events continue.

    Args:
        topic: of all of them.
        faults: makes them.
        ledger: the ledger.
        post: takes a message to Kafka and calls back with what was acknowledged.
        watch: the log's identity.
        clock: UTC; dates the intents.
        monotonic: the clock of the watch.
    """

    def __init__(
        self,
        topic: str,
        faults: FaultGenerator,
        ledger: FaultLedger,
        post: Callable[[bytes | None, bytes, Callable[[KafkaMessage], None]], None],
        watch: LogIdentityWatch,
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._topic = topic
        self._faults = faults
        self._ledger = ledger
        self._post = post
        self._watch = watch
        self._monotonic = monotonic
        self._before = watch.latest
        self._unsettled: list[tuple[float, int, int, int]] = []
        self._settled: list[AcknowledgedFault] = []
        self._writing = BestEffort("the fault ledger, without which no fault is published")

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Publish the faults that belong to these good messages."""
        messages: list[FaultyMessage] = []
        intents: list[IntendedFault] = []
        now = round(self._clock().timestamp() * 1_000)
        for place, kind in self._faults.positions(len(keys)):
            event = msgspec.json.decode(values[place], type=TOPICS[self._topic])
            try:
                made = list(self._faults.messages(kind, self._topic, event))
            except LeaseLostError:  # then there is one fault less
                continue
            for message, id_, route in made:
                messages.append(message)
                intents.append(
                    IntendedFault(
                        number=self._ledger.next_number + len(intents),
                        topic=self._topic,
                        kind=kind.name,
                        route=route,
                        id=id_,
                        digest=digest(*message),
                        at_ms=now,
                    )
                )
        if not intents:
            return
        if not self._writing.attempt(lambda: self._ledger.add(intents)):
            return
        self._ledger.next_number += len(intents)
        for (key, value), intent in zip(messages, intents, strict=True):
            self._post(key, value, partial(self._taken, number=intent.number))

    def _taken(self, message: KafkaMessage, number: int) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        self._unsettled.append((self._monotonic(), number, partition, offset))

    def settle(self) -> None:
        """Enter what was acknowledged between two looks at one and the same log."""
        look = self._watch.latest
        if look is None or look == self._before:
            return
        before, self._before = self._before, look
        # An acknowledgement from before the first look, or close to a change, stays without
        # coordinates: the digest will find it.
        ready = [u for u in self._unsettled if u[0] < look.asked]
        self._unsettled = [u for u in self._unsettled if u[0] >= look.asked]
        if before is None or before.log_id != look.log_id:
            return
        self._settled += [
            AcknowledgedFault(number=number, partition=partition, offset=offset, log_id=look.log_id)
            for at, number, partition, offset in ready
            if at >= before.asked
        ]
        # What cannot be entered now is entered later; the digest finds what never is.
        if self._settled and self._writing.attempt(lambda: self._ledger.add(self._settled)):
            self._settled = []

    def close(self) -> None:
        """Record the rest; called once, at the end."""
        self.settle()
        if self._unsettled:
            self._watch.again(LAST_LOOK_S)
            self.settle()
        self._watch.stop()
        self._ledger.close()


class FaultOptions(NamedTuple):
    """What is asked for: faults per good message, the ledger's path (None: the default), a seed."""

    rate: float
    ledger: Path | None
    seed: int


@contextmanager
def injecting(  # noqa: PLR0917  (what a generator has)
    asked: FaultOptions, settings: Settings, topic: str, producer: EventProducer, held: NodeLease,
    stop: threading.Event,
) -> Iterator[FaultInjector | None]:  # fmt: skip
    """Return what adds faulty messages to the good ones; None if there are to be none.

    The ids of faults have a node of their own, so that the good events stay as they are.

    Raises:
        UsageError: if the ledger cannot be written.
    """
    if not asked.rate:
        yield None
        return
    name = held.name
    nodes = (FAULT_NODE, *reversed(LIVE_NODES))
    server = node_lease.server(settings)
    with node_lease.leased(server, f"{name}-faults", stop, nodes=nodes) as own:
        if own is None:
            yield None
            return
        rng = stream(asked.seed, f"faults/{name}")
        faults = FaultGenerator(topic, asked.rate, rng, clock=held.clock, ids=own.ids)
        ledger = FaultLedger(asked.ledger or default_path(settings.data_dir, name))
        watch = LogIdentityWatch(settings.kafka, topic)
        watch.start()
        watch.again(LAST_LOOK_S)  # an earlier acknowledgement has no coordinates
        yield FaultInjector(topic, faults, ledger, producer.post, watch, clock=held.clock)
