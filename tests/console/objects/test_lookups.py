"""What is found of a thing, in real servers."""

from __future__ import annotations

import re

import msgspec
import pytest
import redis
from confluent_kafka import Producer

from console import translations as msg
from console.lookups import messages, texts
from console.lookups.details import DetailRow, Ref
from console.lookups.lookup import Lookup
from console.snapshot.model import Event, EventKind
from console.translations import render
from shop import kafka
from shop.clock import utc_now
from shop.ids import EPOCH_MS, make_id
from shop.messages import fault_location
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings, load
from tests.console import console_samples as samples
from tests.console.objects.reading import whole
from tests.support.layouts import by_month_in_the_long_suite


@pytest.fixture
def order_id() -> int:
    return make_id(int(utc_now().timestamp() * 1000) - EPOCH_MS, 1, 1)


@pytest.fixture
def lookup(settings: Settings) -> Lookup:
    return Lookup(settings, samples.fine())


def rows(lookup: Lookup, kind: str, key: str) -> dict[str, DetailRow]:
    return {r.label: r for r in whole(lookup, kind, key)}


@by_month_in_the_long_suite
def test_an_order_is_followed_from_its_message_to_its_row(
    settings: Settings, pg: Connection, topics: None, lookup: Lookup, order_id: int
) -> None:
    payload = f'{{"v": 1, "order_id": {order_id}, "user_id": 5, "product_id": 6}}'.encode()
    producer = Producer(kafka.client_config(settings.kafka, "test"))
    producer.produce("orders", payload, key=b"5", partition=0, headers=[("trace", b"\xff")])
    producer.produce("orders", b"not about it", key=b"5", partition=0)
    producer.flush(20)
    pg.execute("INSERT INTO users (user_id, name) VALUES (5, '김민지')")
    pg.execute("INSERT INTO products (product_id, name) VALUES (6, 'cup')")
    pg.execute(
        "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,"
        " amount, payment_method, status, ordered_at, updated_at)"
        " VALUES (%s, 1, 5, 6, 1, 1500, 0, 1500, 'CARD', 'PAID', now(), now())",
        (order_id,),
    )
    found = rows(lookup, "follow", str(order_id))
    assert found["order"].ref == Ref("order", str(order_id))
    assert str(found["amount"].text) == "1,500 KRW"
    assert render(found["amount"].text, "ko") == "1,500원"
    assert found["user_id"].ref == Ref("customer", "5")
    (message,) = [r.ref for r in found.values() if r.ref and r.ref.kind == "message"]
    assert message.place[:2] == ("orders", 0)

    opened = rows(lookup, "message", message.key)
    assert opened["key"].text == "5"
    assert opened["header trace"].text == "\N{REPLACEMENT CHARACTER}"
    assert opened["order_id"].ref == Ref("order", str(order_id))
    assert opened["0000"].text.startswith("7b22 7622")  # type: ignore[union-attr]  # not a message of the console


@by_month_in_the_long_suite
def test_a_customer_is_found_everywhere(
    settings: Settings, pg: Connection, redis_client: redis.Redis, topics: None, lookup: Lookup
) -> None:
    pg.execute("INSERT INTO users (user_id, name, grade) VALUES (5, '김민지', 'GOLD')")
    pg.execute("INSERT INTO user_spend_windows VALUES (5, now(), 2, 700)")
    pg.execute("INSERT INTO grade_history VALUES (5, 'SILVER', 'GOLD', 700, now())")
    pg.execute(
        'INSERT INTO rejected_messages (topic, partition, "offset", log_id, key, payload, reason,'
        " detail) VALUES ('orders', 3, 17, 'x', '5', '{', 'bad_json', 'ends (byte 1)')"
    )
    redis_client.hset(cache.USERS, "5", '{"user_id": 5}')
    found = whole(lookup, "customer", "5")
    texts = {r.label: r.text for r in found}
    assert texts["name"] == "김민지"
    assert texts[cache.USERS] == '{"user_id": 5}'
    said = [str(r.text) for r in found]
    assert "SILVER > GOLD  700 KRW" in said
    assert "      700 KRW  2 orders" in said
    assert Ref("letter", "orders/3/17") in [r.ref for r in found]
    letter = rows(lookup, "letter", "orders/3/17")
    assert letter["reason"].text == "bad_json"
    assert letter["0000"].text.split() == ["7b", "{"]
    assert letter["message"].ref == Ref("message", "orders/3/17")
    assert Ref("letter", "orders/3/17") in [r.ref for r in whole(lookup, "follow", "bad_json")]
    assert whole(lookup, "follow", "\\x")[0].wrong is False, "nothing found, and no error"
    members = lookup.open(Ref("grade", "GOLD")).rows
    assert [r.ref for r in members if r.ref] == [Ref("customer", "5")]


def test_the_message_of_a_customer_of_a_history_is_found_among_many(
    settings: Settings, topics: None, lookup: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were published after all of them had been made: their time says nothing."""
    monkeypatch.setattr(messages, "MOST_SCANNED", 20)
    monkeypatch.setattr(messages, "AROUND", 2)
    made = [make_id(1_000_000 * n, 1, 1) for n in range(600)]
    producer = Producer(kafka.client_config(settings.kafka, "test"))
    for n in made:
        producer.produce("users", b'{"v": 1, "user_id": %d}' % n, key=b"%d" % n)
    producer.flush(20)
    for n in (made[0], made[321], made[-1]):
        (found,) = [
            r for r in whole(lookup, "customer", str(n)) if r.ref and r.ref.kind == "message"
        ]
        assert f'"user_id": {n}' in found.text  # type: ignore[operator]  # text from outside
    said = {str(r.text) for r in whole(lookup, "customer", str(made[7] + 1))}
    assert any("messages looked at" in text for text in said)
    assert any("none in Kafka" in str(r.text) for r in whole(lookup, "product", str(made[7])))


def test_an_id_is_no_part_of_a_longer_number(
    settings: Settings, pg: Connection, redis_client: redis.Redis
) -> None:
    for offset, payload in enumerate(('{"order_id": 41234, "n": 123}', '{"order_id": 41234}')):
        pg.execute(
            'INSERT INTO rejected_messages (topic, partition, "offset", log_id, key, payload,'
            " reason, detail) VALUES ('orders', 3, %s, 'x', '5', %s, 'bad_json', '')",
            (offset, payload.encode()),
        )
    seen = [
        Event(n=n, at=samples.NOW, kind=EventKind.LOG, level="info", source="postgres", text=text)
        for n, text in enumerate(("sync=0.1234 s", "order 123 is late"), start=1)
    ]
    lookup = Lookup(settings, msgspec.structs.replace(samples.fine(), events=tuple(seen)))
    found = [r.ref for r in whole(lookup, "follow", "123") if r.ref]
    assert found == [Ref("letter", "orders/3/0"), Ref("event", "2")]


def test_a_server_that_is_away_is_one_row_and_the_others_stay(
    env: dict[str, str], pg: Connection
) -> None:
    away = load(
        {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"},
        use_stack=False,
    )
    pg.execute("INSERT INTO users (user_id, name) VALUES (5, 'Kim')")
    found = whole(Lookup(away, samples.fine()), "customer", "5")
    assert {r.label for r in found if r.wrong} >= {"Kafka", "Redis"}
    assert "Kim" in [r.text for r in found]


def test_an_id_without_a_row_is_found_in_kafka_and_in_the_cache(
    settings: Settings, pg: Connection, topics: None, redis_client: redis.Redis, order_id: int
) -> None:
    """Its ingest is behind, or PostgreSQL away: the message is there all the same."""
    producer = Producer(kafka.client_config(settings.kafka, "test"))
    producer.produce("orders", f'{{"order_id": {order_id}}}'.encode(), partition=0)
    producer.flush(20)
    redis_client.hset(cache.PRODUCTS, str(order_id), "{}")
    away = Settings(settings.data_dir, {**settings.env, "POSTGRES_PORT": "1"}, settings.source)
    for where, wrong in ((settings, []), (away, ["PostgreSQL"])):
        found = whole(Lookup(where, samples.fine()), "follow", str(order_id))
        assert [r.ref.kind for r in found if r.ref] == ["message", "entry"]
        assert [r.label for r in found if r.wrong] == wrong


@pytest.mark.parametrize(
    ("kind", "key"),
    [("order", "x"), ("message", "orders/1"), ("nothing", "1"), ("process", "../x")],
)
def test_what_is_not_valid_is_one_row(kind: str, key: str, settings: Settings) -> None:
    found = Lookup(settings, samples.fine()).open(Ref(kind, key)).rows
    assert len(found) in (1, 2)


@pytest.mark.parametrize(
    ("source", "leads_to"),
    [("orders_group", Ref("topic", "orders")), ("ingest", Ref("process", "ingest")), ("me", None)],
)
def test_a_line_of_the_log_leads_to_its_process_or_topic(source: str, leads_to: Ref | None) -> None:
    text = msg.LAG(messages=4, verdict=msg.word("stop"))
    event = Event(
        n=7, at=samples.NOW, kind=EventKind.CONSOLE, level="warning", source=source, text=text
    )
    seen = msgspec.structs.replace(samples.fine(), events=(event,))
    found = rows(Lookup(load({}, use_stack=False), seen), "event", "7")
    assert found["source"].ref == leads_to
    assert msg.render(found["text"].text, "ko") == "랙 4건: 중단"


def test_details_keep_names_from_outside_and_translate_the_rest(
    settings: Settings, pg: Connection, redis_client: redis.Redis, topics: None
) -> None:
    """A topic is called `orders` in every language, a heading of the console is not."""
    pg.execute("INSERT INTO users (user_id, name, total_spent) VALUES (5, '김민지', 1234567)")
    lookup = Lookup(settings, samples.fine())
    named = {r.label for r in whole(lookup, "customer", "5") if r.name}
    assert {"user_id", "grade", "total_spent"} <= named
    assert all(r.name for r in lookup.open(Ref("topics", "")).rows)
    spoken = [
        r.text for r in whole(lookup, "topic", "orders") if r.ref and r.ref.kind == "partition"
    ]
    assert all("랙" in render(text, "ko") and "오프셋" in render(text, "ko") for text in spoken)
    assert "None" not in "".join(map(str, spoken))


@pytest.mark.parametrize("said", [*fault_location._SAYS.values(), "{field} is missing"])
def test_every_fault_of_a_field_is_said_in_korean(said: str) -> None:
    text = texts.fault(said.format(field="status"), "status")
    assert str(text) == said.format(field="status")
    assert re.search("[가-힣]", render(text, "ko"))
