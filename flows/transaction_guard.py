"""Keeps a transaction from waiting for ever when the server, the network or another client is gone.

A writer that waits for PostgreSQL can do nothing itself. This thread looks at its session through
a connection of its own and ends what cannot end any more, never what only takes long:

- the answer never comes: the session is gone or waits for us, or the server does not answer a
  second connection either. The socket is shut down, and the batch tried again.
- another ingest holds the locks and is gone: its session has waited for its client for half a
  minute. It is terminated; what it had not committed is stored by us.
- the process is to stop: the statement is cancelled, nothing is committed, nothing is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from shop import postgres
from shop.errors import JangteoError
from shop.log import get_logger
from shop.postgres.blockers import blockers
from shop.postgres.deadline import shut_down
from shop.postgres.patience import patient
from shop.retry import first_line
from shop.settings import PostgresSettings

LOOK_AFTER_S: Final = 10.0
"""A batch of 50,000 orders takes 0.4 s: what takes longer is looked at."""
LOOK_EVERY_S: Final = 5.0
STALE_S: Final = 30.0
"""For how long a session in a transaction may wait for its client, this process's or another's."""
TICK_S: Final = 0.2
REST_S: Final = 0.5
"""Between two looks while the writer does nothing. The guards of the three topics were one in eight
of the wake-ups of an ingest without messages."""
ANSWER_S: Final = 5
CANCEL_AFTER_STOP_S: Final = 3.0
CUT_AFTER_STOP_S: Final = 6.0
LIMITS: Final = {
    # PostgreSQL ends a session whose client went silent inside a transaction, and lets go of its
    # locks; through a pooler, too, whose own connection lives on.
    "idle_in_transaction_session_timeout": f"{STALE_S:.0f}s",
}
# What a session waits for, for how long, and how much of a COPY has arrived.
_SESSION: Final = """
SELECT s.pid, s.application_name, s.wait_event,
       extract(epoch FROM clock_timestamp() - greatest(s.query_start, s.state_change))::float8,
       coalesce(c.bytes_processed, 0)
FROM pg_stat_activity AS s LEFT JOIN pg_stat_progress_copy AS c USING (pid)
"""
_OWN: Final = _SESSION + "WHERE pid = %s"
# In the midst of a COPY no server-side time-out ends a session.
_HOLDERS: Final = (
    _SESSION
    + "WHERE pid = ANY(pg_blocking_pids(%s)) AND s.application_name LIKE 'jangteo-ingest-%%'"
)


class TransactionGuard(threading.Thread):
    """Watches one writer.

    Args:
        settings: where PostgreSQL is.
        topic: of the writer.
        stop: set when the process is asked to end.
    """

    def __init__(self, settings: PostgresSettings, topic: str, stop: threading.Event) -> None:
        super().__init__(name=f"guard-{topic}", daemon=True)
        self._settings = settings
        self._topic = topic
        self._stop = stop
        self._lock = threading.Lock()
        self._busy: postgres.Connection | None = None
        self._pid = 0
        self._since = 0.0
        self._stopped_at: float | None = None
        self._looked_at = 0.0
        self._silent_since: float | None = None
        self._logged = False
        self._arrived: dict[int, int] = {}
        self._conn: postgres.Connection | None = None
        self._ended = threading.Event()

    def begin(self, conn: postgres.Connection, pid: int) -> None:
        """Note that a transaction begins; `pid` is of the server's process, behind any pooler."""
        with self._lock:
            self._busy, self._pid, self._since = conn, pid, time.monotonic()
            self._silent_since, self._logged = None, False

    def end(self) -> None:
        """Note that it is over."""
        with self._lock:
            self._busy = None

    def finish(self) -> None:
        """End the thread."""
        self._ended.set()

    def run(self) -> None:
        """Watch until stopped."""
        while not self._ended.wait(TICK_S if self._busy else REST_S):
            now = time.monotonic()
            if self._stop.is_set() and self._stopped_at is None:
                self._stopped_at = now
            with self._lock:
                conn, pid, since = self._busy, self._pid, self._since
            if conn is None:
                continue
            if self._stopped_at is not None:
                self._hasten(conn, now - self._stopped_at)
            elif now - since > LOOK_AFTER_S and now - self._looked_at > LOOK_EVERY_S:
                self._look(conn, pid, now)
                self._looked_at = time.monotonic()
        self._disconnect()

    def _hasten(self, conn: postgres.Connection, stopping_s: float) -> None:
        if stopping_s > CUT_AFTER_STOP_S:
            self._cut(conn, "it does not end although it was cancelled")
        elif stopping_s > CANCEL_AFTER_STOP_S:
            try:
                conn.cancel_safe(timeout=1.0)
            except psycopg.Error as e:
                get_logger().debug("not cancelled", topic=self._topic, error=first_line(e))

    def _look(self, conn: postgres.Connection, pid: int, now: float) -> None:
        try:
            if self._conn is None or self._conn.closed:
                self._conn = postgres.connect(
                    self._settings, f"guard-{self._topic}", autocommit=True,
                    limits={"statement_timeout": f"{ANSWER_S}s"},
                )  # fmt: skip
            with patient(self._conn, self._settings):
                self._judge(conn, pid, self._conn)
            self._silent_since = None
        except (psycopg.Error, JangteoError, OSError) as e:
            self._disconnect()
            self._silent_since = self._silent_since or now
            if time.monotonic() - self._silent_since > STALE_S:
                self._cut(conn, f"the server does not answer another connection: {first_line(e)}")

    def _judge(self, busy: postgres.Connection, pid: int, look: postgres.Connection) -> None:
        row = look.execute(_OWN, (pid,)).fetchone()
        if row is None:
            self._cut(busy, "its session is gone")
            return
        before, self._arrived = self._arrived, {}
        if self._is_silent(row, before, STALE_S / 2):
            self._cut(busy, "the server waits for this client: a sent statement has not arrived")
            return
        for holder in look.execute(_HOLDERS, (pid,)).fetchall():
            if self._is_silent(holder, before, STALE_S):
                look.execute("SELECT pg_terminate_backend(%s)", (holder[0],))
                get_logger().warning(
                    "ended the session of an ingest that vanished in a transaction",
                    pid=holder[0], session=holder[1], topic=self._topic,
                )  # fmt: skip
        if not self._logged and (why := blockers(look)):
            self._logged = True
            get_logger().warning("waiting for a lock", topic=self._topic, why="; ".join(why))

    def _is_silent(self, session: tuple[Any, ...], before: Mapping[int, int], bound: float) -> bool:
        """Tell whether a session has waited for its client for longer than `bound` seconds.

        A long COPY may be between two of its packets: it is silent only if nothing of it has
        arrived since the last look.
        """
        pid, _, event, seconds, arrived = session
        self._arrived[pid] = arrived
        return bool(event == "ClientRead" and seconds > bound and before.get(pid) == arrived)

    def _cut(self, conn: postgres.Connection, why: str) -> None:
        with self._lock:
            if self._busy is not conn:  # it ended meanwhile
                return
            get_logger().warning("connection given up", topic=self._topic, why=why)
            shut_down(conn)
            self._since = time.monotonic()

    def _disconnect(self) -> None:
        if self._conn is not None:
            shut_down(self._conn)
            self._conn.close()
        self._conn = None
