"""Optional topics are stored exactly once, by one store that knows none of them by name."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.optional import store
from shop import postgres
from shop.optional.registry import OPTIONAL
from shop.optional.shipments import Shipment
from tests.flows.store_steps import apply, fetch, ledger, register
from tests.support.event_samples import NOW, Message, message, raw_batch

STATUSES = ("DISPATCHED", "IN_TRANSIT", "DELIVERED", "RETURNED")


def shipment(order_id: int, rev: int = 1, **changes: Any) -> Shipment:
    at = NOW - timedelta(days=9 - rev)
    return Shipment(**{
        "v": 1, "shipment_id": order_id, "rev": rev, "order_id": order_id,
        "user_id": order_id // 3 + 1, "carrier": "NARAE",
        "region": "JEJU" if order_id % 2 else None,
        "status": STATUSES[rev - 1], "promised_days": 2, "dispatched_at": NOW - timedelta(days=8),
        "in_transit_at": None, "delivered_at": at if rev > 2 else None, "returned_at": None,
        "lost_at": None, "updated_at": at, **changes,
    })  # fmt: skip


def messages(events: list[Shipment]) -> list[Message]:
    return [message("shipments", event) for event in events]


def test_the_highest_revision_wins_whatever_the_batches(conn: postgres.Connection) -> None:
    """Batches of chance, a third of them applied again, as after a kill behind the COMMIT."""
    register(conn, "shipments")
    rng = random.Random(3)
    events = [shipment(i, rev) for i in range(1, 301) for rev in (1, 2, 3)]
    rng.shuffle(events)
    events += [*rng.sample(events, 90), shipment(5, 3, carrier="HANBIT")]
    stored = rejected = ignored = at = 0
    while at < len(events):
        part = raw_batch("shipments", messages(events[at : at + rng.randint(1, 200)]), start=at)
        for again in range(1 + (rng.random() < 0.3)):
            outcome = apply(conn, part)
            assert outcome.trimmed == (len(part) if again else 0)
            stored, ignored = stored + outcome.stored, ignored + outcome.ignored
            rejected += outcome.rejected
        at += len(part)
    assert fetch(conn, "SELECT count(*), min(rev), max(rev) FROM shipments") == [(300, 3, 3)]
    assert fetch(conn, "SELECT carrier FROM shipments WHERE shipment_id = 5") == [("NARAE",)]
    assert fetch(conn, "SELECT topic, reason, field FROM rejected_messages") == [
        ("shipments", "other_content", "carrier")
    ]
    assert ledger(conn, "shipments") == {0: (len(events), stored, rejected, ignored)}
    assert stored + ignored + 1 == len(events)


def test_every_column_is_stored(conn: postgres.Connection) -> None:
    register(conn, "shipments")
    events = [shipment(1, 3), shipment(2, 1)]
    apply(conn, raw_batch("shipments", messages(events)))
    names = ", ".join(n for n in Shipment.__struct_fields__ if n != "v")
    rows = fetch(conn, f"SELECT {names} FROM shipments ORDER BY shipment_id")
    assert rows == [
        tuple(getattr(e, n) for n in Shipment.__struct_fields__ if n != "v") for e in events
    ]


def test_a_faulty_message_is_a_dead_letter(conn: postgres.Connection) -> None:
    register(conn, "shipments")
    good = messages([shipment(1), shipment(2)])
    key, payload = good[0]
    assert payload is not None
    faults = [
        (key, payload.replace(b'"DISPATCHED"', b'"SENT"')),
        (key, payload[:-5]),
        (b"9", payload),
        (None, payload),
        (key, None),
    ]
    apply(conn, raw_batch("shipments", [good[0], *faults, good[1]]))
    assert fetch(conn, "SELECT count(*) FROM shipments") == [(2,)]
    found = fetch(conn, 'SELECT reason FROM rejected_messages ORDER BY "offset"')
    assert [reason for (reason,) in found] == [
        "unknown_value", "bad_json", "key_mismatch", "null_key", "empty",
    ]  # fmt: skip


def test_of_a_topic_without_revisions_the_first_event_counts(
    conn: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = replace(OPTIONAL["shipments"], revised=False)
    monkeypatch.setattr(store, "OPTIONAL", {"shipments": once})
    register(conn, "shipments")
    sent = [shipment(1), shipment(2)], [shipment(2), shipment(3), shipment(1, carrier="DURUMI")]
    apply(conn, raw_batch("shipments", messages(sent[0])))
    apply(conn, raw_batch("shipments", messages(sent[1]), start=2))
    assert fetch(conn, "SELECT shipment_id, carrier FROM shipments ORDER BY 1") == [
        (1, "NARAE"), (2, "NARAE"), (3, "NARAE"),
    ]  # fmt: skip
    assert ledger(conn, "shipments") == {0: (5, 3, 1, 1)}


def test_what_follows_is_in_the_same_transaction(
    conn: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    def follow(cur: postgres.Cursor, stored: Any, before: Any) -> None:
        seen.append((stored["rev"].to_list(), before["rev"].to_list()))
        if len(seen) == 2:
            raise RuntimeError("between the rows and the COMMIT")

    monkeypatch.setattr(store, "FOLLOWS", {"shipments": follow})
    register(conn, "shipments")
    apply(conn, raw_batch("shipments", messages([shipment(1)])))
    with pytest.raises(RuntimeError):
        apply(conn, raw_batch("shipments", messages([shipment(1, 2), shipment(1)]), start=1))
    assert seen == [([1], []), ([2], [1])]
    assert fetch(conn, "SELECT rev FROM shipments") == [(1,)]
    assert ledger(conn, "shipments") == {0: (1, 1, 0, 0)}
