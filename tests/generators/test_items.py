"""What an order holds: quantities by category, payment as a habit, refunds at work, seasons."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from generators.behaviour import catalogue, order_events, outcomes, payments, population, shelf
from generators.behaviour.order_events import Customers, Goods
from generators.random_streams import stream
from generators.scenarios import korean_calendar
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.clock import KST
from shop.events import PAYMENT_METHODS
from shop.ids import EPOCH_MS, ids_at
from tests.generators.test_population import rows

JULY = datetime(2026, 7, 16, 14, tzinfo=KST)
KEYS = [c.key for c in catalogue.CATEGORIES]
N = 40_000


def shelf_of(at: datetime, products: int = 1_000) -> Goods:
    """Products listed within the 100 days before a moment."""
    ms = np.linspace(0, 100 * 86_400_000, products).astype(np.int64)
    ids = ids_at(int((at - timedelta(days=100)).timestamp() * 1_000) - EPOCH_MS + ms)
    frame = population.products(
        stream(1, "goods").random((products, population.PRODUCT_DRAWS)), ids
    )
    return order_events.goods(
        [
            order_events.CachedProduct(popular=True, order_count=0, **row)
            for row in frame.iter_rows(named=True)
        ]
    )


def orders_at(
    at: datetime,
    *,
    effects: ScenarioEffects = NONE,
    sold: Goods | None = None,
    salt: str = "orders",
    age: int = 35,
) -> pl.DataFrame:
    rng = stream(1, salt)
    ids = np.arange(1, N + 1, dtype=np.int64)
    who = Customers(ids, ids % 2, np.full(N, at.year - age, np.int64))
    return order_events.orders(
        rng.random((N, order_events.DRAWS)), np.arange(1, N + 1), who,
        order_events.draw_tables(sold or shelf_of(at), effects, at.timestamp()),
        at_us=np.full(N, int(at.timestamp() * 1e6)), year=at.year,
    )  # fmt: skip


@pytest.fixture(scope="module")
def july() -> pl.DataFrame:
    return orders_at(JULY)


def test_food_is_bought_by_the_dozen_and_electronics_one_by_one(july: pl.DataFrame):
    category = order_events.categories_of(shelf_of(JULY), july["product_id"].to_numpy())
    several = (july["quantity"] > 1).to_numpy()
    by_key = {key: several[category == i].mean() for i, key in enumerate(KEYS)}
    assert by_key["food"] > 0.4
    assert by_key["electronics"] < 0.2
    assert several.mean() == pytest.approx(0.31, abs=0.05)
    dear = (july["unit_price"] > 100_000).to_numpy()
    assert several[dear].mean() < several[~dear].mean() / 2


def test_customers_keep_to_their_way_of_paying():
    twice = [orders_at(JULY, salt=salt)["payment_method"] for salt in ("first", "second")]
    assert 0.65 < (twice[0] == twice[1]).mean() < 0.85
    young, old = (orders_at(JULY, age=age)["payment_method"] for age in (24, 66))
    assert (young == "SIMPLE_PAY").mean() > 1.5 * (old == "SIMPLE_PAY").mean()
    assert (old == "TRANSFER").mean() > 2 * (young == "TRANSFER").mean()


def test_no_method_takes_more_than_it_may(july: pl.DataFrame):
    gross = july["unit_price"] * july["quantity"]
    for method, most in payments.MOST.items():
        assert gross.filter(july["payment_method"] == method).max() <= most
    assert gross.max() > min(payments.MOST.values())


def test_a_factor_on_a_method_is_a_factor_on_its_odds():
    plain = orders_at(JULY)["payment_method"]
    for method in PAYMENT_METHODS:
        under = ScenarioEffects(payments={method: 2.0})
        share, more = (
            (p == method).mean() for p in (plain, orders_at(JULY, effects=under)["payment_method"])
        )
        assert share < more < 2 * share
        without = orders_at(JULY, effects=ScenarioEffects(payments={method: 0.0}))["payment_method"]
        limited = method == "CARD"  # what is too dear for the others is still paid by card
        assert (without == method).mean() < 0.02 * limited + 1e-9


def outcome_of(
    orders: pl.DataFrame, sold: Goods, *, speed: float = 1.0
) -> tuple[outcomes.Outcome, pl.Series]:
    u = stream(1, "outcome").random((N, outcomes.OUTCOME_DRAWS))
    outcome = outcomes.outcome(u, orders, sold, speed=speed)
    after = pl.Series((np.where(outcome.refunded, outcome.after_s, 0.0) * 1e6).astype(np.int64))
    return outcome, (orders["ordered_at"] + after.cast(pl.Duration("us")))


def test_refunds_are_processed_in_office_hours():
    sold = shelf_of(JULY)
    for at in (JULY, datetime(2026, 9, 18, 23, 30, tzinfo=KST)):  # before Chuseok
        outcome, changed = outcome_of(orders_at(at, sold=sold), sold)
        local = changed.filter(pl.Series(outcome.refunded)).dt.convert_time_zone("Asia/Seoul")
        assert len(local) > 1_000
        hour = local.dt.hour()
        night, day = ((hour < 8) | (hour >= 20)).sum() / 12, hour.is_between(9, 17).sum() / 9
        assert night < 0.1 * day
        epoch = local.dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy()
        assert (korean_calendar.next_workday(epoch) == epoch).all()
        assert (outcome.after_s[outcome.refunded] > 0).all()


def test_a_fast_shop_has_no_office_hours():
    sold = shelf_of(JULY)
    orders = orders_at(JULY, sold=sold)
    slow, fast = (outcome_of(orders, sold, speed=speed)[0] for speed in (1.0, 100.0))
    assert (slow.refunded == fast.refunded).all()
    assert np.median(fast.after_s[fast.refunded]) < np.median(slow.after_s[slow.refunded]) / 50


def test_some_customers_send_back_much_more_and_what_was_reduced_comes_back():
    sold = shelf_of(JULY)
    orders = orders_at(JULY, sold=sold)
    outcome, _ = outcome_of(orders, sold)
    habit = outcomes.habit(orders["user_id"].to_numpy())
    often, seldom = (outcome.refunded[habit == h].mean() for h in (habit.max(), habit.min()))
    assert often > 4 * seldom
    reduced = orders_at(JULY, sold=sold, effects=ScenarioEffects(discount=(50, 50, 1.0)))
    assert outcome_of(reduced, sold)[0].refunded.mean() > 1.4 * outcome.refunded.mean()
    assert 0.05 < outcome.refunded.mean() < 0.09


def test_fans_sell_in_summer_and_coats_in_winter():
    # The same shelf at both times: neither what is listed nor its age makes the difference.
    sold = shelf_of(datetime(2026, 1, 10, tzinfo=KST), products=4_000)
    summer, winter = sold.season == 1, sold.season == 2
    assert summer.any()
    assert winter.any()

    def units(at: datetime, which: np.ndarray) -> int:
        orders = orders_at(at, sold=Goods(sold.ids, sold.category, sold.price, sold.season))
        ids = pl.Series(sold.ids[which])
        return int(orders["product_id"].is_in(ids.implode()).sum())

    january, july = datetime(2026, 1, 16, tzinfo=KST), JULY
    assert units(july, summer) > 3 * units(january, summer)
    assert units(january, winter) > 3 * units(july, winter)


def test_names_tell_the_season():
    frame = rows("products", 2_000)
    found = order_events.goods(
        [
            order_events.CachedProduct(popular=True, order_count=0, **row)
            for row in frame.iter_rows(named=True)
        ]
    )
    fan = frame["name"].str.contains("선풍기").to_numpy()
    assert (found.season[fan] == 1).all()
    assert (found.season[frame["name"].str.contains("노트북").to_numpy()] == 0).all()


def test_a_product_sells_from_the_first_day_and_less_with_age():
    sold = shelf_of(JULY)
    age = (JULY.timestamp() - population.times_of(sold.ids) / 1_000) / 86_400
    orders = orders_at(JULY, sold=sold)
    n = np.bincount(np.searchsorted(sold.ids, orders["product_id"].to_numpy()), minlength=1_000)
    by_week = (
        np.bincount((age // 7).astype(int), weights=n)[:12]
        / np.bincount((age // 7).astype(int))[:12]
    )
    assert by_week[:3].mean() > 2 * by_week[6:9].mean() > 2 * by_week[10:].mean()


def test_the_shelf_forgets_what_sold_long_ago():
    sold = np.zeros(1_500)
    sold[:400] = 100.0
    for _ in range(200):
        sold = shelf.after_a_day(sold, np.arange(700, 1_100))
    shown = shelf.rows(sold, 1_000)
    assert len(shown) == len(set(shown.tolist())) == 1_000
    # 400 that sell, then of the equal ones the first ids; the rest of the shelf are the newest.
    assert set(range(700, 1_100)) <= set(shown[:700].tolist())
    assert shown[700:].tolist() == list(range(1_200, 1_500))
    assert shelf.rows(np.zeros(30), 1_000).tolist() == list(range(30))
