"""A small simulated year has the shape of a shop; the same seed gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bgnbd, shapes
from benchmarks.realism.__main__ import digest
from benchmarks.realism.observed import statistics
from benchmarks.realism.simulated import Simulated, arrival_statistics, simulate
from benchmarks.targets import Statistic, of_a_quarter
from generators.behaviour import arrivals, customer_model, demand_curves
from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.random_streams import stream
from shop.clock import KST
from tests.support.generator_processes import ROOT

PER_DAY = 240


@pytest.fixture(scope="module")
def quarter() -> Simulated:
    return simulate(PER_DAY, 2, days=90)


def met(found: Sequence[Statistic], names: Sequence[str]) -> None:
    by_name = {s.name: s for s in found}
    assert by_name["orders of customers who were not due"].value == 0
    assert [by_name[name] for name in names if not by_name[name].met] == []


def test_the_main_statistics_of_a_quarter(quarter: Simulated):
    met(
        of_a_quarter(statistics(quarter.observed)),
        [
            "one-time buyers", "Gini of orders", "gap between orders, CV",
            "bought again within 30 days", "sign-ups who ever buy",
            "sign-up to first order, 90 %, hours", "orders a day and customer, most",
        ],
    )  # fmt: skip


@pytest.mark.slow
def test_the_main_statistics_of_a_year():
    """Of a tenth of the seed's rate, which is noisy: rank slopes, tails, single days."""
    found = statistics(simulate(9 * PER_DAY, 2).observed)
    assert sum(not s.met for s in found) <= 6, found
    met(
        found,
        [
            "Gini of orders", "one-time, first seen 180 days ago", "no repeat in 39 weeks",
            "gap between orders, median days", "gap between orders, CV",
            "bought again within 30 days", "bought again within 90 days", "sign-ups who ever buy",
        ],
    )  # fmt: skip


def test_the_plan_is_kept(quarter: Simulated):
    orders = quarter.orders
    assert orders.height == pytest.approx(90 * PER_DAY, rel=0.03)
    assert orders["ordered_at"].is_sorted()
    assert orders["order_id"].n_unique() == orders.height
    wrong = orders.filter(
        pl.col("amount") != pl.col("quantity") * pl.col("unit_price") - pl.col("discount")
    )
    assert wrong.is_empty()
    created = pl.from_epoch(pl.Series((orders["user_id"] // 4096) + 1_577_836_800_000), "ms")
    assert (orders["ordered_at"].dt.replace_time_zone(None) >= created).all()


def test_the_circle_of_buyers_stays_open(quarter: Simulated):
    first = quarter.orders.sort("ordered_at").unique("user_id", keep="first")
    month = first["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.strftime("%Y-%m")
    assert len(first) > 10_000
    assert month.value_counts()["count"].min() > 2_000


def test_arrivals_are_a_poisson_process_with_the_curves_of_a_shop():
    assert [s for s in arrival_statistics(1) if not s.met] == []


def test_gaps_are_those_of_the_model():
    x, t_x, age, *_ = bgnbd.cohort(30_000, 1)
    r, alpha, a, b = bgnbd.fit(x, t_x, age)
    m = customer_model.MODEL
    assert r == pytest.approx(m.r, rel=0.05)
    assert alpha == pytest.approx(m.alpha, rel=0.12)
    assert a / (a + b) == pytest.approx(m.a / (m.a + m.b), rel=0.12)
    assert bgnbd.expected_repeats((r, alpha, a, b), age).mean() == pytest.approx(x.mean(), rel=0.05)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=20), st.integers(0, 99))
def test_times_lie_where_the_rate_is(rates: list[float], seed: int):
    edges = np.arange(len(rates) + 1, dtype=np.float64) * 2
    times = arrivals.poisson_times(edges, np.array(rates), stream(seed, "t"))
    assert (np.diff(times) >= 0).all()
    counts = np.histogram(times, edges)[0]
    assert (counts[np.array(rates) < 1e-12] == 0).all()
    if sum(rates):
        fixed = arrivals.fixed_times(edges, np.array(rates), 50, stream(seed, "t"))
        assert len(fixed) == 50
        assert fixed.min() >= 0
        assert fixed.max() <= edges[-1]


def test_a_year_has_as_much_demand_as_days():
    start = datetime(2026, 1, 1, tzinfo=KST).timestamp()
    at = start + np.arange(365 * 24) * 3_600.0
    assert demand_curves.multiplier(at).mean() == pytest.approx(1, rel=0.01)


def week(seed: int) -> str:
    plan = Plan(datetime(2026, 11, 6, tzinfo=KST), 14, 200, seed)
    return digest(pl.concat(list(Simulation(plan).run())))


def test_the_same_seed_is_the_same_stream_in_any_process_with_any_threads():
    code = "from tests.generators.test_realism import week; print(week(7))"
    seen = set()
    for threads in ("1", "2"):
        env = {**os.environ, "POLARS_MAX_THREADS": threads, "PYTHONHASHSEED": threads}
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        seen.add(done.stdout.strip())
    assert seen == {week(7)}
    assert week(8) not in seen


def test_scenarios_change_when_people_buy():
    start = datetime(2026, 11, 1, tzinfo=KST)
    plan = Plan(start, 14, 200)
    orders = pl.concat(list(Simulation(plan).run()))
    day = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.date()
    eleventh = (day == (start + timedelta(days=10)).date()).sum()
    assert eleventh > 2.5 * orders.height / 14
    names = set(orders["scenario"].drop_nulls().to_list())
    assert {"double_eleven", "payday"} & names


def test_statistics_know_their_extremes():
    assert shapes.top_share(np.array([1, 1, 1, 97]), 0.25) == 0.97
    assert shapes.autocorrelation(np.array([1, 2, 1, 2, 1, 2]), 2) == pytest.approx(1)
    assert shapes.ks_exponential(np.ones(1_000)) < 1e-6
