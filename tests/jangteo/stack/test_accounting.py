"""Accounting: what was published against what became of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangteo.stack import accounting
from jangteo.stack.accounting import Log, OffsetAccounting, OffsetRow
from shop import kafka
from shop.postgres import Connection
from shop.settings import Settings

OLD: Log = ("orders", "cluster/old")
NEW: Log = ("orders", "cluster/new")


def publish(settings: Settings, topic: str, n: int) -> None:
    producer = kafka.producer(settings.kafka, "test")
    for i in range(n):
        producer.produce(topic, key=str(i), value=b"{}")
    assert producer.flush(20) == 0


def book(pg: Connection, topic: str, log_id: str, partition: int, numbers: OffsetRow) -> None:
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset, stored, rejected,"
        " ignored) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (topic, partition, log_id)"
        " DO UPDATE SET next_offset = excluded.next_offset, stored = excluded.stored,"
        " rejected = excluded.rejected, ignored = excluded.ignored",
        (
            topic,
            partition,
            log_id,
            numbers.next_offset,
            numbers.stored,
            numbers.rejected,
            numbers.ignored,
        ),
    )


@pytest.mark.usefixtures("topics")
def test_accounting_on_a_real_broker(settings: Settings, pg: Connection) -> None:
    publish(settings, "orders", 50)
    accounting = OffsetAccounting(settings.kafka)
    accounting.open(pg)
    publish(settings, "orders", 30)
    account = accounting.account(pg)
    assert account.published == {"users": 0, "products": 0, "orders": 30}
    assert account.lag == {"users": 0, "products": 0, "orders": 80}
    assert account.differences() == ["orders: 80 messages not yet taken"]
    log_id = kafka.describe_topics(kafka.admin(settings.kafka))["orders"].log_id
    for partition, end in kafka.end_offsets(settings.kafka, "orders").items():
        book(pg, "orders", log_id, partition, OffsetRow(end, stored=end))
    account = accounting.account(pg)
    assert account.differences() == []
    assert account.stored["orders"] == 80, "the ingest also took what was there before"


def test_a_lost_log_counts_what_is_known_of_it() -> None:
    before = {OLD: {0: OffsetRow(10, 10)}}
    now = {OLD: {0: OffsetRow(25, 22, 2, 1)}, NEW: {0: OffsetRow(5, 5)}}
    account = accounting.account({OLD: {0: 10}}, before, {NEW: {0: 5}}, now, [OLD, NEW])
    assert account.published["orders"] == 15 + 5
    assert account.stored["orders"] == 12 + 5
    assert account.lag["orders"] == 0
    assert account.differences() == []


def test_a_lost_message_is_a_difference() -> None:
    account = accounting.account({}, {}, {NEW: {0: 9}}, {NEW: {0: OffsetRow(9, 7, 1, 0)}}, [NEW])
    assert account.differences() == [
        "orders: 9 messages taken, 7 stored + 1 rejected + 0 ignored = 8"
    ]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 50)), max_size=12),
    st.integers(0, 100),
)
def test_an_honest_ingest_always_balances(
    partitions: list[tuple[int, int, int]], behind: int
) -> None:
    entries = {p: OffsetRow(s + r + i, s, r, i) for p, (s, r, i) in enumerate(partitions)}
    ends = {p: e.next_offset + behind for p, e in entries.items()}
    account = accounting.account({}, {}, {NEW: ends}, {NEW: entries}, [NEW])
    assert account.lag["orders"] == behind * len(partitions)
    assert account.published["orders"] == sum(ends.values())
    assert bool(account.differences()) == bool(behind and partitions)
