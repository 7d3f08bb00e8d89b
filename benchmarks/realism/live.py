"""The live stream: a shop with a history, run by `jangteo up`, as its topics in Kafka show it.

The shop of a run at a speed is read on its own clock: a moment of the window is as many times as
far from the window's beginning as the shop is fast. Of some hours of a shop only what needs no
longer observation has a target; who buys, and after how long, is compared with the last days of
the history from which the live shop continued.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from benchmarks import common
from benchmarks.realism.observed import Observed, statistics
from benchmarks.realism.shop_run import first_order, running, write_history
from benchmarks.targets import LIVE, Statistic
from generators.behaviour.catalogue import LISTED_PER_DAY
from generators.behaviour.customer_model import ORDERS_PER_DAY, sign_up_rate
from shop import kafka, postgres
from shop.clock import utc_now
from shop.events import SCHEMAS, TOPICS
from shop.redis import cache
from shop.settings import Settings

COMPARED = timedelta(days=3)
"""The end of the history with which a live window is compared."""
VALUED: Final = timedelta(days=14)
"""The end of the history with whose order values those of the same scenario are compared."""
TAKES_DAYS = ("sent back", "customers' share of log-variance")
"""What some hours cannot show: refunds come after days, few customers order twice."""
OF_THE_SCENARIO = ("order value, mean KRW", "order value, median KRW")
"""What a sale moves: of orders in a scenario, compared with the history's in the same one."""
_VALUES = (
    "SELECT scenario, avg(amount)::float8, percentile_cont(0.5) WITHIN GROUP (ORDER BY amount)"
    " FROM orders WHERE ordered_at >= %s AND ordered_at < %s GROUP BY scenario"
)
_PLACED = "user_id, ordered_at, payment_method"


@dataclass(frozen=True)
class LiveWindow:
    """A live window on the shop's clock, and what came before it.

    Attributes:
        shop: what the topics hold of the window.
        before: user_id, ordered_at and payment_method of all orders before it.
        listed: products that were listed in the window.
        users_before: customers at its beginning.
        orders_per_day: size of the shop.
        values: scenario, mean and median amount of the orders in the last two weeks before it.
    """

    shop: Observed
    before: pl.DataFrame
    listed: int
    users_before: int
    orders_per_day: int
    values: pl.DataFrame


def measure(
    seed: int, *, seconds: float, speed: float, days: int, scale: float
) -> tuple[LiveWindow, list[Statistic]]:
    """Write a history, run a live shop on it, and return what its topics show.

    Args:
        seed: of history and live shop.
        seconds: length of the window.
        speed: of the shop.
        days: of history.
        scale: of the shop's size.
    """
    with tempfile.TemporaryDirectory(prefix="jangteo-live-") as name:
        rig = common.Rig(Path(name))
        rig.postgres.start()
        try:
            write_history(rig, seed, days, scale)
            with running(rig, seed, speed) as shop:
                settings = shop.settings
                begin = first_order(settings)
                time.sleep(seconds)
                window = _read(settings, begin, utc_now(), speed)
        finally:
            rig.postgres.stop()
    return window, live_statistics(window)


def _events(settings: Settings, topic: str) -> pl.DataFrame:
    """Return the messages of a topic as columns."""
    decoder = msgspec.json.Decoder(TOPICS[topic])
    payloads = (message.value() for message in kafka.read(settings.kafka, topic))
    events = [decoder.decode(payload) for payload in payloads if payload]
    names = SCHEMAS[topic]
    columns = {name: [getattr(event, name) for event in events] for name in names}
    return pl.DataFrame(columns, schema=names)


def _read(settings: Settings, begin: datetime, end: datetime, speed: float) -> LiveWindow:
    def on_shop_time(name: str) -> pl.Expr:
        since = (pl.col(name) - begin).dt.total_microseconds() * speed
        return (pl.lit(begin) + pl.duration(microseconds=since)).alias(name)

    orders, users, products = (
        _events(settings, topic) for topic in ("orders", "users", "products")
    )
    orders = orders.sort("order_id", "rev").unique("order_id", keep="last", maintain_order=True)
    orders = orders.filter(pl.col("ordered_at").is_between(begin, end))
    users = users.filter(pl.col("created_at").is_between(begin, end))
    with postgres.connect(settings.postgres, "bench") as conn:
        rows = conn.execute(f"SELECT {_PLACED} FROM orders WHERE ordered_at < %s", (begin,))
        before = pl.DataFrame(
            rows.fetchall(),
            schema={c: SCHEMAS["orders"][c] for c in _PLACED.split(", ")},
            orient="row",
        )
        columns = ", ".join(SCHEMAS["products"])
        shelf = conn.execute(f"SELECT {columns} FROM products WHERE price IS NOT NULL")
        listed = pl.DataFrame(shelf.fetchall(), schema=SCHEMAS["products"], orient="row")
        values = pl.DataFrame(
            conn.execute(_VALUES, (begin - VALUED, begin)).fetchall(),
            schema={"scenario": pl.String, "mean": pl.Float64, "median": pl.Float64},
            orient="row",
        )
        known = conn.execute("SELECT count(*) FROM users WHERE created_at < %s", (begin,))
        (users_before,) = known.fetchone() or (0,)
    r = cache.client(settings.redis_url)
    beats = [dict(beat.fields) for beat in cache.heartbeats(r) if beat.name.startswith("orders")]
    return LiveWindow(
        Observed(
            orders.with_columns(on_shop_time("ordered_at"), on_shop_time("updated_at")).sort(
                "ordered_at"
            ),
            users.with_columns(on_shop_time("created_at")),
            listed,
            sum(int(beat.get("fallback_orders", 0)) for beat in beats),
        ),
        before,
        products.filter(pl.col("created_at").is_between(begin, end))["product_id"].n_unique(),
        int(users_before),
        cache.read_meta(r).orders_per_day or ORDERS_PER_DAY,
        values,
    )


def live_statistics(window: LiveWindow) -> list[Statistic]:
    """Return what a live window shows, with the targets that some hours of a shop can meet."""
    shop = window.shop
    hours = shop.days * 24
    size = window.orders_per_day / ORDERS_PER_DAY
    gaps = np.diff(shop.orders["ordered_at"].to_physical().to_numpy()).astype(np.float64)
    law = float(sign_up_rate(window.users_before, window.orders_per_day)[0]) * 3_600
    found = {
        "orders an hour, of the law": shop.orders.height / hours / (ORDERS_PER_DAY / 24 * size),
        "sign-ups an hour, of the law": shop.users.height / hours / law,
        "listings an hour, of the history's law": window.listed
        / hours
        / (LISTED_PER_DAY / 24 * size),
        "gaps between arrivals, CV": float(gaps.std() / gaps.mean()),
        "orders of customers who were not due": shop.fallback / shop.orders.height,
    }
    begin, end = shop.window
    placed = shop.orders.select(_PLACED.split(", "))
    live = buyers(pl.concat([window.before, placed]), begin, end, end - begin)
    past = buyers(window.before, begin - COMPARED, begin, end - begin)
    found |= {
        "second order within a day": live.same_day,
        "paid as the time before": live.same_method,
        "first orders, of the history's share": live.first / past.first,
        "customers an order, of the history's": live.distinct / past.distinct,
    }
    for i, part in enumerate((25, 50, 75)):
        found[f"gap before a repeat, {part} %, of the history's"] = (
            live.gap_quartiles[i] / past.gap_quartiles[i]
        )
    ordinary = {s.name: s for s in statistics(shop) if s.name not in TAKES_DAYS}
    found |= worth(shop.orders, window.values)
    if shop.orders["scenario"].null_count() < shop.orders.height:
        ordinary = {name: s for name, s in ordinary.items() if name not in OF_THE_SCENARIO}
    found["cancelled"] = ordinary["cancelled"].value
    return [
        *(s for s in ordinary.values() if s.name not in LIVE),
        *(Statistic(name, value, *LIVE[name]) for name, value in found.items()),
    ]


def worth(orders: pl.DataFrame, past: pl.DataFrame) -> dict[str, float]:
    """Return what orders are worth, of what the history's in the same scenarios are.

    Args:
        orders: scenario and amount.
        past: scenario, mean and median amount; orders of a scenario that is not there are left out.
    """
    known = orders.select("scenario", "amount").join(past, on="scenario", nulls_equal=True)
    if known.is_empty():
        return {}
    mean, median = (float(known[name].to_numpy().mean()) for name in ("mean", "median"))
    amount = known["amount"].to_numpy()
    return {
        "order value, mean, of the history's": float(amount.mean()) / mean,
        "order value, median, of the history's": float(np.median(amount)) / median,
    }


@dataclass(frozen=True)
class WhoBought:
    """Who bought in a window, given all orders before it.

    Attributes:
        first: share of its orders that are their customer's first.
        distinct: customers an order, within a span.
        same_day: share of orders within 24 hours of the customer's last one.
        same_method: share of repeats that are paid as the order before.
        gap_quartiles: days since the order before, of repeats.
    """

    first: float
    distinct: float
    same_day: float
    same_method: float
    gap_quartiles: Sequence[float]


def buyers(placed: pl.DataFrame, begin: datetime, end: datetime, span: timedelta) -> WhoBought:
    """Return who bought between two moments.

    Args:
        placed: user_id, ordered_at and payment_method of all orders up to `end`.
        begin: first moment.
        end: last moment.
        span: within which customers are counted once.
    """
    ranked = placed.sort("user_id", "ordered_at").with_columns(
        days=(pl.col("ordered_at").diff().over("user_id").dt.total_microseconds() / 86_400e6),
        same=(pl.col("payment_method") == pl.col("payment_method").shift(1).over("user_id")),
    )
    window = ranked.filter(pl.col("ordered_at").is_between(begin, end))
    days = window["days"].drop_nulls().to_numpy()
    part = (end - pl.col("ordered_at")).dt.total_seconds() // max(1, int(span.total_seconds()) + 1)
    return WhoBought(
        first=window["days"].null_count() / window.height,
        distinct=window.select(pl.struct("user_id", part)).n_unique() / window.height,
        same_day=float((days < 1).sum() / window.height),
        same_method=float(window["same"].drop_nulls().to_numpy().mean()),
        gap_quartiles=np.quantile(days, (0.25, 0.5, 0.75)).tolist(),
    )
