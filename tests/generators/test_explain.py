"""A score is explained term by term, and the terms add up to it."""

from __future__ import annotations

import json
from typing import Any

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

TERMS = ("intercept", "grade", "fresh", "spend", "cart", "soured", "scenario")


@pytest.mark.parametrize("orders", [0, 5])
def test_the_terms_add_up(orders: int):
    others = [cached_user(i, orders=i % 4) for i in range(1, 60)]
    user = cached_user(7, orders=orders, grade="GOLD")
    win_back = compose([timetable.ScenarioSpan(0, 1, "win_back", 1.05)])
    found = explain.explain(user, others, NOW, win_back)
    assert found["in_cache"]
    assert found["grade"] == 0.35
    assert found["of"] == 59
    total = sum(found[t] for t in TERMS) + (found["log_rate"] or 0.0)
    assert found["score"] == pytest.approx(total, abs=1e-3)
    assert 0 < found["share_of_weight"] < 1
    assert (found["log_rate"] is None) == (orders == 0)


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
    with pytest.raises(JangteoError, match="no user 99"):
        call("99")
