"""The live shop and a longer history go the same way from the same state."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.realism.live import WhoBought, buyers
from generators.history.history import HistorySimulation, midnight
from generators.history.request import HistoryRequest
from generators.history.simulation import Simulation
from generators.history.targets.postgres import PostgresTarget
from shop import settings as shop_settings
from shop.grading_policy import POLICY
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.virtual_shop import VirtualShop

PER_DAY = 480
WEEKS = 10
"""Of history, before the two are compared."""
DAYS = 14
END = midnight(date(2026, 7, 1))


def asked(settings: Settings) -> HistoryRequest:
    return HistoryRequest(
        days=7 * WEEKS, end=date(2026, 6, 30), orders_per_day=PER_DAY, seed=settings.seed,
        scenarios=False, window_s=settings.spend_window, policy=POLICY.as_json(),
    )  # fmt: skip


def write(settings: Settings) -> None:
    """Write the history into PostgreSQL."""
    request = asked(settings)
    target = PostgresTarget(
        settings.postgres, window_s=settings.spend_window, policy=POLICY, truncate=False
    )
    target.begin(request, END)
    history = HistorySimulation(request.plan(END, POLICY), POLICY, END, keep_state=True)
    for day in history.days():
        target.prepare(day)()
    target.finish(history.ending())
    target.close()


def facts(placed: pl.DataFrame) -> WhoBought:
    end = END + timedelta(days=DAYS)
    return buyers(placed.with_columns(payment_method=pl.lit("CARD")), END, end, end - END)


@pytest.mark.slow
def test_a_live_shop_continues_as_a_longer_history_would(
    pg: Connection, settings: Settings, env: dict[str, str]
) -> None:
    plan = asked(settings).plan(END, POLICY)
    days = [d.orders for d in Simulation(plan, profiles=False).days(7 * WEEKS + DAYS)]
    longer = pl.concat(days).select("user_id", "ordered_at")
    before = longer.filter(pl.col("ordered_at") < END)

    write(settings)
    # The cache of a small shop is small, in the same proportion as that of its history.
    size = str(plan.purchasers + plan.others)
    small = shop_settings.load({**env, "CACHE_BATCH_SIZE": size}, use_stack=False)
    shop = VirtualShop(small, pg, block=12, seed=3, begin=END, orders_per_day=PER_DAY)
    shop.run(PER_DAY * DAYS)
    assert shop.buyers.fallback_orders == 0
    at = pl.Series(np.array(shop.times_ms) * 1_000).cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    live = pl.DataFrame({"user_id": shop.user_ids, "ordered_at": at})

    virtual, simulated = facts(pl.concat([before, live])), facts(longer)
    assert 0.3 < simulated.first < 0.8
    assert virtual.first == pytest.approx(simulated.first, abs=0.03)
    assert virtual.distinct == pytest.approx(simulated.distinct, rel=0.02)
    assert virtual.same_day == pytest.approx(simulated.same_day, abs=0.01)
    assert virtual.gap_quartiles == pytest.approx(simulated.gap_quartiles, rel=0.12)
