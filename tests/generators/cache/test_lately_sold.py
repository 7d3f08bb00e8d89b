"""The popular products are those that sell now, by a count that halves in fourteen days."""

from __future__ import annotations

import numpy as np
import pytest

from generators.cache.lately_sold import OLD_S, LatelySold
from generators.cache.reading import read_products
from shop.postgres import Connection
from tests.support.manual_clock import ManualClock

SIZE = 10  # of which 7 are popular


def add_products(pg: Connection, n: int) -> None:
    pg.execute(
        "INSERT INTO products (product_id, name, category, brand, price, created_at, order_count)"
        " SELECT i, 'x', 'fashion', 'x', 1000, now() - (1000 - i) * interval '1 minute', 0"
        " FROM generate_series(1, %s) AS i",
        (n,),
    )


def sell(pg: Connection, product_id: int, days_ago: int, orders: int) -> None:
    pg.execute(
        "INSERT INTO sales_by_product (product_id, day, orders, units, spend)"
        " VALUES (%s, (now() AT TIME ZONE 'Asia/Seoul')::date - %s, %s, 1, 1)"
        " ON CONFLICT (product_id, day) DO UPDATE SET orders = excluded.orders",
        (product_id, days_ago, orders),
    )


def popular(pg: Connection, sold: LatelySold, orders: int = 1) -> list[int]:
    cached = read_products(pg, SIZE, sold.read(pg, orders))
    assert len(cached) == SIZE
    return [p.product_id for p in cached if p.popular]


def test_an_order_counts_half_after_fourteen_days(pg: Connection) -> None:
    rng = np.random.default_rng(5)
    expected: dict[int, float] = {}
    for product_id in range(1, 41):
        for days_ago in {0, 1, 2, *rng.integers(0, 90, 4).tolist()}:
            orders = int(rng.integers(0, 9))
            sell(pg, product_id, days_ago, orders)
            lately = orders * 0.5 ** (days_ago / 14)
            expected[product_id] = expected.get(product_id, 0.0) + lately
    sell(pg, 99, 120, 1_000)  # long ago
    ids, lately = LatelySold().read(pg, 1)
    assert dict(zip(ids.tolist(), lately.tolist(), strict=True)) == pytest.approx(expected)
    assert (np.diff(lately) <= 0).all()


def test_what_sells_now_is_popular_and_not_what_sold_last_quarter(pg: Connection) -> None:
    add_products(pg, 40)
    pg.execute("UPDATE products SET order_count = 10000 WHERE product_id > 30")
    for product_id in range(31, 41):
        sell(pg, product_id, 90, 100)
    for product_id in range(1, 8):
        sell(pg, product_id, 1, 10 - product_id)
    assert popular(pg, LatelySold()) == [1, 2, 3, 4, 5, 6, 7]


def test_delisted_products_leave_their_places_to_the_next(pg: Connection) -> None:
    add_products(pg, 60)
    for product_id in range(1, 51):
        sell(pg, product_id, 0, 100 - product_id)
    pg.execute("UPDATE products SET sale_status = 'DELISTED' WHERE product_id <= 40")
    assert popular(pg, LatelySold()) == [41, 42, 43, 44, 45, 46, 47]


def test_equal_counts_are_ordered_by_all_orders_then_by_id(pg: Connection) -> None:
    add_products(pg, 60)
    for product_id in range(1, 51):
        sell(pg, product_id, 0, 1)
    pg.execute("UPDATE products SET order_count = 5 WHERE product_id IN (50, 44)")
    assert popular(pg, LatelySold()) == [44, 50, 1, 2, 3, 4, 5]


def test_orders_of_days_ago_that_come_late_count_soon(pg: Connection) -> None:
    clock = ManualClock()
    sold = LatelySold(clock)
    sell(pg, 1, 0, 1)
    sell(pg, 2, 20, 1)
    assert sold.read(pg, 100)[0].tolist() == [1, 2]
    sell(pg, 2, 20, 100)
    sell(pg, 3, 1, 50)
    assert sold.read(pg, 101)[0].tolist() == [3, 1, 2]  # yesterday's and today's count at once
    clock.now += OLD_S
    assert sold.read(pg, 101)[0].tolist() == [3, 2, 1]
    sell(pg, 4, 30, 10_000)
    assert sold.read(pg, 200)[0].tolist() == [4, 3, 2, 1]  # a history was written
