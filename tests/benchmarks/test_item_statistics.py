"""The statistics of items find what they are named after, in orders made for the purpose."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.realism import items, live
from benchmarks.realism.observed import Observed
from benchmarks.targets import Statistic
from shop.clock import KST, UTC

NOON = datetime(2026, 3, 4, 12, tzinfo=KST).astimezone(UTC)  # a Wednesday
DAY = timedelta(days=1)


def placed(rows: list[tuple[int, float]], **columns: list[object]) -> pl.DataFrame:
    """Return orders of (customer, days after noon), sorted by nothing."""
    frame = pl.DataFrame(
        {
            "user_id": [user for user, _ in rows],
            "ordered_at": [NOON + days * DAY for _, days in rows],
            "payment_method": ["CARD"] * len(rows), "amount": [10_000] * len(rows),
            "quantity": [1] * len(rows), "discount": [0] * len(rows),
            "status": ["PAID"] * len(rows), "product_id": [1] * len(rows),
        },
        schema_overrides={"ordered_at": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    frame = frame.with_columns(updated_at="ordered_at")
    return frame.with_columns(**{k: pl.Series(v) for k, v in columns.items()})


def named(found: list[Statistic]) -> dict[str, float]:
    return {s.name: s.value for s in found}


def test_the_method_of_the_order_before_is_the_customers_own():
    orders = placed(
        [(1, 0), (2, 1), (1, 2), (1, 3)],
        payment_method=["CARD", "PHONE", "CARD", "PHONE"], amount=[1, 300_001, 1, 1],
    )  # fmt: skip
    found = named(items.payment(orders))
    assert found["paid as the time before"] == 0.5
    assert found["orders beyond the limit of their payment method"] == 0.25


def test_refunds_at_night_and_of_the_same_customers_are_found():
    rows = [(user, 0.0) for user in range(1, 5) for _ in range(2)]
    back = ["REFUNDED", "REFUNDED", *["PAID"] * 5, "REFUNDED"]
    late = [NOON + timedelta(hours=h) for h in (0, 12, 0, 0, 0, 0, 0, 1)]
    orders = placed(rows, status=back, discount=[10] * 2 + [0] * 6).with_columns(
        updated_at=pl.Series(late, dtype=pl.Datetime("us", "UTC"))
    )
    found = named(items.refunds(orders))
    assert found["refunds at night, of the rate by day"] == pytest.approx((1 / 15) / (2 / 9))
    assert found["refunds of reduced orders, times the others"] == pytest.approx(1 / (1 / 6))
    assert found["refunds after a refund, times anybody's"] == pytest.approx((2 / 3) / (3 / 8))


def test_a_cliff_in_the_sales_of_a_product_is_found():
    products = pl.DataFrame(
        {"product_id": [1, 2], "created_at": [NOON, NOON]},
        schema_overrides={"created_at": pl.Datetime("us", "UTC")},
    )
    week = [week for week, n in enumerate((9, 8, 7, 2, 2, 2)) for _ in range(n)]
    orders = placed([(i, 7 * w + 1) for i, w in enumerate(week)])
    found = named(items.sales_by_age(orders, products, NOON, NOON + 60 * DAY))
    assert found["sales by week since listing, largest step"] == 3.5
    assert found["products that never sell"] == 0.5


def test_a_change_of_grade_that_is_undone_is_found():
    weekly = [NOON + 7 * i * DAY for i in range(12)]
    changes = pl.DataFrame(
        [
            (1, "BRONZE", "SILVER", weekly[0]), (1, "SILVER", "BRONZE", weekly[2]),
            (2, "BRONZE", "SILVER", weekly[1]), (2, "SILVER", "BRONZE", weekly[9]),
            (3, "BRONZE", "SILVER", weekly[3]), (3, "SILVER", "GOLD", weekly[11]),
        ],
        schema=["user_id", "from_grade", "to_grade", "as_of"], orient="row",
    )  # fmt: skip
    found = named(items.grades(changes, np.array([9, 3, 4])))
    assert found["changes of grade undone within a month"] == 0.25
    assert found["grades, fewer customers the higher"] == 0


def test_public_holidays_are_compared_with_their_weekday():
    """Of 2026-03-02, a Monday off in place of a Sunday's holiday."""
    days = [(user, d) for d in range(-30, 30) for user in range(4)]
    monday = [(user, d) for user, d in days if d != -2 or user == 0]
    found = named(items.holidays(placed(monday).with_columns(scenario=pl.lit(None))))
    assert found["public holidays, of a usual weekday"] == 0.25


def test_who_buys_live_is_seen_against_all_orders_before():
    orders = placed([(1, -9), (2, -5), (1, -0.5), (1, 0), (2, 1), (3, 1.5)])
    found = live.buyers(orders, NOON, NOON + 2 * DAY, 3 * DAY)
    assert found.first == pytest.approx(1 / 3)
    assert found.distinct == 1
    assert found.same_day == pytest.approx(1 / 3)
    assert list(found.gap_quartiles) == [1.875, 3.25, 4.625]
    assert live.buyers(orders, NOON - DAY, NOON + 2 * DAY, DAY).distinct == 1
    assert live.buyers(orders, NOON - DAY, NOON + 2 * DAY, 9 * DAY).distinct == 3 / 4


def test_a_window_knows_its_length():
    shop = Observed(placed([(1, 0), (2, 3)]), pl.DataFrame(), pl.DataFrame(), 0)
    assert shop.days == 3
