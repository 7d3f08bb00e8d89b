"""The three generators as processes, against a real Redis and a real broker."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import redis

from generators.live.registrations import RegistrationSource
from generators.publishing import reliable_producer
from generators.publishing.encoding import encode_frame
from generators.publishing.event_producer import EventProducer
from generators.random_streams import stream
from generators.scenarios.table import BY_NAME
from shop import kafka
from shop.events import ID_FIELD, User
from shop.ids import NODES, IdGenerator, time_of
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.support import python_process
from tests.support.generator_processes import PRODUCTS, ROOT, USERS, fill_cache, read_topic
from tests.support.waiting import wait_until

Start = Callable[..., Any]


def published(r: redis.Redis, name: str) -> int:
    """What the generator says of itself: events that Kafka has acknowledged."""
    fields = {h.name: h.fields for h in cache.heartbeats(r)}
    return int(fields[name]["published"]) if name in fields else 0


@pytest.mark.usefixtures("topics")
def test_orders_are_of_cached_customers_and_products(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    assert start("generators.orders", "--rate", "500", "--limit", "700").popen.wait(60) == 0
    orders = read_topic(settings, "orders")
    assert len(orders) == len({o.order_id for o in orders}) == 700
    assert {o.scenario for o in orders} <= {None, *BY_NAME}
    assert {o.user_id for o in orders} <= set(USERS)
    assert {o.product_id for o in orders} <= set(PRODUCTS)
    assert {(o.unit_price, o.status, o.rev) for o in orders} == {(12_300, "PAID", 1)}
    assert all(abs((time_of(o.order_id) - o.ordered_at).total_seconds()) < 1 for o in orders)
    # Two hundred at a time, each once: 700 orders are four rounds.
    assert max(sum(o.user_id == u for o in orders) for u in USERS) <= 4


@pytest.mark.usefixtures("topics")
def test_without_a_cache_the_orders_wait_and_then_go_on(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    process = start("generators.orders", "--rate", "100")
    process.says("waiting_for=")
    assert "no users and products" in process.log
    assert sum(kafka.end_offsets(settings.kafka, "orders").values()) == 0
    fill_cache(redis_client)
    process.says("no longer waiting")
    wait_until(lambda: published(redis_client, "orders") > 50, "orders")
    redis_client.flushall()
    process.says("waiting_for=", times=2)
    fill_cache(redis_client)
    process.says("no longer waiting", times=2)
    assert process.stop() == 0
    assert process.log.count("waiting_for=") == 2


@pytest.mark.usefixtures("topics")
def test_redis_away_is_waited_for(
    servers: Any, settings: Settings, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    process = start("generators.orders", "--rate", "100")
    wait_until(lambda: published(redis_client, "orders") > 0, "orders")
    servers.redis.kill()
    process.says("waiting_for=")
    assert "Redis" in process.log
    servers.redis.start()
    fill_cache(redis_client)
    process.says("no longer waiting")
    wait_until(lambda: published(redis_client, "orders") > 100, "more orders")
    assert process.stop() == 0


@pytest.mark.usefixtures("topics")
def test_a_new_cache_is_used(settings: Settings, redis_client: redis.Redis, start: Start):
    fill_cache(redis_client)
    process = start("generators.orders", "--rate", "200")
    wait_until(lambda: published(redis_client, "orders") > 0, "orders")
    fill_cache(redis_client, first_user=5_000)

    def from_the_new_cache() -> bool:
        return any(o.user_id >= 5_000 for o in read_topic(settings, "orders"))

    wait_until(from_the_new_cache, "orders of the new customers")
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("topic", "number"),
    [("users", signal.SIGTERM), ("products", signal.SIGINT), ("orders", signal.SIGTERM)],
)
@pytest.mark.usefixtures("topics")
def test_what_was_acknowledged_is_in_the_topic(
    settings: Settings, redis_client: redis.Redis, start: Start, topic: str, number: signal.Signals
):
    fill_cache(redis_client)
    process = start(f"generators.{topic}", "--rate", "2000", LOG_FORMAT="json")
    wait_until(lambda: published(redis_client, topic) > 300, "events")
    assert process.stop(number) == 0
    events = read_topic(settings, topic)
    last = cache.heartbeats(redis_client)[0]
    assert last.state == "stopped"
    assert len(events) == int(last.fields["published"]) == published(redis_client, topic)
    ids = {getattr(e, ID_FIELD[topic]) for e in events}
    assert len(ids) == len(events)
    assert int(last.fields["last_id"]) == max(ids)
    assert f'"acknowledged": {len(events)}' in process.log
    assert '"missing": 0' in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize("topic", ["users", "products", "orders"])
@pytest.mark.usefixtures("topics")
def test_a_generator_without_postgresql_says_what_it_needs_it_for(env: dict[str, str], topic: str):
    given = {k: v for k, v in env.items() if not k.startswith("POSTGRES_")}
    done = python_process.run(
        [sys.executable, "-m", f"generators.{topic}", "--limit=3", "--rate=100"],
        env=given, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "POSTGRES_HOST" in done.stderr
    assert "node number" in done.stderr


@pytest.mark.usefixtures("topics")
def test_generators_write_nothing_to_postgresql_but_their_lease(
    pg: Connection, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    made = start("generators.orders", "--limit", "50", "--rate", "500")
    assert made.popen.wait(60) == 0
    written = pg.execute(
        "SELECT relname FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"
    ).fetchall()
    assert {name for (name,) in written} <= {"node_leases"}
    held = pg.execute("SELECT count(*) FROM node_leases WHERE holder IS NOT NULL").fetchone()
    assert held == (0,)


@pytest.mark.usefixtures("topics")
def test_a_run_that_publishes_nothing_is_no_success(redis_client: redis.Redis, start: Start):
    process = start("generators.orders", "--rate", "100", "--for", "1")
    assert process.popen.wait(60) == 1
    assert "nothing was published while waiting for the cache" in process.log


@pytest.mark.parametrize(
    ("away", "server"),
    [({"POSTGRES_PORT": "1"}, "PostgreSQL"), ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "Kafka")],
    ids=["postgresql", "kafka"],
)
@pytest.mark.usefixtures("topics")
def test_a_run_for_some_seconds_ends_though_a_server_never_answers(
    start: Start, away: dict[str, str], server: str
):
    process = start("generators.users", "--for", "1", **away)
    assert process.popen.wait(60) == 3
    assert f"cannot reach {server}" in process.log


@pytest.mark.usefixtures("topics")
def test_a_node_that_is_taken_is_refused_in_one_line(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    first = start("generators.users", "--rate", "10", "--node", "3")
    first.says("node leased")
    second = start("generators.orders", "--node", "3")
    assert second.popen.wait(60) == 2
    assert f"--node 3 is taken by users-3 (pid {first.popen.pid} on " in second.log
    assert len(second.log.splitlines()) == 1
    assert first.stop() == 0


@pytest.mark.usefixtures("topics")
def test_publishing_outlasts_postgresql_and_resumes(
    servers: Any, settings: Settings, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    process = start("generators.orders", "--rate", "200")
    wait_until(lambda: published(redis_client, "orders") > 0, "orders")
    servers.postgres.kill()
    before = published(redis_client, "orders")
    wait_until(lambda: published(redis_client, "orders") > before + 200, "orders without it")
    servers.postgres.start()
    assert process.stop() == 0
    assert "waiting_for=" not in process.log


@pytest.mark.usefixtures("topics")
def test_makers_of_ids_side_by_side_lose_no_order(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    """What a person does next to a running shop: the same command, twice."""
    fill_cache(redis_client)
    shop = start("generators.orders", "--rate", "200")
    wait_until(lambda: published(redis_client, "orders") > 0, "orders")
    others = [start("generators.orders", "--rate", "5000", "--limit", "4000") for _ in range(2)]
    assert [other.popen.wait(60) for other in others] == [0, 0]
    assert shop.stop() == 0
    orders = read_topic(settings, "orders")
    assert len({o.order_id for o in orders}) == len(orders) > 8_000
    mine, *named = (re.findall(r"node=\d+ name=\S+", p.log) for p in (shop, *others))
    assert mine == ["node=0 name=orders"]
    assert all(mine != other != [] for other in named)


@pytest.mark.usefixtures("topics")
def test_the_same_seed_signs_up_the_same_people(settings: Settings, start: Start):
    for node in (0, 0, 1):
        args = ("--rate", "1000", "--limit", "100", "--seed", "7", "--node", str(node))
        assert start("generators.users", *args).popen.wait(60) == 0
    events = sorted(read_topic(settings, "users"), key=lambda e: e.user_id)
    names = [e.name for e in events]
    first, second, other = names[:100], names[100:200], names[200:]
    assert first == second != other
    assert [e.user_id >> 8 & (NODES - 1) for e in events] == [0] * 200 + [1] * 100


@pytest.mark.usefixtures("topics")
def test_the_natural_law_times_the_speed(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    """Restarted sign-ups continue the curve: they count what the topic holds."""
    assert start("generators.users", "--limit", "40", "--speed", "200").popen.wait(60) == 0
    process = start("generators.users", "--limit", "40", SHOP_SPEED="200")
    assert process.popen.wait(60) == 0
    assert len(read_topic(settings, "users")) == 80
    assert "made=40" in process.log


@pytest.mark.parametrize(
    "args", [("--rate", "0"), ("--node", "15"), ("--speed", "x"), ("--seed", "-1")]
)
def test_a_wrong_option_is_one_line_and_exit_2(start: Start, args: tuple[str, ...]):
    process = start("generators.orders", *args)
    assert process.popen.wait(60) == 2
    assert process.log.count("\n") == 1
    assert args[0] in process.log


def test_without_settings_one_line_says_what_to_do(env: dict[str, str], start: Start):
    process = start("generators.orders", KAFKA_BOOTSTRAP_SERVERS="", REDIS_URL="")
    assert process.popen.wait(60) == 3  # no shop runs and none is named
    assert "jangteo up" in process.log
    assert process.log.count("\n") == 1


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("remembers", [True, False])
def test_kafka_away_is_waited_for_and_nothing_acknowledged_is_lost(
    servers: Any, settings: Settings, redis_client: redis.Redis, start: Start, remembers: bool
):
    fill_cache(redis_client)
    process = start("generators.orders", "--rate", "200")
    wait_until(lambda: published(redis_client, "orders") > 100, "orders")
    servers.kafka.kill()
    process.says("waiting_for=")
    assert "Kafka at" in process.log
    before = published(redis_client, "orders")
    if remembers:
        servers.kafka.start()
    else:  # another cluster: its log is empty, and it knows no producer
        servers.kafka.start_without_memory()
        kafka.create_topics(settings.kafka)
    process.says("no longer waiting")
    wait_until(lambda: published(redis_client, "orders") > before + 200, "orders again")
    assert process.stop() == 0
    lost = 0 if remembers else before
    assert published(redis_client, "orders") - lost <= len(read_topic(settings, "orders"))
    assert process.log.count("waiting_for=") == 1


@pytest.mark.usefixtures("topics")
def test_sigterm_while_kafka_is_away_ends_in_time(
    servers: Any, redis_client: redis.Redis, start: Start
):
    fill_cache(redis_client)
    process = start("generators.orders", "--rate", "100", LOG_FORMAT="json")
    wait_until(lambda: published(redis_client, "orders") > 0, "orders")
    servers.kafka.kill()
    process.says("waiting_for")
    process.popen.send_signal(signal.SIGTERM)
    assert process.ends_within(8) == 0
    assert '"missing": 0' not in process.log  # it says how many were not acknowledged
    assert "missing" in process.log


@pytest.mark.usefixtures("topics")
def test_an_event_that_kafka_refuses_is_counted_and_the_next_one_goes_on(settings: Settings):
    box = EventProducer("users", lambda **o: kafka.producer(settings.kafka, "test", **o))
    source = RegistrationSource("users", stream(1, "x"), IdGenerator())
    large, good = (User(v=1, **row) for row in source.make(np.zeros(2)).iter_rows(named=True))
    box.send(msgspec.structs.replace(large, name="김" * 2_000_000))
    box.send(good)
    assert box.close(10) == 0
    assert (box.sent, box.acknowledged, box.refused) == (2, 1, 1)
    assert [e.user_id for e in read_topic(settings, "users")] == [good.user_id]


@pytest.mark.usefixtures("topics")
def test_a_full_queue_is_known(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reliable_producer, "QUEUE_MESSAGES", 50)
    box = EventProducer("users", lambda **o: kafka.producer(settings.kafka, "test", **o))
    assert not box.trouble
    frame = RegistrationSource("users", stream(1, "x"), IdGenerator()).make(np.zeros(200))
    for key, value in encode_frame("users", frame):
        box.post(key, value)  # beyond the bound: kept and sent again
    assert box.full
    assert box.close(10) == 0
    assert not box.full
    assert len(read_topic(settings, "users")) == 200
