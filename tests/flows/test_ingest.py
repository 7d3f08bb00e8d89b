"""The ingest as a process, on a real broker and a real PostgreSQL."""

from __future__ import annotations

import itertools
import random
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from shop import kafka
from shop.clock import utc_now
from shop.errors import ExitCode
from shop.events import ID_FIELD, TOPICS, Order
from shop.kafka.committed_offsets import CommittedOffsets
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.event_samples import Message, message, order, poison, product, user
from tests.support.ingest_processes import ROOT, Ingest, caught_up, publish, wait_caught_up
from tests.support.waiting import wait_until


def busy_stream(seed: int, n: int) -> tuple[list[Message], dict[int, Order], int]:
    """Orders with duplicates, late ones, revisions in any order and poison.

    Returns the messages, the state that each order must end in, and the number of bad ones.
    """
    rng = random.Random(seed)
    now = utc_now()
    events: list[Order] = []
    for i in range(1, n + 1):
        late = timedelta(days=rng.choice([0, 0, 0, 3]), seconds=rng.randrange(3600))
        first = order(
            i,
            user_id=rng.randrange(1, 50),
            product_id=rng.randrange(1, 20),
            quantity=rng.randrange(1, 5),
            ordered_at=now - late,
            updated_at=now - late,
        )
        events.append(first)
        if rng.random() < 0.2:
            status = rng.choice(["CANCELLED", "REFUNDED"])
            fields = {f: getattr(first, f) for f in first.__struct_fields__}
            events.append(Order(**{**fields, "rev": 2, "status": status, "updated_at": now}))
        if rng.random() < 0.1:
            events.append(first)
    newest: dict[int, Order] = {}
    for event in events:
        if event.order_id not in newest or event.rev > newest[event.order_id].rev:
            newest[event.order_id] = event
    rng.shuffle(events)
    messages = [message("orders", event) for event in events]
    bad = [m for kind, m in poison(order(10**9), now).items() if kind != "oversize"]
    for m in bad * 3:
        messages.insert(rng.randrange(len(messages)), m)
    return messages, newest, 3 * len(bad)


def assert_stored(pg: Connection, newest: dict[int, Order], rejected: int) -> None:
    rows = pg.execute("SELECT order_id, rev, status, amount FROM orders ORDER BY 1").fetchall()
    assert rows == [(i, o.rev, o.status, o.amount) for i, o in sorted(newest.items())]
    (found,) = pg.execute("SELECT count(*) FROM rejected_messages").fetchone() or (0,)
    assert found == rejected


@pytest.mark.usefixtures("topics")
def test_every_topic_is_ingested_and_every_message_accounted_for(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    messages, newest, bad = busy_stream(seed=1, n=400)
    publish(settings, "orders", messages)
    publish(settings, "users", [message("users", user(i)) for i in range(1, 60)])
    publish(settings, "products", [message("products", product(i)) for i in range(1, 30)])
    with Ingest(env, tmp_path / "ingest.log") as ingest:
        wait_caught_up(settings, pg, TOPICS)
        assert_stored(pg, newest, bad)
        for topic, n in (("users", 59), ("products", 29)):
            query = f"SELECT count(*), count(created_at) FROM {topic}"
            assert pg.execute(query).fetchone() == (n, n), ID_FIELD[topic]
        assert ingest.stop() == 0
        assert "Traceback" not in ingest.log()
    for topic in TOPICS:  # what Kafka's own tools show agrees with PostgreSQL
        ends = kafka.end_offsets(settings.kafka, topic)
        expected = {(topic, p): end for p, end in ends.items()}
        commits = CommittedOffsets(settings.kafka, "test")
        answer = commits.read({f"{topic}_group": expected})
        commits.close()
        assert answer[f"{topic}_group"] == expected, "idle partitions are known, too"


@pytest.mark.usefixtures("topics")
def test_ingest_topics_narrows_what_is_read(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    publish(settings, "users", [message("users", user(1))])
    publish(settings, "orders", [message("orders", order(1, ordered_at=utc_now()))])
    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="users"):
        wait_caught_up(settings, pg, ["users"])
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (0,)


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_killed_at_random_moments_nothing_is_lost_or_doubled(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    rng = random.Random(7)
    messages, newest, bad = busy_stream(seed=2, n=6_000)
    publish(settings, "orders", messages)
    small = {"INGEST_TOPICS": "orders", "INGEST_BATCH_SIZE": "200"}
    kills = 0
    while kills < 3:
        with Ingest(env, tmp_path / "ingest.log", **small) as ingest:
            before = pg.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
            goal = rng.randrange(200, 1_500)

            def moved(before: tuple | None = before, goal: int = goal) -> bool:
                row = pg.execute("SELECT sum(next_offset) FROM ingest_offsets").fetchone()
                return ((row and row[0]) or 0) - ((before and before[0]) or 0) >= goal

            wait_until(moved, "some batches applied")
            ingest.kill()
            kills += 1
    assert not caught_up(settings, pg), "every kill came after the end: the test shows nothing"
    with Ingest(env, tmp_path / "ingest.log", **small):
        wait_caught_up(settings, pg)
    assert_stored(pg, newest, bad)


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_sigterm_under_load_commits_and_ends_with_0(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    messages, newest, bad = busy_stream(seed=3, n=3_000)
    publish(settings, "orders", messages)
    small = {"INGEST_TOPICS": "orders", "INGEST_BATCH_SIZE": "50"}
    with Ingest(env, tmp_path / "ingest.log", **small) as ingest:
        stored = "SELECT count(*) FROM orders"
        wait_until(lambda: (pg.execute(stored).fetchone() or (0,))[0] > 100, "under load")
        assert ingest.stop() == 0
        assert "Traceback" not in ingest.log()
    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="orders"):
        wait_caught_up(settings, pg)
    assert_stored(pg, newest, bad)


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_postgres_away_is_waited_for_by_the_same_process(
    env: dict[str, str], settings: Settings, pg: Connection, servers, tmp_path: Path
) -> None:
    now = utc_now()
    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="orders") as ingest:
        publish(settings, "orders", [message("orders", order(1, ordered_at=now))])
        wait_caught_up(settings, pg)
        servers.postgres.kill()
        publish(settings, "orders", [message("orders", order(2, ordered_at=now))])
        wait_until(lambda: "waiting for server" in ingest.log(), "the outage is logged")
        servers.postgres.start()
        from shop import postgres  # noqa: PLC0415  (this test alone needs it)

        with postgres.connect(settings.postgres, "after", autocommit=True) as again:
            wait_caught_up(settings, again)
            assert again.execute("SELECT count(*) FROM orders").fetchone() == (2,)
            assert again.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,)
        wait_until(lambda: "server is back" in ingest.log(), "the return is logged")
        assert ingest.stop() == 0


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_a_broker_that_lost_its_memory_is_read_from_its_beginning(
    env: dict[str, str], settings: Settings, pg: Connection, servers, tmp_path: Path
) -> None:
    now = utc_now()
    old = [message("orders", order(i, user_id=i, ordered_at=now)) for i in range(1, 101)]
    new = [message("orders", order(i, user_id=i, ordered_at=now)) for i in range(201, 231)]
    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="orders") as ingest:
        publish(settings, "orders", old)
        wait_caught_up(settings, pg)
        servers.kafka.start_without_memory()
        kafka.create_topics(settings.kafka)
        publish(settings, "orders", new)
        wait_caught_up(settings, pg)
        assert pg.execute("SELECT count(*) FROM orders").fetchone() == (130,)
        assert ingest.alive()
        assert ingest.stop() == 0


@pytest.mark.parametrize(
    ("variable", "value", "code", "said"),
    [
        ("SPEND_WINDOW", "7m", ExitCode.USAGE, "SPEND_WINDOW='7m'"),
        ("INGEST_TOPICS", "oders", ExitCode.USAGE, "INGEST_TOPICS='oders'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "", ExitCode.UNREACHABLE, "no Kafka"),
        ("DB_TYPE", "production", ExitCode.USAGE, "POSTGRES_PASSWORD"),
        ("REDIS_URL", "redis://[", ExitCode.USAGE, "REDIS_URL"),
    ],
)
def test_wrong_settings_end_in_one_line(
    env: dict[str, str], variable: str, value: str, code: ExitCode, said: str
) -> None:
    nobody = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    wrong = {**env, **nobody, "POSTGRES_PASSWORD": "password", variable: value}
    if not value:
        wrong = {k: v for k, v in wrong.items() if not k.startswith("KAFKA_")}
    done = python_process.run(
        [sys.executable, "-m", "bytewax.run", "flows.ingest"],
        cwd=ROOT, env=wrong, capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_the_ingest_does_without_redis(
    topics: object, env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    del env["REDIS_URL"]
    publish(settings, "orders", [message("orders", order(1))])
    with Ingest(env, tmp_path / "i.log", INGEST_TOPICS="orders") as ingest:
        wait_caught_up(settings, pg)
        assert ingest.stop() == 0


def test_with_small_batches_a_backlog_of_one_partition_does_not_hold_up_the_others(
    topics: object, env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    """The client hands out all that it fetched of one partition before that of the next."""
    now = utc_now()
    for block in range(6):
        first = 1 + block * 800
        publish(settings, "orders", [
            message("orders", order(i, user_id=i % 60, ordered_at=now, updated_at=now))
            for i in range(first, first + 800)
        ])  # fmt: skip
    ends = {p: end for p, end in kafka.end_offsets(settings.kafka, "orders").items() if end}
    few = {"INGEST_TOPICS": "orders", "INGEST_BATCH_SIZE": "100"}
    with Ingest(env, tmp_path / "log", **few) as ingest:
        wait_caught_up(settings, pg, timeout=180)
        spans = re.findall(r"(\d+):(\d+)-", " ".join(
            line.partition(" spans=")[2] for line in ingest.log().splitlines()
            if 'event="batch stored"' in line
        ))  # fmt: skip
    largest = max(ends, key=ends.__getitem__)
    runs = [p for p, _ in itertools.groupby(int(p) for p, _ in spans)]
    assert runs.count(largest) > 1, "the largest partition was taken in one go"
