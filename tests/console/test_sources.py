"""Sources and actions on real servers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from console import poller
from console import translations as msg
from console.actions import journal, operations
from console.actions.operations import Operator
from console.snapshot.model import EventKind, Lag
from console.snapshot.reading import ReadingState
from console.sources import CurrentSettings
from console.sources.events import EventSource, Tail
from console.sources.kafka import TopicsSource
from console.sources.postgres import DeadLetterSource, GradeSource, ShopSource
from console.sources.processes import ProcessSource
from console.sources.redis import RedisSource
from grading.updater import Updater
from shop import kafka
from shop.clock import utc_now
from shop.errors import UsageError
from shop.postgres import Connection
from shop.redis import cache, control
from shop.redis.cache import CacheMeta
from shop.settings import Settings
from tests.support import python_process
from tests.support.generator_processes import cached_user
from tests.support.layouts import by_month_in_the_long_suite
from tests.support.waiting import wait_until


def commit(settings: Settings, topic: str, offsets: dict[int, int]) -> None:
    """Commit as the topic's group does."""
    config = kafka.consumer_config(settings.kafka, "test", f"{topic}_group")
    consumer = Consumer(config)
    places = [TopicPartition(topic, p, o) for p, o in offsets.items()]
    try:
        wait_until(lambda: try_commit(consumer, places), "the group accepts the offsets")
    finally:
        consumer.close()


def try_commit(consumer: Any, places: list[Any]) -> bool:
    try:
        consumer.commit(offsets=places, asynchronous=False)
    except KafkaException:
        return False
    return True


@pytest.mark.usefixtures("topics")
def test_kafka_lag_is_what_postgresql_has_not_applied(settings: Settings, pg: Connection) -> None:
    producer = kafka.producer(settings.kafka, "test")
    for n in range(50):
        producer.produce("orders", b"x", key=b"1", partition=n % 2)
    assert producer.flush(30) == 0
    commit(settings, "orders", {0: 25, 1: 25})  # by any consumer: it proves nothing
    log_id = kafka.describe_topics(kafka.admin(settings.kafka))["orders"].log_id
    apply = (
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', 0, %s, 25), ('orders', 1, %s, 5)"
    )
    pg.execute(apply, (log_id, log_id))
    source = TopicsSource(CurrentSettings(settings, follow=False))
    reads = [source.read() for _ in range(2)]

    def stalled() -> bool:  # three readings show it, and as much more as PostgreSQL answers late
        reads.append(source.read())
        return any(t.verdict is Lag.STALL for t in reads[-1].topics)

    wait_until(stalled, lambda: reads[-1].topics)
    source.reset()
    found = reads[-1]
    topics = {t.name: t for t in found.topics}
    assert set(topics) == {"orders", "products", "users"}
    first, second, third = topics["orders"].partitions[:3]
    assert (first.end, first.committed, first.lag, first.verdict) == (25, 25, 0, Lag.OK)
    assert (second.end, second.applied, second.lag, second.verdict) == (25, 5, 20, Lag.STALL)
    assert (third.end, third.committed, third.lag, third.verdict) == (0, None, 0, Lag.OK)
    assert topics["orders"].lag == 20
    assert topics["orders"].verdict is Lag.STALL
    assert topics["users"].lag == 0
    assert any("no ingest has partitions 1" in str(line) for line in topics["orders"].troubles)
    assert second.published.per_s == 0
    assert (found.brokers, found.away, found.out_of_sync) == (1, (), 0)
    assert found.below_min == 0


def test_redis_rates_and_refreshes(settings: Settings, redis_client: redis.Redis) -> None:
    source = RedisSource(CurrentSettings(settings, follow=False))
    assert source.read().hit_rate is None
    cache.swap(redis_client, [], [], lambda v, n: CacheMeta(version=v, refreshed_at=utc_now()))
    source.read()
    cache.read_users(redis_client)  # finds none
    redis_client.hset(cache.USERS, "1", msgspec.json.encode(cached_user(1)))
    cache.read_users(redis_client)
    redis_client.get("another program's key")
    found = source.read()
    source.reset()
    assert found.hit_rate is not None
    assert found.hit_rate == 0.5
    assert [r.version for r in found.refreshes] == [1]
    assert found.memory > 0
    assert found.version


def test_attempts_after_a_failed_refresh_are_not_refreshes(
    settings: Settings, redis_client: redis.Redis
) -> None:
    failed_at = utc_now()
    source = RedisSource(CurrentSettings(settings, follow=False), clock=lambda: failed_at)
    good_at = failed_at - timedelta(minutes=3)
    cache.swap(redis_client, [], [], lambda v, n: CacheMeta(version=v, refreshed_at=good_at))
    for phase, error in (("waiting", ""), ("failed", "no"), ("refreshing", ""), ("failed", "no")):
        cache.update_meta(redis_client, phase=phase, error=error)
        found = source.read()
    source.reset()
    assert [r.error for r in found.refreshes] == ["", "no", "no"]
    assert [r.at for r in found.refreshes] == [good_at, failed_at, failed_at]


def test_hits_are_those_of_the_last_minute(settings: Settings, redis_client: redis.Redis) -> None:
    now = [100.0]
    source = RedisSource(CurrentSettings(settings, follow=False), monotonic=lambda: now[0])
    rates = []
    for seconds, hits, misses in (
        (0, 0, 0), (1, 3, 1), (30, 3, 1), (59, 6, 1), (70, 6, 1), (130, 6, 1), (131, 0, 0),
        (132, 1, 0),
    ):  # fmt: skip
        redis_client.hset(cache.LOOKUPS, mapping={"hits": hits, "misses": misses})
        now[0] = 100.0 + seconds
        rates.append(source.read().hit_rate)
    source.reset()
    assert rates == [None, 0.75, 0.75, 6 / 7, 1.0, None, None, 1.0]


@by_month_in_the_long_suite
def test_the_shop_the_grades_and_the_letters(settings: Settings, pg: Connection) -> None:
    now = utc_now()
    people = (
        (1, "김민지", "GOLD"), (2, "이\x07하나", "VIP"), (3, None, "VIP"), (4, None, "BRONZE"),
    )  # fmt: skip
    for user_id, name, grade in people:
        pg.execute(
            "INSERT INTO users (user_id, name, grade) VALUES (%s, %s, %s)", (user_id, name, grade)
        )
    for user_id in (1, 2):
        pg.execute(
            "INSERT INTO user_spend_windows VALUES (%s, %s, 2, %s)", (user_id, now, user_id * 500)
        )
    pg.execute(
        "INSERT INTO user_spend_windows VALUES (1, %s, 9, 999999)", (now - timedelta(hours=1),)
    )
    pg.execute(
        "INSERT INTO grade_runs (as_of, mode, users, changed, upgraded, downgraded, started_at,"
        " finished_at) VALUES (%s, 'full', 2, 1, 1, 0, %s, %s)",
        (now, now, now + timedelta(seconds=2)),
    )
    pg.execute(
        "INSERT INTO grade_history VALUES (1, 'SILVER', 'GOLD', 450000, %(now)s),"
        " (2, 'VVIP', 'VIP', 1900000, %(now)s), (3, 'OLD', 'VIP', 1800000, %(now)s),"
        " (1, 'BRONZE', 'SILVER', 1, %(before)s), (2, 'BRONZE', 'VVIP', 1, %(before)s),"
        " (3, 'BRONZE', 'OLD', 1, %(before)s)",
        {"now": now, "before": now - timedelta(days=1)},
    )
    pg.execute("SELECT rebuild_customer_rollups()")
    for offset, replayed in ((7, None), (8, now)):
        pg.execute(
            "INSERT INTO rejected_messages VALUES ('orders', 3, %s, 'log', NULL, %s, 'bad_json',"
            " NULL, 'malformed', now(), %s)",
            (offset, b"\x1b[31m{\xff", replayed),
        )
    current = CurrentSettings(settings, follow=False)
    shop = ShopSource(current).read()
    assert [(s.name, s.spend, s.orders) for s in shop.spenders] == [
        ("이\N{REPLACEMENT CHARACTER}하나", 1000, 2),
        ("김민지", 500, 2),
    ]
    assert (shop.orders, shop.spend) == (4, 1500)
    grades = GradeSource(current).read()
    assert [(c.grade, c.customers, c.change) for c in grades.counts if c.customers] == [
        ("BRONZE", 1, 0),
        ("GOLD", 1, 1),
        ("VIP", 2, 2),
    ]
    counted = pg.execute("SELECT grade, count(*) FROM users GROUP BY grade").fetchall()
    assert {c.grade: c.customers for c in grades.counts if c.customers} == dict(counted)
    assert [c.grade for c in grades.counts] == list(settings.grade_policy.names)
    # Of one run the upgrades first, and last what the policy does not know.
    assert [(u.user_id, u.rises) for u in grades.upgrades[:3]] == [(1, True), (2, False), (3, None)]
    assert grades.run
    assert grades.run.seconds == 2.0
    assert grades.upgrades[0].name == "김민지"
    letters = DeadLetterSource(current).read()
    assert [(c.reason, c.total, c.open) for c in letters.counts] == [("bad_json", 2, 1)]
    assert "\x1b" not in letters.newest[0].payload
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ShopSource(current)._connection().execute("DELETE FROM users")


def test_processes_say_what_they_do(settings: Settings, redis_client: redis.Redis) -> None:
    cache.beat(redis_client, "orders", "running", {"published": 10, "rate": 4.5})
    cache.beat(redis_client, "ingest", "running", {"orders.stored": 5, "orders.rejected": 1})
    control.set_paused(redis_client, "orders", paused=True)
    control.set_rate(redis_client, "orders", 3)
    redis_client.hset("control:scenarios", "flash_sale", json.dumps({"intensity": 2.0}))
    source = ProcessSource(CurrentSettings(settings, follow=False))
    found = source.read()
    source.reset()
    ingest, orders = found.processes
    assert (orders.rate.per_s, orders.paused, orders.factor) == (4.5, True, 3.0)
    assert ingest.rate.per_s is None
    assert found.scenarios == ("flash_sale x2",)


@pytest.mark.usefixtures("topics")
def test_a_server_that_dies_is_said_and_comes_back(
    servers: Any, settings: Settings, redis_client: redis.Redis
) -> None:
    cache.beat(redis_client, "orders", "running")
    p = poller.make(CurrentSettings(settings, follow=False))
    p.start()
    try:
        seen = p.wait_until_read(20)
        assert {getattr(seen, n).state for n in ("kafka", "redis", "postgres")} == {ReadingState.OK}
        servers.redis.kill()
        down = wait_until(
            lambda: (s := p.latest()).redis.state is ReadingState.DOWN and s, "the source is down"
        )
        assert down.redis.value is not None, "the last values stay"
        assert down.postgres.state is ReadingState.OK, "nobody else is held up"
        servers.redis.start()
        p.refresh()
        wait_until(lambda: p.latest().redis.state is ReadingState.OK, "the source answers")
        texts = [str(e.text) for e in p.latest().events if e.source == "redis"]
        assert any(t.startswith("does not answer") for t in texts)
        assert any(t.startswith("answers again") for t in texts)
    finally:
        p.stop()


def test_actions_change_what_they_say_and_are_written_down(
    settings: Settings, redis_client: redis.Redis
) -> None:
    operator = Operator(lambda: settings, who="kim@shop")
    for words in (["generator.pause", "orders"], ["generator.rate", "users", "2.5"]):
        assert operator.perform(operations.parse(words)).outcome == "done"
    assert control.read(redis_client, "orders").paused
    assert control.read(redis_client, "users").rate == 2.5
    assert operator.perform(operations.parse(["generator.resume", "orders"])).outcome == "done"
    assert not control.read(redis_client, "orders").paused
    failed = operator.perform(operations.parse(["cache.refresh"]), wait=0.2)
    assert failed.outcome == "failed"
    assert "does the cache worker run?" in str(failed.result)
    assert control.read(redis_client, "cache").run == 1
    nobody = operator.perform(operations.parse(["process.restart", "nobody"]))
    assert (nobody.outcome, msg.render(nobody.result, "ko")) == (
        *("failed", "nobody: 관리 중인 프로세스가 아님. 가능한 것: 이 장비에는 없음"),
    )
    entries = [e for _, e in journal.read(redis_client)]
    assert [e.action for e in entries] == [
        *("generator.pause orders", "generator.rate users 2.5", "generator.resume orders"),
        *("cache.refresh", "process.restart nobody"),
    ]
    assert {e.who for e in entries} == {"kim@shop"}
    assert entries[0].result == msg.PAUSED()
    (first, *_) = redis_client.xrange(journal.LOG)
    assert first[1]["result"] == "paused", "as text, for those who read the stream"
    events = EventSource(CurrentSettings(settings, follow=False))
    assert [h.kind for h in events.read()] == [EventKind.ACTION] * 5
    assert events.read() == [], "once"
    events.reset()


def test_the_grader_obeys(settings: Settings, redis_client: redis.Redis, pg: Connection) -> None:
    stop = threading.Event()
    slow = replace(settings, env={**settings.env, "GRADE_INTERVAL": "600"})
    thread = threading.Thread(target=Updater(slow, stop).run, daemon=True)
    thread.start()
    try:
        runs = b"SELECT count(*) FROM grade_runs"
        wait_until(lambda: pg.execute(runs).fetchone() == (1,), "a run")
        wait_until(
            lambda: any(b.fields.get("last_run") for b in cache.heartbeats(redis_client)),
            "the last run in the heartbeat",
        )
        done = Operator(lambda: settings).perform(operations.parse(["grading.run"]), wait=30)
        assert done.outcome == "done", done.result
        assert pg.execute(runs).fetchone() == (2,)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_without_redis_an_action_says_so(settings: Settings) -> None:
    nowhere = replace(settings, env={**settings.env, "REDIS_URL": "redis://127.0.0.1:1/0"})
    result = Operator(lambda: nowhere).perform(operations.parse(["cache.refresh"]))
    assert result.outcome == "failed"
    assert "cannot reach Redis" in str(result.result)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no action given"),
        (["nonsense"], "no action 'nonsense'"),
        (["generator.pause"], "expected: generator.pause NAME"),
        (["generator.pause", "nobody"], "no generator 'nobody'"),
        (["generator.rate", "orders", "0"], "rate '0'"),
        (["generator.rate", "orders", "nan"], "rate 'nan'"),
        (["dlq.replay", "nonsense"], "no topic 'nonsense'"),
        (["process.restart", "--help"], "cannot use"),
        (["scenario.start", "a b; rm"], "cannot use"),
    ],
)
def test_actions_that_cannot_be_meant(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        operations.parse(words)


def do(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "jangteo", "do", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_same_from_the_shell(env: dict[str, str], redis_client: redis.Redis) -> None:
    done = do("generator.rate", "orders", "4", "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "done"
    assert control.read(redis_client, "orders").rate == 4.0
    refused = do("generator.pause", "orders", "--read-only", env=env)
    assert refused.returncode == 1
    assert "refused" in refused.stdout
    assert not control.read(redis_client, "orders").paused
    nobody = do("process.restart", "orders", env=env)
    assert nobody.returncode == 2
    assert "add --yes" in nobody.stderr
    assert "cache.refresh" in do(env=env).stdout


def test_a_log_that_grows_turns_over_and_holds_anything(tmp_path: Path) -> None:
    log = tmp_path / "orders.log"
    tail = Tail(log)
    assert tail.read() == []
    log.write_bytes(b"one\ntw")
    assert tail.read() == ["one"]
    with log.open("ab") as file:
        file.write(b"o\n\xff\xfe\x1b[31m\n")
    assert tail.read() == ["two", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\x1b[31m"]
    log.rename(tmp_path / "orders.log.1")
    log.write_bytes(b"new\n")
    assert tail.read() == ["new"]
    log.write_bytes(b"")
    assert tail.read() == []
    log.write_bytes(b"x" * 200_000 + b"\nlast\n")
    found = tail.read()
    assert found[-1] == "last"
    assert "skipped" in str(found[0])
