"""What makes customers who are due more or less inclined to buy."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from generators.behaviour import propensity
from tests.support.generator_processes import NOW, cached_user


def test_customers_become_columns_and_their_terms_logarithms():
    users = [
        cached_user(1, orders=3, days=70, last_days=35, grade="GOLD"),
        cached_user(2, days=3),
        cached_user(3, days=20),
    ]
    t = propensity.traits(users, NOW)
    assert t.ids.tolist() == [1, 2, 3]
    assert np.isnan(t.last).tolist() == [False, True, True]
    parts = propensity.terms(t, NOW)
    assert (parts["grade"] + parts["fresh"]).tolist() == pytest.approx([0.35, 0.7, 0.3])
    total = propensity.inclination(t, NOW, seed=1)
    without = propensity.inclination(t, NOW, seed=1, leave_out=["grade"])
    assert (total - without).tolist() == pytest.approx([0.35, 0, 0])


def test_a_clock_that_was_set_back_does_no_harm():
    t = propensity.traits([cached_user(1, orders=2)], NOW - timedelta(days=300))
    assert propensity.terms(t, NOW - timedelta(days=300))["fresh"].tolist() == [0.7]
    assert propensity.weights(t, NOW - timedelta(days=300), seed=1)[0] > 0
