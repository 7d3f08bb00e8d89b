"""How products change: the same for live processes and the history, and believable."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from generators.behaviour import population, product_changes
from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.live.product_revisions import current, revisions
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, ids_at
from shop.redis.cache import CachedProduct

START = datetime(2026, 1, 1, tzinfo=KST)


def catalogue(n: int = 2_000) -> pl.DataFrame:
    """Products that are all listed at one moment."""
    ms = np.full(n, int(START.timestamp() * 1_000) - EPOCH_MS) + np.arange(n)
    draws = np.random.default_rng(1).random((n, population.PRODUCT_DRAWS))
    return population.products(draws, ids_at(ms, 3))


def micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def test_a_year_of_changes_is_believable() -> None:
    products = catalogue()
    changes = product_changes.due(products, micros(START + timedelta(days=365)))
    per_product = len(changes) / len(products)
    assert 8 < per_product < 16
    off_sale = changes.filter(pl.col("sale_status") == "DELISTED")
    assert 0.25 < len(off_sale) / len(products) < 0.5
    at = changes["updated_at"].dt.convert_time_zone("Asia/Seoul")
    assert at.dt.hour().max() == 0
    assert (changes["price"] % 1_000).is_in([0, 900]).mean() > 0.7
    final = product_changes.latest(products, changes)
    assert final["product_id"].equals(products["product_id"])
    ratio = (final["price"] / products["price"]).log()
    assert abs(float(ratio.mean())) < 0.1
    assert 0.2 < float(ratio.std()) < 0.8


def test_changes_do_not_depend_on_when_they_are_looked_for() -> None:
    products = catalogue(300)
    end = START + timedelta(days=200)
    at_once = product_changes.due(products, micros(end))
    seen = products
    by_and_by = []
    for day in range(0, 201, 7):
        found = product_changes.due(seen, micros(min(START + timedelta(days=day + 6), end)))
        by_and_by.append(found)
        seen = product_changes.latest(seen, found)
    assert pl.concat(by_and_by).sort("product_id", "rev").equals(at_once.sort("product_id", "rev"))


def test_products_of_others_do_not_change() -> None:
    products = catalogue(50)
    late = micros(START + timedelta(days=900))
    foreign = products.with_columns(product_id=pl.col("product_id") + (1 << 20))
    undated = products.with_columns(
        updated_at=pl.lit(None, dtype=SCHEMAS["products"]["updated_at"])
    )
    assert len(product_changes.due(products, late)) > 50
    assert product_changes.due(foreign, late).is_empty()
    assert product_changes.due(undated, late).is_empty()


def test_a_history_has_the_changes_and_sells_at_the_price_of_the_day() -> None:
    plan = Plan(START, 40, 400)
    days = list(Simulation(plan).days())
    events = pl.concat([day.products for day in days])
    listed = events.filter(pl.col("rev") == 1)
    end = START + timedelta(days=39)
    expected = product_changes.due(listed, micros(end))
    found = events.filter(pl.col("rev") > 1)
    assert len(found) > 500
    assert found.sort("product_id", "rev").equals(expected.sort("product_id", "rev"))
    orders = pl.concat([day.orders for day in days]).sort("ordered_at")
    states = events.sort("updated_at").select("product_id", "updated_at", "price", "sale_status")
    priced = orders.select("product_id", "ordered_at", "unit_price").join_asof(
        states, left_on="ordered_at", right_on="updated_at", by="product_id",
        check_sortedness=False,
    )  # fmt: skip
    assert (priced["unit_price"] == priced["price"]).all()
    assert (priced["sale_status"] == "LISTED").all()


def cached(row: dict[str, object]) -> CachedProduct:
    return CachedProduct(popular=True, order_count=0, **row)  # type: ignore[arg-type]  # a row of the schema


def test_the_live_generators_see_the_same_changes() -> None:
    products = catalogue(200)
    now = (START + timedelta(days=60)).astimezone(UTC)
    shown = [cached(row) for row in products.iter_rows(named=True)]
    expected = product_changes.due(products, micros(now))
    assert revisions(shown, now).equals(expected)
    final = product_changes.latest(products, expected).filter(pl.col("sale_status") == "LISTED")
    sold = current(shown, now)
    assert [p.product_id for p in sold] == final["product_id"].to_list()
    assert [p.price for p in sold] == final["price"].to_list()
    assert revisions([], now).is_empty()
