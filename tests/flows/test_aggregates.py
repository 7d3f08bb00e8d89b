"""Folding orders equals adding them up one by one; the rollups are exact after each batch."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import aggregates, rollups
from flows.decoding.decode import INDEX, decode_batch
from flows.transaction import Store
from jangteo.stack.consistency import check
from shop import postgres
from shop.clock import UTC, utc_now
from shop.events import SCHEMAS, Order, as_row
from shop.postgres import Connection
from shop.spend_windows import window_start
from tests.support.event_samples import NOW, message, order, orders_batch, product, raw_batch
from tests.support.waiting import wait_until

orders = st.lists(
    st.builds(
        lambda i, u, p, s, q, t: order(
            i, user_id=u, product_id=p, status=s, quantity=q, ordered_at=NOW + t
        ),
        st.integers(1, 1000),
        st.integers(1, 3),
        st.integers(1, 3),
        st.sampled_from(["PAID", "CANCELLED", "REFUNDED"]),
        st.integers(1, 9),
        st.timedeltas(timedelta(-2), timedelta(hours=2)),
    ),
    max_size=30,
)


def frame(events: list[Order]) -> pl.DataFrame:
    rows = [{**as_row(o), INDEX: i} for i, o in enumerate(events)]
    return pl.DataFrame(rows, schema={**SCHEMAS["orders"], INDEX: pl.Int64()})


@settings(max_examples=100, deadline=None)
@given(orders, st.sampled_from([60, 300, 3600, 86_400]), st.sampled_from([1, -1]))
def test_effects_are_the_sums_of_the_orders(events: list[Order], window_s: int, sign: int) -> None:
    windows: dict[tuple[datetime, int], list[int]] = defaultdict(lambda: [0, 0])
    users: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    products: dict[int, int] = defaultdict(int)
    last: dict[int, datetime] = {}
    for o in events:
        users[o.user_id][0] += 0
        last[o.user_id] = max(last.get(o.user_id, o.ordered_at), o.ordered_at)
        if o.status == "PAID":
            start = o.ordered_at.timestamp() // window_s * window_s
            for sums in (windows[datetime.fromtimestamp(start, UTC), o.user_id], users[o.user_id]):
                sums[0] += sign
                sums[1] += sign * o.amount
            products[o.product_id] += sign
    found = aggregates.effects(aggregates.contributions(frame(events), sign), window_s)
    columns = ("window_start", "user_id", "orders", "spend")
    assert found.windows.select(columns).rows() == [
        (*key, *sums) for key, sums in sorted(windows.items())
    ]
    assert found.users.select(
        "user_id", "order_count", "total_spent", "last_ordered_at"
    ).rows() == [(user, *sums, last[user]) for user, sums in sorted(users.items())]
    assert found.products.rows() == sorted(products.items())


def test_windows_are_aligned_to_the_epoch_before_it_too() -> None:
    times = pl.DataFrame({"ordered_at": [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), NOW]})
    starts = times.select(window_start(300)).to_series().to_list()
    assert starts == [
        datetime(1969, 12, 31, 23, 55, tzinfo=UTC),
        NOW.replace(minute=5, second=0, microsecond=0),
    ]


def test_only_lone_first_revisions_go_straight_into_the_table() -> None:
    rows = frame([order(1), order(2), order(2, rev=2), order(3, rev=3), order(4), order(4)])
    assert aggregates.first_revisions(rows).to_list() == [True, False, False, False, False, False]
    assert aggregates.first_revisions(rows[:2]).to_list() == [True, True]


# -- the rollups, by the ingest's own store --

LATELY = utc_now().replace(microsecond=0)
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
    at = LATELY - timedelta(hours=rng.randrange(72), minutes=rng.randrange(60))
    changed = {
        "user_id": rng.randint(1, 9), "product_id": rng.randint(1, 6), "ordered_at": at,
        "updated_at": LATELY, "quantity": rng.randint(1, 5), "unit_price": 1000, "discount": 0,
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
    orders = decode_batch(
        orders_batch([order(1, product_id=5, ordered_at=LATELY, updated_at=LATELY)])
    )
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
    placed = [
        order(n, product_id=n % 2 + 5, ordered_at=LATELY, updated_at=LATELY) for n in (1, 2, 3)
    ]
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
    at = LATELY.replace(hour=15, minute=30, second=0) - timedelta(days=2)  # 00:30 in Seoul
    stores["orders"].apply(pg, decode_batch(orders_batch([order(1, ordered_at=at, updated_at=at)])))
    (hour,) = pg.execute("SELECT hour FROM sales_by_hour").fetchall()
    assert hour == (at.replace(minute=0),)
    days = pg.execute("SELECT day FROM sales_by_product UNION SELECT day FROM sales_by_category"
                      " UNION SELECT day FROM sales_by_payment_method").fetchall()  # fmt: skip
    assert days == [((at + timedelta(days=1)).date(),)]


def test_a_rebuild_brings_back_what_was_lost(pg: Connection, stores: dict[str, Store]) -> None:
    stores["orders"].apply(
        pg, decode_batch(orders_batch([order(1, ordered_at=LATELY, updated_at=LATELY)]))
    )
    pg.execute("TRUNCATE sales_by_hour, sales_by_product, sales_by_category")
    assert len(check(pg)) == 2  # a category's truth is the products'
    pg.execute("SELECT rebuild_sales(), rebuild_customer_rollups()")
    assert check(pg) == []
