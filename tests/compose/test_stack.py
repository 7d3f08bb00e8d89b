"""All 21 services in containers: they run, they go on when one dies, and nothing is left of them.

The tests build on one another: one stack, broken three times.
"""

from __future__ import annotations

import re
import shlex
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stack import KEEP, Stack, docker, missing, settings, wait_until

from shop import postgres
from shop.consistency import check

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if reason := missing():
        pytest.skip(reason)
    made = Stack()
    try:
        made.up()
        yield made
    except BaseException:
        print(made.state(), made.compose("logs", "--tail", "15"))
        raise
    finally:
        if not KEEP:
            made.down()


def connect() -> postgres.Connection:
    return postgres.connect(settings().postgres, "compose-test", autocommit=True)


def stored() -> dict[int, int]:
    """Where the ingest of orders is, for each partition."""
    with connect() as conn:
        rows = conn.execute(
            "SELECT partition, next_offset FROM ingest_offsets WHERE topic = 'orders'"
        ).fetchall()
    return {int(p): int(n) for p, n in rows}


def wait_for_orders(timeout: float = 300.0) -> None:
    """Wait until orders came through every partition, from now on."""
    before = stored()

    def late() -> set[int]:
        now = stored()
        return {p for p in range(12) if now.get(p, 0) <= before.get(p, 0)}

    wait_until(lambda: not late(), lambda: f"orders on every partition; not on {late()}", timeout)


def assert_caught_up(stack: Stack) -> None:
    """Three members and no lag in each group, and what was counted is what was ordered (P2)."""
    with stack.quiet():
        wait_until(stack.settled, lambda: f"three members and no lag each: {stack.groups()}")
    with connect() as conn:
        assert check(conn) == []
        assert conn.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,)


def test_21_services_are_healthy(stack: Stack) -> None:
    assert len(stack.services) == 21
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert stack.state()["init"] == "exited"


def test_three_groups_of_three_keep_up(stack: Stack) -> None:
    wait_for_orders()
    assert_caught_up(stack)


def test_the_commands_of_the_guide_answer(stack: Stack) -> None:
    guide = (Path(__file__).parents[2] / "docs/docker.md").read_text(encoding="utf-8")
    commands = re.findall(r"^docker (exec (?!-it)[^\n]+|logs --tail[^\n]+)$", guide, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        assert docker(*shlex.split(command)).strip(), command


def test_the_cache_is_full_and_the_monitor_says_so(stack: Stack) -> None:
    for key in ("cache:users", "cache:products"):
        assert docker("exec", "local_redis", "redis-cli", "hlen", key).strip() == "1000"
    assert "CACHE: users=1000, products=1000" in docker("logs", "--tail", "3", "redis_monitor")


@pytest.mark.parametrize("port", [8080, 8081])
def test_the_pages_answer(stack: Stack, port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.read()


def test_a_broker_dies(stack: Stack) -> None:
    docker("kill", "kafka2")
    try:
        wait_for_orders()
    finally:
        docker("start", "kafka2")
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert_caught_up(stack)


def test_an_order_consumer_dies(stack: Stack) -> None:
    docker("kill", "order_consumer_1")
    try:
        wait_for_orders()
        assert stack.groups()["orders"][0] == 2
    finally:
        docker("start", "order_consumer_1")
    assert_caught_up(stack)


def test_postgres_dies_and_is_started_again(stack: Stack) -> None:
    # Every process but the first, which then ends; not `docker kill`, after which nobody would
    # start it again.
    docker("exec", "-u", "root", "local_postgres", "sh", "-c", "kill -9 -1", check=False)
    wait_until(lambda: stack.state()["postgres"] == "running healthy", lambda: "PostgreSQL is back")
    wait_for_orders()
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert_caught_up(stack)


def test_down_leaves_nothing(stack: Stack) -> None:
    stack.down()
    assert stack.leftovers() == []
