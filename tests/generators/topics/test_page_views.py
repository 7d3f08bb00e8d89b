"""Page views: the targets of visits, the agreement with orders, and the same views live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import cast

import numpy as np
import polars as pl
import pytest
import redis

from generators.behaviour.visits.page_views import PageViews
from generators.behaviour.visits.view_ids import (
    AFTER_ORDER,
    AFTER_SIGN_UP,
    SIGN_UP,
    Anchors,
    Pool,
    is_tracked,
    session_ids,
)
from generators.topics.interface import HistoryBlock, RunningShop
from generators.topics.page_views import LivePageViews, PageViewHistory
from shop import postgres
from shop.events import encode
from shop.ids import EPOCH, MAX_ID, make_id
from shop.optional.page_views import PageView
from shop.postgres import Connection
from shop.settings import Settings
from tests.generators.topics.simulated import PAGE, SEED, START, blocks, store_orders
from tests.support.manual_clock import ManualClock

DAYS, A_DAY = 45, 700
NOTHING = Pool(np.empty(0, np.int64), np.empty(0, np.int64))


@pytest.fixture(scope="module")
def views() -> pl.DataFrame:
    history = PageViewHistory(SEED)
    return pl.concat([history.events(block) for block in blocks(DAYS, A_DAY)])


@pytest.fixture(scope="module")
def late(views: pl.DataFrame) -> pl.DataFrame:
    """Visits of the last ten days, when those of four weeks before are there."""
    end = START + timedelta(days=DAYS)
    some = views.filter(pl.col("viewed_at").is_between(end - timedelta(days=10), end))
    return some.group_by("session_id").agg(
        pl.len().alias("views"), pl.col("user_id").first(), pl.col("channel").first(),
        pl.col("device").first(), pl.col("order_id").max(), pl.col("page").implode(),
        pl.col("viewed_at").min().alias("began"),
    )  # fmt: skip


def test_visits_meet_their_targets(late: pl.DataFrame) -> None:
    orders = pl.concat(block.orders for block in blocks(DAYS, A_DAY)[-10:])
    bought = late["order_id"].is_not_null()
    assert 25 < late["views"].sum() / len(orders) < 36, "about 30 views an order"
    assert 8 < len(late) / len(orders) < 13
    assert 0.075 < bought.mean() < 0.11, "of customers' visits: three times that of anybody's"
    assert 2.6 < late["views"].mean() < 3.4
    assert 0.40 < (late["views"] == 1).mean() < 0.50, "bounces"
    assert 0.73 < (late["device"] == "MOBILE").mean() < 0.77
    in_basket = late["page"].list.contains("BASKET")
    assert 0.28 < bought.sum() / in_basket.sum() < 0.38, "70 % of baskets are left"
    rate = {
        channel: part["order_id"].is_not_null().mean() / bought.mean()
        for (channel,), part in late.partition_by("channel", as_dict=True).items()
    }
    order = sorted(rate, key=rate.__getitem__)
    assert order == ["SOCIAL", "AD", "SEARCH", "DIRECT", "EMAIL"]
    percent = [f"{100 * rate[channel] * bought.mean():.0f} %" for channel in reversed(order)]
    assert (
        "| {:.0f} %: email {}, direct {}, search {}, advertising {}, social media {} |".format(
            100 * bought.mean(), *percent
        )
        in PAGE
    )
    assert f"| views an order | {late['views'].sum() / len(orders):.0f} |" in PAGE
    assert f"| visits an order | {len(late) / len(orders):.0f} |" in PAGE
    single = (late["views"] == 1).mean()
    assert f"one view | {late['views'].mean():.1f}; {100 * single:.0f} % (" in PAGE
    left = 1 - bought.sum() / in_basket.sum()
    assert f"do not order | {100 * left:.0f} % (" in PAGE
    assert f"| mobile | {100 * (late['device'] == 'MOBILE').mean():.0f} % (" in PAGE
    assert 1.3 < rate["EMAIL"] < 1.7
    assert 0.35 < rate["SOCIAL"] < 0.55


def test_visits_come_at_the_hours_of_the_shop(late: pl.DataFrame) -> None:
    hour = late["began"].dt.convert_time_zone("Asia/Seoul").dt.hour()
    assert (hour.is_between(2, 6)).mean() < 0.06
    assert (hour.is_between(9, 22)).mean() > 0.75


def test_each_order_belongs_to_one_visit_of_its_customer(views: pl.DataFrame) -> None:
    orders = pl.concat(block.orders for block in blocks(DAYS, A_DAY))
    bought = views.filter(pl.col("order_id").is_not_null())
    assert bought["order_id"].is_unique().all()
    assert 0.94 < len(bought) / len(orders) < 0.96, "the others are not tracked"
    joined = bought.join(orders, on="order_id", validate="1:1")
    assert len(joined) == len(bought)
    assert (joined["user_id"] == joined["user_id_right"]).all()
    assert (joined["viewed_at"] == joined["ordered_at"]).all()
    assert (joined["page"] == "CHECKOUT").all()
    visits = views.filter(pl.col("session_id").is_in(bought["session_id"].implode()))
    last = visits.sort("view_id").group_by("session_id").tail(3)
    ends = last.group_by("session_id", maintain_order=True).agg("page", "product_id", "order_id")
    assert ends["page"].to_list() == [["PRODUCT", "BASKET", "CHECKOUT"]] * len(ends)
    ends = ends.with_columns(
        order_id=pl.col("order_id").list.last(), shown=pl.col("product_id").list.first()
    ).join(orders, on="order_id")
    assert (ends["shown"] == ends["product_id_right"]).all()


def test_views_are_valid_events_with_ids_of_their_own(views: pl.DataFrame) -> None:
    assert views["view_id"].is_unique().all()
    assert views["view_id"].max() <= MAX_ID
    ordered = views.sort("view_id")
    first = ordered["session_id"] != ordered["session_id"].shift()
    assert (ordered["view_id"] == ordered["session_id"]).equals(first.fill_null(True))
    gap = ordered["viewed_at"].diff().filter(~first.fill_null(True))
    assert gap.min() >= timedelta(seconds=2)
    assert gap.max() <= timedelta(minutes=10)
    assert ordered.filter(~first.fill_null(True))["referrer"].is_null().all()
    assert (views["product_id"].is_not_null() == (views["page"] == "PRODUCT")).all()
    for row in views.head(50).iter_rows(named=True):
        encode(PageView(v=1, **row))


def test_half_an_hour_of_silence_finds_the_visits(views: pl.DataFrame) -> None:
    """What an analyst would do; two visits of a customer within half an hour are few."""
    new = (pl.col("viewed_at").diff().over("user_id") > timedelta(minutes=30)).fill_null(True)
    found = views.sort("user_id", "viewed_at").with_columns(
        visit=new.cum_sum().over("user_id")
    ).group_by("user_id", "visit").agg(pl.col("session_id").n_unique())  # fmt: skip
    assert (found["session_id"] == 1).mean() > 0.98


def test_views_do_not_depend_on_the_batch() -> None:
    orders = blocks(DAYS, A_DAY)[3].orders
    ids, products = orders["order_id"].to_numpy(), orders["product_id"].to_numpy()
    at = orders["ordered_at"].dt.timestamp("us").to_numpy()
    anchors = Anchors(ids, orders["user_id"].to_numpy(), at, products)
    pool, maker = Pool(ids, products), PageViews(SEED)
    order = np.random.default_rng(1).permutation(len(ids))
    pieces = np.array_split(order, 9)
    makers: list[Callable[[Anchors], pl.DataFrame]] = [
        lambda a: maker.of_orders(a, pool),
        lambda a: maker.of_sign_ups(a, pool),
        lambda a: maker.after(a, pool, sign_ups=False),
        lambda a: maker.after(a, pool, sign_ups=True),
    ]
    for make in makers:
        whole = make(anchors)
        parts = pl.concat([make(anchors.take(piece)) for piece in pieces])
        assert len(whole) > 100
        assert parts.sort("view_id").equals(whole.sort("view_id"))
    by_day = [maker.after(anchors, pool, sign_ups=False, lag=day) for day in range(29)]
    assert (
        pl.concat(by_day)
        .sort("view_id")
        .equals(maker.after(anchors, pool, sign_ups=False).sort("view_id"))
    )
    other = PageViews(SEED + 1).of_orders(anchors, pool)
    assert not other.equals(maker.of_orders(anchors, pool)), "of another seed"


def test_a_visit_has_an_id_of_its_own_for_any_anchor() -> None:
    ids = np.array([
        make_id(ms, node, sequence)
        for ms in (1, 2, 200_000_000_000) for node in range(16) for sequence in range(6)
    ])  # fmt: skip
    tracked = ids[is_tracked(ids)]
    assert len(tracked) == 3 * 16 * 4
    slots = (0, SIGN_UP, *AFTER_ORDER, *AFTER_SIGN_UP)
    sessions = np.concatenate([session_ids(tracked, slot) for slot in slots])
    views = (sessions[:, None] + np.arange(16)).ravel()
    assert len(np.unique(views)) == len(tracked) * 16 * 16
    assert views.max() <= MAX_ID
    assert not is_tracked(np.array([1 << 52])).any(), "after 2037"


def test_all_times_are_divided_by_the_speed() -> None:
    ids = np.array([make_id(190_000_000_000 + i * 50_000) for i in range(400)])
    anchors = Anchors(ids, ids, (ids >> 12) * 1_000 + 1_577_836_800_000_000, ids)
    lengths = []
    for speed in (1.0, 50.0):
        views = PageViews(SEED, speed).after(anchors, NOTHING, sign_ups=False)
        since = views.with_columns(
            since=pl.col("viewed_at").dt.timestamp("us").cast(pl.Float64)
            - (pl.col("view_id") / 2**14).floor() * 1e3 - 1_577_836_800e6
        )  # fmt: skip
        lengths.append(since["since"].to_numpy())
    assert np.allclose(lengths[0] / 50, lengths[1], atol=20)


class LiveVisits:
    """Orders and sign-ups as they are stored, at a time that the test moves."""

    def __init__(self, settings: Settings, pg: Connection, speed: float = 1.0) -> None:
        self.settings, self.pg, self.speed = settings, pg, speed
        self.monotonic = ManualClock()
        self.now = EPOCH
        self.live = self.source()

    def source(self) -> LivePageViews:
        connect = partial(postgres.connect, self.settings.postgres, "views", autocommit=True)
        nobody = cast("redis.Redis", None)
        return LivePageViews(RunningShop(SEED, self.speed, connect, nobody), self.monotonic)

    def advance(self, until: datetime) -> pl.DataFrame:
        for block in blocks(3, 150):
            store_orders(self.pg, block, self.now, until)
        self.now = until
        return self.publish()

    def publish(self) -> pl.DataFrame:
        """Store what is due as the ingest would: copies of what is there change nothing."""
        parts = []
        for _ in range(1_000):
            self.monotonic.now += 1_000
            parts.append(self.live.due(self.now))
            if parts[-1].is_empty():
                break
        due = pl.concat(parts)
        known = {
            row[0]: row[1:]
            for row in self.pg.execute(
                f"SELECT {', '.join(due.columns)} FROM page_views"
            ).fetchall()
        }
        again = due.filter(pl.col("view_id").is_in(list(known)))
        assert all(known[row[0]] == row[1:] for row in again.iter_rows()), "exact copies"
        with self.pg.cursor() as cur:
            new = due.filter(~pl.col("view_id").is_in(list(known)))
            assert new["view_id"].is_unique().all()
            postgres.copy_frame(cur, "page_views", new)
        return due


def test_live_views_are_those_of_the_history(settings: Settings, pg: Connection) -> None:
    """Killed twice, once for half a day in which nothing is published."""
    shop = LiveVisits(settings, pg)
    shop.advance(START)
    for hour in (*range(2, 30, 2), 31, 48, *range(49, 61, 2)):
        if hour in (30, 48):
            shop.live.close()
            shop.live = shop.source()
        shop.advance(START + timedelta(hours=hour))
    shop.live.close()
    history, since = PageViewHistory(SEED), START + timedelta(hours=1)
    wanted = pl.concat([history.events(block) for block in until(shop.now)])
    wanted = wanted.filter(pl.col("viewed_at").is_between(since, shop.now)).sort("view_id")
    columns = ", ".join(wanted.columns)
    rows = pg.execute(f"SELECT {columns} FROM page_views WHERE viewed_at >= %s", (since,))
    found = pl.DataFrame(rows.fetchall(), schema=wanted.schema, orient="row").sort("view_id")
    assert len(wanted) > 5_000
    assert found.equals(wanted)


def until(end: datetime) -> list[HistoryBlock]:
    """What a history up to `end` has."""
    return [
        replace(
            block,
            users=block.users.filter(pl.col("created_at") < end),
            orders=block.orders.filter(pl.col("ordered_at") < end),
        )
        for block in blocks(3, 150)
    ]


def test_an_order_that_is_stored_hours_late_has_its_visit_too(
    settings: Settings, pg: Connection
) -> None:
    shop = LiveVisits(settings, pg)
    shop.advance(START)
    shop.advance(START + timedelta(hours=2))
    late = until(START + timedelta(hours=12))[0].orders[-9:]
    with pg.cursor() as cur:
        shop.now += timedelta(hours=20)
        shop.publish()
        postgres.copy_frame(cur, "orders", late)
    found = shop.publish()
    missing = set(late["order_id"]) - set(found["order_id"])
    assert len(missing) <= 2, "one in twenty is not tracked"
    shop.live.close()
