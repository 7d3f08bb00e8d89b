"""The same seed gives the same rows on every processor: kernels switched off, one by one."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from datetime import datetime
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from numpy._core import _multiarray_umath as numpy_core

from generators import portable_math
from generators.behaviour import order_events, outcomes, population
from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.random_streams import exponential, gumbel, least, normal, stream
from generators.scenarios import timetable
from shop.clock import KST
from shop.ids import EPOCH_MS, ids_at
from tests.support.generator_processes import ROOT

MOMENT = datetime(2026, 11, 11, 20, tzinfo=KST)
# What the functions below return on every processor. Whatever changes it changes every shop.
FUNCTIONS = "920ea74c4560cea6c21836f8c0dfc7eb289d6d2aa6d3d0c625727a31010534ed"


def sha(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def frame_bytes(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def functions() -> str:
    u = stream(1, "functions").random(50_000)
    x = (u - 0.5) * 1_000
    columns = (
        portable_math.log(u + 1e-9), portable_math.exp(x), portable_math.power(u + 0.5, x / 100),
        normal(u), exponential(u), gumbel(u),
        portable_math.interpolate(u, np.array([0.0, 0.3, 1.0]), np.array([1.0, 7.0, 9.0])),
    )  # fmt: skip
    return sha(*(c.tobytes() for c in columns))


def live() -> str:
    """Customers, products, and orders of them under the scenarios of a busy moment."""
    made = []
    for make, draws in (
        (population.users, population.USER_DRAWS),
        (population.products, population.PRODUCT_DRAWS),
    ):
        ids = ids_at(np.arange(3_000, dtype=np.int64) + int(MOMENT.timestamp() * 1000) - EPOCH_MS)
        made.append(make(stream(1, "live").random((3_000, draws)), ids))
    users, products = made
    female = (users["gender"] == "F").to_numpy()
    who = order_events.Customers(
        users["user_id"].to_numpy(), (~female).astype(np.int64), users["birth_year"].to_numpy()
    )
    sold = products.head(1_000)
    shelf = order_events.goods(
        [
            order_events.CachedProduct(popular=k < 700, order_count=0, **row)
            for k, row in enumerate(sold.iter_rows(named=True))
        ]
    )
    at = MOMENT.timestamp()
    effects = timetable.compose(timetable.between(1, at, at + 1))
    orders = order_events.orders(
        stream(1, "u").random((3_000, order_events.DRAWS)), who.ids, who,
        order_events.draw_tables(shelf, effects, at),
        at_us=np.full(3_000, int(at * 1e6)), year=2026,
    )  # fmt: skip
    u = stream(1, "outcome").random((3_000, outcomes.OUTCOME_DRAWS))
    outcome = outcomes.outcome(u, orders, shelf, effects)
    later = outcome.after_s[outcome.cancelled | outcome.refunded]
    return sha(*map(frame_bytes, (users, products, orders)), later.tobytes())


def history(days: int) -> str:
    """More products than the cache holds, most of them with the same number of orders."""
    plan = Plan(datetime(2026, 11, 1, tzinfo=KST), days, 300)
    return sha(
        *(
            frame_bytes(frame)
            for day in Simulation(plan).days()
            for frame in (day.users, day.products, day.orders)
        )
    )


def everything(days: int = 9) -> str:
    return " ".join((functions(), live(), history(days)))


def elsewhere(days: int, without: str) -> str:
    """Return `everything` of a process whose NumPy and C library do without some instructions."""
    code = f"from tests.generators.test_same_rows import everything; print(everything({days}))"
    env = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without, "POLARS_MAX_THREADS": "1"}
    if without:
        env["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX2_Usable,-FMA_Usable"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def kernels() -> list[str]:
    """Return the names of the processor's features that NumPy would choose kernels by."""
    there = numpy_core.__cpu_features__
    return [name for name in numpy_core.__cpu_dispatch__ if there.get(name)]


def test_another_processor_makes_the_same_rows():
    assert elsewhere(9, " ".join(kernels())) == everything()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4))
def test_any_other_processor_makes_the_same_month(first: int):
    names = kernels()
    if first >= len(names):
        pytest.skip("this processor has fewer kernels to switch off")
    assert elsewhere(31, " ".join(names[first:])) == everything(31)


def test_the_functions_are_those_of_every_processor():
    assert functions() == FUNCTIONS


def test_the_functions_are_right():
    u = stream(2, "x").random(20_000)
    x = (u - 0.5) * 1_400
    for value, got in zip(u[1:].tolist(), portable_math.log(u[1:]).tolist(), strict=True):
        assert got == pytest.approx(math.log(value), rel=1e-12, abs=1e-15)
    for value, got in zip(x.tolist(), portable_math.exp(x).tolist(), strict=True):
        assert got == pytest.approx(math.exp(value), rel=1e-13)
    exact = NormalDist()
    tails = np.concatenate([u[:5_000], u[:200] * 1e-13, 1 - u[:200] * 1e-9])
    for value, got in zip(tails.tolist(), normal(tails).tolist(), strict=True):
        assert got == pytest.approx(exact.inv_cdf(value), rel=1e-9, abs=1e-12)
    for rare in (portable_math.log(0.0), portable_math.exp(1e9), gumbel(np.array([0.0]))):
        assert np.isfinite(rare).all()
    assert np.isfinite(normal(np.array([0.0, 1 - 2.0**-53]))).all()


def test_least_takes_the_first_of_equal_keys():
    keys = stream(3, "ties").integers(0, 5, 2_000)
    for k in (0, 1, 700, 1_999, 2_000, 3_000):
        assert least(keys, k).tolist() == sorted(np.argsort(keys, kind="stable")[:k].tolist())
