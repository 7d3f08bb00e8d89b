"""Choice of customers: the model's arithmetic, the sampling, and that the circle stays open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import propensity
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
