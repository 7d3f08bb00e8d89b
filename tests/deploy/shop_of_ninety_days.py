"""A small shop with a history, made in the database: what dashboards are tried on."""

from __future__ import annotations

from datetime import datetime, timedelta

from grading.store import grade_users
from shop.postgres import Connection

DAYS, CUSTOMERS, PRODUCTS, ORDERS = 90, 400, 60, 9_000


def fill(pg: Connection, now: datetime) -> None:
    """Fill an empty database with 90 days that end at `now`; graded every 30 days."""
    sizes = {"now": now, "days": DAYS, "u": CUSTOMERS, "p": PRODUCTS, "n": ORDERS}
    pg.execute(
        "INSERT INTO products (product_id, name, category, brand, price, created_at)"
        " SELECT i, '상품 ' || i, (ARRAY['식품', '패션', '가전'])[1 + i %% 3], '장터', 1000 * i,"
        " %(now)s - make_interval(days => %(days)s) FROM generate_series(1, %(p)s) i",
        sizes,
    )
    pg.execute(
        "INSERT INTO users (user_id, name, created_at)"
        " SELECT i, '김 ' || i, %(now)s - make_interval(days => %(days)s) * (i * 1.0 / %(u)s)"
        " FROM generate_series(1, %(u)s) i",
        sizes,
    )
    # Customers buy after they signed up, early ones more often; orders of each second day belong
    # to a scenario, one in ten was cancelled and one in twenty sent back.
    pg.execute(
        "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,"
        " amount, payment_method, status, scenario, ordered_at, updated_at, ingested_at)"
        " SELECT i, 1, %(u)s - (i * i) %% greatest(%(u)s * i / %(n)s, 1) * (i %% 7) / 7,"
        " 1 + i %% %(p)s, 1, 1000 * (i %% %(p)s),"
        " 0, 1000 * (i %% %(p)s), (ARRAY['CARD', 'KAKAO_PAY'])[1 + i %% 2],"
        " CASE WHEN i %% 10 = 0 THEN 'CANCELLED' WHEN i %% 20 = 1 THEN 'REFUNDED' ELSE 'PAID' END,"
        " CASE WHEN extract(day FROM at)::integer %% 2 = 0 THEN 'payday' END, at, at,"
        " at + interval '2 s' FROM (SELECT i, %(now)s - make_interval(days => %(days)s)"
        " * (1 - i * 1.0 / %(n)s) AS at FROM generate_series(1, %(n)s) i) AS o",
        sizes,
    )
    pg.execute(
        "UPDATE users SET order_count = o.orders, total_spent = o.spent, last_ordered_at = o.last"
        " FROM (SELECT user_id, count(*) FILTER (WHERE status = 'PAID') AS orders,"
        "  coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0) AS spent,"
        "  max(ordered_at) AS last FROM orders GROUP BY user_id) AS o"
        " WHERE users.user_id = o.user_id"
    )
    pg.execute("INSERT INTO users (user_id, last_ordered_at) VALUES (1000000, %(now)s)", sizes)
    for back in (60, 30, 0):
        at = now - timedelta(days=back)
        assert grade_users(pg, wait=True, clock=lambda at=at: at)
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset, stored, updated_at)"
        " SELECT 'orders', p, log, 750, 740, %(now)s - age FROM generate_series(0, 11) p,"
        " (VALUES ('old', interval '1 day'), ('new', interval '5 s')) AS l (log, age)",
        sizes,
    )
    pg.execute(
        'INSERT INTO rejected_messages (topic, partition, "offset", log_id, reason, field, detail,'
        " rejected_at, replayed_at)"
        " SELECT 'orders', 0, i, 'new', (ARRAY['bad_json', 'missing_field'])[1 + i %% 2], NULL, '',"
        " %(now)s - make_interval(mins => i), CASE WHEN i %% 5 = 0 THEN %(now)s END"
        " FROM generate_series(1, 40) i",
        sizes,
    )
