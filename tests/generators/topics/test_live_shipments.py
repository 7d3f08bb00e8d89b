"""Shipments live: what is due of stored orders, as a history has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis

from generators.behaviour import population, shipments
from generators.history.plan import Day
from generators.publishing.order_lifecycle import PENDING, remember
from generators.topics import shipments as live_shipments
from generators.topics.history import TopicHistories
from generators.topics.interface import RunningShop
from generators.topics.shipments import LiveShipments
from shop import postgres
from shop.clock import UTC
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, ids_at
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.manual_clock import ManualClock

BEGAN = datetime(2026, 9, 14, tzinfo=UTC)  # Chuseok is on 24 to 27 September
N = 200
COLUMNS = list(SCHEMAS["orders"])


def day_of_orders() -> Day:
    """Orders of five days as they finally stand, one in eight cancelled or refunded."""
    rng = np.random.default_rng(1)
    at = np.sort(rng.random(N)) * 5 * 86_400_000 + BEGAN.timestamp() * 1_000
    users = ids_at(np.arange(50) + int(at[0]) - EPOCH_MS - 10_000, 2)
    profiles = population.users(rng.random((50, population.USER_DRAWS)), users)
    fate = rng.choice(["PAID", "REFUNDED", "CANCELLED"], N, p=[0.8, 0.15, 0.05])
    after_ms = np.where(fate == "REFUNDED", 3 + 9 * rng.random(N), 0.05) * 86_400_000
    after_ms = np.where(fate == "PAID", 0, after_ms)
    buyer = rng.integers(0, 50, N)
    ms = pl.Series(at.astype(np.int64))
    orders = pl.DataFrame({
        "order_id": ids_at(at.astype(np.int64) - EPOCH_MS, 1),
        "rev": np.where(fate == "PAID", 1, 2), "user_id": users[buyer], "product_id": 1,
        "quantity": 1, "unit_price": 1_000, "discount": 0, "amount": 1_000,
        "payment_method": "CARD", "status": fate, "scenario": None,
        "ordered_at": ms.cast(pl.Datetime("ms", "UTC")),
        "updated_at": (ms + pl.Series(after_ms.astype(np.int64))).cast(pl.Datetime("ms", "UTC")),
    }).cast(pl.Schema(SCHEMAS["orders"]))  # fmt: skip
    province = shipments.region_of(profiles["city"])[buyer].astype(np.int8)
    return Day(
        0, BEGAN, BEGAN + timedelta(days=5), profiles, pl.DataFrame(), orders, None, 0, province
    )


class StoredOrders:
    """Orders and shipments as the ingest would store them, at a time that the test moves."""

    def __init__(self, pg: Connection, r: redis.Redis, day: Day) -> None:
        self.pg, self.r, self.day = pg, r, day
        self.now = BEGAN
        self.published: list[pl.DataFrame] = []
        with pg.cursor() as cur:
            postgres.copy_frame(cur, "users", day.users)

    def advance(self, to: datetime, *, fates: bool = True) -> None:
        """Store the orders of the time that passes, and what becomes of those that are stored."""
        orders = self.day.orders
        new = orders.filter(pl.col("ordered_at").is_between(self.now, to, closed="left"))
        first = new.with_columns(
            rev=pl.lit(1, pl.Int64), status=pl.lit("PAID"), updated_at="ordered_at"
        )
        with self.pg.cursor() as cur:
            postgres.copy_frame(cur, "orders", first)
        later = new.filter(pl.col("rev") > 1)
        if fates:
            remember(self.r, later, later["updated_at"].dt.timestamp("ms").to_numpy() / 1_000)
        over = orders.filter(
            (pl.col("rev") > 1) & pl.col("updated_at").is_between(self.now, to, closed="left")
        )
        for row in over.iter_rows(named=True):
            self.pg.execute(
                "UPDATE orders SET rev = 2, status = %(status)s, updated_at = %(updated_at)s"
                " WHERE order_id = %(order_id)s", row,
            )  # fmt: skip
        self.r.zremrangebyscore(PENDING, "-inf", f"({to.timestamp()}")
        self.now = to

    def store(self, events: pl.DataFrame) -> None:
        names = list(SCHEMAS["shipments"])
        with self.pg.cursor() as cur:
            cur.executemany(
                f"INSERT INTO shipments ({', '.join(names)})"
                f" VALUES ({', '.join(['%s'] * len(names))}) ON CONFLICT (shipment_id) DO UPDATE"
                f" SET ({', '.join(names)}) = ROW({', '.join(f'excluded.{n}' for n in names)})"
                " WHERE shipments.rev < excluded.rev",
                events.rows(),
            )

    @property
    def all(self) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=SCHEMAS["shipments"]), *self.published])


@pytest.fixture
def shop(pg: Connection, redis_client: redis.Redis) -> StoredOrders:
    return StoredOrders(pg, redis_client, day_of_orders())


@pytest.fixture
def live(settings: Settings, redis_client: redis.Redis) -> Iterator[list[LiveShipments]]:
    made: list[LiveShipments] = []
    yield made
    for one in made:
        one.close()


def begin(
    settings: Settings,
    r: redis.Redis,
    made: list[LiveShipments],
    clock: ManualClock,
    stopped: Callable[[], bool] = lambda: False,
) -> LiveShipments:
    running = RunningShop(
        1, 1.0, lambda: postgres.connect(settings.postgres, "test", autocommit=True), r, stopped
    )
    made.append(LiveShipments(running, clock))
    return made[-1]


def expected(day: Day, end: datetime) -> pl.DataFrame:
    return TopicHistories(["shipments"], 1, end).of(day.block())["shipments"].events


def same(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    return a.sort("shipment_id", "rev").equals(b.sort("shipment_id", "rev"))


def test_live_publishes_what_a_history_has_each_step_once_it_is_due(
    settings: Settings, shop: StoredOrders, live: list[LiveShipments], redis_client: redis.Redis
) -> None:
    """Killed and started again on the way; every event is published no earlier than its time."""
    clock = ManualClock()
    source = begin(settings, redis_client, live, clock)
    for hour in range(8, 24 * 20, 8):
        if hour == 96:
            source = begin(settings, redis_client, live, clock)
        shop.advance(BEGAN + timedelta(hours=hour))
        clock.now += 28_800
        while not (events := source.due(shop.now)).is_empty():
            assert (events["updated_at"] <= shop.now).all()
            assert (events["updated_at"] > shop.now - timedelta(hours=8, minutes=5)).all()
            shop.published.append(events)
            shop.store(events)
    assert same(shop.all, expected(shop.day, shop.now))


def test_switched_on_later_it_ships_what_is_there(
    settings: Settings, shop: StoredOrders, live: list[LiveShipments], redis_client: redis.Redis
) -> None:
    """Steps that were due before are dated by then; nothing is lost that Redis has forgotten."""
    shop.advance(BEGAN + timedelta(days=30), fates=False)
    source = begin(settings, redis_client, live, ManualClock())
    while not (events := source.due(shop.now)).is_empty():
        shop.published.append(events)
    assert same(shop.all, expected(shop.day, shop.now))


def most_rows(plan: Mapping[str, Any]) -> float:
    below = [most_rows(part) for part in plan.get("Plans", ())]
    rows: float = plan["Actual Rows"] * plan["Actual Loops"]
    return max([rows, *below])


@pytest.fixture
def past(shop: StoredOrders, monkeypatch: pytest.MonkeyPatch) -> StoredOrders:
    """A shop with a past of 30 days, of which a page has 20 orders."""
    shop.advance(BEGAN + timedelta(days=30), fates=False)
    monkeypatch.setattr(live_shipments, "PAGE", 20)
    return shop


def test_it_reads_each_page_of_a_past_by_itself(
    settings: Settings,
    past: StoredOrders,
    live: list[LiveShipments],
    redis_client: redis.Redis,
) -> None:
    """No step of the query has more rows than a page, so a long past costs what its pages cost."""
    (last,) = past.pg.execute(live_shipments._LAST, (0, 20)).fetchone() or (None,)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {live_shipments._OPEN}"
    ((plan,),) = past.pg.execute(explain, {"after": 0, "last": last}).fetchone() or ((None,),)
    assert most_rows(plan["Plan"]) <= 20
    source = begin(settings, redis_client, live, ManualClock())
    while not (events := source.due(past.now)).is_empty():
        past.published.append(events)
    assert same(past.all, expected(past.day, past.now))


def test_it_cuts_a_long_look_short_when_it_is_stopped(
    settings: Settings,
    past: StoredOrders,
    live: list[LiveShipments],
    redis_client: redis.Redis,
) -> None:
    looks = iter([False, False, *[True] * 9])
    source = begin(settings, redis_client, live, ManualClock(), lambda: next(looks))
    assert source.due(past.now)["shipment_id"].n_unique() <= 40


def test_a_fate_that_comes_late_does_not_change_what_was_published(
    settings: Settings, shop: StoredOrders, live: list[LiveShipments], redis_client: redis.Redis
) -> None:
    """Redis knew nothing: parcels are delivered, and come back when the refund is stored."""
    clock = ManualClock()
    source = begin(settings, redis_client, live, clock)
    for day in range(1, 25, 2):
        shop.advance(BEGAN + timedelta(days=day), fates=False)
        clock.now += 172_800
        while not (events := source.due(shop.now)).is_empty():
            shop.published.append(events)
            shop.store(events)
    found = shop.all
    assert not found.select(pl.struct("shipment_id", "rev").is_duplicated().any()).item()
    times = ["dispatched_at", "in_transit_at", "delivered_at"]
    for name in times:  # each time is the same in all steps that have it
        assert (
            found.group_by("shipment_id").agg(pl.col(name).drop_nulls().n_unique())[name].max() == 1
        )
    refunded = shop.day.orders.filter(status="REFUNDED")["order_id"]
    newest = found.sort("rev").unique("shipment_id", keep="last")
    ends = newest.filter(pl.col("shipment_id").is_in(refunded.implode()))["status"].unique()
    assert set(ends) <= {"RETURNED", "LOST"}
    assert len(newest.filter(pl.col("shipment_id").is_in(refunded.implode()))) == len(refunded)


def test_while_a_history_is_written_nothing_is_shipped(
    settings: Settings, shop: StoredOrders, live: list[LiveShipments], redis_client: redis.Redis
) -> None:
    shop.advance(BEGAN + timedelta(days=3))
    shop.pg.execute(
        "INSERT INTO backfill_runs (request, ends_at, fingerprint) VALUES ('{}', now(), 0)"
    )
    clock = ManualClock()
    source = begin(settings, redis_client, live, clock)
    assert source.due(shop.now).is_empty()
    shop.pg.execute("UPDATE backfill_runs SET finished_at = now()")
    clock.now += 300
    assert not source.due(shop.now).is_empty()
