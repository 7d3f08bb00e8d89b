"""Later cancellations and refunds of orders, kept in Redis until they are due.

`life:pending` is a sorted set of order events (JSON, revision 2) by the second at which they are
due, so it outlives the generator; `jangteo generate orders` and `continue` publish what is due,
whichever process made it; what a history made is dated as it says. An entry is removed when Kafka
has acknowledged it. After a crash between the two, and where several processes publish, the same
revision is published twice: it is dated by when it was due, not by when it is published, so both
are exact copies and the ingest ignores the second one. If Redis loses its data, those orders stay
paid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, cast

import msgspec
import numpy as np
import polars as pl
import redis

from generators.behaviour import outcomes
from generators.behaviour.order_events import Goods
from generators.publishing.encoding import encode_columns
from generators.publishing.reliable_producer import Done
from generators.random_streams import Floats
from generators.scenarios.timetable import ScenarioEffects
from shop.clock import UTC, Clock, utc_now
from shop.events import Event, Order
from shop.log import get_logger
from shop.redis import cache

PENDING: Final = "life:pending"
MOST: Final = 200_000
"""Revisions that may wait; 100 MB of Redis. Beyond, orders simply stay paid."""
LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 2_000
_REST_S: Final = 3.0
_ADD: Final = r"""
for due, event in string.gmatch(ARGV[1], '(%S+) ([^\n]+)\n') do
  redis.call('ZADD', KEYS[1], due, event)
end
"""
"""Adds many in one argument: the client packs arguments one by one, at 5 microseconds a pair."""

_decoder: Final = msgspec.json.Decoder(Order)


def remember(r: redis.Redis, second: pl.DataFrame, due_s: Floats) -> None:
    """Keep revisions until they are due; those that are kept already are not added again.

    Args:
        r: Redis, or a transaction of it.
        second: orders of revision 2, `SCHEMAS["orders"]`.
        due_s: of each, seconds since the Unix epoch.
    """
    _, values = encode_columns("orders", second)
    for at in range(0, len(values), AT_ONCE):
        part = zip(due_s[at : at + AT_ONCE].tolist(), values[at : at + AT_ONCE], strict=True)
        r.eval(_ADD, 1, PENDING, b"".join(b"%.3f %b\n" % pair for pair in part))


class OrderLifecycle:
    """Decides what becomes of orders, remembers it, and says when it is due.

    Args:
        r: Redis.
        rng: the stream of these decisions, apart from all others.
        speed: delays are divided by it.
        clock: UTC.
        monotonic: seconds of a clock that never steps.
        cancelled: called with the customer of each order that is cancelled.
    """

    def __init__(
        self,
        r: redis.Redis,
        rng: np.random.Generator,
        *,
        speed: float = 1.0,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        cancelled: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._redis = r
        self._rng = rng
        self._speed = speed
        self._clock = clock
        self._monotonic = monotonic
        self._cancelled = cancelled
        self._next = float("-inf")
        self._in_flight: set[str] = set()
        self._done: list[str] = []
        self._full = False
        self.waiting = 0
        """Revisions in the set at the last look."""
        self.idle = False
        """Whether at the last look nothing was due, and all that was has been published."""

    def plan(self, orders: pl.DataFrame, goods: Goods, effects: ScenarioEffects) -> None:
        """Decide what becomes of new orders, and remember it."""
        u = self._rng.random((len(orders), outcomes.OUTCOME_DRAWS))
        outcome = outcomes.outcome(u, orders, goods, effects, speed=self._speed)
        rows = np.flatnonzero(outcome.cancelled | outcome.refunded)
        if not len(rows) or self._no_room():
            return
        status = np.where(outcome.cancelled[rows], "CANCELLED", "REFUNDED")
        second = orders[rows].with_columns(
            pl.lit(2, pl.Int64).alias("rev"), pl.Series("status", status, dtype=pl.String)
        )
        ordered = second["ordered_at"].dt.timestamp("ms").to_numpy() / 1_000
        try:
            remember(self._redis, second, ordered + outcome.after_s[rows])
        except redis.RedisError as e:  # since the last `check`
            get_logger().warning(
                "orders stay paid: Redis does not store their cancellations and refunds",
                orders=len(second), error=cache.explain(e),
            )  # fmt: skip

    def check(self) -> None:
        """Try whether Redis would keep what becomes of an order; nothing is changed.

        Raises:
            redis.RedisError: if it would not: away, read-only, out of memory, no rights.
        """
        self._redis.zadd(PENDING, {"": 0}, xx=True)

    def _no_room(self) -> bool:
        full = self.waiting >= MOST
        if full and not self._full:
            get_logger().warning("no room for more cancellations", waiting=self.waiting)
        self._full = full
        return full

    def due(self) -> Iterator[tuple[Event, Done]]:
        """Return the revisions that are due, each with the callback for when it is published."""
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY_S
        moment = self._clock()
        try:
            members = self._look(moment)
        except redis.RedisError:
            self._next = now + _REST_S
            return
        self.idle = True
        for text, due_s in members:
            event = _decoder.decode(text)
            if event.updated_at >= moment:  # due later in this millisecond
                continue
            self.idle = False
            if text in self._in_flight:
                continue
            self._in_flight.add(text)
            if event.status == "CANCELLED":
                self._cancelled(event.user_id)
            yield _dated(event, due_s), self._when_published(text)

    def _look(self, moment: datetime) -> list[tuple[str, float]]:
        """Return what is due and since when, seconds since the Unix epoch."""
        pipe = self._redis.pipeline(transaction=False)
        if self._done:
            pipe.zrem(PENDING, *self._done)
        pipe.zrangebyscore(
            PENDING, "-inf", moment.timestamp(), start=0, num=AT_ONCE, withscores=True
        )
        pipe.zcard(PENDING)
        *_, members, waiting = pipe.execute()
        self._in_flight.difference_update(self._done)
        self._done.clear()
        self.waiting = int(waiting)
        return cast("list[tuple[str, float]]", members)

    def _when_published(self, text: str) -> Done:
        return lambda _: self._done.append(text)

    def close(self) -> None:
        """Remove what was published since the last look."""
        if self._done:
            try:
                self._redis.zrem(PENDING, *self._done)
            except redis.RedisError:
                get_logger().debug("published revisions not removed", orders=len(self._done))


def _dated(event: Order, due_s: float) -> Order:
    """Date a revision by when it is due, unless it carries its own date, as a history's does."""
    if event.updated_at > event.ordered_at:
        return event
    due = datetime.fromtimestamp(due_s, UTC)
    return msgspec.structs.replace(event, updated_at=max(due, event.ordered_at))
