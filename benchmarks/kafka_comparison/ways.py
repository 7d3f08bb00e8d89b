"""The ways of an order into PostgreSQL: written by the shop itself, or through Kafka.

Load is open: each order has a moment at which it is placed, whether or not the one before is
stored, and its latency counts from that moment. An order is a row once another session can read
it: that is when the commit returns, or, behind Kafka, when a second session that looks 500 times a
second sees its offset.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg
from confluent_kafka import KafkaError, Message
from psycopg import sql

from benchmarks import common, orders
from shop import kafka, postgres
from shop.events import SCHEMAS
from shop.settings import Settings

Floats: TypeAlias = npt.NDArray[np.float64]

LOOK_S = 0.002
"""How often the second session looks."""
CALLBACKS = 2_000
"""Orders a second whose acknowledgement is looked at: a call in Python each would slow the rest."""
_NEVER = float("nan")


@dataclass(frozen=True)
class Passage:
    """When orders were placed and stored, seconds since the first one; NaN: not looked at.

    Attributes:
        due: when each was placed.
        safe: when the shop knew that it will not be lost: its commit, or Kafka's acknowledgement.
        row: when it was a row.
    """

    due: Floats
    safe: Floats
    row: Floats

    @property
    def seconds(self) -> float:
        """From the first order placed to the last one stored."""
        return float(np.nanmax(self.row) - self.due[0])

    def latency_ms(self) -> tuple[float, float, float]:
        """Return p50, p95 and p99 from order to row."""
        ms = 1000 * (self.row - self.due)
        p50, p95, p99 = np.nanpercentile(ms, [50, 95, 99])
        return float(p50), float(p95), float(p99)


class Way(ABC):
    """A way into PostgreSQL, from its start to its end.

    Args:
        rig: the servers.
    """

    name: str

    def __init__(self, rig: common.Rig) -> None:
        self.env = rig.database()
        self.settings: Settings = rig.settings(self.env)

    @abstractmethod
    def send(self, part: pl.DataFrame, due: Floats, give_up_s: float) -> Passage:
        """Place orders at their moments and wait until all are stored.

        Args:
            part: the orders.
            due: ascending seconds, one for each.
            give_up_s: seconds from the first order after which nothing more is waited for.
        """

    def stored(self) -> int:
        """Return the number of rows."""
        with postgres.connect(self.settings.postgres, "bench") as conn:
            row = conn.execute("SELECT count(*) FROM orders").fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """End what belongs to it."""
        return


class Straight(Way):
    """The shop writes to PostgreSQL itself, over one connection or several.

    Args:
        rig: the servers.
        name: of this way.
        most: orders in one transaction at most: what is due is written together.
        copy: whether they are written by COPY instead of INSERT.
        connections: that write at the same time.
    """

    def __init__(
        self, rig: common.Rig, name: str, most: int, *, copy: bool = False, connections: int = 1
    ) -> None:
        super().__init__(rig)
        self.name = name
        self._most = most
        self._copy = copy
        self._connections = connections

    def send(self, part: pl.DataFrame, due: Floats, give_up_s: float) -> Passage:
        """See `Way.send`."""
        rows, done = part.rows(), np.full(len(due), _NEVER)
        following, lock = 0, threading.Lock()
        began = time.perf_counter()

        def take() -> tuple[int, int]:
            """Return the range of orders to write next, once the first of them is due."""
            nonlocal following
            with lock:
                first = following
                if first == len(due) or time.perf_counter() - began > give_up_s:
                    return first, first
                if (early := due[first] - (time.perf_counter() - began)) > 0:
                    time.sleep(early)
                placed = int(np.searchsorted(due, time.perf_counter() - began, "right"))
                following = max(first + 1, min(placed, first + self._most))
                return first, following

        def work() -> None:
            with self.connect() as conn:
                while True:
                    first, end = take()
                    if first == end:
                        return
                    self.write(conn, rows[first:end])
                    done[first:end] = time.perf_counter() - began

        threads = [threading.Thread(target=work) for _ in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Passage(due, done, done)

    def connect(self) -> postgres.Connection:
        """Return a connection that commits each transaction of its own."""
        return postgres.connect(self.settings.postgres, "bench", autocommit=True, timeout=2)

    def write(self, conn: psycopg.Connection[Any], rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows in one transaction."""
        with conn.transaction(), conn.cursor() as cur:
            if not self._copy:
                cur.executemany(_INSERT, rows)
                return
            with cur.copy(_COPY) as copy:
                for row in rows:
                    copy.write_row(row)


_NAMES = tuple(SCHEMAS["orders"])
_COLUMNS = sql.SQL(", ").join([sql.Identifier(name) for name in _NAMES])
_VALUES = sql.SQL(", ".join(["%s"] * len(_NAMES)))
_INSERT = sql.SQL("INSERT INTO orders ({}) VALUES ({}) ON CONFLICT (order_id) DO NOTHING").format(
    _COLUMNS, _VALUES
)
_COPY = sql.SQL("COPY orders ({}) FROM STDIN").format(_COLUMNS)


class ThroughKafka(Way):
    """The shop publishes to Kafka, and an ingest process stores what it reads there.

    Args:
        rig: the servers.
    """

    name = "Kafka and the ingest"

    def __init__(self, rig: common.Rig) -> None:
        super().__init__(rig)
        self._log = rig.directory / "comparison-ingest.log"
        self.env |= {"INGEST_TOPICS": "orders", "JANGTEO_DATA_DIR": str(rig.directory)}
        self._positions: list[tuple[float, dict[int, int]]] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.ingest = self._start()
        self._await_assigned()
        self._watcher.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as out:
            argv = [sys.executable, "-m", "bytewax.run", "flows.ingest"]
            return subprocess.Popen(argv, env={**os.environ, **self.env}, stderr=out)

    def _await_assigned(self) -> None:
        deadline = time.monotonic() + 60
        while b"partitions assigned" not in self._log.read_bytes():
            if time.monotonic() > deadline or self.ingest.poll() is not None:
                raise RuntimeError(f"the ingest did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill_ingest(self) -> None:
        """Kill the ingest with SIGKILL and start another one, as a supervisor does."""
        self.ingest.kill()
        self.ingest.wait()
        self.ingest = self._start()

    def _watch(self) -> None:
        """Note what another session sees of the offsets, and when."""
        while not self._ended.is_set():
            try:
                with postgres.connect(
                    self.settings.postgres, "bench", autocommit=True, timeout=1
                ) as conn:
                    self._look(conn)
            except psycopg.OperationalError:  # PostgreSQL is away
                time.sleep(0.02)

    def _look(self, conn: postgres.Connection) -> None:
        while not self._ended.is_set():
            found = conn.execute("SELECT partition, next_offset FROM ingest_offsets").fetchall()
            now = time.perf_counter()
            seen: dict[int, int] = dict(found)
            if not self._positions or seen != self._positions[-1][1]:
                self._positions.append((now, seen))
            time.sleep(LOOK_S)

    def send(self, part: pl.DataFrame, due: Floats, give_up_s: float) -> Passage:
        """See `Way.send`."""
        made = list(orders.messages(part))
        safe, place = np.full(len(due), _NEVER), np.full((len(due), 2), -1, np.int64)
        span = max(1.0, due[-1] - due[0])
        every = max(1, round(len(due) / span / CALLBACKS))
        producer = kafka.producer(
            self.settings.kafka, "bench", **{"queue.buffering.max.messages": 1_000_000}
        )
        self._positions = self._positions[-1:]
        began, i = time.perf_counter(), 0

        def noted(order: int) -> Any:
            def note(error: KafkaError | None, message: Message) -> None:
                if error is None:
                    safe[order] = time.perf_counter() - began
                    place[order] = [message.partition() or 0, message.offset() or 0]

            return note

        while i < len(due):
            now = time.perf_counter() - began
            if due[i] > now:
                # Short: acknowledgements are taken in between, and count from then on.
                producer.poll(min(0.001, due[i] - now))
                continue
            key, payload = made[i]
            look = i % every == 0 or i == len(due) - 1
            kwargs = {"on_delivery": noted(i)} if look else {}
            producer.produce("orders", payload, key=key, **kwargs)
            i += 1
            if i % 100 == 0:
                producer.poll(0)
        if producer.flush(60):
            raise RuntimeError("the broker did not take the orders")
        return Passage(due, safe, self._rows(place, began, give_up_s))

    def _rows(self, place: npt.NDArray[np.int64], began: float, give_up_s: float) -> Floats:
        """Wait until the offsets of all looked-at orders are stored; return when each was."""
        looked = np.flatnonzero(place[:, 0] >= 0)
        ends: dict[int, int] = {}
        for partition, offset in place[looked].tolist():
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        while time.perf_counter() - began < give_up_s:
            seen = self._positions[-1][1] if self._positions else {}
            if all(seen.get(partition, 0) >= end for partition, end in ends.items()):
                break
            time.sleep(0.005)
        row = np.full(len(place), _NEVER)
        positions = list(self._positions)
        at = np.array([moment for moment, _ in positions]) - began
        for partition in ends:
            reached = np.array([seen.get(partition, 0) for _, seen in positions])
            mine = looked[place[looked, 0] == partition]
            first = np.searchsorted(reached, place[mine, 1] + 1)
            there = first < len(at)
            row[mine[there]] = at[first[there]]
        return row

    def close(self) -> None:
        """End the ingest."""
        self._ended.set()
        self._watcher.join()
        self.ingest.kill()
        self.ingest.wait()
