"""What the tests of the generators share: cached customers, processes, what a topic holds."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import confluent_kafka
import redis

from shop import events, kafka
from shop.clock import UTC, utc_now
from shop.redis import cache
from shop.redis.cache import CachedProduct, CachedUser
from shop.settings import Settings
from tests.support import python_process
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USERS = range(1, 301)
PRODUCTS = range(1, 51)


def cached_user(
    user_id: int,
    *,
    orders: int = 0,
    days: float = 100,
    last_days: float = 50,
    grade: str = "BRONZE",
) -> CachedUser:
    """A customer who signed up `days` before NOW and last ordered `last_days` before it."""
    return CachedUser(
        user_id=user_id,
        purchaser=orders > 0,
        gender="F",
        birth_year=1990,
        city="서울 노원구",
        grade=grade,
        created_at=NOW - timedelta(days=days),
        last_ordered_at=NOW - timedelta(days=last_days) if orders else None,
        order_count=orders,
        total_spent=orders * 10_000,
    )


def cached_product(
    product_id: int, *, popular: bool = True, orders: int = 0, price: int = 12_300
) -> CachedProduct:
    return CachedProduct(
        product_id=product_id,
        popular=popular,
        name="하루핏 코튼 셔츠",
        category="패션",
        brand="하루핏",
        price=price,
        created_at=NOW,
        order_count=orders,
    )


def fill_cache(r: redis.Redis, first_user: int = 1) -> None:
    """Store a cache of `USERS`, from `first_user` on, and `PRODUCTS`."""
    cache.swap(
        r,
        [cached_user(first_user + i, orders=i % 3) for i in range(len(USERS))],
        [cached_product(i, popular=i % 3 > 0, orders=i) for i in PRODUCTS],
        lambda version, replaced: cache.CacheMeta(
            version=version, replaced=replaced, refreshed_at=utc_now(), users=300, products=50
        ),
    )


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file become larger than `room` bytes: writes beyond that fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def read_topic(settings: Settings, topic: str) -> list[events.Event]:
    """Return every event of a topic, each checked against the contract."""
    letters = read_topic_raw(settings, topic)
    return [events.decode(topic, key, value, now=utc_now()) for key, value in letters]


def read_topic_raw(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes]]:
    """Return every message of a topic."""
    ends = {p: end for p, end in kafka.end_offsets(settings.kafka, topic).items() if end}
    consumer = confluent_kafka.Consumer(
        {
            **kafka.client_config(settings.kafka, "test"),
            "group.id": "test",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    letters: list[tuple[bytes | None, bytes]] = []
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in ends])
        deadline = time.monotonic() + 30
        while len(letters) < sum(ends.values()):
            assert time.monotonic() < deadline, "the topic does not give what it holds"
            for message in consumer.consume(10_000, 0.2):
                assert message.error() is None
                letters.append((message.key(), message.value()))
    finally:
        consumer.close()
    return letters


class GeneratorProcess:
    """`python -m generators.NAME`, started as a user would."""

    def __init__(self, module: str, args: tuple[str, ...], env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.popen = python_process.Popen(
                [sys.executable, "-m", module, *args], cwd=ROOT, env=env, stderr=stderr
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def says(self, text: str, times: int = 1) -> None:
        """Wait until the log has `text` that number of times."""
        wait_until(
            lambda: self.log.count(text) >= times or self.popen.poll() is not None, f"{text!r}"
        )
        assert self.log.count(text) >= times, self.log

    def ends_within(self, seconds: float) -> int:
        """Wait until it ends, for up to `seconds` in which it did not wait for a CPU.

        What it waits for a CPU is the tests' own load, and not its delay.
        """
        began = time.monotonic()
        before = starved = self._starved(0.0)
        while (code := self.popen.poll()) is None:
            starved = self._starved(starved)
            took = time.monotonic() - began - (starved - before)
            assert took < seconds, f"still runs after {took:.1f} s\n{self.log}"
            time.sleep(0.02)
        return code

    def _starved(self, last: float) -> float:
        """Return the seconds that its main thread has waited for a CPU; `last` once it ended."""
        try:
            text = Path(f"/proc/{self.popen.pid}/schedstat").read_text(encoding="ascii")
        except OSError:
            return last
        return max(last, int(text.split()[1]) / 1e9)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        os.kill(self.popen.pid, number)
        return self.popen.wait(timeout=10)
