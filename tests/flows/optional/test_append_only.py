"""Topics without revisions: the first event of an id counts, exactly once."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shop import postgres
from shop.optional.baskets import BasketLine
from shop.optional.page_views import PageView
from shop.optional.registry import OPTIONAL
from tests.flows.store_steps import apply, fetch, ledger, register
from tests.support.event_samples import NOW, message, raw_batch

Make = Callable[..., Any]


def view(n: int, **changes: Any) -> PageView:
    return PageView(**{
        "v": 1, "view_id": n, "session_id": n // 8 * 8 + 1, "user_id": n // 16 + 1,
        "page": "PRODUCT" if n % 3 else "CHECKOUT", "product_id": 9 if n % 3 else None,
        "order_id": None if n % 3 else n, "channel": "AD", "device": "MOBILE",
        "referrer": "retargeting" if n % 8 == 1 else None,
        "viewed_at": NOW - timedelta(seconds=n), **changes,
    })  # fmt: skip


def line(n: int, **changes: Any) -> BasketLine:
    return BasketLine(**{
        "v": 1, "order_id": n, "basket_id": n - n % 2 or 1, "user_id": n // 2 + 1,
        "coupon": "member" if n % 3 else None, "coupon_discount": 10 if n % 3 else 0,
        "ordered_at": NOW - timedelta(seconds=n), **changes,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "make", "changes"),
    [("page_views", view, {"device": "DESKTOP"}), ("baskets", line, {"coupon": "sorry"})],
)
def test_copies_are_ignored_and_other_content_is_rejected(
    conn: postgres.Connection, topic: str, make: Make, changes: dict[str, str]
) -> None:
    """Batches of chance, a third of them applied again, as after a kill behind the COMMIT."""
    register(conn, topic)
    rng = random.Random(5)
    events = [make(n) for n in range(1, 601)]
    rng.shuffle(events)
    events += [*rng.sample(events, 150), make(7, **changes)]
    stored = rejected = ignored = at = 0
    while at < len(events):
        size = rng.randint(1, 150)
        messages = [message(topic, event) for event in events[at : at + size]]
        part = raw_batch(topic, messages, start=at)
        for again in range(1 + (rng.random() < 0.3)):
            outcome = apply(conn, part)
            assert outcome.trimmed == (len(part) if again else 0)
            stored, ignored = stored + outcome.stored, ignored + outcome.ignored
            rejected += outcome.rejected
        at += len(part)
    assert (stored, rejected, ignored) == (600, 1, 150)
    assert ledger(conn, topic) == {0: (len(events), stored, rejected, ignored)}
    id_field = OPTIONAL[topic].id_field
    names = [name for name in OPTIONAL[topic].event.__struct_fields__ if name != "v"]
    rows = fetch(conn, f"SELECT {', '.join(names)} FROM {topic} ORDER BY {id_field}")
    assert rows == [tuple(getattr(make(n), name) for name in names) for n in range(1, 601)]
    assert fetch(conn, "SELECT topic, reason, field FROM rejected_messages") == [
        (topic, "other_content", next(iter(changes)))
    ]
