"""Faults on purpose: the good events stay as they are, and the ledger reconciles exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import population
from generators.faults import command, kinds, ledger
from generators.faults.injector import FaultInjector
from generators.faults.kinds import IGNORED, KINDS, STORED, FaultGenerator
from generators.faults.ledger import LedgerEntry
from generators.publishing.encoding import encode_columns
from generators.random_streams import stream
from shop import ids
from shop.clock import utc_now
from shop.errors import JangteoError, UsageError
from shop.events import Order, Product, Rejection, User, decode
from shop.redis import cache
from shop.settings import Settings
from tests.support import python_process
from tests.support.generator_processes import (
    NOW,
    ROOT,
    cached_product,
    cached_user,
    full_disk,
    read_topic_raw,
)

Start = Callable[..., Any]
BORN = ids.make_id(1_000)
EVENTS = {
    "users": User(
        v=1, user_id=BORN, name="김민준", email="a@example.com", gender="M", birth_year=1990,
        city="서울 노원구", created_at=NOW,
    ),
    "products": Product(
        v=1, product_id=BORN, name="셔츠", category="패션", brand="하루핏", price=9_900,
        created_at=NOW,
    ),
    "orders": Order(
        v=1, order_id=8, rev=1, user_id=BORN, product_id=9, quantity=2, unit_price=9_900,
        discount=0, amount=19_800, payment_method="CARD", status="PAID", ordered_at=NOW,
        updated_at=NOW,
    ),
}  # fmt: skip


def test_the_shares_are_those_of_the_specification():
    assert sum(k.share for k in KINDS[:14]) == pytest.approx(0.62)
    assert len(KINDS) == 20


@pytest.mark.parametrize(
    ("kind", "topic"),
    [(k, t) for k in KINDS for t in k.topics],
    ids=lambda v: getattr(v, "name", v),
)
def test_the_contract_decides_as_the_table_says(kind: kinds.FaultKind, topic: str):
    made = FaultGenerator(topic, 0.5, stream(1, "f"), clock=lambda: NOW)
    messages = list(made.messages(kind, topic, EVENTS[topic]))
    assert messages
    found_by_storing = (STORED, IGNORED, "other_content")
    for (key, value), _, route in messages:
        try:
            decode(topic, key, value, now=NOW + timedelta(seconds=1))
            decided = None
        except Rejection as r:
            decided = r.reason.value
        assert decided == (None if route in found_by_storing else route)
    assert messages[-1][2] == kind.route


def test_an_id_is_reused_behind_the_order_that_has_it():
    made = FaultGenerator("orders", 0.5, stream(1, "f"), clock=lambda: NOW)
    (kind,) = (k for k in KINDS if k.name == "reused_id")
    (first, id_, stored), (second, same, rejected) = made.messages(kind, "orders", EVENTS["orders"])
    assert (id_, stored, rejected) == (same, STORED, "other_content")
    assert first[0] == second[0], "one key, one partition: the order is kept"
    assert first[1] != second[1]
    assert id_ != EVENTS["orders"].order_id


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_faults_do_not_depend_on_how_many_are_made_at_a_time(sizes: list[int]):
    parts, whole = (FaultGenerator("orders", 0.1, stream(3, "f")) for _ in range(2))
    before, found = 0, []
    for n in sizes:
        found += [(before + i, k.name) for i, k in parts.positions(n)]
        before += n
    assert found == [(i, k.name) for i, k in whole.positions(before)]


def test_the_rate_is_kept():
    n = 200_000
    names = [k.name for _, k in FaultGenerator("orders", 0.0062, stream(1, "f")).positions(n)]
    for kind in KINDS:
        assert names.count(kind.name) / n * 100 == pytest.approx(kind.share, rel=0.5, abs=0.01)


def entry(kind: str, route: str, offset: int, id_: int = 1) -> LedgerEntry:
    return LedgerEntry(
        topic="orders", partition=0, offset=offset, kind=kind, route=route, id=id_, digest="d",
        log_id="l",
    )  # fmt: skip


def test_every_difference_is_named():
    entries = [
        entry("null_key", "null_key", 1),
        entry("oversize", "oversize", 2),
        entry("late", STORED, 3, 33),
        entry("duplicate", IGNORED, 4, 44),
    ]
    rejected = {
        ("orders", 0, 1): "null_key",
        ("orders", 0, 4): "bad_json",
        ("orders", 0, 9): "empty",
    }
    result = command.compare(entries, rejected, frozenset())
    assert (result.expected, result.found, result.recall) == (2, 1, 0.5)
    assert [line.split(":")[0] for line in result.differences] == [
        "orders[0]@2 oversize", "orders[0]@3 late", "orders[0]@4 duplicate", "orders[0]@9",
    ]  # fmt: skip


def test_a_ledger_that_is_not_there_or_broken_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="--faults"):
        list(ledger.read(tmp_path))
    (tmp_path / "x.ndjson").write_text("{}\n")
    with pytest.raises(JangteoError, match=r"x.ndjson:1"):
        list(ledger.read(tmp_path))


def test_a_ledger_without_room_costs_faults_and_no_line_is_cut(tmp_path: Path):
    book = ledger.FaultLedger(tmp_path / "x.ndjson")
    posted: list[bytes] = []
    made = FaultGenerator(
        "users", 1.0, stream(1, "test"), clock=lambda: NOW, ids=ids.IdGenerator(14)
    )
    spoiler = FaultInjector(
        "users", made, book, lambda key, value, done: posted.append(value),
        SimpleNamespace(latest=None, stop=lambda: None), clock=lambda: NOW,  # type: ignore[arg-type]  # a watch that never looks
    )  # fmt: skip
    event = population.users(stream(1, "u").random((20, population.USER_DRAWS)), np.arange(1, 21))
    keys, values = encode_columns("users", event)
    spoiler(keys, values)
    whole = list(ledger.read(tmp_path / "x.ndjson"))
    sent = len(posted)
    assert sent == len(whole) > 0
    with full_disk((tmp_path / "x.ndjson").stat().st_size + 50):
        spoiler(keys, values)
    assert (len(posted), list(ledger.read(tmp_path / "x.ndjson"))) == (sent, whole)
    spoiler(keys, values)
    assert len(list(ledger.read(tmp_path / "x.ndjson"))) == len(posted) > sent


@pytest.mark.usefixtures("topics")
def test_ledger_and_shop_reconcile(
    env: dict[str, str], settings: Settings, redis_client: redis.Redis, start: Start
):
    """Generators with faults, the real ingest, then the comparison; and a difference is found."""
    cache.swap(
        redis_client,
        [cached_user(i, orders=i % 3) for i in range(1, 301)],
        [cached_product(i, popular=i % 3 > 0, orders=i) for i in range(1, 51)],
        lambda version, replaced: cache.CacheMeta(version=version, refreshed_at=utc_now()),
    )
    common = ("--rate", "3000", "--limit", "1500", "--faults", "0.06")
    makers = [start(f"generators.{t}", *common) for t in ("users", "orders")]
    assert [m.popen.wait(60) for m in makers] == [0, 0]
    ingest = start("jangteo.cli.ingest")

    def reconcile() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "generators.faults.command", "reconcile", "--wait", "60"]
        return python_process.run(argv, env=env, cwd=ROOT, capture_output=True, text=True)

    done = reconcile()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recall 1.000" in done.stdout
    assert "; 0 differences" in done.stdout
    book = settings.data_dir / "faults" / "orders.ndjson"
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    intents = [line for line in lines if line["line"] == "fault"]
    assert len({line["kind"] for line in intents}) > 8
    gone = next(i["number"] for i in intents if i["route"] not in (STORED, IGNORED))
    left = (json.dumps(line) for line in lines if line["number"] != gone)
    book.write_text("\n".join(left) + "\n")
    done = reconcile()
    assert done.returncode == 1
    assert "not in the fault ledger" in done.stdout
    assert ingest.stop() == 0


@pytest.mark.usefixtures("topics")
def test_good_events_are_the_same_with_and_without_faults(settings: Settings, start: Start):
    common = ("--rate", "3000", "--limit", "400", "--seed", "5")
    assert start("generators.users", *common).popen.wait(60) == 0
    plain = [e.email.rsplit(".", 2)[0] for e in good_events(settings)]
    assert start("generators.users", *common, "--faults", "0.5").popen.wait(60) == 0
    both = [e.email.rsplit(".", 2)[0] for e in good_events(settings)]
    assert len(plain) == 400
    assert both == plain + plain


def good_events(settings: Settings) -> list[User]:
    """What the contract takes, each id once, by id."""
    found: dict[int, User] = {}
    for key, value in read_topic_raw(settings, "users"):
        try:
            event = decode("users", key, value, now=utc_now())
        except Rejection:
            continue
        assert isinstance(event, User)
        found[event.user_id] = event
    return [found[i] for i in sorted(found)]
