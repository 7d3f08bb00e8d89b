"""What rows of the optional topics show: visits, parcels, baskets and changes of customers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from benchmarks.targets import Statistic, judged

SEOUL: Final = "Asia/Seoul"
_DAY: Final = timedelta(days=1)
_YEAR: Final = timedelta(days=365)
_CHANNELS: Final = {
    "EMAIL": "email", "DIRECT": "direct visits", "SOCIAL": "social media", "AD": "advertising",
}  # fmt: skip
"""Channels that are compared with search."""


def visits(views: pl.DataFrame) -> pl.DataFrame:
    """Return one row a visit that begins among some page views.

    Args:
        views: view_id, session_id, user_id, page, order_id, channel, device and viewed_at.

    Returns:
        session_id, user_id, channel, device, order_id (null: without an order), views, basket
        (whether it reached it) and began.
    """
    found = views.group_by("session_id").agg(
        pl.col("user_id", "channel", "device").first(),
        pl.col("order_id").max(),
        pl.len().alias("views"),
        (pl.col("page") == "BASKET").any().alias("basket"),
        pl.col("viewed_at").min().alias("began"),
        (pl.col("view_id") == pl.col("session_id")).any().alias("whole"),
    )
    return found.filter("whole").drop("whole")


def conversion(found: pl.DataFrame) -> dict[str, float]:
    """Return the share of visits with an order, by channel; `found` as `visits` returns it."""
    shares = found.group_by("channel").agg(pl.col("order_id").is_not_null().mean())
    return dict(shares.iter_rows())


def of_visits(found: pl.DataFrame, orders: int) -> list[Statistic]:
    """Return the statistics of visits.

    Args:
        found: as `visits` returns them, of a stretch of time before which the shop has had visits
            for four weeks: visits follow orders by as much.
        orders: placed in that time.
    """
    bought = found["order_id"].is_not_null()
    by_channel = conversion(found)
    values = {
        "visits with an order": _share(bought),
        "views an order": float(found["views"].sum()) / orders,
        "visits an order": len(found) / orders,
        "views a visit": float(found["views"].sum()) / len(found),
        "visits with one view": _share(found["views"] == 1),
        "baskets that are left": 1 - float(bought.sum()) / float(found["basket"].sum()),
        "mobile visits": _share(found["device"] == "MOBILE"),
    }
    values |= {
        f"conversion of {name}, times that of search": by_channel[channel] / by_channel["SEARCH"]
        for channel, name in _CHANNELS.items()
        if channel in by_channel
    }
    return _judged(values)


def of_parcels(parcels: pl.DataFrame, orders: pl.DataFrame) -> list[Statistic]:
    """Return the statistics of the parcels of orders that were placed weeks ago.

    Args:
        parcels: `SCHEMAS["shipments"]`, one row each, as they finally are.
        orders: order_id, ordered_at and status; those without a parcel may be among them.
    """
    sent = parcels.join(orders.select("order_id", "ordered_at", "status"), on="order_id",
                        suffix="_of_order")  # fmt: skip
    paid = sent.filter(pl.col("status_of_order") == "PAID", pl.col("delivered_at").is_not_null())
    days = {
        name: pl.col(name).dt.convert_time_zone(SEOUL).dt.date()
        for name in ("dispatched_at", "delivered_at")
    }
    late = (days["delivered_at"] - days["dispatched_at"]).dt.total_days() > pl.col("promised_days")
    took = ((paid["delivered_at"] - paid["ordered_at"]) / _DAY).cast(pl.Float64)
    return _judged({
        "order to delivery, median, days": float(took.quantile(0.5, "linear") or 0),
        "order to delivery, 90 %, days": float(took.quantile(0.9, "linear") or 0),
        "delivered on the day after dispatch": _share(
            paid["delivered_at"] - paid["dispatched_at"] < 1.5 * _DAY
        ),
        "delivered as promised": _share(paid.select(~late).to_series()),
        "parcels lost": _share(sent["lost_at"].is_not_null()),
        "parcels returned": _share(sent["returned_at"].is_not_null()),
    })  # fmt: skip


def of_baskets(lines: pl.DataFrame, orders: pl.DataFrame) -> list[Statistic]:
    """Return the statistics of baskets.

    Args:
        lines: `SCHEMAS["baskets"]`, of whole days.
        orders: order_id and discount of at least these orders.
    """
    both = lines.join(orders.select("order_id", "discount"), on="order_id")
    orders_each = lines.group_by("basket_id").len()["len"]
    reduced = both.filter(pl.col("discount") > 0)
    return _judged({
        "baskets of two orders or more": _share(orders_each > 1),
        "discounted orders with a coupon": _share(reduced["coupon"].is_not_null()),
        "coupons, of all discounts": float(
            both["coupon_discount"].sum()
        ) / max(1.0, float(both["discount"].sum())),
    })  # fmt: skip


def consent(changes: pl.DataFrame) -> Statistic:
    """Return the share of sign-ups with consent; `changes` as `SCHEMAS["customer_changes"]`."""
    asked = changes.filter(
        pl.col("kind") == "SIGNED_UP", pl.col("marketing_consent").is_not_null()
    )  # null: erased
    granted = asked["marketing_consent"] == "GRANTED"
    return judged("consent to marketing at sign-up", _share(granted))


def of_changes(changes: pl.DataFrame, until: datetime) -> list[Statistic]:
    """Return the statistics of changes of customers; of some years of customers at least.

    Args:
        changes: `SCHEMAS["customer_changes"]` of all customers, sign-ups included.
        until: a customer is watched from sign-up to this, or to the closing of the account.
    """
    signed_up, closed = (changes.filter(kind=kind) for kind in ("SIGNED_UP", "CLOSED"))
    watched = signed_up.select("user_id", "updated_at").join(
        closed.select("user_id", ended="updated_at"), on="user_id", how="left"
    )
    spans = watched.select(pl.col("ended").fill_null(until) - pl.col("updated_at")).to_series()
    years = float(spans.dt.total_microseconds().sum()) / (_YEAR / timedelta(microseconds=1))
    kinds = dict(changes["kind"].value_counts().iter_rows())
    before = pl.col("city").shift().over("user_id", order_by="rev").alias("before")
    moved = changes.with_columns(before).filter(
        pl.col("kind") == "MOVED", pl.col("city").is_not_null(), pl.col("before").is_not_null()
    )
    province = [moved[name].str.split(" ").list.first() for name in ("city", "before")]
    return [
        *_judged({
            "moves, a customer and year": kinds.get("MOVED", 0) / years,
            "moves within the province": _share(province[0] == province[1]),
            "new names, a customer and year": kinds.get("RENAMED", 0) / years,
            "changes of consent, a customer and year": kinds.get("CONSENT", 0) / years,
            "accounts closed, a customer and year": len(closed) / years,
        }),
        consent(changes),
    ]  # fmt: skip


def _share(those: pl.Series) -> float:
    return float(those.cast(pl.Float64).to_numpy().mean()) if len(those) else 0.0


def _judged(values: Mapping[str, float]) -> list[Statistic]:
    return [judged(name, value) for name, value in values.items()]
