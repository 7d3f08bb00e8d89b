"""Choice of customers: the model's arithmetic, the sampling, and that the circle stays open."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import propensity
from generators.behaviour.cache_segments import PURCHASER_SHARE, fill
from generators.live.buyers import Buyers
from generators.random_streams import stream
from shop.redis.cache import CachedUser
from tests.support.generator_processes import NOW, cached_user

M = propensity.CDNOW


def candidates(users: Sequence[CachedUser], now: datetime) -> propensity.Candidates:
    return propensity.candidates(propensity.traits(users, now), now)


def plain_rate(x: int, t_x: float, age: float) -> float:
    """E[rate] as the paper writes it, for one customer."""
    alive = 1.0
    if x > 0:
        base = ((M.alpha + age) / (M.alpha + t_x)) ** (M.r + x)
        alive = 1 / (1 + M.a / (M.b + x - 1) * base)
    return alive * (M.r + x) / (M.alpha + age)


@given(st.integers(1, 200), st.floats(0, 500), st.floats(0, 1))
def test_rates_are_those_of_the_paper(orders: int, age: float, part: float):
    last = age * part
    given_ = propensity.log_rate(np.array([orders]), np.array([age]), np.array([last]))
    try:
        expected = math.log(plain_rate(orders - 1, last, age))
    except OverflowError:  # the power is beyond a double; the logarithm is not
        assert given_[0] < -700
        return
    assert given_[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_customers_become_columns_in_weeks():
    users = [
        cached_user(1, orders=3, days=70, last_days=35, grade="GOLD"),
        cached_user(2, days=3),
        cached_user(3, days=20),
    ]
    c = candidates(users, NOW)
    assert c.ids.tolist() == [1, 2, 3]
    assert c.buyer.tolist() == [True, False, False]
    assert c.age.tolist() == pytest.approx([10, 3 / 7, 20 / 7])
    assert c.last.tolist() == pytest.approx([5, 0, 0])
    parts = propensity.terms(propensity.traits(users, NOW), NOW)
    assert (parts["grade"] + parts["fresh"]).tolist() == pytest.approx([0.35, 0.7, 0.3])
    assert c.bonus.tolist() == pytest.approx(sum(parts.values()).tolist())


def test_a_clock_that_was_set_back_does_no_harm():
    c = candidates([cached_user(1, orders=2)], NOW - timedelta(days=300))
    assert c.age.tolist() == [0]
    assert np.isfinite(propensity.scores(c)).all()


def test_top_is_a_weighted_sample_without_replacement():
    """The first of the sample falls on each customer in proportion to the weight."""
    users = [cached_user(i, orders=i, days=200, last_days=20) for i in range(1, 9)]
    c = candidates(users, NOW)
    weights = np.exp(propensity.scores(c))
    rng, n = stream(1, "top"), 20_000
    samples = [propensity.top(c, rng, intercept=0.0, k=3) for _ in range(n)]
    assert all(len(set(s.tolist())) == 3 for s in samples)
    first = np.bincount([s[0] for s in samples], minlength=8) / n
    share = weights / weights.sum()
    assert first == pytest.approx(share, abs=5 * math.sqrt(0.25 / n))
    # And the second in proportion to what is left.
    after_last = [s[1] for s in samples if s[0] == 7]
    left = weights[:7] / weights[:7].sum()
    second = np.bincount(after_last, minlength=7)[:7] / len(after_last)
    assert second == pytest.approx(left, abs=5 * math.sqrt(0.25 / len(after_last)))


def test_top_takes_fewer_where_there_are_fewer():
    c = candidates([cached_user(1), cached_user(2)], NOW)
    assert sorted(propensity.top(c, stream(1, "x"), intercept=0.0).tolist()) == [0, 1]


@given(st.lists(st.tuples(st.floats(-20, 5), st.booleans()), min_size=2), st.floats(0.01, 0.99))
def test_balance_gives_the_others_their_share(rows: list[tuple[float, bool]], share: float):
    score = np.array([s for s, _ in rows])
    buyer = np.array([b for _, b in rows])
    intercept = propensity.balance(score, buyer, share)
    if buyer.all() or not buyer.any():
        assert intercept == 0
        return
    weight = np.exp(score + np.where(buyer, 0.0, intercept))
    assert weight[~buyer].sum() / weight.sum() == pytest.approx(share)


@given(st.floats(-20, 20), st.floats(0, 1), st.floats(0, 1))
def test_steering_goes_the_right_way_and_stays_within_bounds(b: float, target: float, seen: float):
    after = propensity.steer(b, target, seen)
    assert -12 <= after <= 12
    if -12 < b < 12 and seen > target:
        assert after <= b


class ServerlessShop:
    """A shop without servers: the cache rule over `n` customers, orders applied at once."""

    def __init__(self, n: int) -> None:
        self.users = {i: cached_user(i, days=730 * i / n + 1) for i in range(1, n + 1)}
        self._bought: dict[int, None] = {}  # least recent first
        self._newest = list(self.users)  # 1 is the newest
        self.now = NOW
        self.first_orders: list[bool] = []

    def cache(self, size: int = 1_000) -> list[CachedUser]:
        purchasers = list(itertools.islice(self._bought, size))
        others = list(itertools.islice((i for i in self._newest if i not in self._bought), size))
        a, b = fill(size, PURCHASER_SHARE, purchasers, others)
        return [self.users[i] for i in (*a, *b)]

    def order(self, user_id: int) -> None:
        user = self.users[user_id]
        self.first_orders.append(not user.purchaser)
        self.users[user_id] = CachedUser(
            **{
                **{f: getattr(user, f) for f in user.__struct_fields__},
                "purchaser": True,
                "last_ordered_at": self.now,
                "order_count": user.order_count + 1,
            }
        )
        self._bought.pop(user_id, None)
        self._bought[user_id] = None

    def run(
        self, choose: Callable[[list[CachedUser], datetime], list[int]], refreshes: int
    ) -> list[int]:
        """Return the number of different buyers after each refresh."""
        grown = []
        for _ in range(refreshes):
            self.now += timedelta(hours=6)
            for user_id in choose(self.cache(), self.now):
                self.order(user_id)
            grown.append(len(self._bought))
        return grown


def ours(seed: int = 1) -> Callable[[list[CachedUser], datetime], list[int]]:
    buyers = Buyers(stream(seed, "buyers"))

    def choose(users: list[CachedUser], now: datetime) -> list[int]:
        buyers.load(users, now)
        return [buyers.next(now) for _ in range(50)]

    return choose


def naive(users: list[CachedUser], now: datetime) -> list[int]:
    """The rule read plainly: highest expected rate first; without a purchase there is none."""
    c = candidates(users, now)
    score = np.where(c.buyer, propensity.log_rate(c.orders, c.age, c.last), -np.inf)
    return c.ids[np.argsort(-score, kind="stable")[: propensity.CHOSEN]].tolist()[:50]


def test_the_circle_of_buyers_stays_open():
    grown = ServerlessShop(20_000).run(ours(), 300)
    assert grown[299] > 4_000
    for before, after in itertools.pairwise(grown[100:300:50]):
        assert after - before > 500  # 50 refreshes of 50 orders, nearly 30 % of them first ones


def test_the_naive_rule_closes_it():
    grown = ServerlessShop(20_000).run(naive, 100)
    assert grown[-1] == grown[20] < 1_000


def test_first_orders_keep_their_share():
    shop = ServerlessShop(20_000)
    shop.run(ours(), 300)
    late = shop.first_orders[5_000:]
    assert np.mean(late) == pytest.approx(propensity.NEW_BUYER_SHARE, abs=0.04)


def test_no_customer_takes_the_shop_over():
    shop = ServerlessShop(20_000)
    shop.run(ours(), 300)
    counts = Counter(u.order_count for u in shop.users.values() if u.purchaser)
    assert max(counts) < 150
    assert counts[1] / counts.total() > 0.2


def test_a_round_takes_every_customer_once():
    buyers = Buyers(stream(1, "b"))
    buyers.load([cached_user(i) for i in range(1, 401)], NOW)
    first = [buyers.next(NOW) for _ in range(200)]
    assert len(set(first)) == 200
    assert len({buyers.next(NOW) for _ in range(200)}) == 200  # and the next round begins


def test_own_orders_count_before_the_cache_knows_them():
    buyers = Buyers(stream(1, "b"))
    users = [cached_user(i) for i in range(1, 6)]
    buyers.load(users, NOW)
    for _ in range(5):
        buyers.next(NOW)
    buyers.load(users, NOW)  # the same stale cache: nobody in it is a first-time buyer any more
    for _ in range(5):
        buyers.next(NOW)
    assert buyers.first_orders == 5


def test_the_same_seed_chooses_the_same_customers():
    chosen = []
    for seed in (1, 1, 2):
        shop = ServerlessShop(3_000)
        shop.run(ours(seed), 5)
        chosen.append([u for u in shop.users.values() if u.purchaser])
    assert chosen[0] == chosen[1] != chosen[2]
