"""The time by a server's clock, so that the clock of this machine may be wrong or be set.

A server is asked for its time every few seconds; in between, seconds since boot are counted, which
no step of a wall clock changes. All processes that ask the same server agree on the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, cast

import psycopg

from shop import postgres
from shop.boot_clock import boottime
from shop.clock import SAID_S, Clock, utc_now
from shop.errors import JangteoError
from shop.log import get_logger
from shop.postgres import Connection
from shop.retry import first_line
from shop.settings import PostgresSettings

if TYPE_CHECKING:
    import redis

BOUND_S: Final = 60.0
"""Clocks that differ by more seconds are not used: what depends on them waits, or is refused."""
EVERY_S: Final = 10.0
"""Seconds between two requests for a server's time."""
RETRY_S: Final = 0.5
"""The same for a server that has never answered."""


_said: Final[set[str]] = set()
"""Servers whose clocks this process has reported to differ."""


class ServerClock:
    """A clock that follows a server's; this machine's wall clock before the first answer.

    Args:
        server: name of the server in messages, such as ``PostgreSQL``.
        wall: this machine's wall clock, for comparison.
        seconds: returns the seconds since boot.

    Attributes:
        server: name of the server.
    """

    def __init__(
        self, server: str, *, wall: Clock = utc_now, seconds: Callable[[], float] = boottime
    ) -> None:
        self.server = server
        self._wall = wall
        self._seconds = seconds
        self._anchor: tuple[datetime, float] | None = None
        self._error_s = 0.0

    def __call__(self) -> datetime:
        """Return the server's time, UTC."""
        return self._wall() if self._anchor is None else self._at(self._seconds())

    def _at(self, seconds: float) -> datetime:
        """Return the time at a moment in seconds since boot; the server must have answered."""
        at, anchored = cast("tuple[datetime, float]", self._anchor)
        return at + timedelta(seconds=seconds - anchored)

    def ask(self, question: Callable[[], datetime]) -> None:
        """Ask the server for its time; errors of the question are passed on."""
        before = self._seconds()
        at = question()
        after = self._seconds()
        self.see(at, before, after)

    def see(self, at: datetime, before: float, after: float) -> None:
        """Record an answer.

        Args:
            at: the server's time.
            before: seconds since boot when it was asked.
            after: seconds since boot when it answered; the error is at most half the difference.
        """
        at = at.astimezone(timezone.utc)
        self._error_s = (after - before) / 2
        # What answers late tells little: the clock changes only where it cannot be right, since
        # each change would be a jump in the times of events.
        if not (self.asked and self._at(before) <= at <= self._at(after)):
            self._anchor = (at, (before + after) / 2)
        apart = self.apart
        said = self.server in _said
        if abs(apart) > SAID_S and not said:
            _said.add(self.server)
            get_logger().warning(
                f"this machine's clock is {format_offset(apart)} that of {self.server}; "
                "set one of them right (NTP)", seconds=round(apart, 1),
            )  # fmt: skip
        elif said and abs(apart) <= SAID_S:
            _said.discard(self.server)
            get_logger().info(f"this machine's clock agrees with that of {self.server} again")

    def stamp(self) -> int:
        """Return the timestamp for Kafka's records, ms; 0 if this machine's clock is right.

        A broker refuses records dated more than an hour ahead, and retention removes those dated
        in the past too early.
        """
        return int(self().timestamp() * 1_000) if abs(self.apart) > SAID_S else 0

    @property
    def asked(self) -> bool:
        """Whether the server has answered yet."""
        return self._anchor is not None

    @property
    def apart(self) -> float:
        """By how many seconds this machine's clock is ahead of the server's.

        0 if it is not known, or less than half of the time that the last answer took.
        """
        apart = (self._wall() - self()).total_seconds()
        return apart if abs(apart) > self._error_s else 0.0


class RedisClock:
    """Redis's clock: it dates what is kept in Redis, so that every reader knows its age.

    Args:
        r: Redis; asked every few seconds, when the time is wanted.
        seconds: returns the seconds since boot.
    """

    def __init__(self, r: redis.Redis, *, seconds: Callable[[], float] = boottime) -> None:
        self._redis = r
        self._seconds = seconds
        self._clock = ServerClock("Redis", seconds=seconds)
        self._next = float("-inf")

    def __call__(self) -> datetime:
        """Return Redis's time, UTC.

        Raises:
            redis.RedisError: if it must be asked and does not answer.
        """
        if self._seconds() >= self._next:
            self._clock.ask(lambda: redis_time(self._redis))
            self._next = self._seconds() + EVERY_S
        return self._clock()

    @property
    def apart(self) -> float:
        """By how many seconds this machine's clock is ahead of Redis's; a step of it shows at once.

        Raises:
            redis.RedisError: if it must be asked and does not answer.
        """
        self()
        return self._clock.apart


class ClockWatch(threading.Thread):
    """Keeps a clock that follows PostgreSQL's; distrusts it if Redis's and ours agree instead.

    Args:
        where: address of PostgreSQL; None if another component keeps `clock`.
        r: Redis, as a second opinion; None if there is none.
        stop: ends the thread.
        clock: a clock that follows PostgreSQL's; created if None.

    Attributes:
        clock: the clock that follows PostgreSQL's.
    """

    def __init__(
        self,
        where: PostgresSettings | None,
        r: redis.Redis | None,
        stop: threading.Event,
        *,
        clock: ServerClock | None = None,
        wall: Clock = utc_now,
    ) -> None:
        super().__init__(name="clocks", daemon=True)
        self.clock = clock or ServerClock("PostgreSQL", wall=wall)
        self._where = where
        self._redis = r
        self._stop_event = stop
        self._second = ServerClock("Redis", wall=wall)

    def run(self) -> None:
        """Ask every few seconds, until stopped."""
        doubted = ""
        while True:
            self.look()
            before, doubted = doubted, self.trouble
            if doubted and not before:
                get_logger().warning("waiting", waiting_for=doubted)
            elif before and not doubted:
                get_logger().info("PostgreSQL's clock is trusted again")
            if self._stop_event.wait(EVERY_S if self.clock.asked else RETRY_S):
                return

    def look(self) -> None:
        """Ask both servers now; one that does not answer is asked again later."""
        if self._where is not None:
            try:
                with postgres.connect(self._where, "clock", autocommit=True) as conn:
                    self.clock.ask(lambda: postgres_time(conn))
            except (psycopg.Error, JangteoError) as e:
                get_logger().debug("clock of PostgreSQL not known", error=first_line(e))
        if (r := self._redis) is not None:
            from redis import RedisError  # noqa: PLC0415  (0.1 s that not everybody needs)

            try:
                self._second.ask(lambda: redis_time(r))
            except RedisError as e:
                get_logger().debug("clock of Redis not known", error=first_line(e))

    @property
    def hindered(self) -> str:
        """Why PostgreSQL's clock is not used: not trusted, or never read; empty if it is used."""
        return self.trouble if self.clock.asked else "PostgreSQL's clock"

    @property
    def trouble(self) -> str:
        """Why PostgreSQL's clock is not trusted; empty if it is.

        It is trusted unless it differs from this machine's while Redis's does not: of three clocks,
        the one that disagrees with the other two is wrong.
        """
        apart = self.clock.apart
        if abs(apart) <= BOUND_S or not self._second.asked or abs(self._second.apart) > BOUND_S:
            return ""
        others = "those of this machine and of Redis"
        return f"PostgreSQL's clock to be set right (it is {format_offset(-apart)} {others})"


def clock_of(conn: Connection) -> ServerClock:
    """Return a clock that is set to PostgreSQL's once, for short-lived commands.

    Raises:
        psycopg.Error: if it does not answer.
    """
    clock = ServerClock("PostgreSQL")
    clock.ask(lambda: postgres_time(conn))
    return clock


class ClocksDifferError(JangteoError):
    """Two clocks differ by more than the bound: work that depends on the time must not be done."""


def agreed_clock(conn: Connection) -> ServerClock:
    """Return a clock that is set to PostgreSQL's, if this machine's agrees with it.

    Raises:
        ClocksDifferError: if they differ by more than `BOUND_S`; the message has the difference.
        psycopg.Error: if PostgreSQL does not answer.
    """
    clock = clock_of(conn)
    if abs(clock.apart) > BOUND_S:
        raise ClocksDifferError(
            f"this machine's clock is {format_offset(clock.apart)} that of PostgreSQL, more than "
            f"{BOUND_S:.0f} s: nothing was done; set the wrong one right (NTP)"
        )
    return clock


def format_offset(seconds: float) -> str:
    """Describe by how much one clock differs from another.

    >>> format_offset(90.2), format_offset(-7200), format_offset(-172_800)
    ('90 s ahead of', '2.0 h behind', '2.0 days behind')
    """
    size = abs(seconds)
    for unit, name in ((86_400, "days"), (3_600, "h")):
        if size >= 2 * unit or (unit == 3_600 and size >= unit):
            text = f"{size / unit:.1f} {name}"
            break
    else:
        text = f"{size:.0f} s"
    return f"{text} {'ahead of' if seconds > 0 else 'behind'}"


def postgres_time(conn: Connection) -> datetime:
    """Return the time by PostgreSQL's clock."""
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101  (a SELECT without FROM has a row)
    return cast("datetime", row[0])


def redis_time(r: redis.Redis) -> datetime:
    """Return the time by Redis's clock.

    Raises:
        redis.RedisError: if it does not answer.
    """
    seconds, micros = r.time()
    return datetime.fromtimestamp(seconds, timezone.utc) + timedelta(microseconds=micros)
