"""Statistics of orders, from their columns."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks import bgnbd
from benchmarks.bgnbd import Cohort
from benchmarks.targets import Statistic, judged
from generators.behaviour import order_events
from generators.behaviour.demand_curves import HOURS, WEEKDAYS, is_ordinary
from generators.behaviour.order_events import Goods
from generators.random_streams import Floats, stream

FITTED = 100_000
"""Customers that are fitted to: of the 23,570 of CDNOW's cohort, alpha comes back within 9 %."""

_DATE = pl.col("ordered_at").dt.convert_time_zone("Asia/Seoul").dt.date().alias("date")

Numbers = npt.NDArray[np.float64]


def gini(values: npt.NDArray[np.int64] | Numbers) -> float:
    """Return the Gini coefficient.

    >>> gini(np.array([1.0, 1.0, 1.0])), round(gini(np.array([0.0, 0.0, 1.0])), 3)
    (0.0, 0.667)
    """
    x = np.sort(values.astype(np.float64))
    n = len(x)
    return round(float(2 * (np.arange(1, n + 1) * x).sum() / (n * x.sum()) - (n + 1) / n), 12)


def top_share(values: npt.NDArray[np.int64], part: float) -> float:
    """Return the share of the sum that the largest `part` of the values hold."""
    x = np.sort(values)[::-1]
    return float(x[: max(1, round(part * len(x)))].sum() / x.sum())


def autocorrelation(
    counts: npt.NDArray[np.int64], lag: int, among: npt.NDArray[np.bool_] | None = None
) -> float:
    """Return the correlation of a series with itself, `lag` steps later, `among` some steps."""
    pairs = slice(None) if among is None else among[:-lag] & among[lag:]
    return float(np.corrcoef(counts[:-lag][pairs], counts[lag:][pairs])[0, 1])


def ks_exponential(gaps: Floats) -> float:
    """Return the p-value that gaps are exponential of mean 1 (Kolmogorov and Smirnov)."""
    x = 1 - np.exp(-np.sort(gaps))
    n = len(x)
    d = max((np.arange(1, n + 1) / n - x).max(), (x - np.arange(n) / n).max())
    k = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * n * d**2)).sum(), 0, 1))


def gaps_days(orders: pl.DataFrame) -> Numbers:
    """Return the gaps between orders of the same customer, in days."""
    gap = pl.col("ordered_at").diff().over("user_id").dt.total_seconds() / 86_400
    found = orders.sort("user_id", "ordered_at").select(gap).to_series().drop_nulls()
    return found.to_numpy().astype(np.float64)


def loyalty(orders: pl.DataFrame) -> list[Statistic]:
    """Return how orders and spend spread over customers and time."""
    per_user = orders.group_by("user_id").agg(
        pl.len().alias("n"),
        pl.col("amount").filter(pl.col("status") == "PAID").sum().alias("spend"),
    )
    n, spend = per_user["n"].to_numpy(), per_user["spend"].to_numpy()
    gaps = gaps_days(orders)
    per_day = orders.group_by("user_id", pl.col("ordered_at").dt.date().alias("day")).len()
    return [
        judged("one-time buyers", float((n == 1).mean())),
        judged("Gini of orders", gini(n)),
        judged("Gini of spend", gini(spend)),
        judged("spend of the top 20 %", top_share(spend, 0.2)),
        judged("gap between orders, median days", float(np.median(gaps))),
        judged("gap between orders, CV", float(gaps.std() / gaps.mean())),
        judged("orders a day and customer, most", float(per_day["len"].to_numpy().max())),
        *_repeats(orders),
    ]


def _repeats(orders: pl.DataFrame) -> list[Statistic]:
    """Return the share of buyers, watched for that number of days, who bought again in it."""
    ranked = orders.sort("user_id", "ordered_at").group_by("user_id", maintain_order=True)
    first_two = ranked.agg(
        pl.col("ordered_at").first().alias("first"),
        pl.col("ordered_at").get(1, null_on_oob=True).alias("second"),
    )
    end = orders["ordered_at"].max()
    found = []
    for days in (30, 90, 180):
        within = pl.duration(days=days)
        watched = first_two.filter(pl.col("first") + within <= end)
        if watched.is_empty():
            continue
        again = (watched["second"] - watched["first"]) <= pl.select(within).item()
        share = float(again.fill_null(value=False).to_numpy().mean())
        found.append(judged(f"bought again within {days} days", share))
    return found


def clientele(orders: pl.DataFrame, users: pl.DataFrame, fallback: int) -> list[Statistic]:
    """Return what the customers of a shop do that opened when the orders begin.

    Args:
        orders: user_id and ordered_at.
        users: user_id and created_at, of those who signed up since.
        fallback: orders of customers who were not due.
    """
    placed, days = _by_day(orders)
    found = _futures(orders, days)
    found += [
        judged("second order on the same day", _same_day(orders)),
        *_first_delays(orders, users),
        judged("orders of customers who were not due", fallback / orders.height),
    ]
    if days > 300:
        first = placed.group_by("user_id").agg(pl.col("day").first(), pl.len().alias("n"))
        old = first.filter(pl.col("day") < days - 180)
        found.append(
            judged("one-time, first seen 180 days ago", float((old["n"] == 1).to_numpy().mean()))
        )
        found += _stationary(placed, days)
    return found


def _by_day(orders: pl.DataFrame) -> tuple[pl.DataFrame, float]:
    """Return user_id and day since the first order, sorted, and the days of the whole."""
    begin, end = orders["ordered_at"].min(), orders["ordered_at"].max()
    assert isinstance(begin, datetime)
    assert isinstance(end, datetime)
    day = ((pl.col("ordered_at") - begin).dt.total_microseconds() / 86_400e6).alias("day")
    placed = orders.sort("user_id", "ordered_at").select("user_id", day)
    return placed, (end - begin) / timedelta(days=1)


def _same_day(orders: pl.DataFrame) -> float:
    """Return the share of orders that follow another one of the customer on the same day."""
    return 1 - int(orders.select(pl.struct("user_id", _DATE).n_unique()).item()) / orders.height


def _first_delays(orders: pl.DataFrame, users: pl.DataFrame) -> list[Statistic]:
    """Return who of those who signed up bought, and how long after; of the middle sign-ups."""
    first = orders.group_by("user_id").agg(pl.col("ordered_at").min())
    quarter = users.height // 4
    middle = users.sort("created_at")[quarter : 2 * quarter].join(first, on="user_id", how="left")
    hours = (middle["ordered_at"] - middle["created_at"]).drop_nulls().dt.total_seconds() / 3_600
    return [
        judged("sign-ups who ever buy", len(hours) / max(middle.height, 1)),
        judged("sign-up to first order, 10 %, hours", float(hours.quantile(0.1) or 0)),
        judged("sign-up to first order, 90 %, hours", float(hours.quantile(0.9) or 0)),
    ]


def first_cohort(orders: pl.DataFrame) -> Cohort:
    """Return the first cohort of a shop that opens when the orders begin.

    A year: those who first bought within 12 weeks, watched for 39; a quarter: 5 weeks and 9.
    What a customer orders on one day counts once, as in CDNOW's data and in `lifetimes`: a second
    order an hour later is no sign of a high rate, and brought alpha down by 15 %.
    """
    placed, days = _by_day(orders.sort("ordered_at").unique(["user_id", _DATE], keep="first"))
    join, watched, ahead = (84, 273, 90) if days > 300 else (35, 63, 27)
    first = placed.group_by("user_id", maintain_order=True).agg(
        pl.col("day").first().alias("since"),
        (pl.col("day") <= watched).sum().alias("n"),
        pl.col("day").filter(pl.col("day") <= watched).last().alias("last"),
        pl.col("day").is_between(watched, watched + ahead).sum().alias("then"),
    )
    cohort = first.filter(pl.col("since") < join)
    chosen = cohort[:: max(1, cohort.height // FITTED)]
    x = chosen["n"].to_numpy().astype(np.int64) - 1
    since = chosen["since"].to_numpy()
    age, last = (watched - since) / 7, (chosen["last"].to_numpy() - since) / 7
    return Cohort(x, last, age, chosen["then"].to_numpy().astype(np.int64), ahead / 7)


def _futures(orders: pl.DataFrame, days: float) -> list[Statistic]:
    """Fit BG/NBD to the first cohort, and hold its forecast against what came."""
    x, last, age, then, ahead = first_cohort(orders)
    fitted = bgnbd.fit(x, last, age)
    more = bgnbd.expected_repeats(fitted, age + ahead) - bgnbd.expected_repeats(fitted, age)
    found = [judged("forecast against what came", float(more.sum() / then.sum()))]
    if days > 300:
        names = ("BG/NBD r", "BG/NBD alpha", "BG/NBD a", "BG/NBD b")
        found += [judged(name, value) for name, value in zip(names, fitted, strict=True)]
        found.append(judged("no repeat in 39 weeks", float((x == 0).mean())))
    return found


def _stationary(placed: pl.DataFrame, days: float) -> list[Statistic]:
    """Return how far months of the last half-year are from their mean, and cohorts from theirs."""
    month = ((days - placed["day"]) / 30).cast(pl.Int64)
    active = placed.with_columns(month.alias("month")).filter(pl.col("month") < 6)
    by_month = active.group_by("month").agg(pl.len().alias("n"), pl.col("user_id").n_unique())
    each = by_month.select(n=pl.col("n") / pl.col("user_id"), customers=pl.col("user_id"))
    first = placed.group_by("user_id").agg(pl.col("day").first().alias("since"))
    later = placed.join(first, on="user_id").with_columns(
        cohort=(pl.col("since") / 30).cast(pl.Int64),
        after=((pl.col("day") - pl.col("since")) / 30).cast(pl.Int64),
    )
    # The last customer of a cohort must have been watched for the whole of the second month.
    whole = later.filter((pl.col("cohort") + 3) * 30 <= days)
    size = whole.group_by("cohort").agg(pl.col("user_id").n_unique().alias("size"))
    back = whole.filter(pl.col("after") == 1).group_by("cohort").agg(pl.col("user_id").n_unique())
    retention = size.join(back, on="cohort").select(pl.col("user_id") / pl.col("size"))
    return [
        judged("active customers a month, largest deviation", _spread(each["customers"])),
        judged("orders per active customer, largest deviation", _spread(each["n"])),
        judged("month-1 retention, largest deviation", _spread(retention.to_series())),
    ]


def _spread(values: pl.Series) -> float:
    """Return the largest relative deviation from the mean."""
    x = values.to_numpy().astype(np.float64)
    return float(np.abs(x / x.mean() - 1).max())


def values(orders: pl.DataFrame) -> list[Statistic]:
    """Return what an order is worth and holds."""
    amount = orders["amount"].to_numpy().astype(np.float64)
    log = orders.select("user_id", pl.col("amount").clip(1).log().alias("v"))
    several = log.filter(pl.len().over("user_id") >= 2)
    within = several.select(
        (pl.col("v") - pl.col("v").mean().over("user_id")).alias("d"), "user_id"
    )
    free = several.height - several["user_id"].n_unique()
    inside = float((within["d"].to_numpy() ** 2).sum() / free)
    total = float(several["v"].to_numpy().var())
    quantity = orders["quantity"].to_numpy()
    pay = orders["payment_method"].value_counts(normalize=True)
    simple = float(pay.filter(pl.col("payment_method") == "SIMPLE_PAY")["proportion"][0])
    return [
        judged("order value, mean KRW", float(amount.mean())),
        judged("order value, median KRW", float(np.median(amount))),
        judged("order value, log-sd", float(log["v"].to_numpy().std())),
        judged("customers' share of log-variance", 1 - inside / total),
        judged("quantity 1", float((quantity == 1).mean())),
        judged("quantity 5 and more", float((quantity >= 5).mean())),
        judged("simple pay", simple),
    ]


def goods(orders: pl.DataFrame, products: int) -> list[Statistic]:
    """Return how sales spread over the products of a shop, sold or not."""
    units = orders.group_by("product_id").agg(pl.col("quantity").sum())["quantity"].to_numpy()
    all_units = np.concatenate([units, np.zeros(max(0, products - len(units)), np.int64)])
    ranked = np.sort(units)[::-1].astype(np.float64)
    head, tail = _slope(ranked, 3, 100), _slope(ranked, 700, len(ranked))
    return [
        judged("units of the top 20 % products", top_share(all_units, 0.2)),
        judged("slope of sales by rank, 3 to 100", head),
        judged("slope beyond rank 700, steeper by", head - tail),
    ]


def _slope(ranked: Numbers, first: int, last: int) -> float:
    rank = np.arange(first, last)
    return float(np.polyfit(np.log(rank), np.log(ranked[first:last]), 1)[0])


def outcomes(orders: pl.DataFrame) -> list[Statistic]:
    """Return what became of orders."""
    status = orders["status"].to_numpy()
    return [
        judged("cancelled", float((status == "CANCELLED").mean())),
        judged("sent back", float((status == "REFUNDED").mean())),
    ]


def shares(orders: pl.DataFrame) -> tuple[Numbers, Numbers]:
    """Return the share of orders per hour and per weekday, in Seoul."""
    local = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul")
    hour = np.bincount(local.dt.hour().to_numpy(), minlength=24) / orders.height
    day = np.bincount(local.dt.weekday().to_numpy() - 1, minlength=7) / orders.height
    return hour, day


def rhythm(orders: pl.DataFrame) -> list[Statistic]:
    """Return how far hours and weekdays are from their curves, without scenarios."""
    ordinary = orders.filter(_on_ordinary_days(orders))
    hour, day = shares(orders)[0], shares(ordinary)[1]
    day /= _days_by_weekday(ordinary)
    by_hour = np.abs(hour - np.array(HOURS) / sum(HOURS)).max()
    by_day = np.abs(day / day.mean() * 100 - np.array(WEEKDAYS) / np.mean(WEEKDAYS) * 100).max()
    return [
        judged("hours, largest deviation, points", float(by_hour * 100)),
        judged("night, 0 to 8 h, share", float(hour[:8].sum())),
        judged("weekdays, largest deviation, points", float(by_day)),
    ]


def _on_ordinary_days(orders: pl.DataFrame) -> pl.Series:
    """Return which orders are of days that the calendar does not change; of whole days."""
    day = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.date().to_physical()
    number = day.to_numpy().astype(np.int64)
    first = date(1970, 1, 1) + timedelta(days=int(number.min()))
    among = is_ordinary(first, int(number.max() - number.min()) + 1)
    return pl.Series(among[number - number.min()])


def _days_by_weekday(orders: pl.DataFrame) -> Numbers:
    """Return how many days of each weekday there are."""
    day = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.date().unique()
    return np.bincount(day.dt.weekday().to_numpy() - 1, minlength=7).astype(np.float64)


def calendar(orders: pl.DataFrame) -> list[Statistic]:
    """Return what paydays and 11.11 do; holidays of a year that begins in November 2025."""
    local = orders["ordered_at"].dt.convert_time_zone("Asia/Seoul")
    day = local.dt.date()
    eleven = orders.filter((local.dt.month() == 11) & (local.dt.day() == 11))
    hours = eleven["ordered_at"].dt.convert_time_zone("Asia/Seoul").dt.hour().to_numpy()
    daily = orders.height / max(1, day.n_unique())
    paydays = local.dt.day().is_in([11, 12, 26, 27]).to_numpy().mean()
    return [
        judged("11.11, times a mean day", eleven.height / daily),
        judged("11.11, share of its peak hour", float(np.bincount(hours).max() / len(hours))),
        judged("orders on days 11, 12, 26, 27", float(paydays)),
    ]


def speeds(seed: int) -> dict[str, float]:
    """Return orders per second: columns of 10,000, columns of one, and Faker row by row."""
    from faker import Faker  # noqa: PLC0415  (only one comparison needs it)

    n = 10_000
    ids = np.arange(1, 1_001)
    rng = stream(seed, "benchmark/speed")
    sold = Goods(ids, ids % 10, ids * 100, ids % 6)
    tables = order_events.draw_tables(sold)

    def rate(size: int, total: int) -> float:
        began = time.perf_counter()
        for _ in range(total // size):
            who = order_events.Customers(
                rng.integers(1, 9_999, size), ids[:1].repeat(size) * 0, ids[:1].repeat(size) + 1_990
            )
            order_events.orders(
                rng.random((size, order_events.DRAWS)), rng.integers(1, 2**50, size), who, tables,
                at_us=np.zeros(size, np.int64), year=2026,
            )  # fmt: skip
        return total / (time.perf_counter() - began)

    faker = Faker("ko_KR")
    began = time.perf_counter()
    for _ in range(500):
        _ = (
            faker.uuid4(),
            faker.name(),
            faker.address(),
            faker.date_time_this_year(),
            faker.pyint(),
        )
    by_faker = 500 / (time.perf_counter() - began)
    return {
        "columns of 10,000": rate(n, 20 * n),
        "one by one": rate(1, 500),
        "Faker, row by row": by_faker,
    }
