"""Print refreshes, memory and hits of the cache, one line per second."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final, Literal, cast

from shop import command
from shop import settings as shop_settings
from shop.clock import utc_now
from shop.errors import ExitCode, UnreachableError
from shop.log import redact
from shop.output import say
from shop.redis import cache, cache_line
from shop.settings import Settings

if TYPE_CHECKING:
    pass

EVERY_S: Final = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--lang", choices=("en", "ko"), help="print in this language (default: the locale's)"
    )
    parser.add_argument("--once", action="store_true", help="print one line, then exit")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the line once a second until stopped."""
    from redis import RedisError  # noqa: PLC0415  (0.1 s, for those who only want the line's text)

    from shop.server_clock import redis_time  # noqa: PLC0415  (imports psycopg: likewise)

    stop = command.stop_on_signals()
    lang = cast("Literal['en', 'ko']", args.lang or settings.lang)
    url = settings.redis_url
    client = cache.client(url)
    while not stop.is_set():
        began = time.monotonic()
        try:
            text = cache_line.read(client, redis_time(client), lang)
        except RedisError as e:
            if args.once:
                where = redact(url)
                raise UnreachableError(
                    f"cannot reach Redis at {where}: {cache.explain(e)}"
                ) from None
            text = cache_line.away(e, utc_now(), lang)
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
    sys.exit(
        command.main(configure, run, prog="python -m jangteo.cli.monitor", description=__doc__)
    )
