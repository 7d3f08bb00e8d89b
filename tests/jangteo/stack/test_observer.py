"""What `up` samples of the running shop, and when."""

from __future__ import annotations

import pytest
import redis

from jangteo.stack import observer
from jangteo.stack.accounting import OffsetAccounting
from jangteo.stack.observer import Observer
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings


@pytest.mark.usefixtures("topics")
def test_what_the_ingest_reports_ends_the_quiet(
    settings: Settings,
    pg: Connection,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observer, "LOG_EVERY_S", 1e-6)
    monkeypatch.setattr(observer, "QUIET_EVERY_S", 3_600.0)
    monkeypatch.setattr(observer, "_REST", 0)  # each look may count, however long the last took
    accounting = OffsetAccounting(settings.kafka)
    accounting.open(pg)
    watching = Observer(settings, accounting)
    cache.beat(redis_client, "ingest", "running", {"orders_stored": 0})
    watching.sample()
    watching.sample()  # the account is as before: quiet
    pg.execute(
        "INSERT INTO orders (order_id, user_id, product_id, quantity, unit_price, discount, amount,"
        " payment_method, status, ordered_at, updated_at, rev)"
        " VALUES (1, 2, 3, 1, 100, 0, 100, 'CARD', 'PAID', now(), now(), 1)"
    )
    cache.beat(redis_client, "ingest", "running", {"orders_stored": 0})
    watching.sample()
    assert watching.latest.orders == ()
    cache.beat(redis_client, "ingest", "running", {"orders_stored": 1})
    watching.sample()
    assert [order.user_id for order in watching.latest.orders] == [2]
    assert watching.latest.rows["orders"] == 1
    watching.close()
