"""Baskets: which orders share one, what their coupons explain, and the same lines live."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import cast

import polars as pl
import pytest
import redis

from generators.behaviour.visits import baskets
from generators.topics.baskets import BasketHistory, LiveBaskets
from generators.topics.interface import RunningShop
from shop import postgres
from shop.events import encode
from shop.ids import EPOCH
from shop.optional.baskets import BasketLine
from shop.postgres import Connection
from shop.settings import Settings
from tests.generators.topics.simulated import PAGE, SEED, START, blocks, store_orders
from tests.support.manual_clock import ManualClock

DAYS, A_DAY = 45, 700


@pytest.fixture(scope="module")
def lines() -> pl.DataFrame:
    history = BasketHistory(SEED)
    return pl.concat([history.events(block) for block in blocks(DAYS, A_DAY)])


@pytest.fixture(scope="module")
def orders() -> pl.DataFrame:
    return pl.concat(block.orders for block in blocks(DAYS, A_DAY))


def test_each_order_has_one_line_in_a_basket_of_its_customer_and_day(
    lines: pl.DataFrame, orders: pl.DataFrame
) -> None:
    assert lines["order_id"].equals(orders["order_id"])
    day = pl.col("ordered_at").dt.convert_time_zone("Asia/Seoul").dt.date()
    by_basket = lines.group_by("basket_id").agg(
        pl.col("order_id").min(), pl.col("user_id").n_unique(), day.n_unique(), pl.len()
    )
    assert (by_basket["basket_id"] == by_basket["order_id"]).all()
    assert (by_basket["user_id"] == 1).all()
    assert (by_basket["ordered_at"] == 1).all()
    assert len(by_basket) == lines.select(pl.struct("user_id", day).n_unique()).item()
    several = by_basket.filter(pl.col("len") > 1)
    assert 0.01 < len(several) / len(by_basket) < 0.04, "as many as customers order twice a day"
    units = lines.join(orders, on="order_id").group_by("basket_id").agg(pl.col("quantity").sum())
    many = units.filter(pl.col("quantity") > 1)
    assert f"{100 * len(many) / len(units):.0f} % of the baskets have two units or more" in PAGE
    assert f"{100 * len(several) / len(by_basket):.1f} % of the baskets have two orders" in PAGE
    for row in lines.head(50).iter_rows(named=True):
        encode(BasketLine(v=1, **row))


def test_a_coupon_explains_a_part_of_the_discount(
    lines: pl.DataFrame, orders: pl.DataFrame
) -> None:
    both = lines.join(orders, on="order_id", validate="1:1")
    gross = both["quantity"] * both["unit_price"]
    assert (both["coupon_discount"] <= both["discount"]).all()
    assert (both["coupon_discount"] * 10 <= gross).all()
    assert (both["coupon"].is_null() == (both["coupon_discount"] == 0)).all()
    whole = both.filter(pl.col("coupon").is_not_null(), pl.Series(both["discount"] * 10 <= gross))
    assert (whole["coupon_discount"] == whole["discount"]).all()
    discounted = both.filter(pl.col("discount") > 0)
    assert 0.55 < (share := discounted["coupon"].is_not_null().mean()) < 0.65
    assert f"{100 * share:.0f} % of the orders with a discount have a coupon" in PAGE
    assert 0.25 < both["coupon_discount"].sum() / both["discount"].sum() < 0.55
    codes = lines.drop_nulls("coupon").group_by("basket_id").agg(pl.col("coupon").n_unique())
    assert (codes["coupon"] == 1).all(), "a basket has one coupon"


def test_days_are_shorter_at_a_higher_speed() -> None:
    ids = blocks(DAYS, A_DAY)[0].orders["order_id"].to_numpy()
    assert len(set(baskets.day_of(ids).tolist())) == 1
    days = baskets.day_of(ids, 24.0)
    assert len(set(days.tolist())) > 20
    for day in set(days.tolist()):
        least, beyond = (baskets.first_id_of(day + more, 24.0) for more in (0, 1))
        assert ((days == day) == ((ids >= least) & (ids < beyond))).all()


def test_live_lines_are_those_of_the_history(settings: Settings, pg: Connection) -> None:
    """Switched on after a day, killed after another; the view adds up."""
    now = ManualClock()

    def source() -> LiveBaskets:
        nobody = cast("redis.Redis", None)
        connect = partial(postgres.connect, settings.postgres, "test", autocommit=True)
        return LiveBaskets(RunningShop(SEED, 1.0, connect, nobody), now)

    live, since = source(), EPOCH
    for hours in (24, 25, 36, 37, 49):
        until = START + timedelta(hours=hours)
        for block in blocks(3, 150):
            store_orders(pg, block, since, until)
        since = until
        if hours == 37:
            live.close()
            live = source()
        for again in range(2):  # the second time, what is not stored yet is not returned again
            now.now += 2 if again else 700
            due = live.due(until)
            assert due.is_empty() == bool(again)
            if not again:
                first = due
        with pg.cursor() as cur:
            postgres.copy_frame(cur, "baskets", first)
    live.close()
    wanted = pl.concat([BasketHistory(SEED).events(block) for block in blocks(3, 150)])
    wanted = wanted.filter(pl.col("ordered_at") < since)
    rows = pg.execute(f"SELECT {', '.join(wanted.columns)} FROM baskets ORDER BY order_id")
    found = pl.DataFrame(rows.fetchall(), schema=wanted.schema, orient="row")
    assert found.equals(wanted.sort("order_id"))
    assert pg.execute(
        "SELECT count(*) > 250, bool_and(discount = coupon_discount + sale_discount),"
        " bool_and(quantity * unit_price = amount + coupon_discount + sale_discount)"
        " FROM basket_lines"
    ).fetchone() == (True, True, True)
