"""Generators with an end, `--for` or `--limit`: they give up on a server that does not answer."""

from __future__ import annotations

import importlib
import re
import threading
from functools import partial

import psycopg
import pytest
import redis

from generators.behaviour.arrivals import ORDERS, Pacer, law_for
from generators.live.publisher import LivePublisher
from generators.live.registrations import RegistrationSource
from generators.publishing import loop
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import TopicOutput
from generators.random_streams import stream
from generators.topics import publisher as optional
from generators.topics.interface import RunningShop
from generators.topics.publisher import OptionalPublisher
from generators.topics.registry import LIVE
from shop import command, kafka
from shop.clock import utc_now
from shop.errors import UnreachableError
from shop.ids import IdGenerator
from shop.settings import Settings
from tests.support.generator_processes import fill_cache


@pytest.mark.parametrize(
    ("topic", "end"),
    [
        ("users", "--for 1"),
        ("products", "--limit 20"),
        ("orders", "--for 1"),
        ("orders", "--limit 20"),
    ],
)
def test_a_run_that_has_an_end_gives_up_without_kafka(  # noqa: PLR0917  (fixtures)
    env: dict[str, str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], topic: str, end: str,
):  # fmt: skip
    for name, seconds in (("SILENT_S", 1.0), ("FLUSH_S", 0.1)):
        monkeypatch.setattr(loop, name, seconds)
    monkeypatch.setattr(command, "stop_on_signals", threading.Event)
    fill_cache(redis_client)
    for name, value in {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module(f"generators.{topic}")
    argv = ["--rate", "100", *end.split()]
    assert command.main(module.configure, module.run, prog=topic, description="", argv=argv) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    told = re.search(r"acknowledged nothing for 1 s.*has 0 of (\d+) events, (\d+) were not", last)
    assert told, last
    assert told[1] == told[2] != "0"


@pytest.mark.parametrize("end", ["--for 1", "--limit 20"])
@pytest.mark.parametrize("topic", ["users", "products", "orders"])
def test_a_run_that_has_an_end_gives_up_without_postgresql(  # noqa: PLR0917  (fixtures)
    env: dict[str, str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], topic: str, end: str,
):  # fmt: skip
    monkeypatch.setattr(loop, "SILENT_S", 0.5)
    monkeypatch.setattr(command, "stop_on_signals", threading.Event)
    fill_cache(redis_client)
    for name, value in {**env, "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module(f"generators.{topic}")
    argv = ["--rate", "100", *end.split()]
    assert command.main(module.configure, module.run, prog=topic, description="", argv=argv) == 3
    log = capsys.readouterr().err
    assert "waiting for server" in log
    assert "a node lease, without which no id may be made" in log
    assert "cannot reach PostgreSQL at 127.0.0.1:1" in log.splitlines()[-1]


@pytest.mark.usefixtures("topics", "pg")
def test_a_limited_run_gives_up_on_an_empty_cache(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(loop, "WAIT_S", 0.5)
    monkeypatch.setattr(command, "stop_on_signals", threading.Event)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("generators.orders")
    argv = ["--rate", "100", "--limit", "20"]
    assert command.main(module.configure, module.run, prog="x", description="", argv=argv) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "waited 0.5 s for the cache (no users and products in it yet): 0 events were" in last


def _output(settings: Settings, topic: str) -> TopicOutput:
    producer = EventProducer(topic, lambda **o: kafka.producer(settings.kafka, "test", **o))
    return TopicOutput(topic, producer)


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_limited_run_gives_up_when_its_lease_is_lost_for_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, comes_back: bool
):
    monkeypatch.setattr(loop, "WAIT_S", 0.5)
    looks = 0

    def hindered() -> str:
        nonlocal looks
        looks += 1
        lost = looks > 2 and not (comes_back and looks > 4)
        return "a node lease (PostgreSQL does not renew it)" if lost else ""

    publisher = LivePublisher(
        RegistrationSource("users", stream(1, "x"), IdGenerator()),
        Pacer(law_for(ORDERS, speed=1, rate=100), stream(1, "y")),
        _output(settings, "users"),
        hindered=hindered,
    )
    stop = threading.Event()
    report = publisher.run(stop, limit=50)
    if comes_back:
        assert report.made == 50
        publisher.check(stop, report.missing)
        return
    assert report.made < 50
    with pytest.raises(UnreachableError, match=r"waited 0\.5 s for a node lease .*events were"):
        publisher.check(stop, report.missing)
    stop.set()
    publisher.check(stop, report.missing)  # somebody ended the run: no error


@pytest.mark.usefixtures("topics")
def test_a_limited_run_of_optional_topics_gives_up_without_postgresql(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setattr(loop, "WAIT_S", 1.0)
    monkeypatch.setattr(optional, "AGAIN_S", 0.1)
    away = "host=127.0.0.1 port=1 dbname=x user=x"
    connect = partial(psycopg.connect, away)
    shop = RunningShop(seed=1, speed=1.0, connect=connect, redis=redis_client)
    publisher = OptionalPublisher(
        {"shipments": LIVE["shipments"](shop)}, [_output(settings, "shipments")],
        clock=utc_now, limit=5,
    )  # fmt: skip
    stop = threading.Event()
    missing = publisher.run(stop)
    with pytest.raises(UnreachableError, match=r"waited 1 s for PostgreSQL \(.*0 events"):
        publisher.check(stop, missing)
    log = capsys.readouterr().err
    assert log.count("waiting_for=") == 1, "not again at each look"
    assert "no longer waiting" not in log
