"""The Redis layout: the segmented cache, its metadata, heartbeats.

`cache:users` and `cache:products` are hashes, field = id, value = JSON. A refresh builds next to
the old cache and swaps both hashes and `cache:meta` in one MULTI: a reader never sees half a
cache. `cache:lookups` counts the reads that found entries, and those that found none.
`heartbeat:NAME` is a hash with a time to live: the last report of a process.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from shop.clock import Clock, utc_now
from shop.errors import UnreachableError
from shop.log import redact
from shop.retry import first_line

if TYPE_CHECKING:
    import redis

    from shop.settings import Settings

USERS: Final = "cache:users"
PRODUCTS: Final = "cache:products"
META: Final = "cache:meta"
LOOKUPS: Final = "cache:lookups"
HEARTBEAT: Final = "heartbeat:"
HEARTBEAT_TTL_S: Final = 15
_NEXT: Final = ":next"
_CHUNK: Final = 5_000
_LOGIN: Final = "correct user and password of REDIS_URL; special characters are written as %XX"
_RIGHTS: Final = "let the ACL user run it on cache:*, control:*, heartbeat:*, life:*"
_REPLICA: Final = "REDIS_URL names a replica; name the primary"
_DATABASE: Final = "use a lower database number in REDIS_URL"
_CLUSTER: Final = "Redis Cluster is not supported; name a single server in REDIS_URL"
_MEMORY: Final = "raise maxmemory of Redis"
_WRONG_SETTING: Final = {
    "NOAUTH": "give REDIS_URL a password",
    "Authentication required": "give REDIS_URL a password",
    "WRONGPASS": _LOGIN,
    "invalid username-password": _LOGIN,
    "called without any password configured": "take the password out of REDIS_URL",
    "NOPERM": _RIGHTS,
    "no permissions to": _RIGHTS,
    "has no permissions": _RIGHTS,
    "DB index is out of range": _DATABASE,
    "invalid DB index": _DATABASE,
    "DENIED": "Redis runs in protected mode: set a password there and in REDIS_URL",
    "READONLY": _REPLICA,
    "read only replica": _REPLICA,
    "MOVED": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
}
_ADVICE: Final = {
    **_WRONG_SETTING,
    "WRONGTYPE": "another program uses our keys; use another database number in REDIS_URL",
    "OOM command not allowed": _MEMORY,
    "used memory": _MEMORY,
    "MISCONF": "Redis cannot save to its disk; make room there",
}


class CachedUser(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer as the order generator sees them."""

    user_id: int
    purchaser: bool
    gender: str | None
    birth_year: int | None
    city: str | None
    grade: str
    created_at: datetime | None
    last_ordered_at: datetime | None
    order_count: int
    total_spent: int
    due_in: int | None = 0
    """Orders that the shop takes before he is due; 0: he is due, None: not foreseen."""

    @property
    def due(self) -> bool:
        """Whether he is due."""
        return self.due_in == 0


class CachedProduct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A product as the order generator sees it; `popular` or new."""

    product_id: int
    popular: bool
    name: str | None
    category: str | None
    brand: str | None
    price: int
    created_at: datetime | None
    order_count: int
    rev: int = 1
    sale_status: str = "LISTED"
    updated_at: datetime | None = None


class CacheMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The cache worker's description of the cache; durations in seconds.

    `phase` is waiting, refreshing or failed; a failed refresh leaves the cache as it was.
    """

    version: int = 0
    """Refreshes since the cache was first filled."""
    refreshed_at: datetime | None = None
    next_due_at: datetime | None = None
    interval: float = 50.0
    duration: float = 0.0
    users: int = 0
    products: int = 0
    replaced: int = 0
    """Entries of the last refresh that the one before did not have."""
    due_purchasers: int = 0
    """Purchasers in the cache who are due: their share of 600 is the share of repeat orders."""
    due_others: int = 0
    """Customers in the cache who are due to buy for the first time."""
    clock: int = 0
    """Orders of the shop so far, by which customers are due."""
    sign_ups: int = 0
    """Customers of the shop so far, on which the rate of sign-ups depends."""
    orders_per_day: int = 0
    """Orders of a mean day of this shop; 0: not known."""
    has_history: bool = False
    """Whether the shop began with a history, by whose law products are listed from then on."""
    phase: str = "waiting"
    error: str = ""


def client(url: str, *, timeout: float = 3.0) -> redis.Redis:
    """Return a client; commands answer or fail within `timeout` seconds.

    It does not connect yet. Errors are `redis.RedisError`.
    """
    import redis  # noqa: PLC0415  (0.1 s, which those who only know the layout need not wait)

    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        health_check_interval=30,
        client_name="jangteo",
        decode_responses=True,
        encoding="utf-8",
        encoding_errors="replace",  # bytes of another program's: shown, not a crash
    )


def optional_client(settings: Settings, *, timeout: float = 1.0) -> redis.Redis | None:
    """Return a client for a use that works without Redis, too; None if REDIS_URL is not set.

    Raises:
        UsageError: if REDIS_URL is set and cannot be used.
    """
    url = settings.optional_redis_url
    return client(url, timeout=timeout) if url else None


def explain(error: BaseException) -> str:
    """Return a Redis error in one line, with what to do if Redis does not say it.

    >>> explain(Exception("NOAUTH Authentication required."))
    'NOAUTH Authentication required; give REDIS_URL a password'
    """
    text = redact(first_line(error)).rstrip(".")
    advice = _found(_ADVICE, error)
    return f"{text}; {advice}" if advice else text


def wrong_setting(error: BaseException) -> bool:
    """Return whether waiting is useless: REDIS_URL, or what Redis allows, must be changed.

    It is not for a server that is away, still loading, out of memory or unable to save.
    """
    return bool(_found(_WRONG_SETTING, error))


def _found(advice: Mapping[str, str], error: BaseException) -> str:
    # The client removes the code from the text of errors for which it has classes.
    text = f"{getattr(error, 'status_code', None) or ''} {first_line(error)}"
    return next((words for part, words in advice.items() if part in text), "")


def refusal(r: redis.Redis, error: BaseException) -> UnreachableError:
    """Return the error of a command that a wrong setting ends."""
    at = r.connection_pool.connection_kwargs
    where = at.get("path") or f"{at.get('host')}:{at.get('port')}"
    return UnreachableError(f"Redis at {where} refuses: {explain(error)}")


def check(r: redis.Redis, name: str) -> None:
    """Test at the start the commands that every process needs, to report a wrong setting at once.

    Args:
        r: the client.
        name: name of the process.

    Raises:
        UnreachableError: if waiting is useless; a server that is away raises nothing.
    """
    import redis  # noqa: PLC0415  (see `client`)

    pipe = r.pipeline(transaction=True)
    pipe.time()
    pipe.hgetall(f"control:{name}")
    pipe.expire(HEARTBEAT, HEARTBEAT_TTL_S)  # a write, of a key that does not exist
    try:
        pipe.execute()
    except redis.RedisError as e:
        if wrong_setting(e):
            raise refusal(r, e) from None


def swap(
    r: redis.Redis,
    users: Sequence[CachedUser],
    products: Sequence[CachedProduct],
    make_meta: Callable[[int, int], CacheMeta],
) -> CacheMeta:
    """Replace the cache by a new one in one step; return its metadata.

    Args:
        r: the client.
        users: the new customers.
        products: the new products.
        make_meta: called with (version, replaced) just before the swap.
    """
    # Two workers at once must not build in the same keys; two containers may share a pid.
    mine = f"{_NEXT}:{uuid.uuid4().hex}"
    built = (
        (USERS, {str(u.user_id): msgspec.json.encode(u) for u in users}),
        (PRODUCTS, {str(p.product_id): msgspec.json.encode(p) for p in products}),
    )
    replaced = 0
    for key, entries in built:
        old = set(cast("list[str]", r.hkeys(key)))
        replaced += len(entries.keys() - old)
        pipe = r.pipeline(transaction=False)
        pipe.delete(key + mine)
        items = list(entries.items())
        for start in range(0, len(items), _CHUNK):
            pipe.hset(key + mine, mapping=dict(items[start : start + _CHUNK]))
        pipe.expire(key + mine, 60)  # a worker killed here leaves nothing behind
        pipe.execute()
    meta = make_meta(read_meta(r).version + 1, replaced)
    pipe = r.pipeline(transaction=True)
    for key, entries in built:
        if entries:
            pipe.persist(key + mine)
            pipe.rename(key + mine, key)
        else:
            pipe.delete(key)
    _hset(pipe, META, _to_hash(meta))
    pipe.execute()
    return meta


def update_meta(r: redis.Redis, **changes: str | float | datetime) -> None:
    """Change single fields of the metadata, such as the phase."""
    _hset(r, META, {k: _text(v) for k, v in changes.items()})


def read_meta(r: redis.Redis) -> CacheMeta:
    """Return the metadata; defaults where nothing was written yet."""
    try:
        return msgspec.convert(_hgetall(r, META), CacheMeta, strict=False)
    except msgspec.ValidationError:
        raise _not_ours(META) from None


def read_lookups(r: redis.Redis) -> tuple[int, int]:
    """Return how many look-ups of customers or products found any, and how many found none.

    Redis's own hits and misses count heartbeats, control keys and every other program, too.
    """
    found, missed = cast("list[str | None]", r.hmget(LOOKUPS, ["hits", "misses"]))
    return int(found or 0), int(missed or 0)


def read_users(r: redis.Redis) -> list[CachedUser]:
    """Return the cached customers, by id; counts as a look-up."""
    return _read(r, USERS, CachedUser)


def read_products(r: redis.Redis) -> list[CachedProduct]:
    """Return the cached products, by id; counts as a look-up."""
    return _read(r, PRODUCTS, CachedProduct)


Entry = TypeVar("Entry")


def _read(r: redis.Redis, key: str, kind: type[Entry]) -> list[Entry]:
    decoder = msgspec.json.Decoder(kind)
    try:
        # Sorted by id: the result must not depend on the order of Redis's hash.
        entries = sorted(_hgetall(r, key).items(), key=lambda e: int(e[0]))
        found = [decoder.decode(v) for _, v in entries]
    except (ValueError, msgspec.MsgspecError):
        raise _not_ours(key) from None
    r.hincrby(LOOKUPS, "hits" if found else "misses", 1)
    return found


def _not_ours(key: str) -> redis.DataError:
    """Return the error for a key that something else has written."""
    import redis  # noqa: PLC0415  (see `client`)

    return redis.DataError(
        f"{key} in Redis is not what this program writes; another program uses our keys: "
        "delete them, or use another database number in REDIS_URL"
    )


@dataclass(frozen=True)
class Heartbeat:
    """The last report of a process. `fields` are its own counters, as text; `version` is ours."""

    name: str
    pid: int
    state: str
    at: datetime
    fields: Mapping[str, str]
    version: str = ""


@cache
def program_version() -> str:
    """Return the version of this program that is installed; empty in a bare checkout."""
    from importlib import metadata  # noqa: PLC0415  (for those who beat)

    try:
        return metadata.version("jangteo")
    except metadata.PackageNotFoundError:
        return ""


def beat(
    r: redis.Redis,
    name: str,
    state: str,
    fields: Mapping[str, str | float] = MappingProxyType({}),
    *,
    clock: Clock = utc_now,
) -> None:
    """Report that a process is alive; the report expires after `HEARTBEAT_TTL_S` seconds."""
    ours = {"version": program_version(), "state": state, "at": _text(clock()), "pid": os.getpid()}
    pipe = r.pipeline(transaction=True)
    _hset(pipe, HEARTBEAT + name, {k: str(v) for k, v in {**fields, **ours}.items()})
    pipe.expire(HEARTBEAT + name, HEARTBEAT_TTL_S)
    pipe.execute()


def heartbeats(r: redis.Redis) -> list[Heartbeat]:
    """Return the heartbeats that have not expired, by name of the process."""
    found = []
    keys = sorted(cast("Iterator[str]", r.scan_iter(f"{HEARTBEAT}*", count=1_000)))
    pipe = r.pipeline(transaction=False)
    for key in keys:
        pipe.hgetall(key)
    for key, values in zip(keys, pipe.execute(raise_on_error=False), strict=True):
        try:
            name = key.removeprefix(HEARTBEAT)
            pid, state = int(values.pop("pid")), values.pop("state")
            at = datetime.fromisoformat(values.pop("at"))
            version = values.pop("version", "")
            found.append(Heartbeat(name, pid, state, at, values, version))
        except (KeyError, ValueError, AttributeError):  # gone, or another program's key
            continue
    return found


def _text(value: str | float | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _to_hash(meta: CacheMeta) -> dict[str, str]:
    return {k: _text(v) for k, v in msgspec.structs.asdict(meta).items() if v is not None}


# redis-py types every reply as bytes or str; with decode_responses it is always str.
def _hgetall(r: redis.Redis, key: str) -> dict[str, str]:
    return cast("dict[str, str]", r.hgetall(key))


def _hset(r: redis.Redis, key: str, values: Mapping[str, str]) -> None:
    r.hset(key, mapping=cast("Mapping[Any, Any]", values))
