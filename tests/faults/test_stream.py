"""Faults in the stream itself: repeated, late, out of order, poisoned."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import msgspec
import pytest

from shop.clock import utc_now
from shop.postgres import Connection, partitions
from shop.postgres.dead_letters import KEPT_PAYLOAD_BYTES
from tests.faults.load import stream
from tests.support.event_samples import Message, message, order, poison
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import publish, wait_caught_up

pytestmark = pytest.mark.fault


def test_a_batch_published_twice_is_stored_once(stage: Stage, pg: Connection) -> None:
    sent = [s for s in itertools.islice(stream(seed=31), 1_000) if s.order]
    twice = [s.message for s in sent] * 2  # the second time from another session of a producer
    publish(stage.settings, "orders", twice[: len(sent)])
    stage.ingest()
    wait_caught_up(stage.settings, pg)
    before = pg.execute("SELECT count(*), sum(rev), sum(amount) FROM orders").fetchone()
    publish(stage.settings, "orders", twice[len(sent) :])
    wait_caught_up(stage.settings, pg)  # holds the money against the windows, too
    assert pg.execute("SELECT count(*), sum(rev), sum(amount) FROM orders").fetchone() == before
    (ignored,) = pg.execute("SELECT sum(ignored) FROM ingest_offsets").fetchone() or (0,)
    assert ignored >= len(sent)
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,)


def test_late_events_are_counted_in_the_window_where_they_belong(
    stage: Stage, pg: Connection
) -> None:
    now = utc_now()
    days = [0, 1, 40, 400, 0]  # a stock window operator drops all but the first and the last
    events = [
        order(i, amount=1_000 * i, quantity=i, ordered_at=now - timedelta(days=d), updated_at=now)
        for i, d in enumerate(days, 1)
    ]
    stage.ingest()
    for event in events:
        publish(stage.settings, "orders", [message("orders", event)])
    wait_caught_up(stage.settings, pg)
    rows = pg.execute(
        "SELECT date_trunc('day', window_start, 'UTC'), sum(spend)"
        " FROM user_spend_windows GROUP BY 1"
    ).fetchall()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    expected: dict[object, int] = {}
    for i, d in enumerate(days, 1):
        day = midnight - timedelta(days=d)
        expected[day] = expected.get(day, 0) + 1_000 * i
    assert dict(rows) == expected


def test_revisions_in_any_order_end_in_the_highest(stage: Stage, pg: Connection) -> None:
    rng = random.Random(32)
    now = utc_now()
    messages: list[Message] = []
    for i in range(1, 101):
        first = order(i, user_id=i % 9 + 1, ordered_at=now, updated_at=now)
        revisions = [
            first,
            msgspec.structs.replace(first, rev=2, status="CANCELLED"),
            msgspec.structs.replace(first, rev=3, status="PAID" if i % 2 else "REFUNDED"),
        ]
        messages += [message("orders", r) for r in revisions]
    rng.shuffle(messages)
    stage.ingest(INGEST_BATCH_SIZE="7")  # the revisions of an order fall into different batches
    publish(stage.settings, "orders", messages)
    wait_caught_up(stage.settings, pg)
    rows = pg.execute(
        "SELECT rev, status, count(*) FROM orders GROUP BY 1, 2 ORDER BY 2"
    ).fetchall()
    assert rows == [(3, "PAID", 50), (3, "REFUNDED", 50)]
    assert pg.execute("SELECT sum(order_count), sum(total_spent) FROM users").fetchone() == (
        50,
        50 * 2_000,
    )


def test_poison_of_every_kind_is_rejected_with_its_reason(stage: Stage, pg: Connection) -> None:
    now = utc_now()
    bad = poison(order(1), now)
    good = [message("orders", order(i, ordered_at=now, updated_at=now)) for i in range(2, 12)]
    stage.ingest()
    publish(stage.settings, "orders", [*good[:5], *bad.values(), *good[5:]])
    wait_caught_up(stage.settings, pg)
    rows = pg.execute("SELECT reason, count(*) FROM rejected_messages GROUP BY 1").fetchall()
    reasons = [kind.partition(".")[0] for kind in bad]
    assert dict(rows) == {reason: reasons.count(reason) for reason in reasons}
    kept = {p for (p,) in pg.execute("SELECT payload FROM rejected_messages").fetchall()}
    # The bytes as they came, up to the bound.
    assert kept == {p and p[:KEPT_PAYLOAD_BYTES] for _, p in bad.values()}
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (10,)


def test_the_layout_by_month_takes_the_same_stream(stage: Stage, pg: Connection) -> None:
    """With a member that is killed half-way."""
    partitions.fit(pg, wanted=True)
    member = stage.ingest()
    stage.load(seed=33, limit=750)
    member.kill()
    stage.ingest()
    stage.load(seed=34, limit=750)
    stage.settle()
    parts = "SELECT count(DISTINCT tableoid) FROM orders"
    assert pg.execute(parts).fetchone() == (3,)
