"""Who of the cached customers buys: those who are due, and who else where they are too few."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from generators.behaviour import customer_model
from generators.live.buyers import Buyers
from generators.random_streams import stream
from shop.redis.cache import CachedUser
from tests.support.generator_processes import NOW, cached_user


def waiting(user_id: int, due_in: int | None, orders: int = 0) -> CachedUser:
    return msgspec.structs.replace(cached_user(user_id, orders=orders), due_in=due_in)


def cached(purchasers: int, others: int, rest: int = 0) -> list[CachedUser]:
    """Return customers who are due, and some who are not: ids from 1, 10,001 and 20,001."""
    return [
        *(cached_user(i, orders=1) for i in range(1, purchasers + 1)),
        *(cached_user(10_000 + i) for i in range(1, others + 1)),
        *(waiting(20_000 + i, None, i % 2) for i in range(1, rest + 1)),
    ]


def taken(buyers: Buyers, n: int) -> list[int]:
    at = round(NOW.timestamp() * 1e6) + np.arange(n)
    return buyers.take(at).ids.tolist()


@pytest.mark.parametrize("due", [0, 60, 300, 540])
def test_the_share_of_repeats_is_the_due_purchasers_among_600(due: int):
    buyers, repeats = Buyers(stream(1, "b")), 0
    for _ in range(100):
        buyers = Buyers(buyers._rng)
        buyers.load(cached(due, 400, 600 - due), NOW)
        repeats += sum(i <= 10_000 for i in taken(buyers, 12))
        assert buyers.fallback_orders == 0
    assert repeats / 1_200 == pytest.approx(due / 600, abs=0.05)


def test_nobody_buys_twice_before_the_cache_shows_the_first_order():
    buyers = Buyers(stream(1, "b"))
    users = cached(100, 400, 500)
    seen: list[int] = []
    for _ in range(20):  # the same stale cache, time and again
        buyers.load(users, NOW)
        seen += taken(buyers, 12)
    assert len(set(seen)) == len(seen) == 240
    shown = [
        msgspec.structs.replace(u, purchaser=True, last_ordered_at=NOW + timedelta(seconds=1))
        if u.user_id in seen
        else u
        for u in users
    ]
    buyers.load(shown, NOW)  # they are due again, a same-day order say
    assert set(taken(buyers, 400)) & set(seen)


def test_first_orders_are_those_of_customers_who_had_none():
    buyers = Buyers(stream(1, "b"))
    buyers.load(cached(30, 20), NOW)
    assert len(set(taken(buyers, 50))) == 50
    assert buyers.first_orders == 20
    taken(buyers, 50)  # everybody again, as nobody is left: first orders they are no more
    assert buyers.first_orders == 20


def test_where_nobody_is_due_those_due_next_buy_and_are_counted():
    buyers = Buyers(stream(1, "b"))
    later = [waiting(i, 1_000 - i) for i in range(1, 101)]
    buyers.load([*cached(5, 5), *later, *cached(0, 0, 50)], NOW)
    first = taken(buyers, 10)
    assert set(first) == {*range(1, 6), *range(10_001, 10_006)}
    assert buyers.fallback_orders == 0
    buyers.load([*cached(0, 0, 50), *later], NOW)
    assert taken(buyers, 10) == list(range(100, 90, -1))
    assert buyers.fallback_orders == 10


def test_at_a_rate_that_no_shop_has_everybody_buys_in_turn():
    buyers = Buyers(stream(1, "b"))
    buyers.load(cached(300, 200, 500), NOW)
    ids = taken(buyers, 10_000)
    assert sorted(np.unique(ids, return_counts=True)[1].tolist()) == [10] * 1_000
    assert buyers.fallback_orders == 9_500


def test_an_empty_cache_has_no_buyer():
    with pytest.raises(IndexError):
        Buyers(stream(1, "b")).next(NOW)


def test_the_same_seed_chooses_the_same_customers():
    chosen = []
    for seed in (1, 1, 2):
        buyers = Buyers(stream(seed, "b"), seed=seed)
        buyers.load(cached(200, 400), NOW)
        chosen.append(taken(buyers, 300))
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_cancelled_order_and_the_grade_change_who_is_likely():
    grades = [msgspec.structs.replace(u, grade="VIP" if u.user_id % 2 else "BRONZE")
              for u in cached(400, 0)]  # fmt: skip
    odd = 0
    for seed in range(30):
        buyers = Buyers(stream(seed, "b"), seed=seed)
        buyers.load(grades, NOW)
        odd += sum(i % 2 for i in taken(buyers, 100))
    assert odd / 3_000 == pytest.approx(np.exp(0.6) / (1 + np.exp(0.6)), abs=0.06)
    assert customer_model.CHOSEN == 200
