"""The cache worker's session, and the customers that a win-back campaign brings back."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import redis

from generators.behaviour import customer_model
from generators.cache.shop_reader import ShopReader
from generators.cache.worker import NAME, CacheWorker
from generators.scenarios import control
from shop.clock import UTC
from shop.ids import EPOCH_MS, IDS_PER_MS
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.virtual_shop import BEGIN, insert_orders, insert_users

START = (int(BEGIN.timestamp() * 1000) - EPOCH_MS) * IDS_PER_MS
HOUR = 3_600_000 * IDS_PER_MS


def order(pg: Connection, *pairs: tuple[int, int]) -> None:
    """Store orders (order id, user id), dated by their ids."""
    times = [o // IDS_PER_MS + EPOCH_MS for o, _ in pairs]
    insert_orders(pg, [o for o, _ in pairs], [u for _, u in pairs], times)


def test_the_session_is_kept_and_replaced_when_it_has_ended(
    pg: Connection, settings: Settings
) -> None:
    def sessions() -> set[int]:
        rows = pg.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname ="
            " current_database()",
            (f"jangteo-{NAME}",),
        )
        return {pid for (pid,) in rows.fetchall()}

    reader = ShopReader(settings, NAME)
    insert_users(pg, [START])
    reader.read()
    (first,) = sessions()
    reader.reconcile()
    reader.read()
    assert sessions() == {first}
    pg.execute("SELECT pg_terminate_backend(%s, 10_000)", (first,))
    assert len(reader.read().users) == 1
    (second,) = sessions()
    assert second != first


def test_a_win_back_brings_the_same_few_back_once(
    pg: Connection, settings: Settings, redis_client: redis.Redis
) -> None:
    now = BEGIN + timedelta(days=120)  # no campaign of the calendar runs then
    worker = CacheWorker(settings, redis_client, 50.0, clock=lambda: now)
    users = np.arange(START, START + 3_000)
    insert_users(pg, users.tolist())
    order(pg, *((START + HOUR + i, int(user)) for i, user in enumerate(users)))
    late = START + HOUR * 24 * 100  # the last third bought twenty days ago
    order(pg, *((late + i, int(user)) for i, user in enumerate(users[2_000:])))
    worker.refresh()
    pg.execute("UPDATE simulation.customers SET due = NULL")

    def back() -> list[int]:
        rows = pg.execute("SELECT user_id FROM simulation.customers WHERE due IS NOT NULL")
        return sorted(user for (user,) in rows.fetchall())

    worker.refresh()
    assert back() == []
    control.start(redis_client, "win_back", now)
    day = (now - datetime(1970, 1, 1, tzinfo=UTC)).days
    expected = users[:2_000][customer_model.comes_back(1, users[:2_000], day)].tolist()
    assert expected
    for reader in (worker, CacheWorker(settings, redis_client, 50.0, clock=lambda: now)):
        reader.refresh()
        assert back() == expected
