"""The topics name every customer and product that PostgreSQL has, of any origin."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from generators import profiles, seed
from jangteo.stack import accounting
from shop import kafka
from shop.clock import utc_now
from shop.errors import JangteoError
from shop.events import ID_FIELD, TOPICS, decode
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.event_samples import message, order, user
from tests.support.ingest_processes import Ingest, publish, wait_caught_up

pytestmark = pytest.mark.usefixtures("topics")


def run(env: dict[str, str], module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", f"generators.{module}", *words],
        env=env, capture_output=True, text=True, timeout=120
    )  # fmt: skip


def events(settings: Settings, topic: str) -> list[Any]:
    """Every event of a topic from its beginning, decoded by the contract."""
    now = utc_now()
    return [decode(topic, m.key(), m.value(), now=now) for m in kafka.read(settings.kafka, topic)]


def named(settings: Settings, topic: str) -> list[int]:
    return sorted(getattr(e, ID_FIELD[topic]) for e in events(settings, topic))


def rows(pg: Connection, topic: str) -> list[int]:
    column = ID_FIELD[topic]
    query = f"SELECT {column} FROM {topic} WHERE created_at IS NOT NULL ORDER BY 1"
    return [row[0] for row in pg.execute(query).fetchall()]


def counts(pg: Connection, topic: str) -> tuple[int, int, int, int]:
    row = pg.execute(
        "SELECT sum(next_offset)::int, sum(stored)::int, sum(rejected)::int, sum(ignored)::int"
        " FROM ingest_offsets WHERE topic = %s",
        (topic,),
    ).fetchone()
    assert row
    return tuple(row)


def test_a_start_population_is_in_the_topics_once(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    for _ in range(2):
        done = run(env, "seed", "--users", "300", "--products", "80")
        assert done.returncode == 0, done.stderr
    assert named(settings, "users") == rows(pg, "users")
    assert named(settings, "products") == rows(pg, "products")
    assert len(rows(pg, "users")) == 300
    stored = pg.execute("SELECT * FROM users ORDER BY user_id LIMIT 1").fetchone()
    first = min(events(settings, "users"), key=lambda e: e.user_id)
    assert stored
    assert msgspec.structs.astuple(first)[1:7] == stored[:6]
    # A larger one has some of the same customers, and they keep what was published of them.
    assert run(env, "seed", "--users", "500", "--products", "80").returncode == 0
    assert named(settings, "users") == rows(pg, "users")
    assert len(rows(pg, "users")) == 500


def test_its_events_count_as_stored_and_the_ingest_passes_them_by(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Any
) -> None:
    assert run(env, "seed", "--users", "300", "--products", "80").returncode == 0
    assert counts(pg, "users") == (300, 300, 0, 0)
    before = pg.execute("SELECT * FROM users ORDER BY user_id").fetchall()
    publish(settings, "users", [message("users", user(5))])
    with Ingest(env, tmp_path / "ingest.log"):
        wait_caught_up(settings, pg, TOPICS)
    assert counts(pg, "users") == (301, 301, 0, 0)
    assert (
        pg.execute("SELECT * FROM users WHERE user_id <> 5 ORDER BY user_id").fetchall() == before
    )


def test_what_others_published_first_is_left_to_the_ingest(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Any
) -> None:
    """Events that the ingest has not read stand before ours: our offsets are not next."""
    publish(settings, "users", [message("users", user(i)) for i in range(1, 60)])
    assert run(env, "seed", "--users", "300", "--products", "0").returncode == 0
    with Ingest(env, tmp_path / "ingest.log"):
        wait_caught_up(settings, pg, TOPICS)
    total, stored, rejected, ignored = counts(pg, "users")
    assert (total, rejected) == (359, 0)
    assert stored + ignored == 359
    assert len(rows(pg, "users")) == 359


def test_every_customer_and_product_of_an_order_is_known(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    assert run(env, "seed").returncode == 0
    assert run(env, "cache_worker", "--once").returncode == 0
    made = run(env, "orders", "--rate", "500", "--limit", "400")
    assert made.returncode == 0, made.stderr
    orders = events(settings, "orders")
    assert len(orders) >= 400
    assert {o.user_id for o in orders} <= set(named(settings, "users"))
    assert {o.product_id for o in orders} <= set(named(settings, "products"))


def test_only_what_the_topics_lack_is_published(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    seed.seed_shop(pg, users=200, products=50, seed=1)
    pg.execute("INSERT INTO users (user_id) VALUES (9)")  # a stub: nothing is known of it
    some = [user(u) for u in (1, 2)]
    pg.execute("UPDATE users SET name = '김서연' WHERE user_id = 1")
    assert accounting.may_lack_profiles(pg, logs(settings))
    publish(settings, "products", [(b"70", b"not JSON"), (b"70", None), message("orders", order())])
    publish(settings, "users", [message("users", u) for u in some])
    done = run(env, "profiles")
    assert done.returncode == 0, done.stderr
    assert "users=200 products=50" in done.stderr
    again = run(env, "profiles")
    assert "users=0 products=0" in again.stderr
    assert set(rows(pg, "users")) < set(named(settings, "users"))


def logs(settings: Settings) -> list[tuple[str, str]]:
    found = kafka.describe_topics(kafka.admin(settings.kafka))
    return [(name, topic.log_id) for name, topic in found.items()]


def test_a_shop_whose_topics_know_all_is_not_published_again(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    assert not accounting.may_lack_profiles(pg, logs(settings))
    assert run(env, "seed", "--users", "30", "--products", "8").returncode == 0
    assert not accounting.may_lack_profiles(pg, logs(settings))
    pg.execute("UPDATE ingest_offsets SET log_id = 'a topic that was deleted'")
    assert accounting.may_lack_profiles(pg, logs(settings))


def test_a_row_is_recognised_in_whatever_way_its_event_is_written(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    pg.execute(
        "INSERT INTO products (product_id, name, category, brand, price, created_at)"
        " VALUES (70, '머그컵', '주방', '온담', 12900, '2026-03-04 05:06:07+00')"
    )
    written = (
        b'{ "price": 12900, "created_at": "2026-03-04T14:06:07+09:00", "more": [1], "v": 1,'
        b' "product_id": 70, "brand": "\\uc628\\ub2f4", "category": "\xec\xa3\xbc\xeb\xb0\xa9",'
        b' "name": "\xeb\xa8\xb8\xea\xb7\xb8\xec\xbb\xb5"}'
    )
    publish(settings, "products", [(b"70", written)])
    assert "users=0 products=0" in run(env, "profiles").stderr
    pg.execute("UPDATE products SET price = 1000")
    assert "users=0 products=1" in run(env, "profiles").stderr


def test_copies_of_rows_are_no_sign_ups(env: dict[str, str], settings: Settings) -> None:
    assert run(env, "seed", "--users", "30", "--products", "8").returncode == 0
    publish(settings, "users", [message("users", user(i)) for i in (1, 2)])
    assert profiles.originals(settings, "users", 10.0) == 2
    done = run(env, "users", "--limit", "1", "--speed", "50")
    assert done.returncode == 0, done.stderr
    assert " made=2 " in done.stderr


def test_a_history_can_publish_who_is_in_it(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    size = ["--days", "8", "--orders-per-day", "50"]
    history = [*size, "--end", "2026-11-20"]
    assert run(env, "backfill", *history).returncode == 0
    assert named(settings, "users") == []
    done = run(env, "backfill", *history, "--publish")  # it is there already: only that is left
    assert done.returncode == 0, done.stderr
    assert named(settings, "users") == rows(pg, "users")
    assert named(settings, "products") == rows(pg, "products")


def test_nothing_is_written_where_kafka_does_not_answer(
    env: dict[str, str], pg: Connection
) -> None:
    away = {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = run(away, "seed", "--users", "30")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert rows(pg, "users") == []
    assert run(away, "seed", "--users", "30", "--no-publish").returncode == 0
    assert len(rows(pg, "users")) == 30
    nowhere = {k: v for k, v in env.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
    done = run({**nowhere, "JANGTEO_DATA_DIR": "/nonexistent"}, "seed", "--users", "40")
    assert done.returncode == 0
    assert "jangteo generate profiles" in done.stderr


def test_a_missing_topic_is_one_line(env: dict[str, str], settings: Settings) -> None:
    client = kafka.admin(settings.kafka)
    for future in client.delete_topics(["products"]).values():
        future.result()
    done = run(env, "profiles")
    assert done.returncode == JangteoError.exit_code
    assert "`jangteo init` creates it" in done.stderr
    assert done.stderr.count("\n") == 1
