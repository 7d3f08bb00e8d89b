"""A history replayed through the pipeline: events in the order of their times, into the topics.

A file keeps how far it is, saved when Kafka has acknowledged a day. Resuming publishes the
unfinished day again; the ingest recognises what it has by id and revision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from generators.history.history import Ending, first_revisions
from generators.history.plan import Day
from generators.history.request import Begun, HistoryRequest
from generators.history.targets.begin import RunState, StateFile
from generators.publishing.encoding import encode_columns
from generators.publishing.event_producer import EventProducer
from shop import kafka
from shop.errors import JangteoError, UnreachableError, UsageError
from shop.events import SCHEMAS
from shop.optional.registry import OPTIONAL
from shop.settings import KafkaSettings

AT_ONCE: Final = 5_000
PACED: Final = 20
"""Orders that share one moment when paced: at the seed's rate, 80 s of the history."""
_ANSWER_S: Final = 60.0
"""Without an acknowledgement for this many seconds, Kafka counts as unreachable."""


class KafkaTarget:
    """Publishes a history.

    Args:
        settings: which cluster.
        state: file that keeps how far it is.
        speed: seconds of the history per second; None: as fast as Kafka takes it.
        truncate: publish another history although one was published.
        stop: ends waiting.
        topics: optional topics that the history has.
    """

    live = True
    everything = True
    """Of days that are there already, later cancellations are still to be published."""
    keeps_state = False
    profiles = True

    def __init__(
        self,
        settings: KafkaSettings,
        state: Path,
        *,
        speed: float | None,
        truncate: bool,
        stop: threading.Event,
        topics: Sequence[str] = (),
    ) -> None:
        self._where = settings.where
        self._file = StateFile(state)
        self._speed = speed
        self._truncate = truncate
        self._stop = stop
        self._began: tuple[float, datetime] | None = None
        self._later = pl.DataFrame(schema=SCHEMAS["orders"])
        self._producers = {
            topic: EventProducer(topic, lambda **o: kafka.producer(settings, "backfill", **o))
            for topic in ("users", "products", "orders", *topics)
        }
        self._to_come = {topic: pl.DataFrame(schema=SCHEMAS[topic]) for topic in topics}

    @property
    def _found(self) -> RunState | None:
        """The state of a history that was published to this cluster."""
        state = self._file.state
        return state if state and state.where == self._where else None

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Make ready; see `PostgresTarget.begin`."""
        if found := self._found:
            give_up = f"remove {self._file.path}"
            if begun := found.resume(request, end, truncate=self._truncate, give_up=give_up):
                return begun
            if not self._truncate:
                raise UsageError(
                    f"a history was published to {self._where} already; --truncate publishes "
                    "another"
                )
        return self._file.start(
            RunState(request=request, ends_at=end, where=self._where, fingerprint=0)
        )

    def starts(self, request: HistoryRequest, end: datetime) -> bool:
        """Return whether `begin` would start a history: not resume one, nor find it complete."""
        found = self._found
        return found is None or (
            found.finished and (found.request, found.ends_at) != (request, end)
        )

    def prepare(self, day: Day) -> Callable[[], None]:
        """Return what publishes a day, unless it was; it waits until Kafka has it."""
        return partial(self._add, day)

    def _add(self, day: Day) -> None:
        changed = pl.col("rev") > 1
        self._later = pl.concat([self._later, day.orders.filter(changed)])
        topics = {name: self._due(day, name) for name in self._to_come}
        due = pl.col("updated_at") < day.end
        now, self._later = self._later.filter(due), self._later.filter(~due)
        state = self._file.state
        if state is None or day.number < state.next_day:
            return
        self._post("users", day.users)
        self._post("products", day.products)
        self._settle()  # a customer is there before their orders
        orders = pl.concat([first_revisions(day.orders, changed), now]).sort(
            "updated_at", maintain_order=True
        )
        self._post("orders", orders)
        self._settle()  # and an order before what follows from it
        for topic, events in topics.items():
            self._post(topic, events)
        self._settle()
        if not self._stop.is_set():
            self._file.add(day)

    def _due(self, day: Day, topic: str) -> pl.DataFrame:
        """Return what is to be published of a topic with a day; keep what happens later."""
        events = pl.concat([self._to_come[topic], day.topics[topic].events])
        due = pl.col(OPTIONAL[topic].time_field) < day.end
        self._to_come[topic] = events.filter(~due)
        return events.filter(due).sort(OPTIONAL[topic].time_field, maintain_order=True)

    def _post(self, topic: str, events: pl.DataFrame) -> None:
        producer = self._producers[topic]
        for part in events.iter_slices(PACED if self._speed and topic == "orders" else AT_ONCE):
            if topic == "orders":
                self._pace(part["updated_at"][0])
            self._wait(lambda: producer.room >= AT_ONCE)
            if self._stop.is_set():
                return
            producer.post_all(*encode_columns(topic, part))

    def _pace(self, moment: datetime) -> None:
        if not self._speed:
            return
        if self._began is None:
            self._began = time.monotonic(), moment
        began, first = self._began
        due = began + (moment - first) / timedelta(seconds=self._speed)
        while (left := due - time.monotonic()) > 0 and not self._stop.wait(min(left, 0.2)):
            self._poll()

    def _poll(self) -> None:
        for producer in self._producers.values():
            producer.poll()

    def _settle(self) -> None:
        self._wait(lambda: not any(producer.pending for producer in self._producers.values()))

    def _wait(self, enough: Callable[[], bool]) -> None:
        taken, since = -1, time.monotonic()
        while not enough():
            self._poll()
            acknowledged = sum(producer.acknowledged for producer in self._producers.values())
            if acknowledged != taken:
                taken, since = acknowledged, time.monotonic()
            if time.monotonic() - since > _ANSWER_S:
                sent = sum(producer.sent for producer in self._producers.values())
                raise UnreachableError(
                    f"{self._where} acknowledged nothing for {_ANSWER_S:.0f} s: it has {taken:,} "
                    f"of {sent:,} events of this run; run the same command again to resume"
                )
            if self._stop.wait(0.002):
                return

    def finish(self, _ending: Ending) -> None:
        """Save that all is published."""
        if refused := sum(producer.refused for producer in self._producers.values()):
            raise JangteoError(f"{self._where} refused {refused} events")
        self._file.finish()

    def close(self) -> None:
        """Wait a second for what is in flight."""
        for producer in self._producers.values():
            producer.close(1.0)
