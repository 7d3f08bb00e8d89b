"""Revisions of products while things break, and what must be true of each product."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from shop import kafka, postgres
from shop.clock import utc_now
from shop.events import SCHEMAS, Product, encode, key_of
from shop.ids import make_id
from shop.settings import Settings
from tests.support.event_samples import product
from tests.support.ingest_processes import Ingest, caught_up
from tests.support.waiting import wait_until

PRODUCTS = 200
MOST_REVISIONS = 6
RATE = 100.0
"""Messages a second."""
_FIRST = make_id(86_400_000, 12)
"""Ids that no load of orders names."""


class Catalogue(threading.Thread):
    """Publishes revisions, out of order and some twice, and kills their ingest all the time.

    Args:
        env: of the ingest.
        settings: where the servers are.
        directory: for the log of the ingest.
        seed: of the revisions.
        kill_every_s: seconds for which an ingest lives; the last one lives to the end.
    """

    def __init__(
        self, env: dict[str, str], settings: Settings, directory: Path, *, seed: int,
        kill_every_s: float = 4.0,
    ) -> None:  # fmt: skip
        super().__init__(name="catalogue", daemon=True)
        self._env = {**env, "INGEST_TOPICS": "products", "INGEST_BATCH_SIZE": "50"}
        self._settings = settings
        self._log = directory / "catalogue.log"
        self._rng = random.Random(seed)
        self._kill_every_s = kill_every_s
        self._ended = threading.Event()
        self._ingest: Ingest | None = None
        self._listed: dict[int, datetime] = {}
        self._made: Counter[int] = Counter()
        """By product: its highest revision so far, acknowledged or not."""
        self.newest: dict[int, Product] = {}
        """By product: the highest revision that Kafka acknowledged."""
        self.refused: list[str] = []
        self.kills = 0
        self.messages = 0

    def __enter__(self) -> Catalogue:
        self._ingest = Ingest(self._env, self._log)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._ingest is not None:
            self._ingest.kill()

    def run(self) -> None:
        producer = kafka.producer(self._settings.kafka, "catalogue")
        block: list[Product] = []
        began = killed = time.monotonic()
        sent = 0
        while not self._ended.is_set():
            now = time.monotonic()
            if now - killed > self._kill_every_s:
                self._kill()
                killed = now
            if sent > (now - began) * RATE:
                producer.poll(0.01)
                continue
            block = block or self._block()
            try:
                event = block[-1]
                producer.produce(
                    "products", encode(event), key=key_of("products", event),
                    on_delivery=lambda error, _, e=event: self._delivered(error, e),
                )  # fmt: skip
            except (BufferError, KafkaException):
                producer.poll(0.1)
                continue
            block.pop()
            sent += 1
        while producer.flush(1):
            pass

    def _block(self) -> list[Product]:
        """Return further revisions of some products, shuffled, a tenth of them twice."""
        events = []
        for ident in self._rng.sample(range(_FIRST, _FIRST + PRODUCTS), 10):
            at = self._listed.setdefault(ident, utc_now() - timedelta(days=30))
            done = self._made[ident]
            for rev in range(done + 1, done + self._rng.randrange(2, MOST_REVISIONS)):
                events.append(
                    product(
                        ident,
                        rev=rev,
                        created_at=at,
                        updated_at=at + timedelta(hours=rev),
                        price=1_000 * self._rng.randrange(1, 90),
                        sale_status=self._rng.choice(["LISTED", "LISTED", "DELISTED"]),
                    )
                )
                self._made[ident] = rev
        events += [e for e in events if self._rng.random() < 0.1]
        self._rng.shuffle(events)
        return events

    def _delivered(self, error: Any, event: Product) -> None:
        if error is not None:
            self.refused.append(str(error))
            return
        self.messages += 1
        known = self.newest.get(event.product_id)
        if known is None or event.rev > known.rev:
            self.newest[event.product_id] = event

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
                lambda: caught_up(self._settings, conn, ["products"]), "products applied", 180
            )
            columns = ", ".join(SCHEMAS["products"])
            rows = conn.execute(
                f"SELECT {columns} FROM products WHERE product_id >= %s", (_FIRST,)
            ).fetchall()
        stored = {
            row[0]: Product(v=1, **dict(zip(SCHEMAS["products"], row, strict=True))) for row in rows
        }
        for ident in self.newest.keys() | stored.keys():
            if (have := stored.get(ident)) != (want := self.newest.get(ident)):
                found.append(f"product {ident}: stored {have}, newest acknowledged {want}")
        return found[:20]
