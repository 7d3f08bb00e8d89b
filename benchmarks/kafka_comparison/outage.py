"""PostgreSQL is killed and comes back later: who loses orders, who waits, how long to catch up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
import psycopg

from benchmarks import common
from benchmarks.kafka_comparison.ways import Floats, Passage, Straight, ThroughKafka

BEFORE_S = 4.0
"""Seconds of ordinary operation before and after the outage."""
RETRY_S = 0.1
MOST = 1_000
"""Orders that the shop writes in one transaction at most."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class OutageResult:
    """What an outage did.

    Attributes:
        name: of the way.
        placed: orders placed, before, during and after.
        lost: of these, the ones that are not rows in the end.
        held: orders that only the memory of one process had at the end of the outage: what its
            crash would lose in addition.
        catch_up_s: from PostgreSQL's return until everything placed before it was a row.
        safe_p99_ms: of orders placed during the outage: until the shop knew that it is safe.
    """

    name: str
    placed: int
    lost: int
    held: int
    catch_up_s: float
    safe_p99_ms: float


class Interruption:
    """Kills PostgreSQL after `BEFORE_S` and starts it again later, while a load runs.

    Args:
        rig: the servers.
        away_s: seconds without PostgreSQL.
        meanwhile: called in the middle of the outage.

    Attributes:
        killed_at: seconds since the load began.
        back_at: likewise, when it answered again.
    """

    def __init__(
        self, rig: common.Rig, away_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        self._rig = rig
        self._away_s = away_s
        self._meanwhile = meanwhile
        self.killed_at = self.back_at = 0.0

    def under(self, load: Callable[[], Found]) -> Found:
        """Run a load in a thread and interrupt it; return what it returns.

        The servers start here: they end with the thread that started them.
        """
        with ThreadPoolExecutor(1) as pool:
            began = time.perf_counter()
            running = pool.submit(load)
            time.sleep(BEFORE_S)
            self.killed_at = time.perf_counter() - began
            self._rig.postgres.kill()
            time.sleep(self._away_s / 2)
            self._meanwhile()
            time.sleep(self._away_s / 2)
            self._rig.postgres.start(move=False)
            self.back_at = time.perf_counter() - began
            return running.result()


def straight(
    rig: common.Rig, part: pl.DataFrame, due: Floats, away_s: float, *, keep: bool
) -> OutageResult:
    """Let the shop write in batches of what is due.

    Args:
        rig: the servers.
        part: the orders.
        due: when each is placed.
        away_s: seconds without PostgreSQL.
        keep: whether orders that cannot be written are kept in memory and tried again, or refused,
            as by a web shop that shows its customer an error.
    """
    name = "straight, kept in memory" if keep else "straight, refused"
    way = Straight(rig, name, most=MOST)
    rows, done = part.rows(), np.full(len(due), np.nan)

    def load() -> int:
        """Write until all orders had their turn; return how many waited at most."""
        conn, i, held = way.connect(), 0, 0
        began = time.perf_counter()
        while i < len(due):
            now = time.perf_counter() - began
            placed = int(np.searchsorted(due, now, "right"))
            if placed <= i:
                time.sleep(due[i] - now)
                continue
            end = min(placed, i + MOST)
            try:
                if conn.closed:
                    conn = way.connect()
                way.write(conn, rows[i:end])
                done[i:end] = time.perf_counter() - began
            except psycopg.OperationalError:
                conn.close()
                held = max(held, placed - i)
                if keep:
                    time.sleep(RETRY_S)
                    continue
            i = end
        conn.close()
        return held

    cut = Interruption(rig, away_s)
    held = cut.under(load)
    return _judged(name, way.stored(), Passage(due, done, done), cut, held if keep else 0)


def through_kafka(
    rig: common.Rig, part: pl.DataFrame, due: Floats, away_s: float, give_up_s: float
) -> OutageResult:
    """Publish to Kafka, and kill the ingest, too, in the middle of the outage."""
    way = ThroughKafka(rig)
    try:
        cut = Interruption(rig, away_s, meanwhile=way.kill_ingest)
        passage = cut.under(lambda: way.send(part, due, give_up_s))
        name = "Kafka and the ingest, which is killed meanwhile"
        return _judged(name, way.stored(), passage, cut, 0)
    finally:
        way.close()


def _judged(name: str, stored: int, passage: Passage, cut: Interruption, held: int) -> OutageResult:
    due, row = passage.due, passage.row
    waited = (due < cut.back_at) & ~np.isnan(row)
    meanwhile = (due > cut.killed_at) & (due < cut.back_at) & ~np.isnan(passage.safe)
    safe = 1000 * (passage.safe - due)[meanwhile]
    return OutageResult(
        name,
        len(due),
        len(due) - stored,
        held,
        max(0.0, float(row[waited].max()) - cut.back_at),
        float(np.percentile(safe, 99)) if len(safe) else float("nan"),
    )
