"""The cache on one line: refresh, memory, hits. The monitor and the console print the same one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from shop.clock import KST
from shop.redis import cache
from shop.redis.cache import CacheMeta

if TYPE_CHECKING:
    import redis

BAR_CELLS: Final = 20


def line(
    meta: CacheMeta,
    info: Mapping[str, Any],
    users: int,
    products: int,
    now: datetime,
    *,
    lang: Literal["en", "ko"] = "en",
) -> str:
    """Return the monitor line.

    Args:
        meta: the cache worker's description of the cache.
        info: Redis's INFO, its hits and misses replaced by those of the cache (`cache_info`); empty
            if it may not be read.
        users: customers in the cache.
        products: products in the cache.
        now: an aware time; shown as time of day in Seoul.
        lang: language of the last field.

    >>> from datetime import timedelta, timezone
    >>> now = datetime(2026, 11, 23, 2, 45, 35, tzinfo=timezone.utc)
    >>> meta = CacheMeta(version=1, refreshed_at=now - timedelta(seconds=15), interval=50)
    >>> info = {"used_memory_human": "2.25M", "instantaneous_ops_per_sec": 1}
    >>> print(line(meta, info, 1000, 1000, now))  # doctest: -NORMALIZE_WHITESPACE -ELLIPSIS
    [11:45:35] [15/50s ######--------------] | MEM: 2.25M | OPS/s: 1 | HIT: 100.0% | CACHE: users=1000, products=1000 | replaced: 1
    """  # noqa: E501  (the line as it is printed)
    since = (now - meta.refreshed_at).total_seconds() if meta.refreshed_at else 0.0
    since = max(0.0, since)  # a clock that steps back
    filled = min(BAR_CELLS, int(BAR_CELLS * since / meta.interval))
    hits, misses = int(info.get("keyspace_hits", 0)), int(info.get("keyspace_misses", 0))
    share = 100.0 * hits / (hits + misses) if hits + misses else 100.0
    hit_rate = f"{share:.1f}%" if info else "?"
    replaced = f"교체: {meta.version}회" if lang == "ko" else f"replaced: {meta.version}"
    return (
        f"[{_clock(now)}] [{int(since)}/{round(meta.interval, 1):g}s {'#' * filled:-<{BAR_CELLS}}]"
        f" | MEM: {info.get('used_memory_human', '?')}"
        f" | OPS/s: {info.get('instantaneous_ops_per_sec', 0) if info else '?'}"
        f" | HIT: {hit_rate}"
        f" | CACHE: users={users}, products={products}"
        f" | {replaced}"
    )


def away(error: Exception, now: datetime, lang: Literal["en", "ko"] = "en") -> str:
    """Return the line that is shown while Redis does not answer.

    >>> from datetime import timezone
    >>> away(OSError("refused"), datetime(2026, 11, 23, 2, 45, 35, tzinfo=timezone.utc))
    '[11:45:35] Redis does not answer, trying again: refused'
    """
    words = (
        "Redis 응답 없음, 다시 시도함" if lang == "ko" else "Redis does not answer, trying again"
    )
    return f"[{_clock(now)}] {words}: {cache.explain(error)}"


def _clock(now: datetime) -> str:
    return f"{now.astimezone(KST):%H:%M:%S}"


def read(r: redis.Redis, now: datetime, lang: Literal["en", "ko"] = "en") -> str:
    """Return the monitor line of a Redis.

    Raises:
        redis.RedisError: if it does not answer.
    """
    pipe = r.pipeline(transaction=False)
    pipe.info()
    pipe.hlen(cache.USERS)
    pipe.hlen(cache.PRODUCTS)
    info, users, products = pipe.execute(raise_on_error=False)
    for reply in (users, products):
        if isinstance(reply, Exception):
            raise reply
    if isinstance(info, Exception):
        info = {}  # an ACL user without INFO: the rest is shown
    return line(cache.read_meta(r), cache_info(r, info), users, products, now, lang=lang)


def cache_info(r: redis.Redis, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return INFO with the hits and misses of the cache, not of all of Redis."""
    hits, misses = cache.read_lookups(r)
    return {**info, "keyspace_hits": hits, "keyspace_misses": misses} if info else info
