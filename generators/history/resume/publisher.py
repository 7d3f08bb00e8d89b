"""The loop that publishes what a history goes on with, when the clock reaches it.

Round by round: take what is due, publish it, wait until Kafka has it, remember how far that is
together with the cancellations that follow from it. Killed anywhere, the next process publishes
the round again, and the ingest knows it by id and revision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import redis

from generators.history.history import first_revisions
from generators.history.resume.events import ResumedEvents
from generators.history.resume.store import Position
from generators.publishing.encoding import encode_columns
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import CATCH, FLUSH_AWAY_S, FLUSH_S, POLL_S
from generators.publishing.order_lifecycle import OrderLifecycle
from generators.publishing.rate_meter import RateMeter
from generators.random_streams import hashed
from shop.clock import Clock
from shop.events import ID_FIELD, SCHEMAS
from shop.log import get_logger
from shop.redis import cache, control
from shop.redis.control import Control
from shop.redis.heartbeat import HeartbeatSender

NAME: Final = "continuation"
LATE: Final = timedelta(days=7)
"""Orders of a time when nothing ran are published late, but not those that are older: at the seed's
rate a week is 151,200, 40 MB in the topic."""
TICK_S: Final = 0.1
"""An event is published so long after its time at most, a broker's answer not included."""
SAVE_EVERY_S: Final = 1.0
_ANSWER_S: Final = 0.005
_ALL: Final = 1 << 40


@dataclass
class ResumedTopic:
    """One topic's way to Kafka, and its operator.

    Attributes:
        outbox: takes events to Kafka.
        steering: what the operator wants; None: there is none.
        pulse: told once a second how it goes; None: nobody is.
        control: what was wanted when last looked.
        last_id: of the events handed over.
    """

    outbox: EventProducer
    steering: Callable[[], Control] | None = None
    pulse: HeartbeatSender | None = None
    control: Control = field(default_factory=Control)
    last_id: int = 0
    meter: RateMeter = field(default_factory=RateMeter)


class ResumePublisher:
    """Publishes a sequel until told to stop, or until a moment.

    Args:
        sequel: what there is to publish.
        position: remembers how far it is.
        life: has the cancellations and refunds that are due, those of the history among them.
        lines: topic -> its way to Kafka.
        clock: UTC; what it has passed is due.
        until: UTC; the end, what happened at that moment or later not included. None: none.
        seed: decides which orders a rate below 1 leaves out.
        pulse: of the process as a whole.
        running: of a moment, the scenarios that run, in words.
        late: see `LATE`.
        where: Kafka's address, for people.
        hindered: why nothing may be published now; empty if it may.
        monotonic: seconds of a clock that never steps.

    Attributes:
        left_out: orders that were due and not published, by the operator's will or for their age.
    """

    def __init__(
        self,
        sequel: ResumedEvents,
        position: Position,
        life: OrderLifecycle,
        lines: Mapping[str, ResumedTopic],
        *,
        clock: Clock,
        until: datetime | None = None,
        seed: int = 1,
        pulse: HeartbeatSender | None = None,
        running: Callable[[datetime], str] = lambda _: "",
        late: timedelta = LATE,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sequel = sequel
        self._position = position
        self._life = life
        self._lines = lines
        self._clock = clock
        self._until = until
        self._seed = seed
        self._pulse = pulse
        self._running = running
        self._late = late
        self._where = where
        self._hindered = hindered
        self._monotonic = monotonic
        self._later = pl.DataFrame(schema=SCHEMAS["orders"])
        self._saved_at = float("-inf")
        self._unsaved = True
        self._redis_away = ""
        self._waiting_for = ""
        self._closing = False
        self.left_out = 0

    def run(self, stop: threading.Event) -> bool:
        """Publish until `stop` or the end; return whether Kafka has all that was handed over."""
        while not stop.is_set():
            for line in self._lines.values():
                line.outbox.poll()
            self._steer()
            self._note(self._trouble())
            self._beat()
            if self._waiting_for:
                stop.wait(POLL_S)
            elif any(line.outbox.pending for line in self._lines.values()):
                stop.wait(_ANSWER_S)
            elif self._is_saved():
                if self._is_over():
                    break
                if not self._round():
                    stop.wait(TICK_S)
        return self._finish()

    def _now(self) -> datetime:
        now = self._clock()
        return now if self._until is None else min(now, self._until)

    # -- a round ---------------------------------------------------------------------------------

    def _round(self) -> bool:
        """Hand over what is due; return whether more of it is due than a round takes."""
        now, marks = self._now(), self._sequel.marks
        if self._sequel.ahead <= min(now, marks["orders"]):
            day = self._sequel.simulate()
            get_logger().info("next day", day=day.number, orders=len(day.orders))
        due = min(now, self._sequel.ahead)
        self._leave_out(min(now - self._late, due), "too old to be published late")
        for topic in ("users", "products"):
            if not self._lines[topic].control.paused:
                self._post(topic, self._sequel.take(topic, due, CATCH))
        orders = self._lines["orders"]
        if orders.control.paused:
            self._leave_out(due)
            return marks["orders"] < now
        self._sell(self._sequel.take("orders", due, CATCH))
        for event, done in self._life.due():
            orders.outbox.send(event, done)
        return marks["orders"] < now

    def _leave_out(self, before: datetime, why: str = "") -> None:
        """Publish nothing of the orders before a moment; who ordered does not know."""
        since = self._sequel.marks["orders"]
        if before <= since:
            return
        left_out = len(self._sequel.take("orders", before, _ALL))
        self.left_out += left_out
        if why and left_out:
            get_logger().warning(
                "orders left out", orders=left_out, since=since.isoformat(),
                until=before.isoformat(), why=why,
            )  # fmt: skip

    def _sell(self, orders: pl.DataFrame) -> None:
        factor = _factor("orders", self._lines["orders"].control)
        if factor < 1:
            chance = hashed(orders["order_id"].to_numpy(), f"{self._seed}/left out")
            kept = orders.filter(pl.Series(chance < factor))
            self.left_out += len(orders) - len(kept)
            orders = kept
        changed = pl.col("rev") > 1
        self._post("orders", first_revisions(orders, changed))
        self._later = pl.concat([self._later, orders.filter(changed)])

    def _post(self, topic: str, events: pl.DataFrame) -> None:
        if events.is_empty():
            return
        line = self._lines[topic]
        line.outbox.post_all(*encode_columns(topic, events))
        line.last_id = int(events[ID_FIELD[topic]][-1])
        self._unsaved = True

    # -- between rounds --------------------------------------------------------------------------

    def _is_saved(self) -> bool:
        """Remember how far it is, if that has changed or a second has passed; False if it fails."""
        now = self._monotonic()
        if not self._unsaved and now < self._saved_at + SAVE_EVERY_S:
            return True
        self._saved_at = now
        try:
            self._position.save(self._sequel.marks, self._later)
        except redis.RedisError as e:
            self._redis_away = cache.explain(e)
            return False
        self._later = self._later.clear()
        self._unsaved, self._redis_away = False, ""
        return True

    def _is_over(self) -> bool:
        until = self._until
        if until is None or any(
            self._sequel.marks[topic] < until and (topic == "orders" or not line.control.paused)
            for topic, line in self._lines.items()
        ):
            return False
        if not self._closing:  # one more look at what is due by then, now that all is remembered
            self._closing, self._life.idle = True, False
        return self._life.idle or self._lines["orders"].control.paused

    def _steer(self) -> None:
        for topic, line in self._lines.items():
            if line.steering is None:
                continue
            before, line.control = line.control, line.steering()
            if before.paused != line.control.paused:
                get_logger().info("paused" if line.control.paused else "resumed", topic=topic)
            wanted, obeyed = line.control.rate, _factor(topic, line.control)
            if before.rate != wanted != obeyed:
                get_logger().warning(
                    "rate without effect, the history is drawn already", topic=topic, rate=wanted,
                    obeyed=obeyed,
                )  # fmt: skip

    def _trouble(self) -> str:
        for line in self._lines.values():
            if trouble := line.outbox.trouble:
                return f"{self._where} ({trouble})"
        if self._redis_away and self._monotonic() >= self._saved_at + SAVE_EVERY_S:
            self._is_saved()
        return self._hindered() or (self._redis_away and f"Redis ({self._redis_away})")

    def _note(self, waiting_for: str) -> None:
        """Say once that something is missing, and once that it goes on."""
        if waiting_for and not self._waiting_for:
            get_logger().warning("waiting", waiting_for=waiting_for)
        elif self._waiting_for and not waiting_for:
            get_logger().info("going on")
        self._waiting_for = waiting_for

    def _finish(self) -> bool:
        missing = 0
        for line in self._lines.values():
            missing += line.outbox.close(FLUSH_AWAY_S if line.outbox.trouble else FLUSH_S)
        if not missing:
            self._is_saved()
        self._life.close()
        log = get_logger().warning if missing else get_logger().info
        log(
            "stopped", published=sum(line.outbox.acknowledged for line in self._lines.values()),
            missing=missing, left_out=self.left_out, until=self._sequel.marks["orders"].isoformat(),
        )  # fmt: skip
        self._beat("stopped")
        return not missing

    def _beat(self, state: str = "") -> None:
        waiting = "waiting" if self._waiting_for else ""
        for topic, line in self._lines.items():
            if line.pulse is None:
                continue
            fields: dict[str, str | float] = {}
            if topic == "orders":
                fields = {
                    "scenarios": self._running(self._sequel.marks["orders"]),
                    "life_waiting": self._life.waiting,
                }
            line.pulse(
                state or waiting or ("paused" if line.control.paused else "running"),
                force=state == "stopped",
                published=line.outbox.acknowledged,
                rate=round(line.meter(line.outbox.acknowledged), 2),
                last_id=line.last_id,
                waiting_for=self._waiting_for,
                paused=str(line.control.paused).lower(),
                factor=_factor(topic, line.control),
                **{control.CONTINUES: "true"},
                **fields,
            )
        if self._pulse is not None:
            self._pulse(
                state or waiting or "running",
                force=state == "stopped",
                published=sum(line.outbox.acknowledged for line in self._lines.values()),
                until=self._sequel.marks["orders"].isoformat(),
                left_out=self.left_out,
                waiting_for=self._waiting_for,
            )


def _factor(topic: str, wanted: Control) -> float:
    """Return the part of a topic's events that is published.

    Of orders, less than all can be had; customers and products are needed, as orders name them.
    """
    return min(1.0, wanted.rate) if topic == "orders" and wanted.rate > 0 else 1.0
