"""Check whether the processes of a container are alive, for its health check: exit code 0 or 1.

`python -m jangteo.cli.health http`: its endpoint (METRICS_PORT) answers `/healthz` with 200.
`python -m jangteo.cli.health NAME [NAME ...]`: each of them has a heartbeat in Redis.

A stack asks fifteen times in fifteen seconds, each time with a new Python: what a look does not
need is not imported (0.25 s of a core instead of 0.65).
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final

from shop import settings
from shop.errors import ExitCode, JangteoError
from shop.output import guarded, say

TIMEOUT_S: Final = 3.0


def check(names: Sequence[str], environ: Mapping[str, str] = os.environ) -> str:
    """Return one line with what is not well; empty if all is well.

    Args:
        names: ``http``, or names of heartbeats.
        environ: METRICS_PORT, or REDIS_URL.

    Raises:
        UsageError: if a setting is missing or wrong.
    """
    config = settings.load(environ, use_stack=False)
    if list(names) == ["http"]:
        return _http(f"http://127.0.0.1:{config.metrics_port}/healthz")
    return _heartbeats(names, config.redis_url)


def _heartbeats(names: Sequence[str], url: str) -> str:
    import redis  # noqa: PLC0415  (0.4 s of a core that an HTTP check does without)

    from shop.redis import cache  # noqa: PLC0415  (0.4 s of a core that an HTTP check does without)

    try:
        with cache.client(url, timeout=TIMEOUT_S) as r:
            missing = [n for n in names if not r.exists(cache.HEARTBEAT + n)]
    except redis.RedisError as e:
        return f"Redis does not answer: {cache.explain(e)}"
    return f"no heartbeat of {', '.join(missing)}" if missing else ""


def _http(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):  # noqa: S310  (our own address)
            return ""
    except (urllib.error.URLError, OSError) as e:
        return f"{url}: {e}"


def main(argv: Sequence[str]) -> int:
    """Check, print what is wrong, return the exit code."""
    if not argv:
        say("python -m jangteo.cli.health http | NAME ...", to=sys.stderr)
        return ExitCode.USAGE
    try:
        trouble = check(argv)
    except JangteoError as e:
        trouble = str(e)
    if trouble:
        say(trouble, to=sys.stderr)
    return ExitCode.FAILED if trouble else ExitCode.OK


if __name__ == "__main__":
    sys.exit(guarded("python -m jangteo.cli.health", lambda: main(sys.argv[1:])))
