"""Events of optional topics while their ingest is killed, and what must be true of each table."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from shop import kafka, postgres
from shop.events import SCHEMAS, as_row, encode, key_of
from shop.ids import make_id
from shop.optional.registry import OPTIONAL
from shop.optional.topic import OptionalEvent
from shop.settings import Settings
from tests.flows.optional.samples import sample
from tests.support.ingest_processes import Ingest, caught_up
from tests.support.waiting import wait_until

RATE = 200.0
"""Messages a second, all topics together."""
_FIRST = make_id(86_400_000, 11)
"""Ids that no shop makes."""


class OptionalLoad(threading.Thread):
    """Publishes events, out of order, some twice and some invalid, and kills their ingest.

    Args:
        env: of the ingest.
        settings: where the servers are.
        directory: for the log of the ingest.
        topics: optional topics; they are created.
        seed: of the events.
        kill_every_s: seconds for which an ingest lives; the last one lives to the end.
    """

    def __init__(
        self, env: dict[str, str], settings: Settings, directory: Path, *, topics: Sequence[str],
        seed: int, kill_every_s: float = 4.0,
    ) -> None:  # fmt: skip
        super().__init__(name="optional", daemon=True)
        self._env = {**env, "INGEST_TOPICS": ",".join(topics), "INGEST_BATCH_SIZE": "50"}
        self._settings = settings
        self._log = directory / "optional.log"
        self._topics = list(topics)
        self._rng = random.Random(seed)
        self._kill_every_s = kill_every_s
        self._ended = threading.Event()
        self._ingest: Ingest | None = None
        self._next = _FIRST
        self.newest: dict[str, dict[int, OptionalEvent]] = {topic: {} for topic in topics}
        """By topic and id: the highest revision that Kafka acknowledged, or the only event."""
        self.poison: Counter[str] = Counter()
        self.refused: list[str] = []
        self.kills = 0
        self.messages = 0

    def __enter__(self) -> OptionalLoad:
        kafka.create_topics(self._settings.kafka, self._topics)
        self._ingest = Ingest(self._env, self._log)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._ingest is not None:
            self._ingest.kill()

    def run(self) -> None:
        producer = kafka.producer(self._settings.kafka, "optional")
        block: list[tuple[str, OptionalEvent, bool]] = []
        began = killed = time.monotonic()
        sent = 0
        while not self._ended.is_set():
            now = time.monotonic()
            if now - killed > self._kill_every_s:
                self._kill()
                killed = time.monotonic()  # on a busy machine a start takes as long as a life
            if sent > (now - began) * RATE:
                producer.poll(0.01)
                continue
            block = block or self._block()
            topic, event, good = block[-1]
            try:
                producer.produce(
                    topic, encode(event) if good else encode(event)[:-9], key=key_of(topic, event),
                    on_delivery=lambda error, _, what=block[-1]: self._delivered(error, *what),
                )  # fmt: skip
            except (BufferError, KafkaException):
                producer.poll(0.1)
                continue
            producer.poll(0)  # also while it is behind its rate
            block.pop()
            sent += 1
        while producer.flush(1):
            pass

    def _block(self) -> list[tuple[str, OptionalEvent, bool]]:
        """Return events of some new ids, shuffled, a tenth of them twice, a few cut short."""
        events = []
        for topic in self._topics:
            for ident in range(self._next, self._next + 10):
                revisions = self._rng.randrange(2, 6) if OPTIONAL[topic].revised else 2
                events += [
                    (topic, sample(topic, ident, rev, self._rng), True)
                    for rev in range(1, revisions)
                ]
        self._next += 10
        events += [e for e in events if self._rng.random() < 0.1]
        events += [(t, e, False) for t, e, _ in events if self._rng.random() < 0.02]
        self._rng.shuffle(events)
        return events

    def _delivered(self, error: Any, topic: str, event: OptionalEvent, good: bool) -> None:
        if error is not None:
            self.refused.append(str(error))
            return
        self.messages += 1
        if not good:
            self.poison[topic] += 1
            return
        ident = getattr(event, OPTIONAL[topic].id_field)
        known = self.newest[topic].get(ident)
        if known is None or getattr(event, "rev", 0) > getattr(known, "rev", 0):
            self.newest[topic][ident] = event

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
                lambda: caught_up(self._settings, conn, self._topics), "optional topics applied",
                180,
            )  # fmt: skip
            for topic in self._topics:
                found += self._of_a_table(conn, topic)
        return found[:20]

    def _of_a_table(self, conn: postgres.Connection, topic: str) -> list[str]:
        names, id_field = list(SCHEMAS[topic]), OPTIONAL[topic].id_field
        query = f"SELECT {', '.join(names)} FROM {topic} WHERE {id_field} >= %s"
        rows = conn.execute(query, (_FIRST,)).fetchall()
        stored = {row[names.index(id_field)]: dict(zip(names, row, strict=True)) for row in rows}
        wanted = {ident: as_row(event) for ident, event in self.newest[topic].items()}
        found = [
            f"{topic} {ident}: stored {stored.get(ident)}, acknowledged {wanted.get(ident)}"
            for ident in stored.keys() | wanted.keys()
            if stored.get(ident) != wanted.get(ident)
        ]
        rejected = conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE reason = 'bad_json') FROM rejected_messages"
            " WHERE topic = %s", (topic,),
        ).fetchone()  # fmt: skip
        if rejected != (self.poison[topic], self.poison[topic]):
            found.append(f"{topic}: rejected {rejected}, {self.poison[topic]} were invalid")
        return found
