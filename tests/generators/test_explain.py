"""A score is explained term by term, and the terms add up to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import redis

from generators import explain
from generators.scenarios import timetable
from generators.scenarios.timetable import compose
from shop import command
from shop.errors import JangteoError
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings
from tests.support.generator_processes import NOW, cached_user

TERMS = ("intercept", "taste", "grade", "fresh", "spend", "cart", "soured", "scenario")


@pytest.mark.parametrize("orders", [0, 5])
def test_the_terms_add_up(orders: int):
    others = [cached_user(i, orders=i % 4) for i in range(1, 60)]
    user = cached_user(7, orders=orders, grade="GOLD")
    win_back = compose([timetable.ScenarioSpan(0, 1, "win_back", 1.05)])
    found = explain.explain(user, others, NOW, win_back)
    assert found["in_cache"]
    assert found["grade"] == 0.35
    assert found["of"] == 59
    assert found["score"] == pytest.approx(sum(found[t] for t in TERMS), abs=1e-3)
    assert 0 < found["share_of_weight"] < 1
    assert (found["due"], found["due_in_orders"]) == (True, 0)


def test_purchasers_have_the_share_that_their_number_gives_them():
    others = [cached_user(i, orders=int(i <= 10)) for i in range(1, 101)]  # a full side has 60
    shares = [
        explain.explain(u, others, NOW, timetable.NONE)["share_of_weight"] for u in others[:10]
    ]
    assert sum(shares) == pytest.approx(10 / 60, abs=1e-4)


def test_a_customer_who_is_not_due_has_no_share():
    others = [cached_user(i, orders=i % 4) for i in range(1, 60)]
    for wait in (4_000, None):
        user = msgspec.structs.replace(cached_user(7, orders=3), due_in=wait)
        found = explain.explain(user, others, NOW, timetable.NONE)
        assert (found["due"], found["due_in_orders"]) == (False, wait)
        assert (found["share_of_weight"], found["expected_rank"]) == (0, None)


def test_the_command_tells_of_a_stored_customer(
    settings: Settings, pg: Connection, redis_client: redis.Redis, capsys: Any
):
    pg.execute(
        "INSERT INTO users (user_id, name, gender, birth_year, city, created_at, last_ordered_at,"
        " order_count, total_spent) VALUES (5, '김', 'F', 1990, '서울', now() - interval '1 y',"
        " now() - interval '9 d', 3, 90000)"
    )
    cache.swap(redis_client, [cached_user(6)], [], lambda *_: cache.CacheMeta())

    def call(*words: str) -> str:
        parser = command.Parser()
        explain.configure(parser)
        assert explain.run(parser.parse(words), settings) == 0
        return str(capsys.readouterr().out)

    found = json.loads(call("5", "--json"))
    assert (found["buyer"], found["orders"], found["in_cache"]) == (True, 3, False)
    assert "not in the cache" in call("5")
    assert "will not buy (again)" in call("5")  # nothing is counted yet
    pg.execute("INSERT INTO simulation.clock (orders, seed, orders_per_day) VALUES (90, 1, 21600)")
    pg.execute("INSERT INTO simulation.customers VALUES (5, 3, 7, 1100)")
    assert "in 1,010 orders of the shop" in call("5")
    pg.execute("UPDATE simulation.customers SET due = 80")
    assert "due: may buy now" in call("5")
    with pytest.raises(JangteoError, match="no user 99"):
        call("99")
