"""Orders that keep coming while things break, and what must be true of each of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException

from shop import kafka
from shop.clock import utc_now
from shop.events import Order
from shop.ids import EPOCH, make_id
from shop.settings import Settings
from tests.support.event_samples import Message, message, order, poison

BLOCK = 400
"""Messages that are shuffled together: so far apart may revisions be out of order."""
CUSTOMERS = 60
PRODUCTS = 20
_MONTH_OF_IDS = make_id(30 * 86_400_000)


@dataclass(frozen=True)
class Sent:
    """A message: an order to be stored, or a faulty one to be rejected for its reason."""

    message: Message
    order: Order | None
    reason: str | None


def stream(seed: int) -> Iterator[Sent]:
    """Yield orders for ever, with all that goes wrong in a real topic.

    A fifth get a second revision, a tenth are repeated, a third are days late, 2 % are poison
    (of every kind in turn); each block is shuffled. The ids are of three months in turn, so that in
    the layout by month each batch falls into three partitions.
    """
    midst = utc_now().replace(day=15, hour=0, minute=0, second=0, microsecond=0)
    first_id = make_id((midst - EPOCH) // timedelta(milliseconds=1))
    rng = random.Random(seed)
    kinds: list[tuple[str, Message]] = []
    next_id = 1 + seed % 1_000_000 * 1_000_000  # two streams have no order in common
    while True:
        block: list[Sent] = []
        while len(block) < BLOCK:
            made = _order(rng, first_id + next_id % 3 * _MONTH_OF_IDS + next_id)
            next_id += 1
            events = [made]
            if rng.random() < 0.2:
                status = rng.choice(["CANCELLED", "REFUNDED"])
                events.append(msgspec.structs.replace(made, rev=2, status=status))
            if rng.random() < 0.1:
                events.append(rng.choice(events))
            block += [Sent(message("orders", e), e, None) for e in events]
            if rng.random() < 0.02:
                if not kinds:
                    kinds = list(poison(order(), utc_now()).items())
                    rng.shuffle(kinds)
                kind, bad = kinds.pop()
                block.append(Sent(bad, None, kind.partition(".")[0]))
        rng.shuffle(block)
        yield from block


def _order(rng: random.Random, order_id: int) -> Order:
    late = timedelta(days=rng.choice([0, 0, rng.randrange(1, 40)]), seconds=rng.randrange(3600))
    at = utc_now() - late
    return order(
        order_id,
        user_id=rng.randrange(1, CUSTOMERS + 1),
        product_id=rng.randrange(1, PRODUCTS + 1),
        quantity=rng.randrange(1, 5),
        unit_price=100 * rng.randrange(1, 500),
        ordered_at=at,
        updated_at=at,
    )


class Load(threading.Thread):
    """Publishes the stream from a thread of its own until it is stopped.

    Args:
        settings: where Kafka is.
        seed: of the stream.
        rate: messages a second, at most.
        limit: messages after which it stops by itself, None: never.
    """

    def __init__(
        self, settings: Settings, seed: int, *, rate: float = 1_000, limit: int | None = None
    ) -> None:
        super().__init__(name="load", daemon=True)
        self._settings = settings
        self._stream = stream(seed)
        self._rate = rate
        self._limit = limit
        self._ended = threading.Event()
        self._abandoned = False
        self.acknowledged: dict[tuple[int, int], Sent] = {}
        """(partition, offset) -> what was sent there."""
        self.unplaced: list[tuple[int, Sent]] = []
        """(partition, what was sent): acknowledged, but the offset is not known, as of a repetition
        whose first copy the broker had taken already."""
        self.refused: list[str] = []
        """Why Kafka did not take a message; nothing is known of those."""

    def run(self) -> None:
        # In batches as large as a batch of the ingest needs: with librdkafka's 5 ms, 1,000 messages
        # a second are as many batches, which cost the broker and the readers twice the CPU.
        overrides: dict[str, Any] = {"message.max.bytes": 4_000_000, "linger.ms": 50}
        producer = kafka.producer(self._settings.kafka, "load", **overrides)
        sent = 0
        began = time.monotonic()
        while not self._ended.is_set() and sent != self._limit:
            due = int((time.monotonic() - began) * self._rate) if self._limit is None else None
            if due is not None and sent >= due:
                producer.poll(0.01)
                continue
            self._publish(producer, next(self._stream))
            sent += 1
        while producer.flush(1) and not self._abandoned:
            pass

    def _publish(self, producer: Any, sent: Sent) -> None:
        def delivered(error: Any, at: Any) -> None:
            if error is not None:
                self.refused.append(str(error))
            elif at.offset() is None:
                self.unplaced.append((at.partition(), sent))
            else:
                self.acknowledged[at.partition(), at.offset()] = sent

        key, payload = sent.message
        while True:
            try:
                producer.produce("orders", payload, key=key, on_delivery=delivered)
            except (BufferError, KafkaException) as e:
                if isinstance(e, KafkaException) and e.args[0].code() != KafkaError._UNKNOWN_TOPIC:
                    raise  # a topic just made is not known everywhere at once
                if self._abandoned:
                    return
                producer.poll(0.1)
            else:
                producer.poll(0)
                return

    def stop(self) -> None:
        """Publish no more; return when everything published is acknowledged."""
        self._ended.set()
        self.join()

    def abandon(self) -> None:
        """End, even if some messages are not acknowledged yet."""
        self._abandoned = True
        self.stop()
