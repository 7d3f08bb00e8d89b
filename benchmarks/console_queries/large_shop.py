"""A shop of ten million orders, written by PostgreSQL itself: rows of the right shape, fast.

It serves to measure queries. Its customers and products are as uneven as a shop's: the number of
orders of a customer and of a product follows a power of a uniform number.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from psycopg import sql

from shop.postgres import Connection, lookups, schema

USERS_PER_ORDER: Final = 0.05
PRODUCTS_PER_ORDER: Final = 0.002
LETTERS: Final = 100_000
DAYS: Final = 365
_AGO: Final = "(extract(epoch FROM now() - timestamptz '2020-01-01 00:00Z') * 1000)::bigint"

_FILL: Final = (
    ("users", """
        INSERT INTO users (user_id, name, email, gender, birth_year, city, grade, created_at,
                           order_count, total_spent)
        SELECT i, 'customer ' || i, 'c' || i || '@example.com', 'F', 1990, 'Seoul',
               (ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP'])[1 + (4 * random() ^ 3)::int % 4],
               now() - random() * interval '365 days', 20, (1e7 * random() ^ 4)::bigint
        FROM generate_series(1, %(users)s) AS i"""),
    ("products", """
        INSERT INTO products (product_id, name, category, brand, price, created_at)
        SELECT i, 'product ' || i, 'home', 'brand', 1000, now() - random() * interval '365 days'
        FROM generate_series(1, %(products)s) AS i"""),
    ("orders", """
        INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,
                            amount, payment_method, status, ordered_at, updated_at)
        SELECT (ms << 12) | (i & 4095), 1, 1 + (%(users)s * random() ^ 2)::bigint % %(users)s,
               1 + (%(products)s * random() ^ 3)::bigint % %(products)s,
               1, 1000, 0, 1000, 'CARD', 'PAID', at, at
        FROM (SELECT i, timestamptz '2020-01-01 00:00Z' + ms * interval '1 ms' AS at, ms
              FROM (SELECT i, %(first)s + i * (%(last)s - %(first)s) / %(orders)s AS ms
                    FROM generate_series(1::bigint, %(orders)s) AS i) AS numbered) AS timed"""),
    ("user_spend_windows", """
        INSERT INTO user_spend_windows (user_id, window_start, orders, spend)
        SELECT user_id, date_bin('5 min', ordered_at, timestamptz '2020-01-01 00:00Z'), count(*),
               sum(amount) FROM orders GROUP BY 1, 2 ORDER BY 2, 1"""),
    ("grade_history", """
        INSERT INTO grade_history (user_id, from_grade, to_grade, cumulative_spend, as_of)
        SELECT i, 'BRONZE', 'SILVER', 100000, now() - n * interval '30 days'
        FROM generate_series(1, %(users)s, 2) AS i, generate_series(1, 4) AS n"""),
    ("rejected_messages", """
        INSERT INTO rejected_messages (topic, partition, "offset", log_id, key, payload, reason,
                                       detail, rejected_at)
        SELECT 'orders', i %% 12, i, 'log', i::text::bytea,
               ('{"v": 1, "order_id": ' || i || ', "quantity": "x"}')::bytea, 'wrong_type',
               'quantity', now() - i * interval '1 minute'
        FROM generate_series(1, %(letters)s) AS i"""),
)  # fmt: skip


def fill(conn: Connection, orders: int) -> Iterator[tuple[str, float]]:
    """Write the shop, and build its indexes; yield each table and the seconds that it took.

    Args:
        conn: of the tables' owner, in autocommit mode; the database is empty.
        orders: number of orders; everything else is in proportion.
    """
    schema.migrate(conn)
    conn.autocommit = True
    (last,) = conn.execute(f"SELECT {_AGO}".encode()).fetchone() or (0,)
    sizes = {
        "orders": orders,
        "users": max(10, int(orders * USERS_PER_ORDER)),
        "products": max(10, int(orders * PRODUCTS_PER_ORDER)),
        "letters": min(LETTERS, orders),
        "first": last - DAYS * 86_400_000,
        "last": last,
    }
    with conn.transaction(), conn.cursor() as cur:
        lookups.drop(cur)
    for table, statement in _FILL:
        began = time.monotonic()
        text = statement
        for name, value in sizes.items():
            text = text.replace(f"%({name})s", str(value))
        conn.execute(text.replace("%%", "%").encode())
        yield table, time.monotonic() - began
    began = time.monotonic()
    with conn.transaction(), conn.cursor() as cur:
        lookups.create(cur)
    for table, _ in _FILL:
        conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))
    yield "indexes, VACUUM", time.monotonic() - began
