"""Several batches in one transaction leave what they leave one by one; a failure harms none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flows import sink
from flows.batch import Batch, RawBatch
from flows.in_flight import MOST_UNDER_WAY
from flows.transaction import BatchOutcome, OffsetGapError
from jangteo.stack.consistency import check
from shop import postgres
from shop.ingest_progress import ROUND_TRIPS
from shop.postgres import Connection
from shop.settings import Settings
from tests.flows.ingesting import Ingesting
from tests.flows.store_steps import batch_of, fetch, ledger, register, store_for
from tests.support.event_samples import (
    NOW,
    Message,
    changed,
    message,
    order,
    orders_batch,
    product,
    raw_batch,
    user,
)
from tests.support.network_proxy import Proxy
from tests.support.waiting import wait_until

_TABLES = "orders, users, products, user_spend_windows, ingest_offsets, rejected_messages"
_KEPT = {
    "orders": "order_id, rev, user_id, product_id, quantity, amount, status, ordered_at",
    "users": "user_id, order_count, total_spent, last_ordered_at::text",
    "products": "product_id, order_count",
    "user_spend_windows": "window_start, user_id, orders, spend",
    "ingest_offsets": "partition, next_offset, stored, rejected, ignored, gaps",
    "rejected_messages": 'partition, "offset", reason, field, detail, payload',
}


def kept(conn: Connection) -> dict[str, list[tuple]]:
    """All that an ingest writes, but for the times at which it did."""
    return {t: sorted(fetch(conn, f"SELECT {c} FROM {t}")) for t, c in _KEPT.items()}


def store(conn: Connection, groups: Iterable[Sequence[Batch]]) -> list[BatchOutcome]:
    """Store batches from nothing, each group of them in one transaction."""
    with conn.transaction():
        conn.execute(f"TRUNCATE {_TABLES}")
    register(conn)
    outcomes, prepared = [], store_for(conn)
    for group in groups:
        outcomes += prepared.apply_all(conn, group)
        assert check(conn) == []
    return outcomes


def test_the_longest_transaction_takes_as_many_round_trips_as_its_lag_may_wait_for(
    conn: Connection, settings: Settings
) -> None:
    """Every batch has new orders, later revisions and rejects, and there are as many as there may.

    A message waits for the transaction under way, and for its own.
    """
    register(conn)
    batches = []
    for n in range(MOST_UNDER_WAY):
        first = order(10 * n + 1, user_id=n + 1, product_id=n + 1)
        other = order(10 * n + 2, user_id=n + 2, product_id=n + 2)
        later = order(10 * n + 1, rev=2, user_id=n + 1, product_id=n + 1, status="CANCELLED")
        sent = [message("orders", o) for o in (first, other, later)]
        batches.append(batch_of(raw_batch("orders", [*sent, (b"7", b"{")], start=4 * n)))
    with Proxy(settings.postgres.port, settings.postgres.host) as proxy:
        near = replace(settings.postgres, port=proxy.port)
        with postgres.connect(near, "test") as through:
            prepared = store_for(through)
            before = proxy.round_trips
            outcomes = prepared.apply_all(through, batches)
            took = proxy.round_trips - before
    assert [(o.stored, o.rejected) for o in outcomes] == [(3, 1)] * MOST_UNDER_WAY
    assert ROUND_TRIPS / 4 < 2 * took <= ROUND_TRIPS


_messages = st.one_of(
    st.builds(
        lambda i, rev, u, q, status, hours: message("orders", order(
            i, rev=rev, user_id=u, product_id=u + i, quantity=q,
            status="PAID" if rev == 1 else status, ordered_at=NOW - timedelta(hours=hours),
        )),
        st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
        st.sampled_from(["PAID", "CANCELLED", "REFUNDED"]), st.integers(0, 2),
    ),
    st.sampled_from([(b"7", b"{"), (b"7", changed(order(1), v=9)), (b"8", None)]),
)  # fmt: skip


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sent=st.lists(_messages, min_size=1, max_size=25),
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    rewinds=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    together=st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
def test_batches_leave_the_same_however_many_share_a_transaction(
    conn: Connection,
    sent: Sequence[Message],
    cuts: list[int],
    rewinds: list[int],
    together: list[int],
) -> None:
    """Batches cut anywhere, some delivered again, as one transaction each and as groups."""
    batches = [batch_of(raw) for raw in _batches(sent, cuts, rewinds)]
    one_by_one = store(conn, [[b] for b in batches]), kept(conn)
    assert one_by_one == (store(conn, _grouped(batches, together)), kept(conn))


def _batches(
    sent: Sequence[Message], cuts: Sequence[int], rewinds: Sequence[int]
) -> Iterator[RawBatch]:
    done = turn = 0
    while done < len(sent):
        start = max(0, done - rewinds[turn % len(rewinds)])
        end = min(len(sent), done + cuts[turn % len(cuts)])
        yield raw_batch("orders", sent[start:end], start=start)
        done, turn = end, turn + 1


def _grouped(batches: Sequence[Batch], sizes: Sequence[int]) -> Iterator[Sequence[Batch]]:
    at = turn = 0
    while at < len(batches):
        size = sizes[turn % len(sizes)]
        yield batches[at : at + size]
        at, turn = at + size, turn + 1


def test_batches_of_several_partitions_share_a_transaction(conn: Connection) -> None:
    register(conn)
    batches = [
        orders_batch([order(2 * p + i, user_id=p + 1) for i in (1, 2)], partition=p)
        for p in (2, 0, 1)
    ]
    outcomes = store_for(conn).apply_all(conn, map(batch_of, batches))
    assert outcomes == [BatchOutcome(stored=2)] * 3
    assert sorted(ledger(conn)) == [0, 1, 2]
    assert check(conn) == []


def test_each_group_notes_when_the_rows_changed_that_it_counts_in(conn: Connection) -> None:
    register(conn)
    for n in range(2):
        batches = [orders_batch([order(2 * n + i + 1)], start=2 * n + i) for i in range(2)]
        store_for(conn).apply_all(conn, map(batch_of, batches))
    for table in ("user_spend_windows", "users", "products", "sales_by_hour"):
        changed_at = (
            f"SELECT count(DISTINCT changed_at), bool_and(changed_at = o.last) FROM {table},"
        )
        last = "(SELECT max(ingested_at) AS last FROM orders) AS o"
        assert fetch(conn, f"{changed_at} {last}") == [(1, True)], table


def test_a_gap_behind_other_batches_is_refused_and_nothing_changes(conn: Connection) -> None:
    register(conn)
    batches = [orders_batch([order(1)]), orders_batch([order(2)], start=5)]
    with pytest.raises(OffsetGapError):
        store_for(conn).apply_all(conn, map(batch_of, batches))
    assert fetch(conn, "SELECT * FROM orders") == []
    assert ledger(conn) == {}


# -- the writer ------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a batch that is on its way is waited for."""
    monkeypatch.setattr(sink, "NEXT_S", 60.0)


def transactions(conn: Connection) -> int:
    """The number of transactions in which the orders were stored: each has one `now()`."""
    ((found,),) = fetch(conn, "SELECT count(DISTINCT ingested_at) FROM orders")
    return found


def three() -> list[RawBatch]:
    return [orders_batch([order(2 * n + 1), order(2 * n + 2)], start=2 * n) for n in range(3)]


@pytest.mark.usefixtures("patient")
def test_batches_on_their_way_are_one_transaction(
    conn: Connection, ingesting: dict[str, Ingesting]
) -> None:
    ingesting["orders"].put_together(three())
    wait_until(ingesting["orders"].stored, "stored")
    assert ledger(conn) == {0: (6, 6, 0, 0)}
    assert transactions(conn) == 1
    ingesting["orders"].put(orders_batch([order(7)], start=6))
    wait_until(ingesting["orders"].stored, "stored, too")
    assert transactions(conn) == 2
    assert check(conn) == []


@pytest.mark.usefixtures("patient")
def test_what_is_refused_in_a_group_holds_up_no_batch_before_it(
    conn: Connection, pg: Connection, ingesting: dict[str, Ingesting]
) -> None:
    pg.execute("ALTER TABLE orders ADD CONSTRAINT odd CHECK (order_id <> 4)")
    ingesting["orders"].put_together(three())
    wait_until(ingesting["orders"].held, "held")
    assert ledger(conn) == {0: (2, 2, 0, 0)}, "the batch before the refused one is stored"
    assert check(conn) == []
    pg.execute("ALTER TABLE orders DROP CONSTRAINT odd")
    wait_until(ingesting["orders"].stored, "stored")
    assert ledger(conn) == {0: (6, 6, 0, 0)}
    assert check(conn) == []


@pytest.mark.usefixtures("patient")
def test_a_connection_cut_within_a_group_counts_nothing_twice(
    conn: Connection, settings: Settings, ingesting: dict[str, Ingesting]
) -> None:
    with postgres.connect(settings.postgres, "other") as other, other.transaction():
        other.execute("LOCK TABLE products IN SHARE MODE")
        ingesting["orders"].put_together(three())

        def cut() -> bool:
            with conn.transaction():
                cut_off = conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                    " current_database() AND application_name = 'jangteo-ingest-orders'"
                    " AND wait_event_type = 'Lock'"
                )
                return cut_off.rowcount > 0

        wait_until(cut, "the session is cut off while it writes what the group counts")
    wait_until(ingesting["orders"].stored, "stored")
    assert ledger(conn) == {0: (6, 6, 0, 0)}
    assert check(conn) == []


@pytest.mark.usefixtures("patient")
def test_a_window_that_another_session_adds_meanwhile_is_added_to(
    conn: Connection, settings: Settings, ingesting: dict[str, Ingesting]
) -> None:
    """It is a unique violation for the group, whose batches are then stored one by one."""
    with postgres.connect(settings.postgres, "other") as other, other.transaction():
        other.execute(
            "INSERT INTO user_spend_windows (window_start, user_id, orders, spend)"
            " VALUES (date_bin('300 seconds', %s, 'epoch'), 7, 0, 0)",
            (NOW,),
        )
        ingesting["orders"].put_together(three())
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE '%MERGE INTO user_spend_windows%'"
        )
        wait_until(lambda: fetch(conn, waits), "it waits for that session to end")
    wait_until(ingesting["orders"].stored, "stored")
    assert fetch(conn, "SELECT orders, spend FROM user_spend_windows") == [(6, 12_000)]
    assert transactions(conn) == 3
    assert check(conn) == []


def test_a_group_waits_for_the_owner_of_a_partition_and_trims_what_that_stored(
    conn: Connection, settings: Settings
) -> None:
    register(conn)
    batches = three()
    with postgres.connect(settings.postgres, "other") as other:
        store_for(other)
        with other.transaction():
            store_for(other).apply(other, batch_of(batches[0]))
            conn.execute("SET lock_timeout = '200ms'")
            conn.commit()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                store_for(conn).apply_all(conn, map(batch_of, batches))
    outcomes = store_for(conn).apply_all(conn, map(batch_of, batches))
    assert [(o.stored, o.trimmed) for o in outcomes] == [(0, 2), (2, 0), (2, 0)]
    assert check(conn) == []


@pytest.mark.parametrize("topic", ["orders", "users", "products"])
def test_what_one_batch_staged_is_not_the_next_ones(conn: Connection, topic: str) -> None:
    """Revisions of the same orders, and events of the same ids, in batch after batch."""
    register(conn, topic)
    ids = range(1, 200)
    if topic == "orders":
        statuses = ["PAID", "CANCELLED", "REFUNDED"]
        made = [[message(topic, order(i, rev=rev, status=statuses[rev - 1], user_id=i % 7 + 1))
                 for i in ids] for rev in (1, 2, 3)]  # fmt: skip
    else:
        one = user if topic == "users" else product
        made = [[message(topic, one(i, name=name)) for i in ids] for name in "aab"]
    batches = [raw_batch(topic, m, start=n * len(m)) for n, m in enumerate(made)]
    outcomes = store_for(conn, topic).apply_all(conn, map(batch_of, batches))
    wanted = [(199, 0, 0)] * 3 if topic == "orders" else [(199, 0, 0), (0, 199, 0), (0, 0, 199)]
    assert [(o.stored, o.ignored, o.rejected) for o in outcomes] == wanted
    assert check(conn) == []


@pytest.mark.usefixtures("patient")
def test_an_outage_within_a_group_is_logged(
    conn: Connection,
    pg: Connection,
    ingesting: dict[str, Ingesting],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        sink.Outage, "_report", lambda _self, error: seen.append(error), raising=True
    )
    pg.execute("ALTER TABLE user_spend_windows ADD CHECK (pg_terminate_backend(pg_backend_pid()))")
    ingesting["orders"].put_together(three())
    wait_until(lambda: seen, "the end of its session is logged")
    pg.execute("ALTER TABLE user_spend_windows DROP CONSTRAINT user_spend_windows_check")
    wait_until(ingesting["orders"].stored, "stored")
    assert check(conn) == []
