"""The state of the simulated customers, as the cache worker keeps it in a real PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from generators.behaviour import customer_model
from generators.behaviour.customer_model import MODEL, NEVER, ORDERS_PER_DAY
from generators.cache import customers, shop_reader
from generators.cache.shop_reader import ShopReader
from generators.cache.worker import NAME, CacheWorker
from generators.seed import creation_ids
from shop.ids import EPOCH_MS, IDS_PER_MS
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.support.virtual_shop import BEGIN, VirtualShop, insert_orders, insert_users

START = (int(BEGIN.timestamp() * 1000) - EPOCH_MS) * IDS_PER_MS
HOUR = 3_600_000 * IDS_PER_MS
Rows = list[tuple[Any, ...]]


@pytest.fixture
def reader(settings: Settings) -> ShopReader:
    return ShopReader(settings, NAME)


def clock(pg: Connection) -> dict[str, Any]:
    cur = pg.execute("SELECT * FROM simulation.clock")
    (row,) = cur.fetchall()
    return dict(zip([c.name for c in cur.description or ()], row, strict=True))


def state(pg: Connection) -> Rows:
    return pg.execute(
        "SELECT user_id, orders, last_order_id, due FROM simulation.customers ORDER BY user_id"
    ).fetchall()


def due_after(user_id: int, orders: int, at: int) -> int | None:
    (due,) = customer_model.due_after_order(
        MODEL, 1, np.array([user_id]), np.array([orders]), at
    ).tolist()
    return None if due == NEVER else due


def order(pg: Connection, *pairs: tuple[int, int]) -> None:
    """Store orders (order id, user id), dated by their ids."""
    times = [o // IDS_PER_MS + EPOCH_MS for o, _ in pairs]
    insert_orders(pg, [o for o, _ in pairs], [u for _, u in pairs], times)


def test_sign_ups_and_orders_are_counted_once_in_their_order(
    pg: Connection, reader: ShopReader
) -> None:
    users = [START + i * HOUR for i in range(4)]
    insert_users(pg, users)
    order(pg, (START + 5 * HOUR, users[0]), (START + 6 * HOUR, users[1]))
    order(pg, (START + 7 * HOUR, users[0]))
    for _ in range(3):
        reader.read()
    dues = customer_model.due_after_sign_up(MODEL, 1, np.array(users), 0).tolist()
    dues = [None if d == NEVER else d for d in dues]
    assert state(pg) == [
        (users[0], 2, START + 7 * HOUR, due_after(users[0], 2, 3)),
        (users[1], 1, START + 6 * HOUR, due_after(users[1], 1, 2)),
        (users[2], 0, None, dues[2]),
        (users[3], 0, None, dues[3]),
    ]
    found = clock(pg)
    assert (found["orders"], found["sign_ups"], found["catching_up"]) == (3, 4, False)
    assert found["newest_order_id"] == START + 7 * HOUR
    late = START + 7 * HOUR - 2_000 * IDS_PER_MS  # another partition, stored 2 s later
    order(pg, (late, users[2]))
    shop = reader.read()
    assert shop.clock.orders == 4
    assert state(pg)[2] == (users[2], 1, late, due_after(users[2], 1, 4))


def test_an_order_that_comes_before_its_customer(pg: Connection, reader: ShopReader) -> None:
    order(pg, (START + HOUR, START))  # the ingest makes a stub of the customer
    assert reader.read().users == []
    assert state(pg) == [(START, 1, START + HOUR, due_after(START, 1, 1))]
    assert clock(pg)["sign_ups"] == 1
    pg.execute("UPDATE users SET created_at = %s, name = '김'", (BEGIN,))
    (user,) = reader.read().users
    assert (user.user_id, user.purchaser) == (START, True)
    assert clock(pg)["sign_ups"] == 1


def test_what_was_stored_late_is_found_by_comparison(pg: Connection, settings: Settings) -> None:
    reader = ShopReader(settings, NAME)
    users = [START + i for i in range(1, 4)]
    insert_users(pg, users[:2])
    order(pg, (START + 9 * HOUR, users[0]))
    reader.read()
    insert_users(pg, users[2:])
    order(pg, (START + HOUR, users[1]), (START + 2 * HOUR, users[2]))  # hours below the mark
    reader.read()
    assert clock(pg)["orders"] == 1
    reader.reconcile()
    assert clock(pg)["orders"] == 3
    assert clock(pg)["sign_ups"] == 3
    assert [row[:3] for row in state(pg)] == [
        (users[0], 1, START + 9 * HOUR), (users[1], 1, START + HOUR),
        (users[2], 1, START + 2 * HOUR),
    ]  # fmt: skip
    pg.execute("TRUNCATE users, orders")
    ShopReader(settings, NAME).reconcile()
    assert state(pg) == []
    assert clock(pg)["sign_ups"] == 0


def test_ids_of_the_future_hide_nobody(pg: Connection, reader: ShopReader) -> None:
    insert_users(pg, [START])
    far = (4_000_000_000_000 - EPOCH_MS) * IDS_PER_MS  # the year 2096
    order(pg, (far, START), (START + HOUR, START))
    reader.read()
    assert clock(pg)["newest_order_id"] == START + HOUR
    order(pg, (START + 2 * HOUR, START))
    reader.read()
    assert state(pg)[0][1:3] == (2, START + 2 * HOUR)


def test_the_start_population_is_due_within_hours_of_the_shop(
    pg: Connection, reader: ShopReader
) -> None:
    ids = creation_ids(np.random.default_rng(1).random(2_000), BEGIN)
    insert_users(pg, ids.tolist())
    shop = reader.read()
    dues = [row[3] for row in state(pg)]
    assert dues == customer_model.due_at_opening(MODEL, 1, ids).tolist()
    assert sum(u.due for u in shop.users) == min(400, sum(d == 0 for d in dues))
    others = sorted(d for d in dues if d > 0)
    assert others[-1] < ORDERS_PER_DAY / 2


def test_a_shop_of_earlier_rules_is_counted_in_parts(
    pg: Connection, reader: ShopReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk and all at once it becomes the same state."""
    rng = np.random.default_rng(2)
    users = np.sort(START + rng.integers(0, 100 * HOUR, 300))
    insert_users(pg, users.tolist())
    ids = np.unique(START + 100 * HOUR + rng.integers(0, 900 * HOUR, 2_000))
    order(pg, *zip(ids.tolist(), rng.choice(users[:200], len(ids)).tolist(), strict=True))
    seen = []
    for chunk in (100_000, 70):
        pg.execute("TRUNCATE simulation.clock, simulation.customers")
        monkeypatch.setattr(customers, "CHUNK", chunk)
        shop = reader.read()
        assert len(shop.users) == 300
        seen.append((state(pg), {k: clock(pg)[k] for k in ("orders", "sign_ups", "catching_up")}))
    assert seen[0] == seen[1]
    rows, found = seen[0]
    assert found == {"orders": len(ids), "sign_ups": 300, "catching_up": False}
    assert sum(row[1] for row in rows) == len(ids)
    dues = [d for _, n, _, d in rows if n and d is not None]
    assert min(dues) > len(ids) - customers.SETTLING  # nobody has been due for long


def test_killed_between_any_two_statements_nothing_is_counted_twice(
    pg: Connection, settings: Settings
) -> None:
    users = [START + i for i in range(50)]
    insert_users(pg, users)
    order(pg, *((START + i * HOUR, users[i % 50]) for i in range(1, 120)))
    expected = None
    for statement in range(1, 40):
        pg.execute("TRUNCATE simulation.clock, simulation.customers")
        reader = ShopReader(settings, NAME)
        done = _read_and_die(reader, statement)
        assert done or state(pg) == []
        ShopReader(settings, NAME).read()
        now = (state(pg), clock(pg)["orders"], clock(pg)["sign_ups"])
        expected = expected or now
        assert now == expected
        if done:
            break
    assert statement > 5
    assert expected is not None
    assert expected[1:] == (119, 50)


def _read_and_die(reader: ShopReader, after: int) -> bool:
    """Read, but end the session after a number of statements; return whether it got through."""
    left, connect = [after], reader._connect

    class DyingCursor(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                self.connection.close()
            return super().execute(*args, **kwargs)

    def dying() -> Connection:
        conn = connect()
        conn.cursor_factory = DyingCursor
        return conn

    reader._connect = dying  # type: ignore[method-assign]  # cuts the session at a chosen statement
    try:
        reader.read()
    except psycopg.OperationalError:
        return False
    return True


def test_workers_at_once_count_once(
    pg: Connection, settings: Settings, redis_client: redis.Redis
) -> None:
    """Even without the lock in Redis, as when that was lost."""
    users = [START + i for i in range(100)]
    insert_users(pg, users)
    stop, failed = threading.Event(), []

    def work() -> None:
        reader = ShopReader(settings, NAME)
        while not stop.is_set():
            try:
                reader.read()
            except psycopg.Error as e:
                failed.append(e)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 60):
        order(pg, (START + i * HOUR, users[i % 7]))
    stop.set()
    for thread in threads:
        thread.join()
    ShopReader(settings, NAME).read()
    assert failed == []
    assert clock(pg)["orders"] == 59
    assert sum(row[1] for row in state(pg)) == 59


def test_an_emptied_redis_changes_no_state(
    pg: Connection, settings: Settings, redis_client: redis.Redis
) -> None:
    insert_users(pg, [START, START + 1])
    pg.execute("INSERT INTO products (product_id, price, created_at) VALUES (1, 1000, now())")
    order(pg, (START + HOUR, START))
    worker = CacheWorker(settings, redis_client, 50.0)
    worker.refresh()
    before = state(pg)
    redis_client.flushall()
    assert worker.due_in() == 0
    worker.refresh()
    assert state(pg) == before
    meta = cache.read_meta(redis_client)
    assert (meta.clock, meta.sign_ups, meta.orders_per_day) == (1, 2, ORDERS_PER_DAY)


def test_the_due_come_first_and_the_rest_fills_up(pg: Connection, settings: Settings) -> None:
    """600 and 400 to the letter, whatever the number of those who are due."""
    users = [START + i for i in range(3_000)]
    insert_users(pg, users)
    order(pg, *((START + HOUR + i, users[i]) for i in range(1_500)))
    reader = ShopReader(settings, NAME)
    reader.read()
    due = {"purchasers": users[900:1_000], "others": users[1_600:1_900]}
    pg.execute("UPDATE simulation.customers SET due = NULL")
    pg.execute("UPDATE simulation.clock SET orders = 5000")
    for ids in due.values():
        pg.execute("UPDATE simulation.customers SET due = 4000 WHERE user_id = ANY(%s)", (ids,))
    shop = reader.read()
    sides = [[u for u in shop.users if u.purchaser is side] for side in (True, False)]
    assert [len(s) for s in sides] == [600, 400]
    assert {u.user_id for u in sides[0] if u.due} == set(due["purchasers"])
    assert {u.user_id for u in sides[1] if u.due} == set(due["others"])
    # The seed's rule for the rest: least recently ordered, and newest.
    assert {u.user_id for u in sides[0] if not u.due} == set(users[:500])
    assert {u.user_id for u in sides[1] if not u.due} == set(users[2_900:])
    # Too few to choose 200 from: those who are due next are there as well, and say when.
    gone = (due["others"],)
    pg.execute("UPDATE simulation.customers SET due = NULL WHERE user_id = ANY(%s)", gone)
    soon = users[700:720]
    pg.execute("UPDATE simulation.customers SET due = 5100 WHERE user_id = ANY(%s)", (soon,))
    shop = reader.read()
    assert {u.user_id for u in shop.users if u.due_in == 100} == set(soon)
    assert [sum(u.purchaser is side for u in shop.users) for side in (True, False)] == [600, 400]


def test_a_wish_to_buy_lapses(pg: Connection, reader: ShopReader) -> None:
    users = [START + i for i in range(2)]
    insert_users(pg, users)
    reader.read()
    lapsed = 10**6 - MODEL.patience
    for user, due in zip(users, (lapsed, lapsed + 1), strict=True):
        pg.execute("UPDATE simulation.customers SET due = %s WHERE user_id = %s", (due, user))
    pg.execute("UPDATE simulation.clock SET orders = 1000000")
    assert {u.user_id: u.due for u in reader.read().users} == {users[0]: False, users[1]: True}


def test_a_live_shop_opens_with_first_orders_and_nobody_is_forced(
    pg: Connection, settings: Settings
) -> None:
    shop = VirtualShop(settings, pg, block=40)
    ids = creation_ids(np.random.default_rng(1).random(10_000), BEGIN)
    shop.add_users(ids.tolist())
    shop.run(1_200)
    orders = len(shop.user_ids)
    assert len(set(shop.user_ids)) / orders > 0.95
    assert shop.buyers.first_orders / orders > 0.95
    assert shop.buyers.fallback_orders == 0
    assert clock(pg)["orders"] == orders - 40  # the last block is not read yet
    # Of those who signed up meanwhile some buy within minutes.
    assert 0.2 < np.mean(np.array(shop.user_ids) > START) < 0.9


def test_a_mature_shop_repeats_as_often_as_purchasers_are_due(
    pg: Connection, settings: Settings
) -> None:
    """From a state with a given number of due purchasers: their share of 600 is that of repeats."""
    shop = VirtualShop(settings, pg, block=20)
    users = [START - HOUR * 24 + i for i in range(4_000)]
    shop.add_users(users)
    insert_orders(
        pg, [START - HOUR + i for i in range(2_000)], users[:2_000],
        [BEGIN.timestamp() * 1000 - 3_600_000] * 2_000,
    )  # fmt: skip
    shop.refresh()
    pg.execute("UPDATE simulation.customers SET due = 1 WHERE orders > 0 AND user_id % 5 = 0")
    pg.execute("UPDATE simulation.customers SET due = 10^9 WHERE orders > 0 AND user_id % 5 > 0")
    due = sum(u.due for u in shop.refresh().users if u.purchaser)
    assert due == 400
    shop.run(400)
    expected = sum(b for b, _ in shop.due[2:]) / len(shop.due[2:]) / 600
    repeats = 1 - shop.buyers.first_orders / 400
    assert repeats == pytest.approx(expected, abs=0.08)
    assert shop.buyers.fallback_orders == 0


def test_the_process_is_not_held_up_by_a_stopped_one(
    pg: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stands while it holds the clock loses it when its session's time is over."""
    monkeypatch.setitem(shop_reader.LIMITS, "idle_in_transaction_session_timeout", "300ms")
    insert_users(pg, [START])
    stopped = ShopReader(settings, NAME)._connect()
    stopped.execute("BEGIN")
    customers.locked_clock(stopped.cursor(), 1)
    ShopReader(settings, NAME).read()  # waits for the lock, and has it
    assert len(state(pg)) == 1
    with pytest.raises(psycopg.Error):
        stopped.execute("SELECT 1")
    stopped.close()
