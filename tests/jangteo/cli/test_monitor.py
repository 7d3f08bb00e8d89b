"""The cache monitor line, to the byte, and `jangteo monitor` on a real Redis."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shop.redis import cache, cache_line
from shop.redis.cache import CacheMeta
from tests.support import python_process

NOW = datetime(2026, 11, 23, 2, 45, 35, tzinfo=timezone.utc)
INFO = {"used_memory_human": "2.25M", "instantaneous_ops_per_sec": 1}
FORM = re.compile(
    r"\[\d\d:\d\d:\d\d\] \[\d+/[\d.]+s #*-*\] \| MEM: \S+ \| OPS/s: \d+ \| HIT: \d+\.\d% \| "
    r"CACHE: users=\d+, products=\d+ \| replaced: \d+"
)


def at(seconds: float, interval: float = 50.0, version: int = 1) -> CacheMeta:
    return CacheMeta(
        version=version, refreshed_at=NOW - timedelta(seconds=seconds), interval=interval
    )


def test_exact_bytes() -> None:
    assert cache_line.line(at(15), INFO, 1000, 1000, NOW).encode() == (
        b"[11:45:35] [15/50s ######--------------] | MEM: 2.25M | OPS/s: 1 | HIT: 100.0% | "
        b"CACHE: users=1000, products=1000 | replaced: 1"
    )


def test_exact_bytes_in_korean() -> None:
    assert cache_line.line(at(15), INFO, 1000, 1000, NOW, lang="ko").encode() == (
        b"[11:45:35] [15/50s ######--------------] | MEM: 2.25M | OPS/s: 1 | HIT: 100.0% | "
        b"CACHE: users=1000, products=1000 | \xea\xb5\x90\xec\xb2\xb4: 1\xed\x9a\x8c"
    )


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        (CacheMeta(), "[0/50s --------------------]"),
        (at(0), "[0/50s --------------------]"),
        (at(49.9), "[49/50s ###################-]"),
        (at(75), "[75/50s ####################]"),
        (at(-5), "[0/50s --------------------]"),
        (at(0.5, interval=1.0), "[0/1s ##########----------]"),
        (at(1, interval=2.5), "[1/2.5s ########------------]"),
    ],
)
def test_bar(meta: CacheMeta, shown: str) -> None:
    assert shown in cache_line.line(meta, INFO, 1, 2, NOW)


@given(
    st.floats(-1e4, 1e6),
    st.floats(0.1, 1e5),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)
def test_form_holds_whatever_comes(since: float, interval: float, hits: int, misses: int) -> None:
    info = {**INFO, "keyspace_hits": hits, "keyspace_misses": misses}
    text = cache_line.line(at(since, interval), info, 3, 4, NOW)
    bar = re.search(r"[#-]{3,}", text)
    assert bar
    assert len(bar[0]) == cache_line.BAR_CELLS
    rate = float(re.findall(r"HIT: ([\d.]+)%", text)[0])
    assert 0 <= rate <= 100


def test_once_prints_the_line_of_a_real_redis(
    env: dict[str, str], redis_client: redis.Redis
) -> None:
    meta = CacheMeta(version=7, interval=50.0)
    user = cache.CachedUser(
        user_id=1,
        purchaser=False,
        gender=None,
        birth_year=None,
        city=None,
        grade="BRONZE",
        created_at=None,
        last_ordered_at=None,
        order_count=0,
        total_spent=0,
    )
    cache.swap(redis_client, [user], [], lambda *_: meta)
    done = python_process.run(
        [sys.executable, "-m", "jangteo.cli.monitor", "--once", "--lang", "en"],
        env=env,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert FORM.fullmatch(done.stdout.strip())
    assert "CACHE: users=1, products=0 | replaced: 7" in done.stdout


def test_redis_away_is_said_and_survived(env: dict[str, str], servers: object) -> None:
    running = python_process.Popen(
        [sys.executable, "-m", "jangteo.cli.monitor", "--lang", "en"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout
        assert FORM.fullmatch(running.stdout.readline().strip())
        servers.redis.kill()  # type: ignore[attr-defined]  # the fixture is typed as an object, as conftest cannot be imported
        lines = iter(running.stdout.readline, "")
        assert any("Redis does not answer, trying again" in text for text in lines)
        servers.redis.start()  # type: ignore[attr-defined]  # the fixture is typed as an object, as conftest cannot be imported
        assert any(FORM.fullmatch(text.strip()) for text in lines)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.communicate()


def test_once_without_redis_is_one_line_and_exit_3(env: dict[str, str]) -> None:
    done = python_process.run(
        [sys.executable, "-m", "jangteo.cli.monitor", "--once"],
        env={**env, "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert "cannot reach Redis at redis://:********@127.0.0.1:1/0" in done.stderr
    assert len(done.stderr.splitlines()) == 1
