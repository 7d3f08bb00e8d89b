"""Products change: the highest revision wins, in any order of arrival and any batches."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jangteo.stack.consistency import check
from shop import postgres
from shop.events import Product, encode
from tests.flows.store_steps import apply, fetch, ledger, register
from tests.support.event_samples import NOW, message, order, orders_batch, product, raw_batch

PRICES = {1: 1_000, 2: 900, 3: 1_200, 4: 1_200}


def state(rev: int, product_id: int = 70) -> Product:
    """Each state of a product; the last one is off sale."""
    return product(
        product_id, rev=rev, price=PRICES[rev], updated_at=NOW - timedelta(days=9 - rev),
        sale_status="DELISTED" if rev == 4 else "LISTED",
    )  # fmt: skip


def send(conn: postgres.Connection, events: list[Product], start: int = 0) -> None:
    apply(conn, raw_batch("products", [message("products", e) for e in events], start=start))


def stored(conn: postgres.Connection) -> list[tuple]:
    return fetch(
        conn, "SELECT product_id, rev, price, sale_status FROM products ORDER BY product_id"
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    revs=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    size=st.integers(1, 8),
)
def test_the_highest_revision_wins_whatever_the_batches(
    conn: postgres.Connection, revs: list[int], size: int
) -> None:
    with conn.transaction():
        conn.execute("TRUNCATE products, ingest_offsets, rejected_messages, sales_by_product,"
                     " sales_by_category")  # fmt: skip
    register(conn, "products")
    for begin in range(0, len(revs), size):
        send(conn, [state(rev) for rev in revs[begin : begin + size]], begin)
    highest = max(revs)
    assert stored(conn) == [(70, highest, PRICES[highest], state(highest).sale_status)]
    raised = sum(rev > max(revs[:i], default=0) for i, rev in enumerate(revs))
    assert ledger(conn, "products") == {0: (len(revs), raised, 0, len(revs) - raised)}


@pytest.mark.parametrize("size", [1, 2, 9])
def test_the_same_revision_with_other_content_is_rejected(
    conn: postgres.Connection, size: int
) -> None:
    register(conn, "products")
    other = product(70, rev=2, price=901, updated_at=state(2).updated_at)
    sent = [state(2), state(2), other, state(1), state(3), other]
    for begin in range(0, len(sent), size):
        send(conn, sent[begin : begin + size], begin)
    assert stored(conn) == [(70, 3, 1_200, "LISTED")]
    found = fetch(conn, 'SELECT "offset", reason, field, detail FROM rejected_messages')
    assert [row[:3] for row in found] == [(2, "other_content", "price")]
    assert found[0][3].startswith("product_id 70, rev 2 is stored with other content")
    assert ledger(conn, "products") == {0: (6, 2, 1, 3)}


def test_a_message_without_a_revision_is_the_first(conn: postgres.Connection) -> None:
    """As producers write that know no revisions; the stored row is then a copy of it."""
    register(conn, "products")
    old = json.loads(encode(product(70)))
    for name in ("rev", "sale_status", "updated_at"):
        old.pop(name, None)
    payload = json.dumps(old, ensure_ascii=False).encode()
    batch = raw_batch("products", [(b"70", payload), (b"70", payload)])
    apply(conn, batch)
    assert fetch(conn, "SELECT rev, sale_status, updated_at FROM products") == [(1, "LISTED", None)]
    assert ledger(conn, "products") == {0: (2, 1, 0, 1)}
    send(conn, [state(2)], 2)
    assert stored(conn) == [(70, 2, 900, "LISTED")]


def test_a_change_keeps_what_is_counted_and_moves_sales_with_the_category(
    conn: postgres.Connection,
) -> None:
    register(conn)
    register(conn, "products")
    apply(conn, orders_batch([order(1), order(2)]))
    send(conn, [state(2)])
    assert fetch(conn, "SELECT order_count, rev FROM products") == [(2, 2)]
    assert check(conn) == []
    moved = product(70, rev=3, category="뷰티", updated_at=NOW)
    send(conn, [moved], 1)
    assert fetch(conn, "SELECT category, orders FROM sales_by_category WHERE orders > 0") == [
        ("뷰티", 2)
    ]
    assert check(conn) == []
