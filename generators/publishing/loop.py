"""The loop of every publishing process: read the operator's settings, wait, publish, report."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from generators.publishing.encoding import encode_columns
from generators.publishing.event_producer import EventProducer
from generators.publishing.rate_meter import RateMeter
from shop.errors import UnreachableError
from shop.events import ID_FIELD
from shop.log import get_logger
from shop.redis.control import Control
from shop.redis.heartbeat import HeartbeatSender

POLL_S: Final = 0.2
"""Delivery reports are taken, and the reason to wait is checked again, at least this often."""
QUIET_POLL_S: Final = 0.4
"""The same while no report is due: as often as the operator's settings are read."""
AGAIN_S: Final = 60.0
"""How often a process that still waits logs again what it waits for."""
FLUSH_S: Final = 4.0
"""How long to wait for acknowledgements at the end: a stop takes at most 5 s."""
FLUSH_AWAY_S: Final = 1.0
"""The same when Kafka has been silent for a while already."""
SILENT_S: Final = 30.0
"""A run that has an end gives up if events wait and Kafka has acknowledged none for this time; one
without an end waits for ever."""
WAIT_S: Final = 60.0
"""The same if it has waited this long for something else: another server, or the cache, which is
refreshed every 50 s."""
MOST_AT_ONCE: Final = 10_000
"""Most events to make at a time, so that neither a stop nor the operator has to wait."""


@dataclass
class TopicOutput:
    """A topic's producer, what the operator wants of it, and its heartbeat.

    Attributes:
        topic: users, products or orders.
        producer: takes the events to Kafka.
        wanted: reads what the operator wants; None if there is no operator.
        heartbeat: reports once a second; None if nothing listens.
        control: what the operator wanted at the last look.
        last_id: id of the last event handed over.
        meter: measures the rate of acknowledgements.
    """

    topic: str
    producer: EventProducer
    wanted: Callable[[], Control] | None = None
    heartbeat: HeartbeatSender | None = None
    control: Control = field(default_factory=Control)
    last_id: int = 0
    meter: RateMeter = field(default_factory=RateMeter)

    def publish(self, events: pl.DataFrame) -> tuple[list[bytes], list[bytes]]:
        """Hand events over, at least one; return their keys and values."""
        keys, values = encode_columns(self.topic, events)
        self.producer.post_all(keys, values)
        self.last_id = int(events[ID_FIELD[self.topic]][-1])
        return keys, values

    def beat(self, state: str, waiting_for: str, fields: Mapping[str, str | float]) -> None:
        """Send the heartbeat if it is due.

        Args:
            state: of the process; empty if it works, or would if it were not paused.
            waiting_for: what is missing; empty if nothing is.
            fields: further fields.
        """
        if self.heartbeat is not None:
            self.heartbeat(
                state or ("paused" if self.control.paused else "running"),
                force=state == "stopped",
                published=self.producer.acknowledged,
                rate=round(self.meter(self.producer.acknowledged), 2),
                last_id=self.last_id,
                waiting_for=waiting_for,
                paused=str(self.control.paused).lower(),
                **fields,
            )


class PublishingLoop(ABC):
    """Publishes until stopped or finished; a subclass decides what is published, and when.

    Args:
        outputs: where the events go.
        where: Kafka's address, for people.
        hindered: returns why nothing may be published now; empty if it may.

    Attributes:
        waiting_for: what is missing before events can be published, for people; empty if nothing.
    """

    def __init__(
        self, outputs: Iterable[TopicOutput], *, where: str, hindered: Callable[[], str]
    ) -> None:
        self._outputs = list(outputs)
        self._where = where
        self._hindered = hindered
        self._log_again_at = 0.0
        self._over = False
        self._waiting_since = float("inf")
        self._gave_up_on = ""
        self.waiting_for = ""

    def _publish(self, stop: threading.Event, ends: float = float("inf")) -> int:
        """Publish until `stop`, `_over` or `ends`; return how many events are unacknowledged.

        There are some only after `stop`, and where Kafka was silent for too long (`_is_given_up`);
        `check` raises what has to be reported then.

        Args:
            stop: ends the loop.
            ends: moment of the monotonic clock; what is due by then is still published.
        """
        while not self._over and not stop.is_set() and not self._is_given_up():
            began = time.monotonic()
            self._over = began >= ends
            self._poll()
            self._obey()
            self._note(self._kafka_trouble() or self._hindered() or self._lacks())
            self._beat()
            if self.waiting_for:
                stop.wait(min(POLL_S, max(0.0, ends - time.monotonic())))
            else:
                self._step(stop, began)
        if not self._over and not stop.is_set():
            self._gave_up_on = self.waiting_for or self._where
        return self._flush(stop)

    @abstractmethod
    def _step(self, stop: threading.Event, began: float) -> None:
        """Publish what is due and wait for more, until `stop`; set `_over` at the end.

        Args:
            stop: ends the wait.
            began: moment of the monotonic clock at which this turn of the loop began.
        """

    @abstractmethod
    def _fields(self, output: TopicOutput, /) -> Mapping[str, str | float]:
        """Return the fields that a heartbeat has in this kind of process only."""

    def _lacks(self) -> str:
        """Return what else is missing before events can be published; empty if nothing."""
        return ""

    def _resumed(self) -> None:  # noqa: B027  (few have something to do)
        """Called when the process was paused or resumed, and when it no longer waits."""

    def _rate_changed(self, output: TopicOutput) -> None:  # noqa: B027  (as above)
        """Called when the operator has set another rate."""

    def _has_end(self) -> bool:
        """Return whether the run, as it is now, ends by itself once Kafka has everything."""
        return False

    def _is_given_up(self) -> bool:
        """Return whether a run that has an end has waited for long enough."""
        if not self._has_end():
            return False
        silent = any(output.producer.silent_s > SILENT_S for output in self._outputs)
        return silent or time.monotonic() - self._waiting_since > WAIT_S

    def check(self, stop: threading.Event, missing: int) -> None:
        """Raise if the run ended before its end; to be called when everything is closed.

        Args:
            stop: set if somebody ended the run, which is no error.
            missing: number of events that Kafka did not acknowledge.

        Raises:
            UnreachableError: if a server was away for too long.
        """
        sent = sum(output.producer.sent for output in self._outputs)
        acknowledged = sum(output.producer.acknowledged for output in self._outputs)
        if stop.is_set():
            return
        if missing:
            why = next((o.producer.trouble for o in self._outputs if o.producer.trouble), "")
            raise UnreachableError(
                f"{self._where} acknowledged nothing for {SILENT_S:g} s{why and f' ({why})'}: it "
                f"has {acknowledged:,} of {sent:,} events, {missing:,} were not delivered; run the "
                "command again when Kafka answers"
            )
        if self._gave_up_on:
            raise UnreachableError(
                f"waited {WAIT_S:g} s for {self._gave_up_on}: {acknowledged:,} events were "
                "published; run the command again for the rest when it is there"
            )

    @property
    def _pending(self) -> bool:
        return any(output.producer.pending for output in self._outputs)

    @property
    def _poll_s(self) -> float:
        """Longest pause until `_poll`, seconds."""
        return POLL_S if self._pending or self.waiting_for else QUIET_POLL_S

    def _poll(self, timeout: float = 0.0) -> None:
        for output in self._outputs:
            output.producer.poll(timeout if output.producer.pending else 0.0)

    def _obey(self) -> None:
        """Read what the operator wants."""
        for output in self._outputs:
            if output.wanted is None:
                continue
            before, output.control = output.control, output.wanted()
            if before.paused != output.control.paused:
                get_logger().info(
                    "paused" if output.control.paused else "resumed", topic=output.topic
                )
                self._resumed()
            if before.rate != output.control.rate:
                self._rate_changed(output)

    def _kafka_trouble(self) -> str:
        troubles = (output.producer.trouble for output in self._outputs)
        trouble = next(filter(None, troubles), "")
        return trouble and f"{self._where} ({trouble})"

    def _note(self, waiting_for: str) -> None:
        """Log what is missing, again every minute, and once that the process resumes."""
        now = time.monotonic()
        if waiting_for and (not self.waiting_for or now >= self._log_again_at):
            self._log_again_at = now + AGAIN_S
            get_logger().warning("waiting", waiting_for=waiting_for)
        elif self.waiting_for and not waiting_for:
            get_logger().info("no longer waiting")
            self._resumed()
        if not waiting_for:
            self._waiting_since = float("inf")
        elif not self.waiting_for:
            self._waiting_since = now
        self.waiting_for = waiting_for

    def _flush(self, stop: threading.Event) -> int:
        """Wait for what is in flight until `stop` or `_is_given_up`; return what is missing."""
        while self._pending and not stop.is_set() and not self._is_given_up():
            self._poll(POLL_S)
            self._note(self._kafka_trouble())
            self._beat()
        return sum(
            output.producer.close(FLUSH_AWAY_S if output.producer.trouble else FLUSH_S)
            for output in self._outputs
        )

    def _beat(self, state: str = "") -> None:
        state = state or ("waiting" if self.waiting_for else "")
        for output in self._outputs:
            output.beat(state, self.waiting_for, self._fields(output))
