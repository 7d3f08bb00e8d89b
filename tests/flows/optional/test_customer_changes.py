"""Changes of customers become a type 2 history, and a closed account is erased, exactly once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from generators.behaviour.customer_changes import change_ids
from shop import postgres
from shop.optional.customer_changes import CustomerChange
from tests.flows.store_steps import apply, fetch, ledger, register
from tests.support.event_samples import NOW, Message, message, order, orders_batch, raw_batch, user

TOPIC = "customer_changes"
KINDS = ("SIGNED_UP", "MOVED", "RENAMED", "CONSENT")


def day(n: float) -> datetime:
    return NOW - timedelta(days=100 - n)


def change(user_id: int, rev: int, **fields: Any) -> CustomerChange:
    kind = fields.get("kind", KINDS[min(rev, 4) - 1])
    closed = kind == "CLOSED"
    (change_id,) = change_ids(np.array([user_id]), np.array([rev])).tolist()
    return CustomerChange(**{
        "v": 1, "change_id": change_id, "user_id": user_id, "rev": rev, "kind": kind,
        "name": None if closed else f"이름{rev}", "city": None if closed else f"도시{rev}",
        "marketing_consent": None if closed else "GRANTED", "updated_at": day(rev), **fields,
    })  # fmt: skip


def messages(changes: Iterable[CustomerChange]) -> list[Message]:
    return [message(TOPIC, c) for c in changes]


def versions(conn: postgres.Connection, user_id: int) -> list[tuple]:
    return fetch(
        conn,
        "SELECT rev, valid_from, valid_to, current, name, city FROM users_history"
        f" WHERE user_id = {user_id} ORDER BY valid_from, rev",
    )


def test_late_changes_get_their_place_whatever_the_batches(conn: postgres.Connection) -> None:
    """Shuffled changes in batches of chance, a third of them again, as after a kill."""
    register(conn, TOPIC)
    rng = random.Random(5)
    changes = [change(u, rev) for u in range(1, 61) for rev in range(1, 8)]
    rng.shuffle(changes)
    changes += rng.sample(changes, 40)
    at = stored = 0
    while at < len(changes):
        part = raw_batch(TOPIC, messages(changes[at : at + rng.randint(1, 90)]), start=at)
        for again in range(1 + (rng.random() < 0.3)):
            outcome = apply(conn, part)
            assert outcome.trimmed == (len(part) if again else 0)
            stored += outcome.stored
        at += len(part)
    assert ledger(conn, TOPIC) == {0: (len(changes), 420, 0, 40)}
    assert stored == 420
    ends = [*(day(r) for r in range(2, 8)), None]
    for user_id in (1, 30, 60):
        assert versions(conn, user_id) == [
            (r, day(r), ends[r - 1], r == 7, f"이름{r}", f"도시{r}") for r in range(1, 8)
        ]
    assert fetch(conn, "SELECT count(*) FROM users_history WHERE current") == [(60,)]
    assert fetch(conn, "SELECT count(*) FROM users") == [(0,)]


def test_a_batch_that_is_not_committed_leaves_nothing(conn: postgres.Connection) -> None:
    register(conn, TOPIC)
    apply(conn, raw_batch(TOPIC, messages([change(1, 1), change(1, 3)])))
    before = versions(conn, 1)
    with conn.transaction(force_rollback=True):
        conn.execute(
            "INSERT INTO customer_changes (change_id, user_id, rev, kind, updated_at)"
            " VALUES (99, 1, 2, 'MOVED', %s)",
            (day(2),),
        )
        row = conn.execute("SELECT count(*) FROM users_history").fetchone()
        assert row == (3,)
    assert versions(conn, 1) == before
    apply(conn, raw_batch(TOPIC, messages([change(1, 2)]), start=2))
    assert [row[:4] for row in versions(conn, 1)] == [
        (1, day(1), day(2), False), (2, day(2), day(3), False), (3, day(3), None, True),
    ]  # fmt: skip


def test_other_content_of_a_change_is_a_dead_letter(conn: postgres.Connection) -> None:
    register(conn, TOPIC)
    apply(conn, raw_batch(TOPIC, messages([change(1, 1), change(1, 1, city="다른 곳")])))
    assert fetch(conn, "SELECT reason, field FROM rejected_messages") == [("other_content", "city")]


PROFILE = "SELECT name, email, gender, birth_year, city, created_at FROM users WHERE user_id = 7"
BLANK = (None, None, None, None, None)


def test_a_closed_account_is_erased_and_its_orders_stay(conn: postgres.Connection) -> None:
    register(conn, "users")
    register(conn)
    register(conn, TOPIC)
    bad = (b"7", message("users", user(7))[1][:-5])
    apply(conn, raw_batch("users", [message("users", user(7)), bad]))
    apply(conn, orders_batch([order(1, user_id=7, amount=2_000)]))
    apply(conn, raw_batch(TOPIC, messages([change(7, 1), change(7, 2), change(8, 1)])))
    bad = (b"7", message(TOPIC, change(7, 3))[1][:-5])
    closing = message(TOPIC, change(7, 4, kind="CLOSED"))
    apply(conn, raw_batch(TOPIC, [closing, bad], start=3))
    assert fetch(conn, PROFILE) == [(*BLANK, NOW)]
    assert fetch(conn, "SELECT order_count, total_spent, last_ordered_at FROM users"
                 " WHERE user_id = 7") == [(1, 2_000, NOW)]  # fmt: skip
    assert [row[3:] for row in versions(conn, 7)] == [
        (False, None, None), (False, None, None), (True, None, None),
    ]  # fmt: skip
    assert versions(conn, 7)[1][1:3] == (day(2), day(4))
    assert versions(conn, 8)[0][4] == "이름1"
    gone = (
        "SELECT count(*) FROM customer_changes WHERE user_id = 7 AND num_nonnulls(name, city) > 0"
    )
    assert fetch(conn, gone) == [(0,)]
    letters = "SELECT topic, payload, detail FROM rejected_messages ORDER BY topic"
    erased = "erased: the customer closed the account"
    assert fetch(conn, letters) == [(TOPIC, None, erased), ("users", None, erased)]


def test_what_arrives_after_the_closing_is_erased(conn: postgres.Connection) -> None:
    """The sign-up included; and neither it nor a copy of a change is a dead letter."""
    register(conn, "users")
    register(conn, TOPIC)
    apply(conn, raw_batch(TOPIC, messages([change(7, 1), change(7, 3, kind="CLOSED")])))
    assert fetch(conn, PROFILE) == [(*BLANK, day(1))]
    late = [change(7, 1), change(7, 2), change(7, 3, kind="CLOSED")]
    apply(conn, raw_batch(TOPIC, messages(late), start=2))
    apply(conn, raw_batch("users", [message("users", user(7)), (b"7", b'{"v": 1, "name": "Ki')]))
    assert fetch(conn, PROFILE) == [(*BLANK, day(1))]
    assert [row[0] for row in versions(conn, 7)] == [1, 2, 3]
    assert {row[4:] for row in versions(conn, 7)} == {(None, None)}
    assert ledger(conn, TOPIC) == {0: (5, 3, 0, 2)}
    assert ledger(conn, "users") == {0: (2, 0, 1, 1)}
    assert fetch(conn, "SELECT payload FROM rejected_messages") == [(None,)]
    counted = "SELECT sum(customers) FROM sign_ups_by_day"
    assert fetch(conn, counted) == [(1,)]
    assert fetch(conn, "SELECT sum(customers) FROM sign_ups_by_day_of_users()") == [(1,)]


def test_a_stub_that_is_closed_keeps_what_was_ordered(conn: postgres.Connection) -> None:
    register(conn)
    register(conn, TOPIC)
    apply(conn, orders_batch([order(1, user_id=7, amount=2_000)]))
    apply(conn, raw_batch(TOPIC, messages([change(7, 1, kind="CLOSED")])))
    assert fetch(conn, "SELECT order_count, total_spent, name FROM users") == [(1, 2_000, None)]
    assert fetch(conn, "SELECT sum(customers) FROM sign_ups_by_day") == [(1,)]
