"""SQL on the tables of a history and its columns give the same statistics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import polars as pl
import pytest

from benchmarks import history_sql, shapes
from benchmarks.targets import TARGETS, Statistic
from generators.behaviour import catalogue
from generators.history.history import HistorySimulation, midnight
from generators.history.request import HistoryRequest
from generators.history.targets.postgres import PostgresTarget
from jangteo.stack import consistency
from shop.clock import KST
from shop.events import SCHEMAS
from shop.grading_policy import POLICY
from shop.postgres import Connection
from shop.settings import Settings

DAYS = 70
END = midnight(date(2026, 11, 21))


class TenWeeks:
    """A history of ten weeks, Chuseok and 11.11 in it, in the tables and as columns."""

    def __init__(self, pg: Connection, settings: Settings) -> None:
        asked = HistoryRequest(
            days=DAYS, end=date(2026, 11, 20), orders_per_day=200,
            seed=1, scenarios=True, window_s=settings.spend_window, policy=POLICY.as_json(),
        )  # fmt: skip
        target = PostgresTarget(
            settings.postgres, window_s=settings.spend_window, policy=POLICY, truncate=False
        )
        target.begin(asked, END)
        history = HistorySimulation(asked.plan(END, POLICY), POLICY, END)
        days = list(history.days())
        for day in days:
            target.prepare(day)()
        ending = history.ending()
        target.finish(ending)
        target.close()
        self.orders = pl.concat([day.orders for day in days])
        self.users, self.products = ending.users.frame(), ending.products
        assert self.orders.schema == SCHEMAS["orders"]
        history_sql.prepare(pg)
        self.found = {s.name: s for s in history_sql.measure(pg)}


@pytest.fixture
def shop(pg: Connection, settings: Settings) -> Iterator[TenWeeks]:
    yield TenWeeks(pg, settings)
    assert consistency.check(pg) == []


def by_columns(shop: TenWeeks) -> list[Statistic]:
    local = pl.col("ordered_at").dt.convert_time_zone("Asia/Seoul").dt.date()
    quiet = shop.orders.filter(pl.col("scenario").is_null().all().over(local))
    assert 0 < quiet.height < shop.orders.height
    return [
        *shapes.loyalty(shop.orders),
        *shapes.values(shop.orders),
        *shapes.goods(shop.orders, shop.products.height),
        *shapes.outcomes(shop.orders),
        *shapes.calendar(shop.orders),
        *[s for s in shapes.rhythm(quiet) if not s.name.startswith("weekdays")],
    ]


def test_sql_agrees_with_columns(shop: TenWeeks, pg: Connection) -> None:
    for wanted in by_columns(shop):
        assert shop.found[wanted.name].value == pytest.approx(wanted.value, rel=1e-4), wanted
    # What only the tables are asked.
    orders = shop.orders.join(shop.users.select("user_id", "gender"), on="user_id")
    food = next(c.label for c in catalogue.CATEGORIES if c.key == "food")
    edible = orders.join(shop.products.filter(pl.col("category") == food), on="product_id")
    paid = orders.filter(pl.col("status") == "PAID")
    first = paid.join(
        orders.group_by("user_id").agg(pl.col("ordered_at").min()), on=["user_id", "ordered_at"]
    )
    direct = {
        "first orders, share of orders": orders["user_id"].n_unique() / orders.height,
        "first orders, share of revenue": int(first["amount"].sum()) / int(paid["amount"].sum()),
        "orders of 110,000 KRW and more": (orders["amount"] >= 110_000).mean(),
        "card": (orders["payment_method"] == "CARD").mean(),
        "phone bill": (orders["payment_method"] == "PHONE").mean(),
        "sent back, food": (edible["status"] == "REFUNDED").mean(),
        "orders of women": (orders["gender"] == "F").mean(),
    }
    for name, value in direct.items():
        assert shop.found[name].value == pytest.approx(value), name
    unmeasured = set(TARGETS) - set(shop.found)  # no customer is watched for that long here
    assert unmeasured == {f"bought again within {n} days" for n in (90, 180)}
    assert not [s for s in shop.found.values() if not np.isfinite(s.value)]

    rows = history_sql.scenarios_of(pg)
    assert sum(n for _, n, *_ in rows) == shop.orders.height
    assert {name for name, *_ in rows if name} == set(shop.orders["scenario"].drop_nulls())
    revenue = history_sql.revenue_by_day(pg)
    assert len(revenue) == DAYS
    assert sum(won for _, won, _ in revenue) == paid["amount"].sum()
    lorenz = history_sql.lorenz(pg, "SELECT spend AS x FROM buyers")
    assert (np.diff(lorenz, 2) > -1e-12).all()
    when, held, changed = history_sql.grades_by_week(pg, POLICY.names)
    assert [w.astimezone(KST).date() for w in when[:2]] == [date(2026, 9, 12), date(2026, 9, 19)]
    assert (held >= 0).all()
    now = dict(shop.users["grade"].value_counts().iter_rows())
    assert held[-1][1:].tolist() == [now.get(name, 0) for name in POLICY.names[1:]]
    assert changed.sum() > 0
