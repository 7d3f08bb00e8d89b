"""What people look up by has an index; incremental loads have their columns; all is described."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from shop import postgres
from shop.postgres import Connection, lookups
from tests.support.layouts import both_layouts

ROWS = """
INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,
                    payment_method, status, ordered_at, updated_at)
SELECT n, 1, n %% 997, n %% 499, 2, 500, 0, 1000, 'CARD', 'PAID', at, at
FROM generate_series(1, %s) AS n, LATERAL (SELECT now() - n * interval '1 minute' AS at) AS a
"""
WINDOWS = """
INSERT INTO user_spend_windows (user_id, window_start, orders, spend)
SELECT user_id, date_bin('5 minutes', ordered_at, 'epoch'), count(*), sum(amount)
FROM orders GROUP BY 1, 2
"""
HISTORY = """
INSERT INTO grade_history (user_id, from_grade, to_grade, cumulative_spend, as_of)
SELECT user_id, 'BRONZE', 'SILVER', 100000, ordered_at FROM orders
"""
QUESTIONS = {
    "orders_user": "SELECT * FROM orders WHERE user_id = 7 ORDER BY ordered_at DESC",
    "orders_product": "SELECT * FROM orders WHERE product_id = 7 AND ordered_at > now()",
    "user_spend_windows_user": "SELECT * FROM user_spend_windows WHERE user_id = 7",
    "grade_history_user": "SELECT * FROM grade_history WHERE user_id = 7",
    "users_grade": "SELECT * FROM users WHERE grade = 'VIP' ORDER BY user_id DESC LIMIT 50",
    "orders_pkey": "SELECT * FROM orders WHERE order_id = 7",
    "users_pkey": "SELECT * FROM users WHERE user_id = 7",
}  # fmt: skip


PLAIN = pytest.mark.parametrize("layout", ["plain"])
"""For tests that know the names of the indexes: by month each partition has its own."""


@pytest.fixture
def filled(pg: Connection) -> Connection:
    pg.execute(ROWS, (20_000,))
    pg.execute(WINDOWS)
    pg.execute(HISTORY)
    pg.execute("INSERT INTO users (user_id) SELECT generate_series(1, 5000)")
    pg.execute("UPDATE users SET grade = 'VIP' WHERE user_id % 100 = 0")
    pg.execute("ANALYZE")
    return pg


def plan(conn: Connection, question: str) -> str:
    rows = conn.execute(f"EXPLAIN {question}".encode()).fetchall()
    return "\n".join(str(row[0]) for row in rows)


@PLAIN
@pytest.mark.parametrize("index", QUESTIONS)
def test_a_look_up_uses_its_index(filled: Connection, index: str) -> None:
    assert index in plan(filled, QUESTIONS[index])


@PLAIN
def test_a_lean_layout_has_none_until_they_are_wanted_again(filled: Connection) -> None:
    orders = QUESTIONS["orders_user"]
    postgres.migrate(filled, lean=True)
    assert lookups.missing(filled) == list(lookups.INDEXES)
    assert "Seq Scan" in plan(filled, orders)
    postgres.migrate(filled)  # as `jangteo up` does: the choice stays
    assert lookups.missing(filled) == list(lookups.INDEXES)
    postgres.migrate(filled, lean=False)
    assert lookups.missing(filled) == []
    assert "orders_user" in plan(filled, orders)


@PLAIN
def test_large_tables_are_indexed_while_others_write(
    filled: Connection, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does the build lock writers out, nor does what an interrupted one left count."""
    monkeypatch.setattr(lookups, "SMALL_BYTES", 0)
    filled.execute("DROP INDEX orders_product")
    filled.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_user'::regclass"
    )
    log = "SELECT query FROM pg_stat_activity WHERE pid = %s"
    with postgres.connect(settings.postgres, "test", autocommit=True) as builder:
        assert lookups.fit(builder) == ["orders_user", "orders_product"]
        last = filled.execute(log, (builder.info.backend_pid,)).fetchone()
        assert last
        assert "pg_advisory_unlock" in str(last[0]), "another process can build now"
    assert lookups.missing(filled) == []
    assert "orders_user" in plan(filled, QUESTIONS["orders_user"])


def test_new_rows_are_held_against_the_contract_and_old_ones_reported(pg: Connection) -> None:
    pg.execute("ALTER TABLE orders DROP CONSTRAINT orders_amount_check")
    pg.execute(ROWS, (1,))
    pg.execute("UPDATE orders SET amount = 7")
    pg.execute("ALTER TABLE orders ADD CONSTRAINT orders_amount_check"
               " CHECK (amount = quantity * unit_price - discount) NOT VALID")  # fmt: skip
    postgres.migrate(pg)  # does not fail
    with pytest.raises(psycopg.errors.CheckViolation, match="orders_amount_check"):
        pg.execute("UPDATE orders SET amount = 8")
    pg.execute("DELETE FROM orders")
    postgres.migrate(pg)
    left = pg.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
    assert left == []


UNDESCRIBED = """
SELECT c.oid::regclass::text, a.attname
FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped
WHERE c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND c.relkind IN ('r', 'p', 'v', 'm')
  AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
"""


@both_layouts
def test_every_table_and_every_column_has_a_comment(pg: Connection) -> None:
    assert pg.execute(UNDESCRIBED).fetchall() == []


def test_every_table_says_when_a_row_was_stored_and_changed(pg: Connection) -> None:
    tables = (
        "SELECT c.oid FROM pg_class AS c"
        " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    lacking = pg.execute(
        f"SELECT c.oid::regclass::text, n FROM ({tables}) AS c, unnest(%s::text[]) AS n"
        " WHERE NOT EXISTS (SELECT FROM pg_attribute AS a"
        " WHERE attrelid = c.oid AND attname = n AND attnotnull)",
        (["ingested_at", "changed_at"],),
    ).fetchall()
    assert lacking == []


def test_a_change_of_a_small_table_is_noted_without_the_writers_help(pg: Connection) -> None:
    pg.execute("INSERT INTO spend_window_length (seconds) VALUES (300)")
    pg.execute("UPDATE spend_window_length SET seconds = 600, changed_at = '2020-01-01Z'")
    (stamp,) = pg.execute("SELECT changed_at > '2021-01-01Z' FROM spend_window_length").fetchall()
    assert stamp == (True,)
