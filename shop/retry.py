"""Outages of a server: logged once, retried with backoff, logged when they are over."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import ClassVar, Final, TypeVar

from shop.errors import JangteoError
from shop.log import get_logger

Answer = TypeVar("Answer")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
_LATE: Final = 0.9
"""A failure after this share of the time is one of time."""
_QUICK: Final = 0.25
"""An answer within this share of the time shows a server that is not slow."""
_LOOK_S: Final = 0.1
_MORE: Final = {
    "25006": " (a replica, or read-only by a setting: name the primary with POSTGRES_HOST)",
}
"""Advice by SQLSTATE."""


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or its class if it has none.

    Advice that PostgreSQL's own text lacks is added.

    >>> first_line(ValueError("one\ntwo")), first_line(ValueError())
    ('one', 'ValueError')
    """
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line + _MORE.get(getattr(error, "sqlstate", None) or "", "")


def backoff(
    failures: int,
    *,
    first: float = FIRST_PAUSE_S,
    longest: float = LONGEST_PAUSE_S,
    spread: float = 0.5,
    jitter: float | None = None,
) -> float:
    """Return the seconds to wait before the next attempt, which double with each failure.

    Args:
        failures: number of consecutive failures, from 1.
        first: seconds after the first failure.
        longest: maximum, seconds.
        spread: random fraction of the wait, so that processes that failed together do not retry
            together.
        jitter: from 0 to 1; random by default.

    >>> [backoff(n, jitter=0.0) for n in (1, 2, 3, 99)]
    [0.2, 0.4, 0.8, 10.0]
    >>> backoff(99, jitter=1.0), backoff(5, first=1, longest=15, spread=0.2, jitter=1.0)
    (5.0, 12.0)
    """
    jitter = random.random() if jitter is None else jitter  # noqa: S311  (spreads retries, no secret)
    return min(longest, first * 2.0 ** min(failures - 1, 20)) * (1 - spread * jitter)


class Patience:
    """How long a server is waited for: longer after each answer that came too late.

    With the same time at each attempt nobody would ever get in where every answer comes, but late.

    Args:
        first: seconds at first.
        longest: seconds at most.
        monotonic: seconds of a clock that never steps.

    Attributes:
        seconds: that the next request may take.

    >>> patience = Patience(3, 8)
    >>> for took in (3, 6, 8):
    ...     patience.took(took, patience.seconds, failed=True)
    >>> patience.seconds
    8
    >>> patience.took(6, 8), patience.seconds
    (None, 8)
    >>> patience.took(0.1, 8), patience.seconds
    (None, 3)
    """

    def __init__(
        self, first: int, longest: int, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._longest = longest
        self._monotonic = monotonic
        self.seconds = first

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Learn from how long the work in the context takes, which fails after `seconds`."""
        allowed, began = self.seconds, self._monotonic()
        try:
            yield
        except Exception:
            self.took(self._monotonic() - began, allowed, failed=True)
            raise
        self.took(self._monotonic() - began, allowed)

    def took(self, took_s: float, allowed: int, *, failed: bool = False) -> None:
        """Learn from a request that was allowed some seconds."""
        if failed and took_s >= _LATE * allowed:
            self.seconds = min(self._longest, 2 * allowed)
        elif not failed and took_s < _QUICK * allowed:
            self.seconds = self._first


class NotAwaitedError(JangteoError):
    """What was asked is not awaited any longer."""


def while_wanted(
    work: Callable[[], Answer],
    unwanted: Callable[[], bool],
    discard: Callable[[Answer], object] = lambda _answer: None,
) -> Answer:
    """Return the result of work that cannot be interrupted, or leave it to a thread.

    Args:
        work: waits for a server.
        unwanted: asked ten times a second meanwhile.
        discard: called with a result that comes too late.

    Raises:
        NotAwaitedError: if it is not wanted any more. Exceptions of the work are passed on.
    """
    done: SimpleQueue[Answer | Exception] = SimpleQueue()
    left = threading.Event()

    def attempt() -> None:
        try:
            answer = work()
        except Exception as e:  # raised where it is awaited
            done.put(e)
            return
        done.put(answer)
        if left.is_set():
            discard(answer)

    threading.Thread(target=attempt, name="attempt", daemon=True).start()
    while True:
        try:
            found = done.get(timeout=_LOOK_S)
        except Empty:
            if unwanted():
                left.set()
                raise NotAwaitedError("not awaited any longer") from None
        else:
            if isinstance(found, Exception):
                raise found
            return found


class Outage:
    """Logs the outage of one server once, however many attempts it takes.

    Args:
        where: the server's address for people, such as `PostgresSettings.where`.
        changed: called with True and the reason at each failure, with False when it is over.
        monotonic: seconds of a clock that never steps.
        fields: fields added to its log lines, such as the topic.
    """

    begins: ClassVar[str] = "waiting for server"
    ends: ClassVar[str] = "server is back"

    def __init__(
        self,
        where: str,
        changed: Callable[[bool, str], None] = lambda _away, _why: None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        **fields: str,
    ) -> None:
        self._where = where
        self._changed = changed
        self._fields = fields
        self._monotonic = monotonic
        self._since: float | None = None
        self._attempts = 0

    @property
    def lasts(self) -> bool:
        """Whether the server is away."""
        return self._since is not None

    def failed(self, error: BaseException) -> float:
        """Record a failure; return how long to wait before the next attempt, in seconds."""
        self._attempts += 1
        self._changed(True, first_line(error))
        if self._since is None:
            self._since = self._monotonic()
            self._report(first_line(error))
        return backoff(self._attempts)

    def _report(self, error: str) -> None:
        get_logger().warning(self.begins, server=self._where, error=error, **self._fields)

    def over(self) -> None:
        """Record a success."""
        if self._since is not None:
            self._changed(False, "")
            away = round(self._monotonic() - self._since, 1)
            get_logger().info(
                self.ends,
                server=self._where,
                away_s=away,
                attempts=self._attempts,
                **self._fields,
            )
        self._since, self._attempts = None, 0


class Refusal(Outage):
    """A server that answers with a refusal: logged again every minute until it is fixed."""

    begins = "refused: waiting until it is fixed; nothing is lost"
    ends = "no longer refused"
    repeat_s: ClassVar[float] = 60.0
    _reported_at = 0.0

    def failed(self, error: BaseException) -> float:
        """Like `Outage.failed`; the reason is logged again every minute."""
        now = self._monotonic()
        if self.lasts and now - self._reported_at >= self.repeat_s:
            self._report(first_line(error))
        return super().failed(error)

    def _report(self, error: str) -> None:
        self._reported_at = self._monotonic()
        get_logger().error(self.begins, server=self._where, error=error, **self._fields)
