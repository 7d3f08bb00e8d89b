"""What is sold, how it is paid for and what comes back: statistics of single columns of orders."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.targets import Statistic, judged
from generators.behaviour import catalogue, outcomes, payments, seasons
from generators.scenarios import korean_calendar

WEEKS: Final = 12
"""Weeks since the listing over which sales are compared; half of it in a window of 90 days."""
UNSOLD_DAYS: Final = 30
"""A product counts as never sold when it was listed at least this many days before the end."""
UNDONE_DAYS: Final = 30
_SEOUL: Final = "Asia/Seoul"
_AGES: Final = (20, 60)
"""Between which years of age customers are compared; beyond them are few, and noisy."""
_AGES_FROM: Final = 5_000
"""Customers below which a single year of age is too noisy to compare."""
_LABEL: Final = {c.key: c.label for c in catalogue.CATEGORIES}

Numbers = npt.NDArray[np.float64]


def prices(products: pl.DataFrame) -> list[Statistic]:
    """Return how prices end: those of 100,000 KRW and more in 9,000, 9,900 or 0,000."""
    last = products["price"].drop_nulls().to_numpy() % 1_000
    return [judged("prices that end in 900 or 000", float(np.isin(last, (0, 900)).mean()))]


def payment(orders: pl.DataFrame) -> list[Statistic]:
    """Return how far paying is a habit, and whether methods keep within their limits."""
    method = pl.col("payment_method")
    same = (
        orders.sort("user_id", "ordered_at")
        .select(
            same=(method == method.shift(1)), again=pl.col("user_id") == pl.col("user_id").shift(1)
        )
        .filter("again")["same"]
    )
    over = [
        (orders["payment_method"] == name) & (orders["amount"] > most)
        for name, most in payments.MOST.items()
    ]
    beyond = sum(int(rows.sum()) for rows in over) / max(orders.height, 1)
    found = [judged("orders beyond the limit of their payment method", beyond)]
    if len(same):
        found.insert(0, judged("paid as the time before", float(same.to_numpy().mean())))
    return found


def quantities(orders: pl.DataFrame, products: pl.DataFrame) -> list[Statistic]:
    """Return what share of orders in two categories is of more than one unit."""
    sold = orders.select("product_id", "quantity").join(products, on="product_id", how="inner")
    return [
        judged(
            f"more than one unit, {key}",
            _share(sold.filter(pl.col("category") == _LABEL[key])["quantity"] > 1),
        )
        for key in ("food", "electronics")
    ]


def baseline(orders: pl.DataFrame) -> list[Statistic]:
    """Return what share of orders carries a scenario."""
    return [judged("orders with a scenario", _share(orders["scenario"].is_not_null()))]


def refunds(orders: pl.DataFrame) -> list[Statistic]:
    """Return when refunds are processed, by whom and for what."""
    back = orders.filter(pl.col("status") == "REFUNDED")
    hour = back["updated_at"].dt.convert_time_zone(_SEOUL).dt.hour().to_numpy()
    opens, closes = outcomes.OFFICE
    day = (hour >= opens) & (hour < closes)
    by_day, by_night = day.sum() / (closes - opens), (~day).sum() / (24 - closes + opens)
    reduced = orders["discount"] > 0
    returned = orders["status"] == "REFUNDED"
    several = orders.filter(pl.len().over("user_id") >= 2).select(
        "user_id", back=pl.col("status") == "REFUNDED"
    )
    per_user = several.group_by("user_id").agg(n=pl.len().cast(pl.Int64), back=pl.col("back").sum())
    n, sent = per_user["n"].to_numpy(), per_user["back"].to_numpy().astype(np.int64)
    # Over all pairs of a customer's orders: how often one comes back, given that the other did.
    others = float((sent * (sent - 1)).sum() / max(1, (sent * (n - 1)).sum()))
    return [
        judged("refunds at night, of the rate by day", float(by_night / max(by_day, 1e-9))),
        judged(
            "refunds of reduced orders, times the others",
            _share(returned.filter(reduced)) / _share(returned.filter(~reduced)),
        ),
        judged("refunds after a refund, times anybody's", others / _share(returned)),
    ]


def sales_by_age(
    orders: pl.DataFrame, products: pl.DataFrame, begin: datetime, end: datetime
) -> list[Statistic]:
    """Return how sales of products change from week to week since the listing."""
    weeks = WEEKS if (end - begin) > timedelta(days=300) else WEEKS // 2
    listed = products.filter(pl.col("created_at") >= begin)
    whole = listed.filter(pl.col("created_at") <= end - timedelta(weeks=weeks))
    since = (pl.col("ordered_at") - pl.col("created_at")).dt.total_days() // 7
    units = (
        orders.join(whole.select("product_id", "created_at"), on="product_id")
        .group_by(week=since)
        .agg(pl.col("quantity").sum())
        .filter(pl.col("week") < weeks)
        .sort("week")["quantity"]
        .to_numpy()
        .astype(np.float64)
    )
    step = units[:-1] / units[1:]
    old = products.filter(pl.col("created_at") <= end - timedelta(days=UNSOLD_DAYS))
    unsold = old.join(orders.select("product_id").unique(), on="product_id", how="anti")
    return [
        judged(
            "sales by week since listing, largest step", float(np.maximum(step, 1 / step).max())
        ),
        judged("products that never sell", unsold.height / max(old.height, 1)),
    ]


def calendar_of_goods(orders: pl.DataFrame, products: pl.DataFrame) -> list[Statistic]:
    """Return how much more of summer's and winter's goods sells in season; of a year."""
    season = seasons.of_names(products["name"])
    local = orders["ordered_at"].dt.convert_time_zone(_SEOUL).dt.month()
    sold = orders.select("product_id", month=local).join(
        products.select("product_id", season=pl.Series(season)), on="product_id"
    )
    warm, cold = (6, 7, 8), (12, 1, 2)
    found = []
    for name, letter, there, opposite in (
        ("summer", "s", warm, cold), ("winter", "w", cold, warm),
    ):  # fmt: skip
        mine = sold.filter(pl.col("season") == seasons.index_of(letter))["month"]
        ratio = _share(mine.is_in(list(there))) / max(_share(mine.is_in(list(opposite))), 1e-9)
        found.append(judged(f"goods of {name}, in season against off season", ratio))
    return found


def holidays(orders: pl.DataFrame) -> list[Statistic]:
    """Return orders of public holidays on working days, relative to other days of the weekday.

    Seollal and Chuseok have a target of their own; only orders without a scenario count.
    """
    daily = (
        orders.filter(pl.col("scenario").is_null())
        .group_by(day=pl.col("ordered_at").dt.convert_time_zone(_SEOUL).dt.date())
        .len()
        .sort("day")
    )
    number = daily["day"].to_physical().to_numpy().astype(np.int64)
    count = daily["len"].to_numpy().astype(np.float64)
    weekday = korean_calendar.weekday(number)
    off = korean_calendar.is_public_holiday(number, but_family=True) & (weekday < 5)
    any_off = korean_calendar.is_public_holiday(number)
    usual = np.array([np.median(count[(weekday == i) & ~any_off]) for i in range(7)])
    ratio = count[off] / usual[weekday[off]]
    return (
        [judged("public holidays, of a usual weekday", float(np.median(ratio)))]
        if len(ratio)
        else []
    )


def ages(users: pl.DataFrame) -> list[Statistic]:
    """Return how much the number of sign-ups changes from one year of age to the next."""
    born = users.drop_nulls("birth_year")
    age = (
        born["created_at"].dt.convert_time_zone(_SEOUL).dt.year() - born["birth_year"]
    ).to_numpy()
    counts = np.bincount(np.clip(age, 0, 120), minlength=121)[slice(*_AGES)].astype(np.float64)
    if counts.sum() < _AGES_FROM:
        return []
    step = counts[1:] / np.maximum(counts[:-1], 1)
    return [judged("customers by age, largest step", float(np.maximum(step, 1 / step).max()))]


def grades(changes: pl.DataFrame, held: npt.NDArray[np.int64]) -> list[Statistic]:
    """Return whether there are fewer customers the higher the grade, and how many changes last.

    Args:
        changes: user_id, from_grade, to_grade, as_of; of every grading.
        held: shape (grades,), customers of each grade at the end, lowest first.
    """
    monotone = float((np.diff(held) < 0).all())
    if changes.is_empty():
        return [judged("grades, fewer customers the higher", monotone)]
    last = changes["as_of"].max()
    assert isinstance(last, datetime)
    following = changes.sort("user_id", "as_of").with_columns(
        back=pl.col("to_grade").shift(-1) == pl.col("from_grade"),
        same=pl.col("user_id").shift(-1) == pl.col("user_id"),
        soon=pl.col("as_of").shift(-1) - pl.col("as_of") <= timedelta(days=UNDONE_DAYS),
    )
    watched = following.filter(pl.col("as_of") <= last - timedelta(days=UNDONE_DAYS))
    undone = watched.filter(pl.col("back") & pl.col("same") & pl.col("soon")).height
    return [
        judged("grades, fewer customers the higher", monotone),
        judged("changes of grade undone within a month", undone / max(watched.height, 1)),
    ]


def _share(rows: pl.Series) -> float:
    """Return which share of the rows is true."""
    return float(rows.to_numpy().mean())
