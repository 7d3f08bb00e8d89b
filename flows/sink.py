"""The sink: a writer thread per worker and topic; several batches in one transaction in a backlog.

The worker's thread hands a batch over, then reads and decodes the next; the in-flight window bounds
how many are under way. The writer stores a batch and, before it commits, the ones already on their
way behind it: each customer, window and product is then written once for all of them. Where the
reader has caught up, nothing is on its way, and a batch is a transaction.

Whatever goes wrong in such a transaction, none of it is committed, and its batches are stored one
by one: the error then hits, and names, the batch that it is about.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import psycopg
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows import shutdown
from flows.batch import INDEX, Batch
from flows.counters import RefusedError
from flows.in_flight import InFlightWindow, InFlightWindows
from flows.metrics import POSTGRES, IngestMetrics
from flows.transaction import BatchOutcome, OffsetGapError, Store, TooManyRejectsError
from flows.transaction_guard import LIMITS, TransactionGuard
from shop import postgres
from shop.errors import ExitCode, JangteoError
from shop.log import bind, get_logger
from shop.postgres import window_length
from shop.postgres.patience import patient
from shop.postgres.session import SessionError
from shop.postgres.sqlstate import COLLISIONS, Verdict, copy_line, explain, judge
from shop.retry import Outage, Refusal, first_line
from shop.settings import PostgresSettings

T = TypeVar("T")

MOST_TOGETHER: Final = 100_000
"""Messages in one transaction, from which on no further batch is waited for."""
NEXT_S: Final = 1.0
"""For a batch that is on its way; to decode one takes a tenth of that."""
RETRY_AFTER_STOP_S: Final = 3.0
"""How long an outage may hold up a stop; what is not committed then is read again later."""


class Writer(threading.Thread):
    """Commits batches one after the other, however long PostgreSQL is away.

    Args:
        store: what one transaction does.
        settings: where PostgreSQL is.
        in_flight: notes every batch committed, or that the sink gave up at a stop.
        metrics: counts what was committed.
    """

    def __init__(
        self,
        store: Store,
        settings: PostgresSettings,
        in_flight: InFlightWindow,
        metrics: IngestMetrics,
    ) -> None:
        super().__init__(name=f"writer-{store.topic}", daemon=True)
        self._store = store
        self._settings = settings
        self._in_flight = in_flight
        self._metrics = metrics
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._ending = False
        self._conn: postgres.Connection | None = None
        self._pid = 0
        self._guard = TransactionGuard(settings, store.topic, in_flight.stop)
        self._outage = Outage(settings.where, metrics.watch(POSTGRES))
        self._refusal = Refusal(settings.where, metrics.watch(POSTGRES), topic=store.topic)

    def put(self, batch: Batch) -> None:
        """Hand a batch over; never blocks (the in-flight window has counted it)."""
        self._batches.put(batch)

    def finish(self, timeout: float) -> None:
        """Let the writer end after what it holds; never raises."""
        self._batches.put(None)
        self.join(timeout)

    def run(self) -> None:
        """Commit until `finish`; an error that waiting does not fix ends the process."""
        self._guard.start()
        try:
            while not self._ending and (batch := self._batches.get()) is not None:
                if not all(map(self._commit, self._left_of_group(batch))):
                    self._in_flight.give_up()
                    return
        except (
            OffsetGapError,
            TooManyRejectsError,
            window_length.WindowLengthError,
            SessionError,
        ) as e:
            shutdown.fail(e, what="ingest stopped")
        except Exception as e:
            shutdown.fail(e, what="ingest stopped by a defect", code=ExitCode.CRASH)
        finally:
            self._guard.finish()
            self._disconnect()

    # -- several batches ---------------------------------------------------------------------

    def _left_of_group(self, first: Batch) -> list[Batch]:
        """Commit a batch and those on their way behind it; return those to be stored one by one.

        All of them are, or none. Only orders are: two transactions that change rows of several
        batches of customers or products would wait for each other in no fixed order.
        """
        if first.raw.topic != "orders" or not self._more_on_the_way(1):
            return [first]
        taken = [first]
        bind(topic=first.raw.topic, spans=_spans(first))
        try:
            connection = self._connection()
            started = time.perf_counter()
            work = partial(self._store.apply_all, batches=self._following(taken))
            outcomes = self._guarded(connection, work)
        except (JangteoError, psycopg.Error) as e:
            self._disconnect()
            if _is_away(e):
                self._wait(self._outage.failed(e))
            else:
                why = first_line(e)
                get_logger().debug("storing batches one by one", batches=len(taken), why=why)
            return taken
        seconds = (time.perf_counter() - started) / len(taken)
        for batch, outcome in zip(taken, outcomes, strict=True):
            bind(topic=batch.raw.topic, spans=_spans(batch))
            self._committed(batch, outcome, seconds)
        return []

    def _following(self, taken: list[Batch]) -> Iterator[Batch]:
        """Yield the batch taken, and each that follows while it is on its way; note them."""
        yield taken[0]
        messages = len(taken[0].raw)
        while messages < MOST_TOGETHER and self._more_on_the_way(len(taken)):
            try:
                batch = self._batches.get(timeout=NEXT_S)
            except queue.Empty:
                return
            if batch is None:
                self._ending = True
                return
            taken.append(batch)
            messages += len(batch.raw)
            yield batch

    def _more_on_the_way(self, taken: int) -> bool:
        return self._in_flight.under_way > taken and not self._in_flight.stop.is_set()

    # -- one batch ---------------------------------------------------------------------------

    def _commit(self, batch: Batch) -> bool:
        """Commit a batch; False if the process is asked to end while PostgreSQL is away."""
        # An outage, a refusal, the end of the process: each logs the batch it hit.
        bind(topic=batch.raw.topic, spans=_spans(batch))
        while True:
            try:
                connection = self._connection()
                started = time.perf_counter()
                outcome = self._guarded(connection, partial(self._store.apply, batch=batch))
                seconds = time.perf_counter() - started
            except (RefusedError, psycopg.Error) as e:
                self._disconnect()
                if not self._wait(self._failed(e, batch)):
                    return False
            else:
                self._committed(batch, outcome, seconds)
                return True

    def _committed(self, batch: Batch, outcome: BatchOutcome, seconds: float) -> None:
        """Note what became of a batch."""
        self._outage.over()
        self._refusal.over()
        raw = batch.raw
        ends = {p: span.next for p, span in raw.spans.items()}
        self._in_flight.applied(raw.log_id, ends, len(raw))
        self._metrics.add(raw.topic, outcome, seconds)
        get_logger().debug(
            "batch stored",
            stored=outcome.stored,
            rejected=outcome.rejected,
            ignored=outcome.ignored,
            trimmed=outcome.trimmed,
            seconds=round(seconds, 4),
        )

    def _guarded(self, conn: postgres.Connection, work: Callable[[postgres.Connection], T]) -> T:
        self._guard.begin(conn, self._pid)
        try:
            return work(conn)
        finally:
            self._guard.end()

    def _failed(self, error: RefusedError | psycopg.Error, batch: Batch) -> float:
        """Report what PostgreSQL refuses or that it is away; return the seconds to wait."""
        if isinstance(error, RefusedError):
            return self._refusal.failed(error)
        verdict = judge(error)
        if verdict is Verdict.STOP:
            raise error
        if verdict is Verdict.RETRY:
            return self._outage.failed(error)
        return self._refusal.failed(RefusedError(f"{explain(error)}{_first(error, batch)}"))

    def _wait(self, seconds: float) -> bool:
        """Wait before the next attempt; False when a stop has been held up long enough."""
        if not self._in_flight.stop.wait(seconds):
            return True
        time.sleep(min(seconds, 0.2))
        return self._in_flight.stop_age() < RETRY_AFTER_STOP_S

    def _connection(self) -> postgres.Connection:
        if self._conn is None or self._conn.closed:
            self._conn = postgres.connect_unless(
                lambda: self._in_flight.stop_age() > RETRY_AFTER_STOP_S,
                self._settings, f"ingest-{self._store.topic}", limits=LIMITS,
            )  # fmt: skip
            with patient(self._conn, self._settings), self._conn.transaction():
                # Not the address that libpq was given: that is the pooler's, where there is one.
                row = self._conn.execute("SELECT pg_backend_pid()").fetchone()
            self._pid = int(row[0]) if row else 0
            self._guarded(self._conn, self._store.prepare)
        return self._conn

    def _disconnect(self) -> None:
        """Drop the connection: after an outage its state is unknown."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None


def _is_away(error: Exception) -> bool:
    """Tell whether PostgreSQL is away, and not whether another session got in our way."""
    if not isinstance(error, psycopg.Error) or judge(error) is not Verdict.RETRY:
        return False
    return not isinstance(error, COLLISIONS)


def _first(error: psycopg.Error, batch: Batch) -> str:
    """Name the message that COPY was at; only where the rows of a batch went as they are."""
    line = copy_line(error)
    if line is None or batch.copy is None or line >= batch.rows.height:
        return ""
    index = int(batch.rows[INDEX][line])
    raw = batch.raw
    return f"; first at {raw.topic}[{raw.partitions[index]}]@{raw.offsets[index]}"


def _spans(batch: Batch) -> str:
    return " ".join(f"{p}:{s.start}-{s.next}" for p, s in sorted(batch.raw.spans.items()))


class _Partition(StatelessSinkPartition[Batch]):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        writer.start()

    def write_batch(self, items: Sequence[Batch]) -> None:
        for batch in items:
            self._writer.put(batch)

    def close(self) -> None:
        # The source has ended only after everything was committed or given up: nothing to wait
        # for. An exception here would abort the process, so there is none to raise.
        self._writer.finish(timeout=1.0)


class PostgresSink(DynamicSink[Batch]):
    """Stores batches of one topic, exactly once (see `flows.transaction`).

    Args:
        store: what one transaction does; shared by the workers, it has no state.
        settings: where PostgreSQL is.
        in_flight: shared with the source.
        metrics: counts what was committed.
    """

    def __init__(
        self,
        store: Store,
        settings: PostgresSettings,
        in_flight: InFlightWindows,
        metrics: IngestMetrics,
    ) -> None:
        self._store = store
        self._settings = settings
        self._in_flight = in_flight
        self._metrics = metrics

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Partition:  # noqa: ARG002  (the signature is Bytewax's)
        """Build the worker's writer (called by Bytewax)."""
        in_flight = self._in_flight.get(self._store.topic, worker_index)
        return _Partition(Writer(self._store, self._settings, in_flight, self._metrics))
