"""`jangteo up` as a person runs it: whole, killed, started again, on given servers."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import redis

from console.recording.keeper import HistoryKeeper
from jangteo.stack import consistency, readiness, supervisor
from jangteo.stack.servers import end_leftovers
from shop import boot_clock, postgres
from shop import kafka as shop_kafka
from shop import settings as shop_settings
from shop.clock import utc_now
from shop.events import ID_FIELD, TOPICS
from shop.process_status import ProcessStatus
from shop.redis import cache, control
from shop.settings import stack_file
from tests.support import python_process
from tests.support.up_process import UpProcess, gone
from tests.support.waiting import wait_until

# Nine processes and three servers are started, on a busy machine in more than a minute.
pytestmark = pytest.mark.timeout(900)
MONITOR = re.compile(
    r"\[\d\d:\d\d:\d\d\] \[\d+/[\d.]+s [#-]{20}\] \| MEM: \S+ \| OPS/s: \d+ \| HIT: \d+\.\d% \| "
    r"CACHE: users=\d+, products=\d+ \| replaced: \d+"
)
PROCESSES = {"ingest", "cache", "users", "products", "orders", "grader"}
SERVERS = {"postgres", "redis", "kafka"}


def check_result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    assert set(result) == {
        *("published", "stored", "rejected", "ignored", "lag", "spend_consistent"),
        *("grades", "cache", "seconds", "wrong"),
    }
    assert result["wrong"] == []
    assert result["lag"] == 0
    assert result["rejected"] == 0
    assert result["ignored"] == 0
    assert result["spend_consistent"] is True
    assert result["published"] == result["stored"]
    assert all(n > 0 for n in result["published"].values())
    assert result["cache"]["users"] == 1000
    assert result["cache"]["products"] == 1000
    assert result["cache"]["refreshes"] >= 2
    assert sum(result["grades"].values()) >= 10_000
    return result


@pytest.mark.slow
def test_for_ends_by_itself_with_every_event_accounted_for(shop: UpProcess) -> None:
    done = shop.run("--for", "20", "--speed", "50", "--json")
    result = check_result(done)
    assert result["stored"]["orders"] > 50
    assert any(MONITOR.search(line) for line in done.stderr.splitlines()), done.stderr
    assert stack_file.read_stack(shop.data_dir) is None
    assert gone(shop.pids())
    kept = HistoryKeeper(shop.data_dir).load()
    assert kept.first_at is not None, "the charts of a console that starts later"


@pytest.mark.slow
def test_an_optional_topic_stays_on_once_it_is_switched_on(shop: UpProcess) -> None:
    wrong = shop.run("--with", "shipment")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    for words, least in ((("--for", "25", "--with", "shipments"), 100), (("--for", "1"), 0)):
        done = shop.run("--speed", "3000", "--json", *words)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["wrong"], result["lag"], result["rejected"]) == ([], 0, 0)
        assert result["stored"]["shipments"] >= least
        assert {"optional", "orders", "ingest"} <= set(shop.statuses())


@pytest.mark.slow
@pytest.mark.usefixtures("topics")
def test_given_servers_are_used_instead_of_embedded_ones(
    shop: UpProcess, settings: shop_settings.Settings
) -> None:
    where = settings.postgres
    url = f"postgresql://{where.user}:{where.password}@{where.host}:{where.port}/{where.db}"
    given = ("--postgres", url, "--redis", settings.redis_url)
    kafka = ("--kafka", settings.kafka.bootstrap_servers)
    # In 100 minutes of the shop's some 25 of its 1,500 orders are also cancelled.
    done = shop.run("--for", "12", "--speed", "500", "--json", "--seed", "7", *given, *kafka)
    result = check_result(done)
    assert set(shop.statuses()) == PROCESSES, "no server of its own"
    with postgres.connect(where, "test", autocommit=True) as conn:
        row = conn.execute("SELECT sum(rev), count(*) < sum(rev) FROM orders").fetchone()
        assert row == (result["stored"]["orders"], True), "a message for each revision"
        assert consistency.check(conn) == []
    assert where.password not in done.stderr
    # A reader of the topics from their beginning knows every customer that an order names.
    read = {
        topic: [
            msgspec.json.decode(m.value() or b"") for m in shop_kafka.read(settings.kafka, topic)
        ]
        for topic in TOPICS
    }
    assert len(read["orders"]) == result["published"]["orders"]
    for topic in ("users", "products"):
        known = {event[ID_FIELD[topic]] for event in read[topic]}
        assert {order[ID_FIELD[topic]] for order in read["orders"]} <= known
        assert len(known) == len(read[topic]) == result["stored"][topic]


@pytest.mark.usefixtures("topics")
def test_the_time_begins_when_all_are_at_work_and_nothing_published_is_no_success(
    shop: UpProcess,
    env: dict[str, str],
    settings: shop_settings.Settings,
    redis_client: redis.Redis,
) -> None:
    for name in control.GENERATORS:
        control.set_paused(redis_client, name, paused=True)
    seed = [sys.executable, "-m", "generators.seed", "--users", "50", "--products", "20"]
    python_process.run(seed, env=env, check=True)  # a population counts as published
    where = settings.postgres
    url = f"postgresql://{where.user}:{where.password}@{where.host}:{where.port}/{where.db}"
    given = ("--postgres", url, "--redis", settings.redis_url)
    kafka = ("--kafka", settings.kafka.bootstrap_servers)
    done = shop.run("--for", "2", "--json", *given, *kafka)
    assert done.returncode == 1, done.stderr
    assert "; the 2 s" in done.stderr
    assert "not ready" not in done.stderr, "an ingest with nothing to take is ready"
    assert "nothing was published" in done.stderr
    said = done.stderr + done.stdout
    assert "the 2 s of --for begin now" in said
    assert said.index("the shop is open") < said.index("the 2 s of --for begin now")


@pytest.mark.parametrize(
    ("name", "fields", "ready"),
    [
        ("orders", {"published": "0"}, False),
        ("orders", {"published": "3"}, True),
        ("grader", {}, False),
        ("grader", {"last_run": "2026-01-01T00:00:00Z"}, True),
        ("ingest", {"partitions": "0"}, False),
        ("ingest", {"partitions": "36"}, True),
        ("cache", {"refreshes": "0"}, False),
    ],
)
def test_a_process_is_ready_when_it_has_done_its_first_work(
    name: str, fields: dict[str, str], ready: bool
) -> None:
    beat = cache.Heartbeat(name, 7, "running", utc_now(), fields)
    this, earlier = (ProcessStatus(name, pid, None, "running", 0, None, None) for pid in (7, 8))
    assert (readiness.not_ready([name], [this], {name: beat}) == []) is ready
    assert readiness.not_ready([name], [earlier], {name: beat}) == [name]
    assert readiness.not_ready([name], [this], {}) == [name]


def test_a_process_beside_another_of_its_kind_is_known_by_its_number() -> None:
    """The node or the topic is appended to its name then: `orders-3`, `ingest-users`."""
    names = ("orders", "ingest")
    pids = dict(zip(names, (7, 8), strict=True))
    ours = [ProcessStatus(n, pid, None, "running", 0, None, None) for n, pid in pids.items()]
    work = {"published": "3", "partitions": "1"}
    beats = {
        name: cache.Heartbeat(name, pid, "running", utc_now(), work)
        for name, pid in (("orders", 5), ("orders-3", 7), ("ingest-users", 8))
    }
    assert readiness.not_ready(names, ours, beats) == []
    del beats["orders-3"]
    assert readiness.not_ready(names, ours, beats) == ["orders"]


@pytest.mark.slow
@pytest.mark.fault
def test_whatever_is_killed_the_shop_goes_on(shop: UpProcess) -> None:
    up = shop.start("--speed", "100", "--plain")
    shop.wait_for(lambda: shop.orders() > 0)
    assert set(shop.statuses()) == SERVERS | PROCESSES

    second = shop.run("--plain")
    assert second.returncode == 2
    assert re.search(rf"held by process {up.pid} since 20\d\d-\d\d-\d\d", second.stderr)
    assert len(second.stderr.splitlines()) == 1

    for name in ("ingest", "postgres", "redis", "orders"):
        shop.kill_and_see_it_back(name)

    pids = shop.pids()
    up.kill()
    up.wait()
    wait_until(lambda: gone(pids), f"none of {pids} is left behind")

    result = check_result(shop.run("--for", "10", "--speed", "50", "--json"))
    assert result["stored"]["orders"] > 0


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_broker_comes_back_with_all_that_it_had(shop: UpProcess) -> None:
    shop.start("--speed", "100", "--plain")
    shop.wait_for(lambda: shop.orders() > 0)
    shop.kill_and_see_it_back("kafka")
    with shop.connect() as conn:
        logs = "SELECT count(DISTINCT log_id) FROM ingest_offsets WHERE topic = 'orders'"
        assert conn.execute(logs.encode()).fetchone() == (1,), "the same topic"
        assert consistency.check(conn) == []
    assert shop.out.read_text().count("topics: created") == 1


def test_without_a_network_the_shop_runs_on_a_broker_in_memory(shop: UpProcess) -> None:
    shop.env["XDG_CACHE_HOME"] = str(shop.data_dir.parent / "cache")
    shop.env["JANGTEO_MAVEN_REPOSITORY"] = "http://127.0.0.1:1"
    shop.env.pop("JANGTEO_KAFKA_HOME", None)
    done = shop.run("--for", "5", "--speed", "50", "--json")
    check_result(done)
    assert len(re.findall("using the in-memory broker Tansu instead", done.stderr)) == 1
    assert "Tansu (Kafka in memory)" in done.stderr


@pytest.mark.slow
def test_generating_beside_a_running_shop_loses_no_order(shop: UpProcess) -> None:
    """The same command in two terminals, while the shop sells by itself."""
    shop.start("--plain", "--users", "3000", "--products", "1200")
    shop.wait_for(lambda: shop.orders() > 0)
    words = ("--rate", "5000", "--limit", "5000", "--seed", "1")
    makers = [
        python_process.Popen(
            [sys.executable, "-m", "generators.orders", *words],
            env={**shop.env, "JANGTEO_DATA_DIR": str(shop.data_dir)},
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for maker in makers:
        _, said = maker.communicate(timeout=240)
        assert maker.returncode == 0, said
    shop.wait_for(lambda: shop.orders() > 10_000)
    with shop.connect() as conn:
        row = conn.execute("SELECT sum(ignored), sum(rejected) FROM ingest_offsets").fetchone()
    assert row == (0, 0)


@pytest.mark.usefixtures("apache_kafka")
def test_sigterm_ends_everything_and_a_second_start_keeps_the_data(shop: UpProcess) -> None:
    began = shop.start("--plain", "--users", "50", "--products", "20")
    shop.wait_for(lambda: "the shop is open" in shop.out.read_text())
    shop.wait_for(lambda: len(shop.pids()) == len(SERVERS | PROCESSES))
    pids = shop.pids()
    published = stack_file.read_stack(shop.data_dir)
    assert published
    began.terminate()
    assert began.wait(60) == 0, shop.said()
    assert gone(pids)
    assert stack_file.read_stack(shop.data_dir) is None
    assert {s.state for s in shop.statuses().values()} == {"stopped"}

    again = shop.start("--plain")
    shop.wait_for(lambda: shop.out.read_text().count("the shop is open") == 2)
    assert shop.out.read_text().count("start population made") == 1
    assert shop.out.read_text().count("topics: created") == 1, "they are still there"
    found = stack_file.read_stack(shop.data_dir)
    assert found
    assert found.env == published.env, "the same ports and passwords"
    with shop.connect() as conn:
        row = conn.execute("SELECT count(*) FROM users").fetchone()
    assert row
    assert row[0] >= 50
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0, shop.said()


def test_what_a_crash_left_is_ended_and_strangers_are_not(tmp_path: Path) -> None:
    sleepers = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2)
    ]
    try:
        started = [boot_clock.process_started(p.pid) for p in sleepers]
        assert started[1]
        reused = started[1] + "0"
        snapshot = supervisor.Supervisor(tmp_path)
        snapshot.write_snapshot(
            [
                ProcessStatus("left", sleepers[0].pid, started[0], "running", 0, None, None),
                ProcessStatus("stranger", sleepers[1].pid, reused, "running", 0, None, None),
            ]
        )
        assert end_leftovers(tmp_path) == ["left"]
        assert not psutil.pid_exists(sleepers[0].pid)
        assert sleepers[1].poll() is None
    finally:
        for process in sleepers:
            process.kill()
            process.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"a disk that can be filled needs root and mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.fault
def test_a_full_disk_is_waited_for_and_nothing_is_lost(small_disk: Path, shop: UpProcess) -> None:
    shop.data_dir = small_disk / "data"
    shop.start("--users", "200", "--products", "100", "--speed", "5", "--json")
    shop.wait_for(lambda: "the shop is open" in shop.said(), timeout=180)
    shop.wait_for(lambda: bool(re.search(r"stored: .*orders=[1-9]", shop.said())), timeout=180)
    fill = small_disk / "fill"
    with contextlib.suppress(OSError), fill.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    shop.wait_for(lambda: "cannot write processes.json" in shop.said(), timeout=180)
    time.sleep(10)
    assert shop.process
    assert shop.process.poll() is None
    fill.unlink()
    shop.wait_for(lambda: "can be written again" in shop.said(), timeout=180)
    shop.wait_for(lambda: re.findall(r"processes: (\d/\d)", shop.said())[-1] == "9/9", timeout=180)
    shop.process.send_signal(signal.SIGINT)
    assert shop.process.wait(120) == 0, shop.said()
    assert "Traceback" not in shop.said()
    final = json.loads(next(x for x in shop.said().splitlines() if x.startswith("{")))
    assert (final["lag"], final["spend_consistent"]) == (0, True)


@pytest.mark.slow
def test_a_history_goes_on(shop: UpProcess) -> None:
    """Written while the ordinary shop runs; then that stops, and its history is resumed."""
    shop.start()
    shop.wait_for(lambda: shop.orders() > 0)
    # At 5 on a Saturday morning a twentieth of the mean is sold: still one in twenty seconds.
    size = ("--days", "2", "--orders-per-day", "100000")
    done = python_process.run(
        [sys.executable, "-m", "generators.backfill", *size, "--truncate"],
        env={**shop.env, "JANGTEO_DATA_DIR": str(shop.data_dir)},
        capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert shop.process
    shop.process.terminate()
    assert shop.process.wait(60) == 0
    shop.start()
    shop.wait_for(lambda: "continuation" in shop.statuses())
    assert "resuming the finished history" in shop.said()
    before = shop.orders()
    assert before > 40_000
    shop.wait_for(lambda: shop.orders() > before + 5, timeout=180)
    assert set(shop.statuses()) == {"ingest", "cache", "continuation", "grader", *SERVERS}
    with shop.connect() as conn:
        assert consistency.check(conn) == []
    shop.process.terminate()
    assert shop.process.wait(60) == 0
    shop.start("--speed", "2")
    shop.wait_for(lambda: "orders" in shop.statuses())
    assert "at speed 2 it is not resumed" in shop.said()
    shop.process.terminate()
    assert shop.process.wait(60) == 0
