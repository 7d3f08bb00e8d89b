"""The check of promise P2 finds every kind of difference, and none where there is none."""

from __future__ import annotations

import threading

import pytest

from jangteo.cli import doctor_probes
from jangteo.stack import consistency
from shop import postgres
from shop.postgres import Connection, window_length
from shop.settings import Settings

SOUND = """
INSERT INTO users (user_id, order_count, total_spent) VALUES (1, 2, 300), (2, 0, 0), (3, 1, 50);
INSERT INTO products (product_id, order_count) VALUES (10, 3), (11, 0);
INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,
                    payment_method, status, ordered_at, updated_at)
SELECT id, rev, who, 10, 1, amount, 0, amount, 'CARD', status, at::timestamptz, at::timestamptz
FROM (VALUES
    (100, 1, 1, 100, 'PAID', '2026-11-23 00:01Z'), (101, 1, 1, 200, 'PAID', '2026-11-23 00:07Z'),
    (102, 2, 2, 999, 'CANCELLED', '2026-11-23 00:01Z'), (103, 1, 3, 50, 'PAID', '2026-11-23 00:02Z')
) AS o (id, rev, who, amount, status, at);
INSERT INTO user_spend_windows VALUES
    (1, '2026-11-23 00:00Z', 1, 100), (1, '2026-11-23 00:05Z', 1, 200),
    (2, '2026-11-23 00:00Z', 0, 0), (3, '2026-11-23 00:00Z', 1, 50);
SELECT rebuild_sales();
"""


@pytest.fixture
def sound(pg: Connection) -> Connection:
    pg.execute(SOUND)
    return pg


def test_an_empty_and_a_sound_shop_have_no_differences(pg: Connection) -> None:
    assert consistency.check(pg) == []
    pg.execute(SOUND)
    assert consistency.check(pg) == []


@pytest.mark.parametrize(
    ("breakage", "who"),
    [
        ("UPDATE users SET total_spent = total_spent + 1 WHERE user_id = 1", "user 1:"),
        ("UPDATE users SET order_count = 1 WHERE user_id = 2", "user 2:"),
        ("UPDATE user_spend_windows SET spend = spend - 1 WHERE user_id = 3", "user 3:"),
        ("UPDATE user_spend_windows SET orders = 5 WHERE user_id = 3", "user 3:"),
        ("DELETE FROM user_spend_windows WHERE user_id = 1", "user 1:"),
        ("INSERT INTO user_spend_windows VALUES (9, '2026-11-23 00:00Z', 1, 5)", "user 9:"),
        ("DELETE FROM users WHERE user_id = 3", "user 3:"),
        ("UPDATE orders SET status = 'PAID' WHERE order_id = 102", "user 2:"),
        ("UPDATE products SET order_count = 4 WHERE product_id = 10", "product 10:"),
        ("DELETE FROM products WHERE product_id = 10", "product 10:"),
        (
            "UPDATE sales_by_hour SET spend = spend + 1",
            "sales_by_hour 2026-11-23 00:00:00+00 none:",
        ),
        ("UPDATE sales_by_hour SET cancelled = 0", "sales_by_hour 2026-11-23 00:00:00+00 none:"),
        ("DELETE FROM sales_by_product", "sales_by_product 10 2026-11-23:"),
        ("UPDATE sales_by_category SET units = 0", "sales_by_category 2026-11-23 unknown:"),
        ("UPDATE products SET category = 'x'", "sales_by_category 2026-11-23 unknown:"),
        (
            "UPDATE sales_by_payment_method SET payment_method = 'PHONE'",
            "sales_by_payment_method 2026-11-23 CARD:",
        ),
        (
            "INSERT INTO sales_by_hour VALUES ('2026-01-01Z', 'none', 1, 1, 1, 0, 0)",
            "sales_by_hour 2026-01-01 00:00:00+00 none:",
        ),
    ],
)
def test_every_kind_of_difference_is_found(sound: Connection, breakage: str, who: str) -> None:
    sound.execute(breakage.encode())
    found = consistency.check(sound)
    assert any(words.startswith(who) for words in found), found


@pytest.mark.parametrize(
    ("breakage", "what"),
    [
        ("DELETE FROM sales_by_hour", "sales_by_hour"),
        ("UPDATE sales_by_category SET spend = spend + 1", "sales_by_category"),
        ("UPDATE sales_by_product SET orders = 0 WHERE product_id = 10", "sales_by_product"),
        ("DELETE FROM sales_by_payment_method", "sales_by_payment_method"),
    ],
)
def test_the_doctor_finds_rollups_of_the_last_days_that_differ(
    sound: Connection, breakage: str, what: str
) -> None:
    sound.execute("UPDATE orders SET ordered_at = now() - interval '3 days'")
    sound.execute("SELECT rebuild_sales()")
    assert consistency.recent_rollups(sound, timeout_s=20) == (30, [])
    sound.execute(breakage.encode())
    _, (first, *_) = consistency.recent_rollups(sound, timeout_s=20) or (0, [])
    assert first.startswith(f"{what} ")
    found = doctor_probes._rollups(sound)
    assert (found.level, "windows rebuild" in found.advice) == ("wrong", True)
    window_length.rebuild(sound, 300)
    assert consistency.recent_rollups(sound, timeout_s=20) == (30, [])


def test_a_comparison_that_takes_too_long_is_given_up(
    sound: Connection, settings: Settings
) -> None:
    with (
        postgres.connect(settings.postgres, "doctor", autocommit=True) as conn,
        sound.transaction(),
    ):
        sound.execute("LOCK TABLE sales_by_hour IN ACCESS EXCLUSIVE MODE")
        assert consistency.recent_rollups(conn, timeout_s=0.05) is None


def test_words_carry_the_numbers(sound: Connection) -> None:
    sound.execute("UPDATE users SET total_spent = 7 WHERE user_id = 1")
    assert consistency.check(sound) == [
        "user 1: orders 2 of 300 KRW, windows 2 of 300, users row 2 of 7"
    ]


def test_differences_are_limited(pg: Connection) -> None:
    pg.execute("INSERT INTO users (user_id, total_spent) SELECT n, 1 FROM generate_series(1, 50) n")
    assert len(consistency.check(pg, limit=3)) == 3


def test_it_reads_one_snapshot_and_leaves_the_connection_as_it_was(
    sound: Connection, settings: Settings
) -> None:
    stop = threading.Event()
    isolation = sound.isolation_level

    def write() -> None:
        with postgres.connect(settings.postgres, "writer") as conn:
            paid = False
            while not stop.is_set():
                paid = not paid
                sign = 1 if paid else -1
                with conn.transaction():
                    conn.execute(
                        "UPDATE orders SET status = %s WHERE order_id = 102",
                        ("PAID" if paid else "CANCELLED",),
                    )
                    conn.execute(
                        "UPDATE user_spend_windows SET orders = orders + %s, spend = spend + %s"
                        " WHERE user_id = 2",
                        (sign, sign * 999),
                    )
                    conn.execute(
                        "UPDATE users SET order_count = order_count + %s,"
                        " total_spent = total_spent + %s WHERE user_id = 2",
                        (sign, sign * 999),
                    )
                    conn.execute(
                        "UPDATE products SET order_count = order_count + %s WHERE product_id = 10",
                        (sign,),
                    )
                    conn.execute("SELECT rebuild_sales()")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            assert consistency.check(sound) == []
    finally:
        stop.set()
        writer.join()
    assert sound.isolation_level == isolation
