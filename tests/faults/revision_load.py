"""Products and optional topics: events that are published while their ingest is killed."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException

from benchmarks.realism.topic_agreement import contradictions
from shop import kafka, postgres
from shop.clock import utc_now
from shop.events import ID_FIELD, SCHEMAS, Event, Product, as_row, encode, key_of
from shop.ids import EPOCH, make_id
from shop.optional.customer_changes import CustomerChange
from shop.optional.registry import OPTIONAL
from shop.settings import Settings
from tests.flows.optional.samples import sample
from tests.support.event_samples import product
from tests.support.ingest_processes import Ingest, caught_up
from tests.support.waiting import wait_until

CUT: Final = 9
"""Bytes that an invalid message lacks at its end."""
PRODUCTS: Final = 200
CHANGES: Final = 4
"""Changes of a customer, on average."""
STAYS: Final = 0.7
"""Share of the closings that are something else: most customers have versions to compare."""
MOST_REVISIONS: Final = 6


class RevisionLoad(threading.Thread, ABC):
    """Publishes events, out of order and some twice, and kills their ingest all the time.

    A subclass makes the events; all their ids are at least `first`.

    Args:
        name: of the thread, the producer and the ingest's log.
        env: of the ingest.
        settings: where the servers are.
        directory: for the log of the ingest.
        topics: what is published.
        seed: of the events.
        rate: messages a second, all topics together.
        first: the least id.
        kill_every_s: seconds for which an ingest lives; the last one lives to the end.
    """

    def __init__(
        self, name: str, env: dict[str, str], settings: Settings, directory: Path, *,
        topics: Sequence[str], seed: int, rate: float, first: int, kill_every_s: float,
    ) -> None:  # fmt: skip
        super().__init__(name=name, daemon=True)
        self._env = {**env, "INGEST_TOPICS": ",".join(topics), "INGEST_BATCH_SIZE": "50"}
        self._settings = settings
        self._log = directory / f"{name}.log"
        self._topics = list(topics)
        self._rng = random.Random(seed)
        self._rate = rate
        self._first = first
        self._kill_every_s = kill_every_s
        self._ended = threading.Event()
        self._ingest: Ingest | None = None
        self.acknowledged: dict[str, dict[tuple[int, int], Event]] = {t: {} for t in topics}
        """By topic, id and revision (0 where there are none): what Kafka acknowledged."""
        self.poison: Counter[str] = Counter()
        """By topic: invalid messages that Kafka acknowledged."""
        self.refused: list[str] = []
        self.kills = 0
        self.messages = 0

    @abstractmethod
    def events(self) -> list[tuple[str, Event]]:
        """Return further events with their topics, in any order."""

    def __enter__(self) -> RevisionLoad:
        kafka.create_topics(self._settings.kafka, self._topics)
        self._ingest = Ingest(self._env, self._log)
        with postgres.connect(self._settings.postgres, "begin", autocommit=True) as conn:
            wait_until(lambda: all(taken(conn, t) for t in self._topics), "each topic is read", 120)
        self.start()  # and kills begin, which could keep it from reading on a busy machine
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._ingest is not None:
            self._ingest.kill()

    def run(self) -> None:
        producer = kafka.producer(self._settings.kafka, self.name)
        block: list[tuple[str, Event, bool]] = []
        began = killed = time.monotonic()
        sent = 0
        while not self._ended.is_set():
            now = time.monotonic()
            if now - killed > self._kill_every_s:
                self._kill()
                killed = time.monotonic()  # on a busy machine a start takes as long as a life
            if sent > (now - began) * self._rate:
                producer.poll(0.01)
                continue
            block = block or self._block()
            topic, event, good = block[-1]
            try:
                producer.produce(
                    topic,
                    encode(event) if good else encode(event)[:-CUT],
                    key=key_of(topic, event),
                    on_delivery=partial(self._delivered, block[-1]),
                )
            except (BufferError, KafkaException):
                producer.poll(0.1)
                continue
            producer.poll(0)  # also while it is behind its rate
            block.pop()
            sent += 1
        while producer.flush(1):
            pass

    def _block(self) -> list[tuple[str, Event, bool]]:
        """Return events, shuffled, a tenth of them twice, and those that are cut short."""
        events = self.events()
        events += [e for e in events if self._rng.random() < 0.1]
        block = [(topic, event, True) for topic, event in events]
        block += [(topic, event, False) for topic, event in self.cut(events)]
        self._rng.shuffle(block)
        return block

    def cut(self, events: list[tuple[str, Event]]) -> Iterator[tuple[str, Event]]:
        """Yield the events that are also published cut short."""
        return (e for e in events if self._rng.random() < 0.02)

    def _delivered(self, what: tuple[str, Event, bool], error: Any, _message: Any) -> None:
        topic, event, good = what
        if error is not None:
            self.refused.append(str(error))
            return
        self.messages += 1
        if not good:
            self.poison[topic] += 1
            return
        rev = getattr(event, "rev", 0) if is_revised(topic) else 0
        self.acknowledged[topic][getattr(event, ID_FIELD[topic]), rev] = event

    def newest(self, topic: str) -> dict[int, Event]:
        """Return by id the highest revision that Kafka acknowledged, or the only event."""
        events = self.acknowledged[topic]
        return {ident: events[ident, rev] for ident, rev in sorted(events)}

    def _kill(self) -> None:
        assert self._ingest is not None
        self._ingest.kill()
        self.kills += 1
        self._ingest = Ingest(self._env, self._log)

    def violations(self) -> list[str]:
        """End the load, let the ingest catch up; return what is not as promised."""
        self._ended.set()
        self.join()
        found = [f"not acknowledged: {why}" for why in self.refused[:3]]
        with postgres.connect(self._settings.postgres, "verdict", autocommit=True) as conn:
            wait_until(
                lambda: caught_up(self._settings, conn, self._topics), f"{self.name} applied", 180
            )
            for topic in self._topics:
                found += self._of_a_table(conn, topic)
        return found[:20]

    def _of_a_table(self, conn: postgres.Connection, topic: str) -> list[str]:
        names, id_field = list(SCHEMAS[topic]), ID_FIELD[topic]
        query = f"SELECT {', '.join(names)} FROM {topic} WHERE {id_field} >= %s"
        rows = conn.execute(query, (self._first,)).fetchall()
        stored = {row[names.index(id_field)]: dict(zip(names, row, strict=True)) for row in rows}
        wanted = self._rows(topic)
        return [
            f"{topic} {ident}: stored {stored.get(ident)}, acknowledged {wanted.get(ident)}"
            for ident in stored.keys() | wanted.keys()
            if stored.get(ident) != wanted.get(ident)
        ]

    def _rows(self, topic: str) -> dict[int, dict[str, Any]]:
        """Return by id the rows that a table must hold."""
        return {ident: as_row(event) for ident, event in self.newest(topic).items()}


class Catalogue(RevisionLoad):
    """Revisions of products that no load of orders names. For the arguments see `RevisionLoad`.

    Where changes of customers are switched on before it begins, `product_prices` must hold each of
    the revisions.
    """

    def __init__(
        self, env: dict[str, str], settings: Settings, directory: Path, *, seed: int,
        kill_every_s: float = 4.0,
    ) -> None:  # fmt: skip
        super().__init__(
            "catalogue", env, settings, directory, topics=["products"], seed=seed, rate=100.0,
            first=make_id(86_400_000, 12), kill_every_s=kill_every_s,
        )  # fmt: skip
        self._listed: dict[int, datetime] = {}
        self._made: Counter[int] = Counter()
        """By product: its highest revision so far, acknowledged or not."""

    def events(self) -> list[tuple[str, Event]]:
        events: list[tuple[str, Event]] = []
        for ident in self._rng.sample(range(self._first, self._first + PRODUCTS), 10):
            at = self._listed.setdefault(ident, utc_now() - timedelta(days=30))
            done = self._made[ident]
            for rev in range(done + 1, done + self._rng.randrange(2, MOST_REVISIONS)):
                event = product(
                    ident,
                    rev=rev,
                    created_at=at,
                    updated_at=at + timedelta(hours=rev),
                    price=1_000 * self._rng.randrange(1, 90),
                    sale_status=self._rng.choice(["LISTED", "LISTED", "DELISTED"]),
                )
                events.append(("products", event))
                self._made[ident] = rev
        return events

    def cut(self, events: list[tuple[str, Event]]) -> Iterator[tuple[str, Event]]:
        return iter(())

    def _of_a_table(self, conn: postgres.Connection, topic: str) -> list[str]:
        found = super()._of_a_table(conn, topic)
        if not taken(conn, "customer_changes"):
            return found
        rows = conn.execute(
            "SELECT product_id, rev, price, sale_status, valid_from FROM product_prices"
            " WHERE product_id >= %s", (self._first,),
        )  # fmt: skip
        stored = {(ident, rev): tuple(rest) for ident, rev, *rest in rows.fetchall()}
        wanted = {
            place: (event.price, event.sale_status, event.updated_at or event.created_at)
            for place, event in self.acknowledged[topic].items()
            if isinstance(event, Product)
        }
        found += [
            f"product_prices {place}: stored {stored.get(place)}, acknowledged {wanted.get(place)}"
            for place in stored.keys() | wanted.keys()
            if stored.get(place) != wanted.get(place)
        ]
        return found + contradicting(conn, "prices that do not end where the next one begins")


class OptionalLoad(RevisionLoad):
    """Events of optional topics, some of them invalid. For the arguments see `RevisionLoad`.

    Changes are of a few customers at a time, some of whom close their accounts.
    """

    def __init__(
        self, env: dict[str, str], settings: Settings, directory: Path, *, topics: Sequence[str],
        seed: int, kill_every_s: float = 4.0,
    ) -> None:  # fmt: skip
        super().__init__(
            "optional", env, settings, directory, topics=topics, seed=seed, rate=200.0,
            first=make_id(86_400_000, 11), kill_every_s=kill_every_s,
        )  # fmt: skip
        self._next = self._first

    def events(self) -> list[tuple[str, Event]]:
        events: list[tuple[str, Event]] = []
        for topic in self._topics:
            for ident in range(self._next, self._next + 10):
                revisions = self._rng.randrange(2, 6) if OPTIONAL[topic].revised else 2
                events += [(topic, self._event(topic, ident, rev)) for rev in range(1, revisions)]
        self._next += 10
        return events

    def _event(self, topic: str, ident: int, rev: int) -> Event:
        event = sample(topic, ident, rev, self._rng)
        if isinstance(event, CustomerChange):
            # Several changes of a customer, seconds apart, so that kills lie between them.
            number = max(0, (ident - self._first) // CHANGES - self._rng.randrange(50))
            stays = event.kind == "CLOSED" and self._rng.random() < STAYS
            event = msgspec.structs.replace(
                event, user_id=self._first + number, kind="CONSENT" if stays else event.kind
            )
        return event

    def _rows(self, topic: str) -> dict[int, dict[str, Any]]:
        rows = super()._rows(topic)
        closed = {row["user_id"] for row in rows.values() if row.get("kind") == "CLOSED"}
        if topic == "customer_changes":
            for row in rows.values():
                if row["user_id"] in closed:
                    row.update(dict.fromkeys(("name", "city", "marketing_consent")))
        return rows

    def _of_a_table(self, conn: postgres.Connection, topic: str) -> list[str]:
        rejected = conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE reason = 'bad_json') FROM rejected_messages"
            " WHERE topic = %s", (topic,),
        ).fetchone()  # fmt: skip
        found = super()._of_a_table(conn, topic)
        if rejected != (self.poison[topic], self.poison[topic]):
            found.append(f"{topic}: rejected {rejected}, {self.poison[topic]} were invalid")
        if topic == "customer_changes":
            found += contradicting(
                conn, "changes that are not in the history of customers once, in their place",
                "what is left of closed accounts",
            )  # fmt: skip
        return found


def is_revised(topic: str) -> bool:
    """Return whether the highest revision of an id counts."""
    return topic not in OPTIONAL or OPTIONAL[topic].revised


def taken(conn: postgres.Connection, topic: str) -> bool:
    """Return whether an ingest has begun to read a topic."""
    row = conn.execute("SELECT FROM ingest_offsets WHERE topic = %s", (topic,)).fetchone()
    return row is not None


def contradicting(conn: postgres.Connection, *names: str) -> list[str]:
    """Return which tables contradict those that they follow from."""
    now = utc_now()
    counted = ((name, contradictions(conn, name, EPOCH, now, now)) for name in names)
    return [f"{name}: {rows}" for name, rows in counted if rows]
