"""REDIS_URL, rights, policies and keys that are not what they should be: one line, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from jangteo.cli import doctor_probes
from shop.errors import UsageError
from shop.redis import cache
from shop.settings import Settings
from shop.settings.redis_url import check

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
    done = subprocess.run(
        [sys.executable, "-m", "jangteo.cli.monitor", "--once"],
        env={"REDIS_URL": UNUSABLE[0]}, capture_output=True, text=True, check=False,
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
        done = subprocess.run(
            [sys.executable, "-m", *module],
            env={**env, "REDIS_URL": no_info}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "permission" not in done.stdout
    found = doctor_probes.redis_cache(settings_of(env, no_info))
    assert found[0].level == "ok"
    assert "unknown" in found[0].text


def settings_of(env: dict[str, str], url: str) -> Settings:
    from shop import settings  # noqa: PLC0415

    return settings.load({**env, "REDIS_URL": url}, use_stack=False)


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
            redis_client.hset(key, mapping={b"version\xff": b"\xff", b"version": b"\xff"})  # type: ignore[arg-type]
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
