"""A history replayed through the pipeline: events in the order of their times, into the topics.

How far it is stands in a file, written when Kafka has acknowledged a day. Going on publishes the
unfinished day again; the ingest recognises what it has by id and revision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from generators.history.fingerprint import fingerprint
from generators.history.history import Ending, first_revisions
from generators.history.plan import Day
from generators.history.request import Begun, HistoryRequest
from generators.history.state import writing
from generators.publishing.encoding import encode_columns
from generators.publishing.event_producer import EventProducer
from shop import kafka
from shop.errors import JangteoError, UsageError
from shop.events import SCHEMAS
from shop.settings import KafkaSettings

AT_ONCE: Final = 5_000
PACED: Final = 20
"""Orders that share one moment when paced: at the seed's rate, 80 s of the history."""
_ANSWER_S: Final = 60.0
"""Without an acknowledgement for so long Kafka counts as unreachable."""


class _KafkaState(msgspec.Struct, kw_only=True):
    request: HistoryRequest
    ends_at: datetime
    where: str
    next_day: int = 0
    fingerprint: int | None = None
    finished: bool = False


class KafkaTarget:
    """Publishes a history.

    Args:
        settings: which cluster.
        state: file that says how far it is.
        speed: seconds of the history per second; None: as fast as Kafka takes it.
        truncate: begin anew although a history was published.
        stop: ends waiting.
    """

    live = True
    everything = True
    """Of days that are there already, later cancellations are still to be published."""
    keeps_state = False

    def __init__(
        self,
        settings: KafkaSettings,
        state: Path,
        *,
        speed: float | None,
        truncate: bool,
        stop: threading.Event,
    ) -> None:
        self._where = settings.where
        self._path = state
        self._speed = speed
        self._truncate = truncate
        self._stop = stop
        self._state: _KafkaState | None = None
        self._began: tuple[float, datetime] | None = None
        self._later = pl.DataFrame(schema=SCHEMAS["orders"])
        self._outboxes = {
            topic: EventProducer(topic, lambda **o: kafka.producer(settings, "backfill", **o))
            for topic in ("users", "products", "orders")
        }

    def _found(self) -> _KafkaState | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_KafkaState)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as e:
            raise UsageError(f"{self._path} cannot be read: {e}") from None

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Make ready; see `PostgresTarget.begin`."""
        found = self._found()
        if found and not found.finished and found.where == self._where:
            if differences := found.request.differences(request):
                raise UsageError(
                    f"{found.next_day} of {found.request.days} days of a history with "
                    f"{differences} are published: the same command goes on; remove {self._path} "
                    "to give it up"
                )
            self._state = found
            return Begun(found.ends_at, found.next_day, fingerprint=found.fingerprint)
        if found and found.where == self._where and not self._truncate:
            if (found.request, found.ends_at) == (request, end):
                return Begun(end, request.days, whole=True)
            raise UsageError("a history was published here already; --truncate publishes another")
        self._save(_KafkaState(request=request, ends_at=end, where=self._where, fingerprint=0))
        return Begun(end)

    def starts(self, request: HistoryRequest, end: datetime) -> bool:
        """Return whether `begin` would start a history: not resume one, nor find it whole."""
        found = self._found()
        if found is None or found.where != self._where:
            return True
        return found.finished and (found.request, found.ends_at) != (request, end)

    def _save(self, state: _KafkaState) -> None:
        self._state = state
        with writing(self._path) as file:
            file.write_bytes(msgspec.json.encode(state))

    def prepare(self, day: Day) -> Callable[[], None]:
        """Return what publishes a day, unless it was; it waits until Kafka has it."""
        return partial(self._add, day)

    def _add(self, day: Day) -> None:
        changed = pl.col("rev") > 1
        self._later = pl.concat([self._later, day.orders.filter(changed)])
        due = pl.col("updated_at") < day.end
        now, self._later = self._later.filter(due), self._later.filter(~due)
        if self._state is None or day.number < self._state.next_day:
            return
        self._post("users", day.users)
        self._post("products", day.products)
        self._settle()  # a customer is there before their orders
        orders = pl.concat([first_revisions(day.orders, changed), now]).sort(
            "updated_at", maintain_order=True
        )
        self._post("orders", orders)
        self._settle()
        if not self._stop.is_set():
            self._state.next_day = day.number + 1
            if self._state.fingerprint is not None:
                self._state.fingerprint ^= fingerprint(day)
            self._save(self._state)

    def _post(self, topic: str, events: pl.DataFrame) -> None:
        outbox = self._outboxes[topic]
        for part in events.iter_slices(PACED if self._speed and topic == "orders" else AT_ONCE):
            if topic == "orders":
                self._pace(part["updated_at"][0])
            self._wait(lambda: outbox.room >= AT_ONCE)
            if self._stop.is_set():
                return
            outbox.post_all(*encode_columns(topic, part))

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
        for outbox in self._outboxes.values():
            outbox.poll()

    def _settle(self) -> None:
        self._wait(lambda: not any(outbox.pending for outbox in self._outboxes.values()))

    def _wait(self, enough: Callable[[], bool]) -> None:
        taken, since = -1, time.monotonic()
        while not enough():
            self._poll()
            acknowledged = sum(outbox.acknowledged for outbox in self._outboxes.values())
            if acknowledged != taken:
                taken, since = acknowledged, time.monotonic()
            if time.monotonic() - since > _ANSWER_S:
                raise JangteoError(f"no acknowledgement from {self._where} for {_ANSWER_S:.0f} s")
            if self._stop.wait(0.002):
                return

    def finish(self, _ending: Ending) -> None:
        """Remember that all is published."""
        if refused := sum(outbox.refused for outbox in self._outboxes.values()):
            raise JangteoError(f"{self._where} refused {refused} events")
        if self._state:
            self._state.finished = True
            self._save(self._state)

    def close(self) -> None:
        """Wait a little for what is under way."""
        for outbox in self._outboxes.values():
            outbox.close(1.0)
