"""One batch, one transaction: exactly once, and money that agrees at every committed moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.transaction import BatchOutcome, OffsetGapError, TooManyRejectsError
from jangteo.stack.consistency import check
from shop import postgres
from shop.events import Order
from shop.ids import EPOCH, make_id
from shop.postgres import partitions
from shop.postgres.dead_letters import KEPT_DETAIL_BYTES, KEPT_KEY_BYTES, KEPT_PAYLOAD_BYTES
from shop.settings import Settings
from tests.flows.store_steps import WINDOW_S, apply, batch_of, fetch, ledger, register, store_for
from tests.support.event_samples import (
    NOW,
    Message,
    changed,
    message,
    order,
    orders_batch,
    poison,
    product,
    raw_batch,
    user,
)
from tests.support.layouts import both_layouts


def test_a_batch_is_stored_with_its_spend_counters_and_offsets(conn: postgres.Connection) -> None:
    register(conn)
    later = NOW + timedelta(seconds=WINDOW_S)
    raw = orders_batch([order(1), order(2, quantity=3), order(3, ordered_at=later)])
    assert apply(conn, raw) == BatchOutcome(stored=3)
    assert ledger(conn) == {0: (3, 3, 0, 0)}
    windows = "SELECT orders, spend FROM user_spend_windows ORDER BY window_start"
    assert fetch(conn, windows) == [(2, 5_000), (1, 2_000)]
    assert fetch(
        conn, "SELECT order_count, total_spent, last_ordered_at, created_at FROM users"
    ) == [(3, 7_000, later, None)]
    assert fetch(conn, "SELECT order_count, name FROM products") == [(3, None)]
    assert check(conn) == []


def test_the_same_batch_again_changes_nothing(conn: postgres.Connection) -> None:
    register(conn)
    raw = orders_batch([order(1), order(2)])
    apply(conn, raw)
    assert apply(conn, raw) == BatchOutcome(trimmed=2)
    assert ledger(conn) == {0: (2, 2, 0, 0)}
    assert check(conn) == []


def test_a_batch_that_overlaps_what_is_applied_is_trimmed(conn: postgres.Connection) -> None:
    register(conn)
    apply(conn, orders_batch([order(1), order(2)]))
    overlap = orders_batch([order(2), order(3), order(4)], start=1)
    assert apply(conn, overlap) == BatchOutcome(stored=2, trimmed=1)
    assert ledger(conn) == {0: (4, 4, 0, 0)}
    assert check(conn) == []


def test_a_gap_is_refused_and_nothing_changes(conn: postgres.Connection) -> None:
    register(conn)
    with pytest.raises(OffsetGapError, match="begins at offset 5"):
        apply(conn, orders_batch([order(1)], start=5))
    assert fetch(conn, "SELECT * FROM orders") == []


def test_a_partition_that_nobody_registered_is_refused(conn: postgres.Connection) -> None:
    with pytest.raises(OffsetGapError):
        apply(conn, orders_batch([order(1)]))


def test_a_topic_made_anew_begins_again_without_doubling(conn: postgres.Connection) -> None:
    register(conn)
    register(conn, log_id="log-2")
    apply(conn, orders_batch([order(1), order(2)]))
    again = orders_batch([order(2), order(3)], log_id="log-2")
    assert apply(conn, again) == BatchOutcome(stored=1, ignored=1)
    assert fetch(conn, "SELECT count(*) FROM orders") == [(3,)]
    assert check(conn) == []


def test_duplicates_within_and_across_batches_are_ignored(conn: postgres.Connection) -> None:
    register(conn)
    assert apply(conn, orders_batch([order(1), order(1), order(2)])) == BatchOutcome(
        stored=2, ignored=1
    )
    again = orders_batch([order(2), order(3)], start=3)
    assert apply(conn, again) == BatchOutcome(stored=1, ignored=1)
    assert ledger(conn) == {0: (5, 3, 0, 2)}
    assert check(conn) == []


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_books_do_not_depend_on_where_a_batch_ends(
    conn: postgres.Connection, size: int
) -> None:
    register(conn)
    revisions = [(1, 1), (2, 1), (1, 2), (1, 2), (3, 2), (3, 1), (2, 1), (1, 4)]
    sent = [order(n, rev=rev, status="PAID" if rev == 1 else "REFUNDED") for n, rev in revisions]
    for start in range(0, len(sent), size):
        apply(conn, orders_batch(sent[start : start + size], start=start))
    assert ledger(conn) == {0: (8, 5, 0, 3)}, "stored: 1 three times, 2, 3"
    assert fetch(conn, "SELECT order_id, rev FROM orders ORDER BY 1") == [(1, 4), (2, 1), (3, 2)]
    assert check(conn) == []


@pytest.mark.parametrize("status", ["CANCELLED", "REFUNDED"])
def test_a_later_revision_takes_the_amount_back_from_its_window(
    conn: postgres.Connection, status: str
) -> None:
    register(conn)
    apply(conn, orders_batch([order(1), order(2)]))
    gone = order(1, rev=2, status=status, updated_at=NOW + timedelta(hours=3))
    assert apply(conn, orders_batch([gone], start=2)) == BatchOutcome(stored=1)
    assert fetch(conn, "SELECT orders, spend FROM user_spend_windows") == [(1, 2_000)]
    assert fetch(conn, "SELECT status, rev FROM orders WHERE order_id = 1") == [(status, 2)]
    assert check(conn) == []


def test_a_revision_that_arrives_before_the_order_wins(conn: postgres.Connection) -> None:
    register(conn)
    apply(conn, orders_batch([order(1, rev=2, status="CANCELLED")]))
    assert apply(conn, orders_batch([order(1)], start=1)) == BatchOutcome(ignored=1)
    assert fetch(conn, "SELECT status FROM orders") == [("CANCELLED",)]
    assert fetch(conn, "SELECT order_count, last_ordered_at FROM users") == [(0, NOW)]
    assert check(conn) == []


def test_a_revision_may_move_an_order_to_another_customer_window_and_product(
    conn: postgres.Connection,
) -> None:
    register(conn)
    apply(conn, orders_batch([order(1), order(2)]))
    moved = order(
        1, rev=2, user_id=8, product_id=71, quantity=5, ordered_at=NOW + timedelta(days=1)
    )
    apply(conn, orders_batch([moved], start=2))
    assert fetch(conn, "SELECT user_id, total_spent FROM users ORDER BY 1") == [
        (7, 2_000),
        (8, 5_000),
    ]
    assert check(conn) == []


def test_rejects_are_put_aside_with_their_bytes_and_the_rest_is_stored(
    conn: postgres.Connection,
) -> None:
    register(conn)
    kinds = poison(order())
    messages: list[Message] = []
    for i, bad in enumerate(kinds.values()):
        messages += [bad, message("orders", order(i + 1))]
    outcome = apply(conn, raw_batch("orders", messages))
    assert outcome == BatchOutcome(stored=len(kinds), rejected=len(kinds))
    rows = fetch(
        conn,
        'SELECT "offset", reason, key, payload, detail FROM rejected_messages ORDER BY "offset"',
    )
    assert [offset for offset, *_ in rows] == list(range(0, 2 * len(kinds), 2))
    assert [reason for _, reason, *_ in rows] == [kind.split(".")[0] for kind in kinds]
    assert [(key, payload) for _, _, key, payload, _ in rows] == [
        (key, payload and payload[:KEPT_PAYLOAD_BYTES]) for key, payload in kinds.values()
    ]
    assert all(detail for *_, detail in rows)
    assert ledger(conn) == {0: (2 * len(kinds), len(kinds), len(kinds), 0)}
    assert check(conn) == []


def test_too_many_rejects_stop_the_flow_and_change_nothing(conn: postgres.Connection) -> None:
    register(conn)
    bad = raw_batch("orders", [(b"7", b"{")] * 3)
    with pytest.raises(TooManyRejectsError, match="INGEST_MAX_REJECTS=2"):
        apply(conn, bad, max_rejects=2)
    assert ledger(conn) == {}
    assert apply(conn, bad, max_rejects=3).rejected == 3


@pytest.mark.parametrize("topic", ["users", "products"])
def test_an_event_fills_in_the_stub_that_an_order_made(
    conn: postgres.Connection, topic: str
) -> None:
    register(conn)
    register(conn, topic)
    apply(conn, orders_batch([order(1)]))
    event = user() if topic == "users" else product()
    other = (user if topic == "users" else product)(name="later")
    first = raw_batch(topic, [message(topic, event), message(topic, event)])
    assert apply(conn, first) == BatchOutcome(stored=1, ignored=1)
    again = raw_batch(topic, [message(topic, event), message(topic, other)], start=2)
    assert apply(conn, again) == BatchOutcome(ignored=1, rejected=1)
    assert fetch(conn, f"SELECT name, created_at, order_count FROM {topic}") == [
        (event.name, NOW, 1)
    ]
    assert check(conn) == []


def test_odd_text_survives(conn: postgres.Connection) -> None:
    register(conn, "products")
    names = ['"', "a,b", "\\N", "\\.", "tab\there", "line\nbreak", "NULL", " ", "머그컵 ☕", "\r\n"]
    raw = raw_batch(
        "products", [message("products", product(i, name=n)) for i, n in enumerate(names, 1)]
    )
    apply(conn, raw)
    assert [n for (n,) in fetch(conn, "SELECT name FROM products ORDER BY product_id")] == names


def test_a_zombie_changes_nothing(conn: postgres.Connection, settings: Settings) -> None:
    """Two members hold the same batch; the second waits for the first's lock, then trims."""
    register(conn)
    raw = orders_batch([order(1), order(2)])
    with postgres.connect(settings.postgres, "other") as other:
        store_for(other)
        with other.transaction():
            assert store_for(other).apply(other, batch_of(raw)) == BatchOutcome(stored=2)
            conn.execute("SET lock_timeout = '200ms'")
            conn.commit()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                apply(conn, raw)
    assert apply(conn, raw) == BatchOutcome(trimmed=2)
    assert check(conn) == []


def test_an_unknown_version_among_good_ones_spares_them(conn: postgres.Connection) -> None:
    register(conn)
    raw = raw_batch("orders", [(b"7", changed(order(1), v=9)), message("orders", order(2))])
    assert apply(conn, raw) == BatchOutcome(stored=1, rejected=1)


# -- any history -----------------------------------------------------------------------------

revisions = st.builds(
    lambda i, rev, u, q, status, hours: order(
        make_id(i * 31 * 86_400_000),  # months of their own
        rev=rev,
        user_id=u,
        product_id=u + i,
        quantity=q,
        status="PAID" if rev == 1 else status,
        ordered_at=NOW - timedelta(hours=hours),
    ),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["PAID", "CANCELLED", "REFUNDED"]),
    st.integers(0, 2),
)


@both_layouts
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(revisions, min_size=1, max_size=25),
    cuts=st.lists(st.integers(1, 8), min_size=1, max_size=8),
    rewinds=st.lists(st.integers(0, 6), min_size=1, max_size=8),
)
def test_any_history_in_any_batches_ends_in_its_highest_revisions(
    conn: postgres.Connection, events: Sequence[Order], cuts: list[int], rewinds: list[int]
) -> None:
    """Batches cut anywhere, some redelivered: the tables hold each order's first highest rev."""
    tables = "orders, users, products, user_spend_windows, ingest_offsets, rejected_messages"
    with conn.transaction(), conn.cursor() as cur:
        conn.execute(f"TRUNCATE {tables}")
        partitions.make(cur, EPOCH, EPOCH + timedelta(days=100))
    register(conn)
    done = 0
    turn = 0
    while done < len(events):
        start = max(0, done - rewinds[turn % len(rewinds)])
        end = min(len(events), done + cuts[turn % len(cuts)])
        apply(conn, orders_batch(events[start:end], start=start))
        assert check(conn) == []
        done, turn = end, turn + 1
    newest: dict[int, Order] = {}
    for event in events:
        if event.order_id not in newest or event.rev > newest[event.order_id].rev:
            newest[event.order_id] = event
    columns = "order_id, rev, user_id, product_id, quantity, amount, status, ordered_at"
    stored = fetch(conn, f"SELECT {columns} FROM orders ORDER BY order_id")
    assert stored == [
        tuple(getattr(newest[i], c.strip()) for c in columns.split(",")) for i in sorted(newest)
    ]
    (next_offset, *counts) = ledger(conn)[0]
    assert next_offset == sum(counts) == len(events)


# -- what is kept ----------------------------------------------------------------------------


def test_a_later_revision_never_rewrites_when_a_row_was_first_stored(
    conn: postgres.Connection,
) -> None:
    register(conn)
    apply(conn, orders_batch([order(1)]))
    ((first, changed_at),) = fetch(conn, "SELECT ingested_at, changed_at FROM orders")
    assert first == changed_at
    apply(conn, orders_batch([order(1, rev=2, status="CANCELLED")], start=1))
    ((again, later),) = fetch(conn, "SELECT ingested_at, changed_at FROM orders")
    assert again == first
    assert later > changed_at


def test_what_is_kept_of_a_dead_letter_is_bounded(conn: postgres.Connection) -> None:
    register(conn)
    key, payload = b"7" * 5_000, changed(order(1), note="가" * 100_000, payment_method="가" * 5_000)
    whole = (b"8" * KEPT_KEY_BYTES, b"x" * KEPT_PAYLOAD_BYTES)
    apply(conn, raw_batch("orders", [(key, payload), whole]))
    columns = "key, payload, key_bytes, payload_bytes, octet_length(detail)"
    cut, kept = fetch(conn, f'SELECT {columns} FROM rejected_messages ORDER BY "offset"')
    assert cut[:4] == (
        key[:KEPT_KEY_BYTES], payload[:KEPT_PAYLOAD_BYTES], len(key), len(payload),
    )  # fmt: skip
    assert cut[4] <= KEPT_DETAIL_BYTES
    assert kept[:4] == (*whole, None, None)
