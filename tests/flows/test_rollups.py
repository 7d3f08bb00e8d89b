"""The rollups say what the orders say after every transaction, by the ingest's own store."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import Any

import pytest

from flows import rollups
from flows.decode import decode_batch
from flows.transaction import Store
from jangteo.stack.consistency import check
from shop import postgres
from shop.clock import utc_now
from shop.postgres import Connection
from tests.support.event_samples import message, order, orders_batch, product, raw_batch
from tests.support.waiting import wait_until

NOW = utc_now().replace(microsecond=0)
SCENARIOS = (None, "flash_sale", "payday")


@pytest.fixture
def stores(pg: Connection) -> dict[str, Store]:
    made = {topic: Store(topic, window_s=300) for topic in ("orders", "products")}
    for topic, store in made.items():
        store.prepare(pg)
        pg.execute(
            "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
            " VALUES (%s, 0, 'log-1', 0)", (topic,),
        )  # fmt: skip
    return made


def any_order(rng: random.Random, n: int, **changes: Any) -> Any:
    at = NOW - timedelta(hours=rng.randrange(72), minutes=rng.randrange(60))
    changed = {
        "user_id": rng.randint(1, 9), "product_id": rng.randint(1, 6), "ordered_at": at,
        "updated_at": NOW, "quantity": rng.randint(1, 5), "unit_price": 1000, "discount": 0,
        "scenario": rng.choice(SCENARIOS),
        "payment_method": rng.choice(["CARD", "PHONE"]),
    }  # fmt: skip
    return order(n, **{**changed, **changes})


def test_rollups_are_exact_after_each_batch_of_anything(
    pg: Connection, stores: dict[str, Store]
) -> None:
    """New, late, repeated, cancelled, overtaken orders; products known before, later, never."""
    rng = random.Random(17)
    revisions: dict[int, int] = {}
    made: dict[int, Any] = {}
    start = 0
    for batch in range(12):
        events = []
        for _ in range(20):
            if made and rng.random() < 0.4:
                n = rng.choice(list(made))
                revisions[n] += rng.choice([0, 1, 2])
                status = rng.choice(["CANCELLED", "REFUNDED", "PAID"])
                events.append(any_order(rng, n, rev=max(1, revisions[n]), status=status))
            else:
                n = len(made) + 1
                revisions[n] = 1
                made[n] = any_order(rng, n, rev=1, status="PAID")
                events.append(made[n])
        stores["orders"].apply(pg, decode_batch(orders_batch(events, start=start)))
        start += len(events)
        assert check(pg) == []
        if batch in (3, 7):
            known = [product(p, category=f"category {p % 3}") for p in (batch, batch - 2)]
            first = 0 if batch == 3 else 2
            raw = raw_batch("products", [message("products", p) for p in known], start=first)
            stores["products"].apply(pg, decode_batch(raw))
            assert check(pg) == []
    rows = pg.execute("SELECT sum(orders), sum(cancelled), sum(refunded) FROM sales_by_hour")
    assert all(n > 0 for n in rows.fetchone() or (0,))
    names = {name for (name,) in pg.execute("SELECT category FROM sales_by_category").fetchall()}
    assert {"unknown", "category 0", "category 1"} <= names


def test_a_product_that_arrives_while_its_first_order_is_stored_is_counted_by_its_category(
    pg: Connection, stores: dict[str, Store], settings: Any
) -> None:
    """The order is stored, its transaction open, when the product's event waits for the stub."""
    orders = decode_batch(orders_batch([order(1, product_id=5, ordered_at=NOW, updated_at=NOW)]))
    raw = raw_batch("products", [message("products", product(5, category="books"))])
    with (
        postgres.connect(settings.postgres, "first", autocommit=True) as first,
        postgres.connect(settings.postgres, "second", autocommit=True) as second,
    ):
        stores["orders"].prepare(first)
        stores["products"].prepare(second)
        with first.transaction():
            stores["orders"].apply(first, orders)
            thread = threading.Thread(
                target=stores["products"].apply, args=(second, decode_batch(raw))
            )
            thread.start()
            waits = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
            wait_until(
                lambda: pg.execute(waits, (second.info.backend_pid,)).fetchone() is not None,
                "the product waits for its stub",
            )
        thread.join(30)
    assert check(pg) == []
    found = pg.execute("SELECT category, orders FROM sales_by_category WHERE orders > 0").fetchall()
    assert found == [("books", 1)]


def test_a_category_that_changes_takes_its_sales_along(
    pg: Connection, stores: dict[str, Store]
) -> None:
    placed = [order(n, product_id=n % 2 + 5, ordered_at=NOW, updated_at=NOW) for n in (1, 2, 3)]
    stores["orders"].apply(pg, decode_batch(orders_batch(placed)))
    for category in ("books", "toys", "unknown"):
        with pg.transaction(), pg.cursor() as cur:
            before = rollups.lock_categories(cur, [5, 6])
            cur.execute("UPDATE products SET category = %s WHERE product_id = 6", (category,))
            rollups.move_categories(cur, [5, 6], before)
        assert check(pg) == []


def test_days_are_those_of_seoul_and_hours_those_of_the_clock(
    pg: Connection, stores: dict[str, Store]
) -> None:
    at = NOW.replace(hour=15, minute=30, second=0) - timedelta(days=2)  # 00:30 in Seoul
    stores["orders"].apply(pg, decode_batch(orders_batch([order(1, ordered_at=at, updated_at=at)])))
    (hour,) = pg.execute("SELECT hour FROM sales_by_hour").fetchall()
    assert hour == (at.replace(minute=0),)
    days = pg.execute("SELECT day FROM sales_by_product UNION SELECT day FROM sales_by_category"
                      " UNION SELECT day FROM sales_by_payment_method").fetchall()  # fmt: skip
    assert days == [((at + timedelta(days=1)).date(),)]


def test_a_rebuild_brings_back_what_was_lost(pg: Connection, stores: dict[str, Store]) -> None:
    stores["orders"].apply(
        pg, decode_batch(orders_batch([order(1, ordered_at=NOW, updated_at=NOW)]))
    )
    pg.execute("TRUNCATE sales_by_hour, sales_by_product, sales_by_category")
    assert len(check(pg)) == 2  # a category's truth is the products'
    pg.execute("SELECT rebuild_sales()")
    assert check(pg) == []
