"""Publish the events that follow a finished history, as the clock reaches them.

Round by round: take what is due, publish it, wait until Kafka has it, store how far that is
together with the cancellations that follow from it. Killed anywhere, the next process publishes
the round again, and the ingest recognises it by id and revision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import redis

from generators.history.history import first_revisions
from generators.history.resume.events import ResumedEvents
from generators.history.resume.store import Position
from generators.publishing.loop import MOST_AT_ONCE, PublishingLoop, TopicOutput
from generators.publishing.order_lifecycle import OrderLifecycle
from generators.random_streams import hashed
from shop.clock import Clock
from shop.events import SCHEMAS
from shop.log import get_logger
from shop.redis import cache, control
from shop.redis.heartbeat import HeartbeatSender

NAME: Final = "continuation"
LATE: Final = timedelta(days=7)
"""Orders of a time when nothing ran are published late, but not those that are older: at the seed's
rate a week is 151,200, 40 MB in the topic."""
TICK_S: Final = 0.1
"""An event is published at most this long after its time, a broker's answer not included."""
SAVE_EVERY_S: Final = 1.0
_ANSWER_S: Final = 0.005
_ALL: Final = 1 << 40


class ResumePublisher(PublishingLoop):
    """Publishes what follows a history until stopped, or until a moment.

    Args:
        events: what is still to be published.
        position: stores how far it is.
        lifecycle: has the cancellations and refunds that are due, those of the history among them.
        outputs: take users, products and orders to Kafka.
        clock: UTC; what it has passed is due.
        until: UTC; the end, what happened at that moment or later not included; None for no end.
        seed: decides which orders a rate below 1 leaves out.
        heartbeat: of the process as a whole.
        running: returns the names of the scenarios that run at a moment.
        late: see `LATE`.
        where: Kafka's address, for people.
        hindered: returns why nothing may be published now; empty if it may.

    Attributes:
        left_out: orders that were due and not published, by the operator's will or for their age.
    """

    def __init__(
        self,
        events: ResumedEvents,
        position: Position,
        lifecycle: OrderLifecycle,
        outputs: Iterable[TopicOutput],
        *,
        clock: Clock,
        until: datetime | None = None,
        seed: int = 1,
        heartbeat: HeartbeatSender | None = None,
        running: Callable[[datetime], str] = lambda _: "",
        late: timedelta = LATE,
        where: str = "Kafka",
        hindered: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(outputs, where=where, hindered=hindered)
        self._output = {output.topic: output for output in self._outputs}
        self._events = events
        self._position = position
        self._lifecycle = lifecycle
        self._clock = clock
        self._until = until
        self._seed = seed
        self._heartbeat = heartbeat
        self._running = running
        self._late = late
        self._later = pl.DataFrame(schema=SCHEMAS["orders"])
        self._saved_at = float("-inf")
        self._unsaved = True
        self._redis_trouble = ""
        self._closing = False
        self.left_out = 0

    def run(self, stop: threading.Event) -> int:
        """Publish until `stop` or the end; return how many events Kafka did not acknowledge."""
        missing = self._publish(stop)
        if not missing:
            self._save()
        self._lifecycle.close()
        log = get_logger().warning if missing else get_logger().info
        log(
            "stopped", published=self._acknowledged, missing=missing, left_out=self.left_out,
            until=self._events.marks["orders"].isoformat(),
        )  # fmt: skip
        self._beat("stopped")
        return missing

    def _has_end(self) -> bool:
        return self._until is not None and self._clock() >= self._until

    def _step(self, stop: threading.Event, began: float) -> None:  # noqa: ARG002  (the loop gives it)
        if self._pending:
            stop.wait(_ANSWER_S)
        elif self._save():
            self._over = self._is_complete()
            if not self._over and not self._round():
                stop.wait(TICK_S)

    def _now(self) -> datetime:
        now = self._clock()
        return now if self._until is None else min(now, self._until)

    # -- a round ---------------------------------------------------------------------------------

    def _round(self) -> bool:
        """Hand over what is due; return whether more is due than one round takes."""
        now, marks = self._now(), self._events.marks
        if self._events.ahead <= min(now, marks["orders"]):
            day = self._events.simulate()
            get_logger().info("next day", day=day.number, orders=len(day.orders))
        due = min(now, self._events.ahead)
        self._leave_out(min(now - self._late, due), "too old to be published late")
        for topic in ("users", "products"):
            if not self._output[topic].control.paused:
                self._hand_over(topic, self._events.take(topic, due, MOST_AT_ONCE))
        orders = self._output["orders"]
        if orders.control.paused:
            self._leave_out(due)
            return marks["orders"] < now
        self._sell(self._events.take("orders", due, MOST_AT_ONCE))
        for event, done in self._lifecycle.due():
            orders.producer.send(event, done)
        return marks["orders"] < now

    def _leave_out(self, before: datetime, why: str = "") -> None:
        """Publish none of the orders before a moment; their customers count them all the same."""
        since = self._events.marks["orders"]
        if before <= since:
            return
        left_out = len(self._events.take("orders", before, _ALL))
        self.left_out += left_out
        if why and left_out:
            get_logger().warning(
                "orders left out", orders=left_out, since=since.isoformat(),
                until=before.isoformat(), why=why,
            )  # fmt: skip

    def _sell(self, orders: pl.DataFrame) -> None:
        factor = _factor(self._output["orders"])
        if factor < 1:
            chance = hashed(orders["order_id"].to_numpy(), f"{self._seed}/left out")
            kept = orders.filter(pl.Series(chance < factor))
            self.left_out += len(orders) - len(kept)
            orders = kept
        changed = pl.col("rev") > 1
        self._hand_over("orders", first_revisions(orders, changed))
        self._later = pl.concat([self._later, orders.filter(changed)])

    def _hand_over(self, topic: str, events: pl.DataFrame) -> None:
        if not events.is_empty():
            self._output[topic].publish(events)
            self._unsaved = True

    # -- between rounds --------------------------------------------------------------------------

    def _save(self) -> bool:
        """Store how far it is, if that has changed or a second has passed; False if it fails."""
        now = time.monotonic()
        if not self._unsaved and now < self._saved_at + SAVE_EVERY_S:
            return True
        self._saved_at = now
        try:
            self._position.save(self._events.marks, self._later)
        except redis.RedisError as e:
            self._redis_trouble = cache.explain(e)
            return False
        self._later = self._later.clear()
        self._unsaved, self._redis_trouble = False, ""
        return True

    def _is_complete(self) -> bool:
        until = self._until
        if until is None or any(
            self._events.marks[topic] < until and (topic == "orders" or not output.control.paused)
            for topic, output in self._output.items()
        ):
            return False
        if not self._closing:  # one more look at what is due by then, now that all is stored
            self._closing, self._lifecycle.idle = True, False
        return self._lifecycle.idle or self._output["orders"].control.paused

    def _lacks(self) -> str:
        if self._redis_trouble and time.monotonic() >= self._saved_at + SAVE_EVERY_S:
            self._save()
        return self._redis_trouble and f"Redis ({self._redis_trouble})"

    def _rate_changed(self, output: TopicOutput) -> None:
        wanted, obeyed = output.control.rate, _factor(output)
        if wanted != obeyed:
            get_logger().warning(
                "rate without effect: the history's events are drawn already", topic=output.topic,
                rate=wanted, obeyed=obeyed,
            )  # fmt: skip

    @property
    def _acknowledged(self) -> int:
        return sum(output.producer.acknowledged for output in self._outputs)

    def _fields(self, output: TopicOutput) -> Mapping[str, str | float]:
        fields: dict[str, str | float] = {"factor": _factor(output), control.CONTINUES: "true"}
        if output.topic == "orders":
            fields["scenarios"] = self._running(self._events.marks["orders"])
            fields["life_waiting"] = self._lifecycle.waiting
        return fields

    def _beat(self, state: str = "") -> None:
        super()._beat(state)
        if self._heartbeat is not None:
            self._heartbeat(
                state or ("waiting" if self.waiting_for else "running"),
                force=state == "stopped",
                published=self._acknowledged,
                until=self._events.marks["orders"].isoformat(),
                left_out=self.left_out,
                waiting_for=self.waiting_for,
            )


def _factor(output: TopicOutput) -> float:
    """Return the share of a topic's events that is published.

    Of orders some can be left out; all customers and products are needed, as orders name them.
    """
    rate = output.control.rate
    return min(1.0, rate) if output.topic == "orders" and rate > 0 else 1.0
