"""The same id with other content: the first is kept, the other rejected with the difference."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.transaction import BatchOutcome
from jangteo.stack.consistency import check
from shop import postgres
from shop.events import Event, Order
from tests.flows.store_steps import apply, fetch, ledger, register
from tests.support.event_samples import (
    NOW,
    message,
    order,
    orders_batch,
    product,
    raw_batch,
    user,
)

# -- the same id with other content ----------------------------------------------------------


def rejected(conn: postgres.Connection) -> list[tuple]:
    return fetch(
        conn, 'SELECT "offset", reason, field, detail FROM rejected_messages ORDER BY "offset"'
    )


def other_order(field: str) -> Order:
    """The sample's order with another value in one field (and what follows from it)."""
    values = {
        "user_id": 8, "product_id": 71, "quantity": 3, "unit_price": 999, "discount": 1,
        "payment_method": "PHONE", "status": "REFUNDED", "scenario": "flash_sale",
        "ordered_at": NOW + timedelta(microseconds=1), "updated_at": NOW - timedelta(seconds=1),
    }  # fmt: skip
    return order(1, **{field: values[field]})


ORDER_FIELDS = ["user_id", "product_id", "quantity", "unit_price", "discount", "payment_method",
                "status", "scenario", "ordered_at", "updated_at"]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_an_order_under_a_used_id_and_revision_is_rejected_with_the_difference(
    conn: postgres.Connection, batch_size: int
) -> None:
    register(conn)
    others = [other_order(field) for field in ORDER_FIELDS]
    sent = [order(1), order(1), *others, order(1), order(2)]
    for start in range(0, len(sent), batch_size):
        apply(conn, orders_batch(sent[start : start + batch_size], start=start))
    assert ledger(conn) == {0: (14, 2, 10, 2)}
    found = rejected(conn)
    assert [offset for offset, *_ in found] == list(range(2, 12))
    assert {reason for _, reason, *_ in found} == {"other_content"}
    assert [field for _, _, field, _ in found] == ORDER_FIELDS
    assert found[0][3] == "order_id 1, rev 1 is stored with other content: user_id: 7, here 8"
    assert "quantity: 2, here 3; amount: 2000, here 3000" in found[2][3]
    assert "scenario: None, here 'flash_sale'" in found[7][3]
    assert fetch(conn, "SELECT user_id, quantity FROM orders WHERE order_id = 1") == [(7, 2)]
    assert check(conn) == []


def test_a_used_id_is_found_among_many_that_are_new(conn: postgres.Connection) -> None:
    """The fast path gives way to the one that compares, and back."""
    register(conn)
    apply(conn, orders_batch([order(i) for i in range(1, 101)]))
    stolen = [order(i, user_id=8) if i == 150 else order(i) for i in range(101, 201)]
    stolen[10] = order(5, user_id=9)
    assert apply(conn, orders_batch(stolen, start=100)) == BatchOutcome(stored=99, rejected=1)
    assert [offset for offset, *_ in rejected(conn)] == [110]
    assert apply(conn, orders_batch([order(500)], start=200)) == BatchOutcome(stored=1)
    assert check(conn) == []


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_revisions_are_held_against_the_one_reached_by_then(
    conn: postgres.Connection, batch_size: int
) -> None:
    register(conn)
    gone = {"rev": 2, "status": "CANCELLED"}
    sent = [
        order(1), order(1, user_id=8),               # stored, other content
        order(1, **gone), order(1, **gone),          # stored, a copy
        order(1, **gone, product_id=9),              # other content
        order(1, user_id=8),                         # older: nobody has its content any more
        order(1, rev=3, status="REFUNDED"),          # stored
    ]  # fmt: skip
    for start in range(0, len(sent), batch_size):
        apply(conn, orders_batch(sent[start : start + batch_size], start=start))
    assert ledger(conn) == {0: (7, 3, 2, 2)}
    assert [offset for offset, *_ in rejected(conn)] == [1, 4]
    assert check(conn) == []


PROFILES: dict[str, tuple[Event, dict[str, object]]] = {
    "users": (user(), {"name": "이준", "email": "b@example.com", "gender": "M", "birth_year": 1991,
                       "city": "부산", "created_at": NOW - timedelta(hours=1)}),
    "products": (product(), {"name": "컵", "category": "책", "brand": "다른", "price": 1,
                             "created_at": NOW - timedelta(hours=1)}),
}  # fmt: skip


@pytest.mark.parametrize("topic", PROFILES)
@pytest.mark.parametrize("batch_size", [1, 99])
@pytest.mark.parametrize("stub", [True, False])
def test_a_customer_or_product_under_a_used_id_is_rejected(
    conn: postgres.Connection, topic: str, batch_size: int, stub: bool
) -> None:
    register(conn)
    register(conn, topic)
    if stub:
        apply(conn, orders_batch([order(1)]))
    event, changes = PROFILES[topic]
    make = user if topic == "users" else product
    others = [make(**{field: value}) for field, value in changes.items()]
    new = make(99)
    sent = [message(topic, e) for e in (event, event, *others, event, new)]
    for start in range(0, len(sent), batch_size):
        apply(conn, raw_batch(topic, sent[start : start + batch_size], start=start))
    assert ledger(conn, topic) == {0: (len(sent), 2, len(others), 2)}
    found = rejected(conn)
    assert [field for _, _, field, _ in found] == list(changes)
    assert {reason for _, reason, *_ in found} == {"other_content"}
    assert check(conn) == []
