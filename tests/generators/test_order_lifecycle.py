"""Orders of any process are cancelled and refunded later, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import redis

from generators.behaviour import order_events
from generators.behaviour.order_events import Customers
from generators.publishing import order_lifecycle
from generators.publishing.encoding import encode_frame
from generators.publishing.order_lifecycle import PENDING, OrderLifecycle
from generators.random_streams import stream
from generators.scenarios import control
from generators.scenarios.timetable import NONE
from shop.clock import utc_now
from shop.events import Order, decode
from shop.redis import cache
from shop.settings import Settings
from tests.support.generator_processes import NOW, cached_product, cached_user, read_topic
from tests.support.waiting import wait_until

Start = Callable[..., Any]
GOODS = order_events.goods([cached_product(i) for i in range(1, 21)])
N = 1_000


def some_orders() -> Any:
    who = Customers(np.arange(1, N + 1), np.zeros(N, np.int64), np.full(N, 1_990, np.int64))
    return order_events.orders(
        stream(1, "orders").random((N, order_events.DRAWS)), np.arange(1, N + 1), who,
        order_events.draw_tables(GOODS), at_us=np.full(N, int(NOW.timestamp()) * 10**6), year=2026,
    )  # fmt: skip


def test_what_is_planned_becomes_due_and_stays_until_it_is_published(redis_client: redis.Redis):
    now = [NOW]
    disappointed: list[int] = []

    def started() -> OrderLifecycle:
        return OrderLifecycle(
            redis_client,
            stream(1, "life"),
            clock=lambda: now[0],
            monotonic=iter(range(99)).__next__,
            cancelled=disappointed.append,
        )

    orders = some_orders()
    first = started()
    first.plan(orders, GOODS, NONE)
    planned = redis_client.zcard(PENDING)
    assert 0.1 < planned / N < 0.35  # fashion only: cancelled .035, sent back .18
    assert list(first.due()) == []  # nothing is due at once
    now[0] = NOW + timedelta(days=60)
    lost = list(first.due())  # published, but the process dies before Kafka acknowledged
    assert len(lost) == planned
    now[0] += timedelta(seconds=7)  # later, or a second process next to the first
    again = list(started().due())  # publishes the same
    assert [e for e, _ in again] == [e for e, _ in lost]
    before = {row["order_id"]: row for row in orders.iter_rows(named=True)}
    for event, _ in again:
        assert isinstance(event, Order)
        assert event.rev == 2
        assert event.ordered_at < event.updated_at < now[0]
        assert event.status in ("CANCELLED", "REFUNDED")
        assert (event.amount, event.user_id) == tuple(
            before[event.order_id][f] for f in ("amount", "user_id")
        )
    assert set(disappointed) == {e.user_id for e, _ in again if e.status == "CANCELLED"}


def test_acknowledged_revisions_are_removed(redis_client: redis.Redis):
    now = NOW + timedelta(days=60)
    lives = OrderLifecycle(
        redis_client, stream(1, "life"), clock=lambda: now, monotonic=iter(range(99)).__next__
    )
    lives.plan(some_orders(), GOODS, NONE)
    assert redis_client.zcard(PENDING) > 0
    for _, done in lives.due():
        done(None)  # type: ignore[arg-type]  # nobody looks at the message
    assert list(lives.due()) == []
    assert redis_client.zcard(PENDING) == 0


def test_a_full_set_takes_no_more(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(order_lifecycle, "MOST", 10)
    lives = OrderLifecycle(
        redis_client, stream(1, "life"), clock=lambda: NOW, monotonic=iter(range(99)).__next__
    )
    lives.plan(some_orders(), GOODS, NONE)
    list(lives.due())
    held = redis_client.zcard(PENDING)
    assert held > 10
    lives.plan(some_orders(), GOODS, NONE)
    assert redis_client.zcard(PENDING) == held


@pytest.mark.usefixtures("topics")
def test_the_generator_publishes_orders_and_later_their_cancellations(
    settings: Settings, redis_client: redis.Redis, start: Start
):
    """At a great speed days are seconds; the second process publishes what the first planned."""
    cache.swap(
        redis_client,
        [cached_user(i, orders=i % 3) for i in range(1, 301)],
        [cached_product(i, popular=i % 3 > 0, orders=i) for i in range(1, 51)],
        lambda version, replaced: cache.CacheMeta(version=version, refreshed_at=utc_now()),
    )
    control.start(redis_client, "live_commerce", utc_now())
    make = ("--rate", "1000", "--limit", "400")
    assert start("generators.orders", *make, "--speed", "200000").popen.wait(60) == 0
    planned = redis_client.zcard(PENDING)
    process = start("generators.orders", "--rate", "5", "--speed", "0.001")

    def second() -> set[int]:
        return {e.order_id for e in read_topic(settings, "orders") if e.rev == 2}

    wait_until(lambda: len(second()) >= planned > 0, "the cancellations", 60)
    assert process.stop() == 0
    events = read_topic(settings, "orders")
    assert len([e for e in events if e.rev == 2]) == len(second())
    assert second() <= {e.order_id for e in events if e.rev == 1}
    assert {e.scenario for e in events if e.rev == 1} == {"live_commerce"}


def test_messages_made_in_columns_are_those_of_the_model():
    orders = some_orders()
    for row, (key, value) in zip(
        orders.iter_rows(named=True), encode_frame("orders", orders), strict=True
    ):
        assert decode("orders", key, value, now=NOW) == Order(v=1, **row)
