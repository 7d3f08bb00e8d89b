"""The revisions of products are kept where changes are switched on, and nowhere else."""

from __future__ import annotations

import random
from datetime import timedelta

from shop import postgres
from shop.events import Product
from tests.flows.store_steps import apply, fetch, register
from tests.support.event_samples import NOW, message, order, orders_batch, product, raw_batch

VERSIONS = (
    "SELECT rev, price, sale_status, valid_from, valid_to, current FROM product_prices"
    " WHERE product_id = 70 ORDER BY rev"
)


def revision(rev: int, product_id: int = 70) -> Product:
    at = NOW - timedelta(days=10 - rev)
    status = "DELISTED" if rev == 4 else "LISTED"
    return product(product_id, rev=rev, price=1_000 * rev, updated_at=at, sale_status=status)


def batch(*revisions: Product, start: int = 0):
    return raw_batch("products", [message("products", r) for r in revisions], start=start)


def at(rev: int):
    return NOW - timedelta(days=10 - rev)


def test_nothing_is_kept_unless_it_is_switched_on(conn: postgres.Connection) -> None:
    register(conn, "products")
    apply(conn, batch(revision(1), revision(2)))
    assert fetch(conn, "SELECT count(*) FROM product_prices") == [(0,)]


def test_late_revisions_get_their_place_whatever_the_batches(conn: postgres.Connection) -> None:
    register(conn, "products")
    register(conn, "customer_changes")
    rng = random.Random(2)
    revisions = [revision(r, p) for p in range(70, 110) for r in (1, 2, 3, 4)]
    rng.shuffle(revisions)
    revisions += rng.sample(revisions, 30)
    start = 0
    while start < len(revisions):
        part = batch(*revisions[start : start + rng.randint(1, 40)], start=start)
        for _ in range(1 + (rng.random() < 0.3)):
            apply(conn, part)
        start += len(part)
    assert fetch(conn, VERSIONS) == [
        (1, 1_000, "LISTED", at(1), at(2), False), (2, 2_000, "LISTED", at(2), at(3), False),
        (3, 3_000, "LISTED", at(3), at(4), False), (4, 4_000, "DELISTED", at(4), None, True),
    ]  # fmt: skip
    assert fetch(conn, "SELECT count(*) FROM product_prices") == [(160,)]
    assert fetch(conn, "SELECT price, rev FROM products WHERE product_id = 70") == [(4_000, 4)]


def test_an_order_has_the_price_of_its_time(conn: postgres.Connection) -> None:
    """Switched on at revision 2: what was before is not known, and that is what the view says."""
    for topic in ("products", "orders"):
        register(conn, topic)
    apply(conn, batch(revision(1), revision(2)))
    times = [at(1.5), at(2.5), at(3.5)]
    apply(conn, orders_batch([
        order(i, product_id=70, ordered_at=t, updated_at=t) for i, t in enumerate(times, 1)
    ]))  # fmt: skip
    prices = "SELECT list_price FROM order_prices ORDER BY order_id"
    assert fetch(conn, prices) == [(None,), (2_000,), (2_000,)]
    register(conn, "customer_changes")
    apply(conn, batch(revision(3), start=2))
    assert fetch(conn, prices) == [(None,), (2_000,), (3_000,)]
    assert [row[0] for row in fetch(conn, VERSIONS)] == [2, 3]
