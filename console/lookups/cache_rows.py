"""The keys of the cache and their entries, from Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from console.lookups import texts
from console.lookups.details import DetailRow, Ref, heading, named
from console.snapshot.model import Redis, Refresh
from console.text import duration, printable, size
from console.translations import Text, word
from shop.clock import KST, Clock, utc_now
from shop.redis import cache

if TYPE_CHECKING:  # the lists import this module before the first picture
    import redis

KEYS: Final = (cache.USERS, cache.PRODUCTS, cache.META, cache.LOOKUPS)
MOST_ENTRIES: Final = 1_000
"""Entries of a key that are listed; the cache worker writes fewer."""
_AMOUNTS: Final = ("total_spent", "price")
_KINDS: Final = {cache.USERS: "customer", cache.PRODUCTS: "product"}
_SHOWN: Final = ("name", "grade", "category", "purchaser", "popular", "order_count", "price")
"""Fields of an entry in the list of entries."""


def key_rows(client: redis.Redis, key: str, *, clock: Clock = utc_now) -> Iterator[DetailRow]:
    """Yield what Redis knows of a key, and its fields; those of a cache lead to their entries.

    Args:
        client: of Redis.
        key: one of `KEYS`.
        clock: UTC; what the age is measured against.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    yield from _about(client, key, clock)
    if cast("str", client.type(key)) != "hash":
        return
    kind = _KINDS.get(key)
    yield heading("entries" if kind else "fields")
    found = _scanned(client, key)
    for field in sorted(found, key=lambda name: (len(name), name)):
        text = _summary(found[field]) if kind else found[field]
        ref = Ref("entry", f"{key}/{field}") if kind else None
        yield named(field, printable(text, 600) or word("empty"), ref)


def entry_rows(
    client: redis.Redis, key: str, field: str, *, clock: Clock = utc_now
) -> Iterator[DetailRow]:
    """Yield an entry of the cache, field by field, and what it is about.

    Args:
        client: of Redis.
        key: `cache.USERS` or `cache.PRODUCTS`.
        field: the id of the customer or product.
        clock: UTC; what the age is measured against.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    yield from _about(client, key, clock)
    yield DetailRow(_KINDS[key], field, Ref(_KINDS[key], field))
    text = cast("str | None", client.hget(key, field))
    yield heading("fields")
    if text is None:
        yield DetailRow(key, word("it is not in the cache"), wrong=True, name=True)
        return
    values = _values(text)
    if values is None:
        yield DetailRow(key, printable(text, 600), wrong=True, name=True)
        return
    for name, value in values.items():
        yield named(name, _shown(name, value))


def refresh_rows(found: Redis | None, key: str) -> Iterator[DetailRow]:
    """Yield a refresh of the cache, and the keys that it replaced.

    Args:
        found: what was read of Redis; None: nothing yet.
        key: as `refresh_key` returns it.
    """
    for r in found.refreshes if found else ():
        if refresh_key(r) == key:
            yield DetailRow("version", f"#{r.version}")
            yield DetailRow("time", f"{r.at.astimezone(KST):%Y-%m-%d %H:%M:%S} KST")
            if r.error:
                yield DetailRow("error", printable(r.error), wrong=True)
            else:
                yield DetailRow("duration", f"{r.duration:.3f} s")
                yield DetailRow("replaced", f"{r.replaced:,}")
            yield DetailRow("users", f"{r.users:,}", Ref("key", cache.USERS))
            yield DetailRow("products", f"{r.products:,}", Ref("key", cache.PRODUCTS))
            yield DetailRow("process", "cache", Ref("process", "cache"))


def refresh_key(refresh: Refresh) -> str:
    """Return the key by which a refresh is opened."""
    return f"#{refresh.version} {refresh.at.astimezone(KST):%H:%M:%S} KST"


def _about(client: redis.Redis, key: str, clock: Clock) -> Iterator[DetailRow]:
    """Yield the key, its type, its time to live and its age."""
    pipe = client.pipeline(transaction=False)
    pipe.type(key)
    pipe.ttl(key)
    pipe.memory_usage(key)
    kind, ttl, memory = pipe.execute(raise_on_error=False)
    yield DetailRow("key", key, Ref("key", key))
    yield DetailRow("type", str(kind))
    # -1: the key does not expire, the next refresh replaces it; -2: there is no such key.
    lasts = {-1: word("until the next refresh"), -2: word("none")}
    yield DetailRow("TTL", lasts.get(ttl) or duration(float(ttl)) if isinstance(ttl, int) else "-")
    if isinstance(memory, int):
        yield DetailRow("memory", size(memory))
    meta = cache.read_meta(client)
    if meta.refreshed_at is not None:
        age = duration(max(0.0, (clock() - meta.refreshed_at).total_seconds()))
        yield DetailRow("refreshed", texts.CACHE_AGE(age=age, version=meta.version))


def _scanned(client: redis.Redis, key: str) -> dict[str, str]:
    """Return the entries of a hash, `MOST_ENTRIES` at the most."""
    found: dict[str, str] = {}
    for field, value in client.hscan_iter(key, count=500):
        if len(found) >= MOST_ENTRIES:
            break
        found[str(field)] = str(value)
    return found


def _values(text: str) -> dict[str, Any] | None:
    """Return the fields of an entry; None if it is not what the cache worker writes."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _shown(name: str, value: Any) -> Text:
    """Return a value as text: an amount with its unit, anything else as JSON has it."""
    if name in _AMOUNTS and isinstance(value, int):
        return texts.KRW(amount=f"{value:,}")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "-" if value is None else printable(text)


def _summary(text: str) -> str:
    values = _values(text)
    if values is None:
        return text
    shown = (f"{n}={_shown('', values[n])}" for n in _SHOWN if values.get(n) is not None)
    return "  ".join(shown)
