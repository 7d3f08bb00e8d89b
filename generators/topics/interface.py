"""What an optional topic must have to be published: a live source, and a history.

A topic has a `LiveTopic`, which returns what is due, and a `TopicHistory`, which returns what a
block of orders, customers and products causes. Both decide the same for the same order: they call a
pure function of the seed and of what is in the shop. docs/add-a-topic.md has all the steps.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import redis

from shop.postgres import Connection


@dataclass(frozen=True)
class RunningShop:
    """What a live source may look at.

    Attributes:
        seed: of the shop.
        speed: of the shop; delays are divided by it.
        connect: opens a connection to PostgreSQL, in autocommit; the caller closes it.
        redis: the shop's Redis.
        stopped: returns whether the process is asked to end: a long look is cut short.
    """

    seed: int
    speed: float
    connect: Callable[[], Connection]
    redis: redis.Redis
    stopped: Callable[[], bool] = lambda: False


class LiveTopic(ABC):
    """Says what is due of one topic.

    Its process may be ended anywhere: an event that is published twice must be an exact copy, which
    the ingest ignores.

    Args:
        shop: what to look at.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, shop: RunningShop, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shop = shop
        self._monotonic = monotonic
        self._conn: Connection | None = None

    @abstractmethod
    def due(self, now: datetime) -> pl.DataFrame:
        """Return events that are to be published now, `SCHEMAS[topic]`; empty if there are none.

        Called five times a second, and again at once after an answer that is not empty. It looks
        into PostgreSQL or Redis no more often than it must.

        Raises:
            psycopg.Error, redis.RedisError: if they do not answer; it is called again later.
        """

    @abstractmethod
    def status(self) -> Mapping[str, str | float]:
        """Return the topic's own fields of the heartbeat."""

    def close(self) -> None:
        """Close the connection."""
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def _connection(self) -> Connection:
        """Return the connection, opened again where it was lost."""
        if self._conn is None or self._conn.closed:
            self._conn = self._shop.connect()
        return self._conn


def is_history_unfinished(conn: Connection) -> bool:
    """Return whether a history is being written: what the shop holds may be taken back."""
    found = conn.execute("SELECT FROM backfill_runs WHERE finished_at IS NULL").fetchone()
    return found is not None


@dataclass(frozen=True)
class HistoryBlock:
    """What a stretch of a history added to the shop, usually a business day.

    Attributes:
        start: first moment, UTC.
        end: first moment after it, UTC.
        users: who signed up, `SCHEMAS["users"]`; without names and addresses unless a topic of the
            history asks for them (`TopicHistory.profiles`).
        products: what was listed or changed, `SCHEMAS["products"]`.
        orders: `SCHEMAS["orders"]`, in the order of `ordered_at`, as they finally stand: revision 2
            with the `updated_at` of the cancellation or refund, even where that is after `end`.
        province: of the customer of each order, a place in `korean_people.CITIES`.
    """

    start: datetime
    end: datetime
    users: pl.DataFrame
    products: pl.DataFrame
    orders: pl.DataFrame
    province: npt.NDArray[np.int8]


class TopicHistory(ABC):
    """Says what a history contains of one topic.

    Blocks come in order, each once; after a restart from the first one again.

    Attributes:
        profiles: whether it needs names and addresses of customers.
    """

    profiles = False

    @abstractmethod
    def events(self, block: HistoryBlock) -> pl.DataFrame:
        """Return all events that a block causes, `SCHEMAS[topic]`, at any time after it too.

        All revisions of an id come from one block. What happens at the end of the history or later
        is left out by the caller.
        """

    def derived_rows(self, block: HistoryBlock) -> Mapping[str, pl.DataFrame]:  # noqa: ARG002  (most topics derive nothing)
        """Return the rows of derived tables that a block adds, by table; most topics have none."""
        return {}
