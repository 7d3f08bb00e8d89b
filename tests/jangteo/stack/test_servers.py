"""The stack's environment and lock, and what the live status shows."""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from jangteo.stack import screen
from jangteo.stack.accounting import Account
from jangteo.stack.kafka.broker import Broker
from jangteo.stack.kafka.fallback import InMemoryBroker
from jangteo.stack.observer import RecentOrder, ShopSample
from jangteo.stack.server import Server
from jangteo.stack.servers import Stack, held
from shop import kafka
from shop.clock import utc_now
from shop.errors import UsageError
from shop.events import TOPICS
from shop.process_status import ProcessStatus
from shop.settings import stack_file


def test_a_given_server_is_kept_and_the_others_are_ours(tmp_path: Path) -> None:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "KAFKA_SASL_USERNAME": "me", "PATH": "/bin"}
    stack = Stack(tmp_path, given, lambda _: None)
    assert [s.name for s in stack.servers] == ["postgres", "redis"]
    assert stack.env["KAFKA_BOOTSTRAP_SERVERS"] == "k:9092"
    assert stack.env["KAFKA_SASL_USERNAME"] == "me"
    assert stack.env["POSTGRES_HOST"] == "127.0.0.1"


def test_variables_meant_for_another_server_do_not_reach_ours(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another server")
    given = {
        "POSTGRES_PASSWORD_FILE": str(secret),
        "POSTGRES_SSLROOTCERT": "/ca.pem",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_PARTITIONS": "3",
        "SPEND_WINDOW": "1h",
    }
    stack = Stack(tmp_path / "data", given, lambda _: None)
    for server in stack.servers:
        server.port = 1  # as if started
    settings = stack.settings
    assert settings.postgres.password != "of another server"
    assert settings.postgres.sslrootcert is None
    assert settings.kafka.client == {}
    assert settings.kafka.partitions == 3
    assert settings.spend_window == 3600


def test_what_is_published_is_enough_to_find_and_to_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    given = {"SPEND_WINDOW": "1h", "HOME_SECRET": "x", "REDIS_URL": "redis://r:1/0"}
    stack = Stack(tmp_path / "data", given, lambda _: None)
    for server in stack.servers:
        server.port = 1  # as if started
    stack.publish()
    found = stack_file.find_stack(tmp_path / "data")
    assert found
    assert found.pid == os.getpid()
    assert found.env["SPEND_WINDOW"] == "1h"
    assert found.env["REDIS_URL"] == "redis://r:1/0"
    assert {"POSTGRES_PASSWORD", "KAFKA_BOOTSTRAP_SERVERS"} <= set(found.env)
    assert "HOME_SECRET" not in found.env
    stack.stop()
    assert stack_file.find_stack(tmp_path / "data") is None


def test_a_directory_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    message = f"held by process {os.getpid()} since"
    with held(tmp_path), pytest.raises(UsageError, match=message), held(tmp_path):
        pytest.fail("held twice")
    with held(tmp_path):
        pass


@pytest.mark.parametrize("kind", [Broker, InMemoryBroker])
def test_a_dead_server_is_started_again_where_it_was(
    kind: type[Server],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind is Broker:
        request.getfixturevalue("apache_kafka")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    said: list[str] = []
    given = {
        "POSTGRES_HOST": "127.0.0.1",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JANGTEO_KAFKA_PORT": "0",
    }
    stack = Stack(tmp_path / "data", given, said.append, broker=kind)
    try:
        stack.start()
        (broker,) = stack.servers
        before = dict(broker.env)
        created = kafka.create_topics(stack.settings.kafka)
        assert set(created) == set(TOPICS)
        assert broker.pid
        killed = psutil.Process(broker.pid)
        killed.kill()
        psutil.wait_procs([killed])
        stack.poll()
        assert broker.alive
        assert broker.env == before
        assert stack.statuses()[0].restarts == 1
        assert kafka.create_topics(stack.settings.kafka) == [], "its topics are there"
        lost = [line for line in said if "unread messages are lost" in line]
        assert len(lost) == (kind is InMemoryBroker)
        stack.poll()
        assert len(said) == 3 + len(lost), "nothing more to say"
    finally:
        stack.stop()
    assert stack.statuses()[0].state == "stopped"


def view(*, known: bool) -> screen.StatusView:
    numbers = dict.fromkeys(TOPICS, 1234)
    account = Account(numbers, numbers, numbers, numbers, numbers, numbers)
    sample = ShopSample(account, 0.0, numbers, {"BRONZE": 7}, "[line]", ("Redis: gone",))
    return screen.StatusView(
        data_dir=Path("/data"),
        since=utc_now(),
        speed=50.0,
        lang="en",
        ends_in=12.0 if known else None,
        servers=["PostgreSQL on 127.0.0.1:1"],
        statuses=[
            ProcessStatus("ingest", 4711, 0.0, "running", 2, utc_now(), "SIGKILL"),
            ProcessStatus("orders", None, None, "backoff", 0, None, "exit 1"),
        ],
        sample=sample if known else ShopSample(),
    )


@pytest.mark.parametrize("known", [True, False])
def test_the_live_status_fits_a_terminal_and_shows_what_is_known(known: bool) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(screen.render(view(known=known)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert len(text.splitlines()) <= 24
    for words in ("ingest", "4711", "SIGKILL", "backoff", "exit 1", "/data/logs", "Ctrl-C stops"):
        assert words in text
    for words in ("1,234", "BRONZE=7", "[line]", "Redis: gone", "ends in 12 s"):
        assert (words in text) == known


@pytest.mark.parametrize("known", [True, False])
def test_the_live_status_is_in_korean_where_the_console_is(known: bool) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(screen.render(replace(view(known=known), lang="ko")))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for words in (
        *("장터  가동 0:00:00  속도 50배", "프로세스  상태", "재시작 대기", "토픽", "발행"),
        *("첫 주문을 기다리는 중", "Ctrl-C로 종료", "jangteo doctor"),
    ):
        assert words in text, text
    assert ("연결 안 됨: Redis: gone" in text) == known
    assert not re.search("process |state|published|topic |waiting|none yet|cache|stops", text), text


@pytest.mark.parametrize(("rows", "shown"), [(24, 5), (18, 3), (40, 5)])
def test_a_small_terminal_shows_orders_and_what_to_type_next(rows: int, shown: int) -> None:
    known = view(known=True)
    order = RecentOrder(7, "김서연", 9, "산뜻한 면 셔츠", 1, 74_800, "PAID", utc_now())
    statuses = [
        ProcessStatus(f"process-{n}", 4711, 0.0, "running", 0, utc_now(), None) for n in range(10)
    ]
    full = replace(
        known,
        statuses=[*statuses, known.statuses[1]],
        sample=replace(known.sample, orders=(order,) * 5),
    )
    console = Console(file=io.StringIO(), width=80, height=rows, force_terminal=False)
    console.print(screen.fitted(full, console))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= rows
    assert sum("bought" in line for line in lines) == shown
    assert "jangteo doctor" in " ".join(lines)
    assert any("backoff" in line for line in lines), "what does not run is named"
    assert any("10 of 11 running" in line for line in lines) == (rows < 40)


def test_the_plain_line_begins_with_the_monitor_line() -> None:
    text = screen.plain_line(view(known=True))
    assert text.startswith("[line] | published: users=1,234, products=1,234, orders=1,234 | ")
    assert "lag: 3702 | processes: 1/2 | away: Redis: gone" in text
    assert screen.plain_line(view(known=False)) == "starting | processes: 1/2"
