"""The customer model alone: its distributions, its choice of buyers, and the same bits anywhere."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from generators.behaviour import customer_model, quantiles
from generators.behaviour.customer_model import MODEL, NEVER

DAY = MODEL.orders_per_day
USERS = np.arange(1, 200_001) << 12

# Of `digest` below. Whatever changes it changes every shop there is.
GOLDEN = "34d676f14ef792923aa8dfcf54fc1a41e42a740613438ff58a6c6c8488076e93"
DIGEST = """
import hashlib, numpy as np
from generators.behaviour import customer_model as m
ids = np.arange(1, 20_001) << 12
orders = ids % 7 + 1
pool = m.weights(m.taste(3, ids[:1_000]))
parts = [
    m.due_after_sign_up(m.MODEL, 3, ids, 5), m.due_after_order(m.MODEL, 3, ids, orders, ids),
    m.due_at_opening(m.MODEL, 3, ids), pool,
    m.choose(pool, 450, m.uniform(3, "choice", ids[:1_000]), 200), m.sign_up_rate(ids),
]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def test_the_tables_are_those_that_their_script_makes():
    stored = json.loads(quantiles.FILE.read_text(encoding="utf-8"))
    made = quantiles.made()
    assert stored.keys() == made.keys()
    for name, numbers in made.items():
        # Another machine's logarithm may round one of them the other way.
        assert np.abs(np.array(stored[name]) - np.array(numbers)).max() <= 1, name


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    [
        ("gamma", quantiles.R, quantiles.R),
        ("beta", 0.55 / 2.95, 0.55 * 2.4 / (2.95**2 * 3.95)),
    ],
)
def test_a_table_has_the_moments_of_its_distribution(name: str, mean: float, variance: float):
    x = quantiles.quantile(name, (np.arange(1_000_000) + 0.5) / 1_000_000)
    assert x.mean() == pytest.approx(mean, rel=0.002)
    assert x.var() == pytest.approx(variance, rel=0.01)
    assert (np.diff(x) >= 0).all()


@pytest.mark.parametrize("features", ["", "X86_V3 X86_V4"])
def test_the_same_bits_with_and_without_the_processors_extensions(features: str):
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIGEST],
        capture_output=True, text=True, check=True, timeout=60, env=environment,
    )  # fmt: skip
    assert done.stdout.strip() == GOLDEN


def test_sign_ups_buy_within_minutes_to_weeks_or_never():
    delay = customer_model.due_after_sign_up(MODEL, 1, USERS, 1_000) - 1_000
    buys = delay < NEVER - 1_000
    assert buys.mean() == pytest.approx(MODEL.buyers, abs=0.005)
    minutes = delay[buys] / DAY * 1_440
    assert minutes.min() >= 1
    assert np.mean(minutes < 60) == pytest.approx(0.38, abs=0.03)
    assert 14 * 1_440 < np.quantile(minutes, 0.95) < 30 * 1_440


def test_who_buys_again_follows_the_bgnbd_model():
    """Simulated alone, without the limits of a shop, customers are those of the model."""
    first = np.zeros(len(USERS), np.int64)
    due, orders, repeats = first.copy(), first.copy(), first.copy()
    end = 39 * 7 * DAY
    while (there := np.flatnonzero(due < end)).size:
        orders[there] += 1
        repeats[there[orders[there] > 1]] += 1
        due[there] = customer_model.due_after_order(
            MODEL, 1, USERS[there], orders[there], due[there]
        )
    # Of the model: P(no repeat in t weeks) = (alpha / (alpha + t))^r; add-ons come on top.
    none = (MODEL.alpha / (MODEL.alpha + 39)) ** MODEL.r
    assert np.mean(repeats == 0) == pytest.approx(none * (1 - MODEL.add_on), abs=0.004)
    assert np.mean(due == NEVER) > 0.2
    assert repeats.mean() == pytest.approx(expected_repeats(39), rel=0.05)


def expected_repeats(weeks: float) -> float:
    """Equation 9 of the paper, with the hypergeometric function as its series."""
    r, alpha, a, b = MODEL.r, MODEL.alpha, MODEL.a, MODEL.b
    z, term, total = weeks / (alpha + weeks), 1.0, 1.0
    for n in range(1_000):
        term *= (r + n) * (b + n) / (a + b - 1 + n) / (n + 1) * z
        total += term
    return (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + weeks)) ** r * total)


def test_delays_scale_with_the_orders_of_a_day():
    small = customer_model.CustomerModel(orders_per_day=DAY // 10)
    big, less = (
        customer_model.due_after_order(m, 1, USERS, USERS % 3 + 1, 0) for m in (MODEL, small)
    )
    both = (big < NEVER) & (less < NEVER) & (big > 1_000)
    assert np.median(big[both] / less[both]) == pytest.approx(10, rel=0.02)


def test_no_due_lies_before_its_order():
    due = customer_model.due_after_order(MODEL, 9, USERS, USERS % 5 + 1, USERS)
    assert (due > USERS).all()


def test_the_share_of_repeats_is_the_share_of_due_purchasers():
    rng = np.random.default_rng(1)
    for due, others in ((60, 400), (300, 400), (450, 400)):
        weight = customer_model.weights(customer_model.taste(1, USERS[: due + others]))
        draws = [customer_model.choose(weight, due, rng.random(due + others), 20)
                 for _ in range(800)]  # fmt: skip
        share = np.mean(np.concatenate(draws) < due)
        assert share == pytest.approx(due / 600, abs=0.02), (due, others)


def test_heavier_customers_are_chosen_more_often_and_each_at_most_once():
    weights = np.repeat([1_024, 2_048], 50)
    rng = np.random.default_rng(1)
    counted = np.zeros(100)
    for _ in range(2_000):
        chosen = customer_model.choose(weights, 100, rng.random(100), 5)
        assert len(set(chosen.tolist())) == 5
        counted[chosen] += 1
    assert counted[50:].sum() / counted[:50].sum() == pytest.approx(2, rel=0.06)


@pytest.mark.parametrize(("due", "others", "first"), [(0, 5, 0), (5, 0, 5), (600, 400, 200)])
def test_one_kind_alone_or_a_full_cache_is_chosen_from(due: int, others: int, first: int):
    n = due + others
    u = customer_model.uniform(1, "u", USERS[:n])
    chosen = customer_model.choose(np.full(n, 1_024), due, u, 200)
    assert len(chosen) == min(n, 200)
    assert (chosen < due).sum() == min(first, 200)


def test_ties_keep_the_order_of_the_pool():
    chosen = customer_model.choose(np.full(900, 7), 500, np.full(900, 0.25), 200)
    assert chosen.tolist() in (list(range(200)), list(range(500, 700)))


def test_sign_ups_follow_one_law_from_the_opening_to_the_second_year():
    n, rates = 0.0, []
    for _ in range(365 * 24):
        rates.append(float(customer_model.sign_up_rate(int(n))[0]))
        n += rates[-1] * 3_600
    assert rates[0] == 1.0
    assert n == pytest.approx(5_760_000, rel=0.02)
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert all(later > 0.99 * earlier for earlier, later in pairwise(rates[24:]))
    small = customer_model.sign_up_rate(np.array([50_000]), DAY // 10)
    assert small[0] == pytest.approx(float(customer_model.sign_up_rate(500_000)[0]) / 10)


def test_the_digest_above_is_of_this_process_too():
    namespace: dict[str, object] = {}
    exec(DIGEST.replace("print(", "result = ("), namespace)
    assert namespace["result"] == GOLDEN
    assert len(hashlib.sha256().hexdigest()) == len(GOLDEN)
