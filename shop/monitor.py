"""The cache monitor: one line a second on the refresh, the memory and the hits of the cache."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from shop import cache, command
from shop import settings as shop_settings
from shop.cache import CacheMeta
from shop.clock import KST, utc_now
from shop.errors import ExitCode, UnreachableError
from shop.log import redact
from shop.say import say
from shop.settings import Settings

if TYPE_CHECKING:
    import redis

BAR_CELLS: Final = 20
EVERY_S: Final = 1.0


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
        meta: what the cache worker says.
        info: Redis's INFO; empty where it may not be read.
        users: customers in the cache.
        products: products in the cache.
        now: aware; shown as time of day in Seoul.
        lang: of the last field.

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
    """Return what stands in the line's place while Redis does not answer.

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
    return line(cache.read_meta(r), info, users, products, now, lang=lang)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--lang", choices=("en", "ko"), help="language (default: the locale's)")
    parser.add_argument("--once", action="store_true", help="print one line and end")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the line once a second until stopped."""
    from redis import RedisError  # noqa: PLC0415  (0.1 s, for those who only want the line's text)

    from shop.timing import redis_time  # noqa: PLC0415  (imports psycopg: likewise)

    stop = command.stop_on_signals()
    lang = cast("Literal['en', 'ko']", args.lang or settings.lang)
    url = settings.redis_url
    client = cache.client(url)
    while not stop.is_set():
        began = time.monotonic()
        try:
            text = read(client, redis_time(client), lang)
        except RedisError as e:
            if args.once:
                where = redact(url)
                raise UnreachableError(
                    f"cannot reach Redis at {where}: {cache.explain(e)}"
                ) from None
            text = away(e, utc_now(), lang)
            # A stack that was started again may have another port.
            found = shop_settings.load(data_dir=args.data_dir)
            if (moved := found.env.get("REDIS_URL", url)) != url:
                url, client = moved, cache.client(moved)
        say(text)
        if args.once:
            break
        stop.wait(max(0.0, began + EVERY_S - time.monotonic()))
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m shop.monitor", description=__doc__))
