"""REDIS_URL, rights, policies and keys that are not what they should be: one line, no traceback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from jangteo.cli import doctor_probes
from shop import postgres
from shop import settings as shop_settings
from shop.errors import UnreachableError, UsageError
from shop.redis import cache
from shop.settings import Settings
from shop.settings.redis_url import check
from tests.support import python_process
from tests.support.waiting import wait_until

SECRET = "s3cr"
UNUSABLE = [
    "redis://:s3cr#tpw@127.0.0.1:6379/0",
    "redis://:s3cr/tpw@127.0.0.1:6379/0",
    "redis://:s3cr?tpw@127.0.0.1:6379/0",
    "redis://:s3cr[tpw@127.0.0.1:6379/0",
    "redis://:s3cr]tpw@127.0.0.1:6379/0",
    "redis://:s3cr tpw@127.0.0.1:6379/0",
    "redis://:s3cr\ttpw@127.0.0.1:6379/0",
    "redis://:s3cr@127.0.0.1:port/0",
    "redis://:s3cr@127.0.0.1:99999/0",
    "redis://:s3cr@127.0.0.1:0/0",
    "redis://:s3cr@127.0.0.1:6379/db",
    "redis://:s3cr@127.0.0.1:6379/-1",
    "redis://:s3cr@127.0.0.1:6379/0/1",
    "redis://:s3cr@127.0.0.1:6379/0#1",
    "redis://:s3cr@127.0.0.1:6379/0?foo=bar",
    "redis://:s3cr@127.0.0.1:6379/0?foo",
    "redis://:s3cr@127.0.0.1:6379/0?socket_timeout=abc",
    "redis://:s3cr@127.0.0.1:6379/0?socket_timeout=0",
    "redis://:s3cr@127.0.0.1:6379/0?max_connections=0",
    "redis://:s3cr@127.0.0.1:6379/0?db=1&db=2",
    "redis://:s3cr@127.0.0.1:6379/0?decode_responses=False",
    "redis://:s3cr@127.0.0.1:6379/0?encoding=latin-1",
    "redis://:s3cr@127.0.0.1:6379/0?ssl_cert_reqs=none",
    "rediss://:s3cr@127.0.0.1:6379/0?ssl_cert_reqs=maybe",
    "rediss://:s3cr@127.0.0.1:6379/0?ssl_ca_certs=/nowhere",
    "rediss://:s3cr@127.0.0.1:6379/0?ssl_certfile=/nowhere",
    "unix://",
    "unix:///tmp/x?socket_keepalive=true",
    "http://:s3cr@127.0.0.1:6379/0",
    "127.0.0.1:6379",
]
USABLE = [
    "redis://127.0.0.1:6379/0",
    "redis://:p%23w%2F@127.0.0.1",
    "redis://:p@w:x@127.0.0.1:6379",
    "redis://[::1]:6379/15?socket_timeout=2.5&protocol=3&retry_on_timeout=true",
    "rediss://user:pw@redis.example:6380/1?ssl_cert_reqs=required&ssl_check_hostname=false",
    "unix:///run/redis.sock?db=2&password=x",
]


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_unusable_url_is_refused_without_a_word_of_the_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        check(url)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", USABLE)
def test_what_is_accepted_makes_a_client(url: str) -> None:
    with cache.client(check(url)) as client:
        client.connection_pool.make_connection()


def test_a_command_ends_with_2_and_one_line() -> None:
    done = python_process.run(
        [sys.executable, "-m", "jangteo.cli.monitor", "--once"],
        env={"REDIS_URL": UNUSABLE[0]}, capture_output=True, text=True
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert SECRET not in done.stderr


@pytest.fixture
def no_info(settings: Settings, redis_client: redis.Redis) -> Iterator[str]:
    """The URL of a user who may do all but look at the server."""
    rights = ["on", ">pw", "~*", "&*", "+@all", "-info", "-config"]
    redis_client.execute_command("ACL", "SETUSER", "no_info", *rights)
    parts = urlsplit(settings.redis_url)
    yield f"redis://no_info:pw@{parts.hostname}:{parts.port}/0"
    redis_client.execute_command("ACL", "DELUSER", "no_info")


def test_without_info_the_rest_is_shown(env: dict[str, str], no_info: str) -> None:
    for module in (["jangteo.cli.monitor", "--once"], ["console", "--once"]):
        done = python_process.run(
            [sys.executable, "-m", *module],
            env={**env, "REDIS_URL": no_info}, capture_output=True, text=True
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "permission" not in done.stdout
    found = doctor_probes.redis_cache(settings_of(env, no_info))
    assert found[0].level == "ok"
    assert "unknown" in found[0].text


def settings_of(env: dict[str, str], url: str) -> Settings:
    return shop_settings.load({**env, "REDIS_URL": url}, use_stack=False)


def test_the_doctor_sees_a_policy_that_evicts(
    settings: Settings, redis_client: redis.Redis
) -> None:
    before = redis_client.config_get("maxmemory-policy")["maxmemory-policy"]
    try:
        redis_client.config_set("maxmemory-policy", "allkeys-lru")
        wrong = [f for f in doctor_probes.redis_cache(settings) if f.subject == "eviction"]
        assert [f.level for f in wrong] == ["wrong"]
        assert "noeviction" in wrong[0].advice
    finally:
        redis_client.config_set("maxmemory-policy", before)
    assert not [f for f in doctor_probes.redis_cache(settings) if f.subject == "eviction"]


@pytest.mark.parametrize("kind", ["string", "list", "foreign hash", "not text"])
def test_another_programs_keys_are_named(
    settings: Settings, redis_client: redis.Redis, kind: str
) -> None:
    for key in (cache.USERS, cache.PRODUCTS, cache.META, f"{cache.HEARTBEAT}x"):
        if kind == "string":
            redis_client.set(key, "x")
        elif kind == "list":
            redis_client.rpush(key, "x")
        elif kind == "foreign hash":
            redis_client.hset(key, mapping={"version": "x", "pid": "x", "a": "x"})
        else:
            redis_client.hset(key, mapping={b"version\xff": b"\xff", b"version": b"\xff"})  # type: ignore[arg-type]  # Redis takes bytes
    for read in (cache.read_users, cache.read_products, cache.read_meta):
        with pytest.raises(redis.RedisError) as refused:
            read(redis_client)
        assert "another program uses our keys" in cache.explain(refused.value)
    assert cache.heartbeats(redis_client) == []
    found = doctor_probes.redis_cache(settings)
    assert "wrong" in [f.level for f in found]


def test_refusals_say_what_to_set(settings: Settings) -> None:
    parts = urlsplit(settings.redis_url)
    at = f"{parts.hostname}:{parts.port}"
    for url, advice in (
        (f"redis://{at}/0", "give REDIS_URL a password"),
        (f"redis://:wrong@{at}/0", "correct user and password"),
        (f"{settings.redis_url[:-2]}/99", "lower database number"),
    ):
        with cache.client(url) as client, pytest.raises(redis.RedisError) as refused:
            client.ping()
        assert advice in cache.explain(refused.value)


RIGHTS = {
    "no right": ("+ping",),
    "no keys": ("+@all", "~other:*"),
    "read only": ("+@all", "-@write", "~*"),
}
SHUT_OUT = {
    "no password": "generators.users",
    "wrong password": "generators.orders",
    "no right": "generators.products",
    "no keys": "generators.cache_worker",
    "read only": "grading.updater",
    "replica": "generators.orders",
}
"""How Redis may be kept from a process by a setting -> one that is tried."""


@contextmanager
def shut_out(r: redis.Redis, url: str, how: str) -> Iterator[str]:
    """Yield the URL by which Redis is not to be used."""
    parts = urlsplit(url)
    at = f"{parts.hostname}:{parts.port}/0"
    if how in RIGHTS:
        r.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">pw", *RIGHTS[how])
        yield f"redis://poor:pw@{at}"
        r.execute_command("ACL", "DELUSER", "poor")
    elif how == "replica":
        r.replicaof("127.0.0.1", 1)
        yield url
        r.replicaof("NO", "ONE")
    else:
        yield {"no password": f"redis://{at}", "wrong password": f"redis://:wrong@{at}"}[how]


@pytest.mark.parametrize(("how", "module"), SHUT_OUT.items())
def test_a_wrong_setting_of_redis_ends_a_process_at_once(
    env: dict[str, str], settings: Settings, redis_client: redis.Redis, how: str, module: str
) -> None:
    with shut_out(redis_client, settings.redis_url, how) as url:
        with cache.client(url) as client, pytest.raises(UnreachableError):
            cache.check(client, "test")
        done = python_process.run(
            [sys.executable, "-m", module], capture_output=True, text=True, check=False, timeout=60,
            env={**env, "REDIS_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "level=info" not in line]
    assert (done.returncode, len(lines)) == (3, 1), done.stderr
    assert "REDIS_URL" in lines[0] or "ACL" in lines[0], lines
    assert "wrong@" not in lines[0]


def _full(r: redis.Redis) -> Callable[[], object]:
    r.config_set("maxmemory", 1)
    return lambda: r.config_set("maxmemory", 0)


def _unsaved(r: redis.Redis) -> Callable[[], object]:
    before = r.config_get("dir")["dir"]
    r.config_set("save", "1 1")
    r.config_set("dir", "/proc")  # where not even root can save
    r.set("other", "x")
    with contextlib.suppress(redis.ResponseError):  # "save" may have begun one already
        r.bgsave()
    wait_until(
        lambda: r.info("persistence")["rdb_last_bgsave_status"] != "ok", "the save has failed"
    )

    def fix() -> None:
        r.config_set("dir", before)
        r.config_set("save", "")

    return fix


@pytest.mark.parametrize("breaks", [_full, _unsaved])
@pytest.mark.usefixtures("topics")
def test_what_passes_is_waited_for(
    env: dict[str, str], settings: Settings, redis_client: redis.Redis, tmp_path: Path,
    breaks: Callable[[redis.Redis], Callable[[], object]],
) -> None:  # fmt: skip
    with postgres.connect(settings.postgres, "test", autocommit=True) as conn:
        conn.execute("INSERT INTO users (user_id, name, created_at) VALUES (1, 'a', now())")
        conn.execute(
            "INSERT INTO products (product_id, name, category, price, created_at)"
            " VALUES (1, 'a', '패션', 1, now())"
        )
    fix = breaks(redis_client)
    logs = {name: tmp_path / f"{name}.log" for name in ("cache_worker", "orders")}
    started = [
        python_process.Popen(
            [sys.executable, "-m", f"generators.{name}", *more],
            env=env,
            stderr=logs[name].open("wb"),
        )
        for name, more in (("cache_worker", ()), ("orders", ("--rate", "50", "--limit", "20")))
    ]
    words = "raise maxmemory" if breaks is _full else "cannot save to its disk"
    try:
        wait_until(
            lambda: all(words in log.read_text() for log in logs.values()),
            lambda: {n: log.read_text() for n, log in logs.items()},
        )
        assert [p.poll() for p in started] == [None, None]
        fix()
        assert started[1].wait(60) == 0, "orders were published when it was fixed"
        assert "Traceback" not in logs["orders"].read_text()
    finally:
        fix()
        for process in started:
            process.kill()
            process.wait()
