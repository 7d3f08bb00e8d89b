"""The operator's settings: `control:*` in Redis, read by every process at least twice a second.

`control:NAME` is a hash per process or topic (users, products, orders, optional topics, cache,
grader): `paused`, `rate`, and `run`, a counter that asks for one run now. `control:restart` is a
hash, process -> counter, read by the supervisor. Settings survive restarts and stay until they are
changed; each process reports in its heartbeat which ones it applies.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from shop.errors import UsageError
from shop.optional.registry import OPTIONAL
from shop.redis import cache

if TYPE_CHECKING:
    import redis

CONTROL: Final = "control:"
RESTART: Final = "control:restart"
GENERATORS: Final = ("users", "products", "orders")
PAUSABLE: Final = (*GENERATORS, *OPTIONAL)
"""The topics whose publishing can be paused."""
RUNNABLE: Final = ("cache", "grader")
"""Processes that do a round of work every so often, and can be asked to do one now."""
MAX_RATE: Final = 1_000.0
CONTINUES: Final = "continues"
"""Field of a generator's heartbeat: it resumes a history, whose events are drawn already."""
_KEPT: Final = "_"
"""A field that keeps a hash from being absent; see `read_hash`."""
READ_EVERY_S: Final = 0.4
"""The operator's settings take effect within a second, including the wait for Redis."""
_REST_S: Final = 3.0
"""Seconds without a look after a failure, so that a process is not always in a time-out."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's settings of one process."""

    paused: bool = False
    rate: float = 1.0
    """Factor on the process's own rate."""
    run: int = 0
    """Number of runs asked for so far: a value not seen before means one run now."""


def read(r: redis.Redis, name: str) -> Control:
    """Return the operator's settings of a process; defaults for missing and invalid values."""
    return _control(read_hash(r, CONTROL + name))


def read_each(r: redis.Redis, names: Collection[str]) -> dict[str, Control]:
    """Return the operator's settings of several processes in one round trip; as `read`."""
    pipe = r.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(CONTROL + name)
    found = zip(names, cast("list[dict[str, str]]", pipe.execute()), strict=True)
    return {name: _control(values) if values else read(r, name) for name, values in found}


def _control(values: Mapping[str, str]) -> Control:
    """Return the settings in a hash, which may have other fields, too."""
    try:
        return msgspec.convert(values, Control, strict=False)
    except msgspec.ValidationError:
        return Control()


def set_paused(r: redis.Redis, name: str, *, paused: bool) -> None:
    """Pause or resume a generator.

    Raises:
        UsageError: if there is no such generator.
    """
    _check(name, PAUSABLE, "pause")
    _set(r, CONTROL + name, {"paused": "true" if paused else "false"})


def set_rate(r: redis.Redis, name: str, factor: float) -> None:
    """Multiply a generator's rate.

    Raises:
        UsageError: if there is no such generator, the factor is not within 0 .. 1000, or the
            running generator cannot have it.
    """
    _check(name, GENERATORS, "set the rate of")
    if not 0 < factor <= MAX_RATE:
        raise UsageError(f"rate {factor:g}: expected above 0 and up to {MAX_RATE:g}; see pause")
    if factor != 1 and (name != "orders" or factor > 1) and continues(r, name):
        allowed = "up to 1, which leaves orders out" if name == "orders" else "as it is, or pause"
        raise UsageError(
            f"rate {factor:g}: a history is being resumed, whose {name} are drawn already: "
            f"{allowed}"
        )
    _set(r, CONTROL + name, {"rate": repr(factor)})


def continues(r: redis.Redis, name: str) -> bool:
    """Return whether the running generator resumes a history."""
    return r.hget(cache.HEARTBEAT + name, CONTINUES) is not None


def request_run(r: redis.Redis, name: str) -> int:
    """Ask the cache worker or the grader for a run now; return the number of this request.

    Raises:
        UsageError: if there is no such process.
    """
    _check(name, RUNNABLE, "run")
    return r.hincrby(CONTROL + name, "run", 1)


class ControlReader:
    """Reads the operator's settings of a process, at most every 0.4 s.

    Args:
        r: Redis; while it is away, the settings that were last read apply.
        name: name of the process.
        monotonic: seconds of a clock that never steps.

    Attributes:
        known: the settings that were last read; None before the first success.
    """

    def __init__(
        self, r: redis.Redis, name: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = r
        self._name = name
        self._monotonic = monotonic
        self._next = float("-inf")
        self.known: Control | None = None

    def __call__(self) -> Control:
        """Return the operator's settings; the defaults before the first success."""
        now = self._monotonic()
        if now >= self._next:
            from redis import RedisError  # noqa: PLC0415  (0.1 s, for those who only know the keys)

            try:
                self.known = read(self._redis, self._name)
                self._next = now + READ_EVERY_S
            except RedisError:
                self._next = self._monotonic() + _REST_S
        return self.known or Control()


class RunRequests:
    """Detects that the operator asks a process for a run now.

    Requests from before the process started are ignored: it makes a run at its start anyway.

    Args:
        wanted: reads the operator's settings of the process.
    """

    def __init__(self, wanted: ControlReader) -> None:
        self._wanted = wanted
        self.seen: int | None = None
        """Number of the last request that was noticed; None before the first look."""

    def __call__(self) -> bool:
        """Return whether a run was asked for since the last call."""
        self._wanted()
        if self._wanted.known is None:
            return False
        before, self.seen = self.seen, self._wanted.known.run
        return before is not None and self.seen != before


def request_restart(r: redis.Redis, name: str) -> int:
    """Ask the supervisor to restart a process; return the number of this request."""
    return r.hincrby(RESTART, name, 1)


def restarts(r: redis.Redis) -> dict[str, int]:
    """Return how often the restart of each process was asked for."""
    return {name: int(n) for name, n in read_hash(r, RESTART).items()}


def read_hash(r: redis.Redis, key: str, *, make: bool = True) -> dict[str, str]:
    """Return a hash of `control:*`; a missing one is created, and reads as empty.

    Redis counts a read of a missing key as a miss. Every process reads several times a second what
    no operator may have set yet: without the key, Redis's hit rate would show how idle the operator
    is, not how warm the cache.

    Args:
        r: Redis.
        key: key of the hash.
        make: create the key if it is missing; False for processes that only watch.
    """
    values = cast("dict[str, str]", r.hgetall(key))
    if not values and make:
        from redis import ResponseError  # noqa: PLC0415  (as above)

        with contextlib.suppress(ResponseError):  # a user who may only read
            r.hset(key, _KEPT, "")
    values.pop(_KEPT, None)
    return values


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise UsageError(f"cannot {what} {name!r}; known: {', '.join(known)}")


def _set(r: redis.Redis, key: str, values: Mapping[str, str]) -> None:
    r.hset(key, mapping=cast("Mapping[Any, Any]", values))
