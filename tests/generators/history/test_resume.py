"""No seam: a history and what resumes it are one longer history."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pytest
import redis

from generators.backfill import fill
from generators.continuation import resume
from generators.history.history import HistorySimulation, first_revisions
from generators.history.request import HistoryRequest
from generators.history.resume import store
from generators.history.resume.events import ResumedEvents
from generators.history.resume.store import Left, Position
from generators.history.simulation import Simulation
from generators.history.state import StateError, pack, unpack
from generators.history.targets.postgres import PostgresTarget
from generators.publishing.order_lifecycle import PENDING
from generators.scenarios.control import start as start_scenario
from jangteo.stack import consistency
from shop import events as shop_events
from shop.clock import UTC
from shop.errors import UsageError
from shop.events import TOPICS, Order
from shop.grading_policy import POLICY
from shop.postgres import Connection
from shop.redis import control
from shop.settings import Settings
from tests.generators.history.stepped_continuation import SteppedContinuation, T, reached
from tests.support.generator_processes import GeneratorProcess, read_topic
from tests.support.waiting import wait_until

START = Callable[..., GeneratorProcess]
HOUR = timedelta(hours=1)
EVENING = datetime(2026, 11, 20, 13, 40, tzinfo=UTC)
ASKED = HistoryRequest(
    days=10, orders_per_day=5_000, policy=POLICY.as_json()
)  # fmt: skip
QUERIES = {
    # All but when a row was stored and changed: ingested_at and changed_at.
    "users": "SELECT user_id, name, email, gender, birth_year, city, grade, created_at,"
    " last_ordered_at, order_count, total_spent FROM users ORDER BY user_id",
    "products": "SELECT product_id, name, category, brand, price, created_at, order_count"
    " FROM products ORDER BY product_id",
    "orders": "SELECT order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,"
    " payment_method, status, scenario, ordered_at, updated_at FROM orders ORDER BY order_id",
    # A window whose only order was cancelled live stays, with nothing in it.
    "windows": "SELECT user_id, window_start, orders, spend FROM user_spend_windows"
    " WHERE (orders, spend) <> (0, 0) ORDER BY window_start, user_id",
}


def everything(pg: Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {name: pg.execute(query).fetchall() for name, query in QUERIES.items()}


def target(settings: Settings) -> PostgresTarget:
    return PostgresTarget(
        settings.postgres, window_s=settings.spend_window, policy=POLICY, truncate=True
    )


def backfill(settings: Settings, end: datetime) -> None:
    """As `jangteo backfill` at a moment of the past."""
    writer = target(settings)
    try:
        assert fill(writer, ASKED, settings, threading.Event(), clock=lambda: end) == 0
    finally:
        writer.close()


def longer(settings: Settings, end: datetime, until: datetime) -> None:
    """Write the history that ends at `end` as it is when it lasts until `until`, in one run."""
    history, writer = HistorySimulation(ASKED.plan(end, POLICY), POLICY, until), target(settings)
    writer.begin(ASKED, until)
    for day in history.days():
        writer.prepare(day)()
    writer.finish(history.ending())
    writer.close()


def waiting(r: redis.Redis) -> dict[str, float]:
    return dict(r.zrange(PENDING, 0, -1, withscores=True))


def resumed(pg: Connection, r: redis.Redis, now: datetime) -> ResumedEvents:
    left = store.find(pg)
    return resume(pg, left, Position(r, left.name), now, stop=threading.Event())


def taken(sequel: ResumedEvents, until: datetime) -> dict[str, pl.DataFrame]:
    while sequel.ahead < until:
        sequel.simulate()
    return {topic: sequel.take(topic, until, 1 << 40) for topic in TOPICS}


@pytest.mark.parametrize(
    ("end", "lasts", "kills"),
    [
        pytest.param(T, HOUR, 1, id="an hour, killed once"),
        pytest.param(
            EVENING, 4 * HOUR, 2, id="over midnight, killed twice", marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.usefixtures("topics")
def test_history_and_continuation_are_one_history(  # noqa: PLR0917  (fixtures and parameters)
    settings: Settings, pg: Connection, redis_client: redis.Redis, start: START,
    end: datetime, lasts: timedelta, kills: int,
):  # fmt: skip
    until = end + lasts
    backfill(settings, end)
    before = everything(pg)
    due = [s for s in waiting(redis_client).values() if s < until.timestamp()]
    assert due  # of orders from before the end
    ingest = start("bytewax.run", "flows.ingest")
    speed = str(lasts / timedelta(seconds=5 + 2 * kills))
    words = ("generators.continuation", "--speed", speed, "--until", until.isoformat())
    for n in range(kills):
        process = start(*words)
        killed_at = end + (n + 1) * lasts / (kills + 1)
        wait_until(lambda at=killed_at: reached(redis_client, "orders") > at, "the middle", 60)
        assert process.popen.poll() is None
        process.stop(signal.SIGKILL)
    process = start(*words)
    assert process.popen.wait(90) == 0, process.log

    longest = HistorySimulation(ASKED.plan(end, POLICY), POLICY, until)
    orders = pl.concat(day.orders for day in longest.days())
    changed = (pl.col("updated_at") >= end) & (pl.col("rev") > 1)
    assert orders.filter(changed & (pl.col("ordered_at") < end)).height == len(due)
    assert orders.filter(changed & (pl.col("ordered_at") >= end)).height
    revisions = int(orders["rev"].sum())
    wait_until(lambda: stored(pg) == (revisions, len(longest.ending().users)), "the ingest", 60)
    assert ingest.stop() == 0
    found, left_waiting = everything(pg), waiting(redis_client)
    assert found != before
    assert consistency.check(pg) == []
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,)

    # Redis forgets everything: what is still to come is known again, and nothing else.
    redis_client.flushall()
    again = resumed(pg, redis_client, until)
    assert waiting(redis_client) == left_waiting
    assert orders["ordered_at"].max() < again.marks["orders"] <= until

    longer(settings, end, until)
    expected = everything(pg)
    for name, rows in expected.items():
        assert found[name] == rows, name
    pending = store.find(pg).pending
    assert pending is not None
    assert len(pending) == len(left_waiting)


def stored(pg: Connection) -> tuple[int, int]:
    row = pg.execute(
        "SELECT (SELECT sum(rev) FROM orders), (SELECT count(created_at) FROM users)"
    ).fetchone()
    assert row
    return int(row[0]), int(row[1])


@pytest.mark.usefixtures("topics")
def test_without_its_state_the_history_is_simulated_again(
    settings: Settings, pg: Connection, redis_client: redis.Redis
):
    backfill(settings, T)
    until = T + timedelta(days=2)
    expected, pending = taken(resumed(pg, redis_client, T), until), waiting(redis_client)
    assert all(len(frame) for frame in expected.values())
    for damage in (
        "UPDATE backfill_state SET state = substr(state, 1, 1000)",
        "DELETE FROM backfill_state",
    ):
        pg.execute(damage.encode())
        redis_client.flushall()
        found = taken(resumed(pg, redis_client, T), until)
        assert all(found[topic].equals(expected[topic]) for topic in TOPICS)
        assert waiting(redis_client) == pending


def test_a_state_of_another_plan_is_not_taken():
    plan = ASKED.plan(T, POLICY)
    state = pack(Simulation(plan))
    larger = HistoryRequest(days=10, orders_per_day=5_001)
    with pytest.raises(StateError, match="another plan"):
        unpack(Simulation(larger.plan(T, POLICY)), state)
    with pytest.raises(StateError, match="cannot be read"):
        unpack(Simulation(plan), b"nonsense")


def test_beyond_the_plan_nothing_of_it_changes_and_the_shop_goes_on():
    """Days beyond the end are the same whichever state they are reached from."""
    plan = HistoryRequest(days=9, orders_per_day=400).plan(T, POLICY)
    short, whole = Simulation(plan), Simulation(plan)
    within = list(short.days())
    state = pack(short)
    days = list(whole.days(30))
    for a, b in zip(within, days, strict=False):
        assert a.orders.equals(b.orders)
        assert a.users.equals(b.users)
    beyond = days[9:]
    assert len(beyond) == 21
    for stop in (9, 13, 29):
        again = Simulation(plan)
        unpack(again, state)
        for _ in again.days(stop):
            pass
        other = Simulation(plan)
        unpack(other, pack(again))
        (day,) = other.days(stop + 1)
        expected = days[stop]
        assert day.orders.equals(expected.orders)
        assert day.users.equals(expected.users)
        assert day.products.equals(expected.products)
        assert (day.grades is None) == (expected.grades is None)
        assert day.grades is None or day.grades.equals(expected.grades)
    # They come by the same law, and those who came late buy as well.
    ids = pl.concat(day.users["user_id"] for day in days)
    assert ids.n_unique() == len(ids) == len(whole.who)
    orders = pl.concat(day.orders for day in beyond)
    assert 0.6 < len(orders) / 21 / 400 < 2.0  # weekdays, scenarios, a November
    late = pl.concat(day.users["user_id"] for day in beyond)
    assert orders["user_id"].is_in(late.implode()).mean() > 0.02


@pytest.fixture
def open_shop(
    settings: Settings, pg: Connection, redis_client: redis.Redis
) -> Iterator[Callable[..., SteppedContinuation]]:
    opened: list[SteppedContinuation] = []

    def run(**how: Any) -> SteppedContinuation:
        opened.append(SteppedContinuation(settings, pg, redis_client, **how))
        return opened[-1]

    backfill(settings, T)
    yield run
    for shop in opened:
        shop.stop()


def ids(settings: Settings, topic: str, rev: int = 1) -> list[int]:
    events = read_topic(settings, topic)
    field = f"{topic[:-1]}_id"
    return sorted(getattr(e, field) for e in events if getattr(e, "rev", rev) == rev)


@pytest.mark.usefixtures("topics")
def test_the_operator_pauses_and_slows_and_is_refused_the_rest(
    settings: Settings, pg: Connection, redis_client: redis.Redis,
    open_shop: Callable[..., SteppedContinuation],
):  # fmt: skip
    shop = open_shop(seed=5)
    minutes = [T + timedelta(minutes=m) for m in (0, 60, 120, 180, 300)]
    plan = taken(resumed(pg, redis_client, T), minutes[-1])
    shop.until(minutes[1])
    control.set_paused(redis_client, "orders", paused=True)
    control.set_paused(redis_client, "users", paused=True)
    shop.beats("orders", "paused", "true")
    began = time.monotonic()
    shop.until(minutes[2])
    assert time.monotonic() - began < 20  # a pause does not stop the clock
    control.set_paused(redis_client, "orders", paused=False)
    shop.beats("orders", "state", "running")
    shop.until(minutes[3])
    control.set_rate(redis_client, "orders", 0.4)
    shop.beats("orders", "factor", "0.4")
    shop.until(minutes[4])
    for name, factor in (("orders", 2.0), ("users", 0.5), ("products", 3.0)):
        with pytest.raises(UsageError, match="a history is being resumed"):
            control.set_rate(redis_client, name, factor)
    with pytest.raises(UsageError, match="a history is being resumed"):
        start_scenario(redis_client, "flash_sale", T)
    assert max(ids(settings, "users")) < plan["users"]["user_id"][-1]
    control.set_paused(redis_client, "users", paused=False)
    wait_until(lambda: reached(redis_client, "users") >= minutes[4], "the customers")
    shop.stop()

    def placed(a: int, b: int) -> list[int]:
        times = pl.col("ordered_at")
        part = plan["orders"].filter((times >= minutes[a]) & (times < minutes[b]))
        return sorted(part["order_id"].to_list())

    published = ids(settings, "orders")
    assert min(len(placed(0, 1)), len(placed(1, 2)), len(placed(2, 3))) > 20
    slow = [i for i in published if i >= placed(3, 4)[0]]
    assert published == placed(0, 1) + placed(2, 3) + slow
    assert set(slow) < set(placed(3, 4))
    assert 0.25 < len(slow) / len(placed(3, 4)) < 0.55
    assert ids(settings, "users") == plan["users"]["user_id"].to_list()
    assert ids(settings, "products") == plan["products"]["product_id"].to_list()
    assert shop.publisher.left_out == len(plan["orders"]) - len(published)
    # What was never sold is never cancelled.
    events = read_topic(settings, "orders")
    known = set(published) | set(sequel_ids(shop.left))
    assert {e.order_id for e in events if isinstance(e, Order)} <= known
    assert not set(placed(1, 2)) & set(read_pending(redis_client))


def sequel_ids(left: Left) -> list[int]:
    assert left.pending is not None
    return list(left.pending["order_id"].to_list())


def read_pending(r: redis.Redis) -> list[int]:
    return [msgspec.json.decode(text, type=Order).order_id for text in waiting(r)]


@pytest.mark.usefixtures("topics")
def test_after_long_silence_old_orders_are_left_out_and_customers_are_not(
    settings: Settings, pg: Connection, redis_client: redis.Redis,
    open_shop: Callable[..., SteppedContinuation],
):  # fmt: skip
    until = T + timedelta(days=3)
    plan = taken(resumed(pg, redis_client, T), until)
    shop = open_shop(late=timedelta(days=1), until=until)
    shop.now = until
    shop.ends()
    orders = plan["orders"].filter(pl.col("ordered_at") >= until - timedelta(days=1))
    assert shop.publisher.left_out == len(plan["orders"]) - len(orders)
    for topic in ("users", "products"):
        assert published(settings, topic).equals(in_order(plan[topic]))
    changed = pl.col("rev") > 1
    pending = shop.left.pending
    assert pending is not None
    second = pl.concat([pending, orders.filter(changed)]).filter(pl.col("updated_at") < until)
    expected = pl.concat([first_revisions(orders, changed), second]).sort("order_id", "rev")
    assert published(settings, "orders").equals(expected)


def published(settings: Settings, topic: str) -> pl.DataFrame:
    rows = [shop_events.as_row(event) for event in read_topic(settings, topic)]
    return in_order(pl.DataFrame(rows, schema=shop_events.SCHEMAS[topic]))


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns[0], *(c for c in ("rev",) if c in frame.columns))


@pytest.mark.usefixtures("topics")
def test_without_a_finished_history_there_is_nothing_to_go_on_with(start: START, pg: Connection):
    process = start("generators.continuation")
    assert process.popen.wait(30) == 2
    said = [line for line in process.log.splitlines() if "event=servers" not in line]
    assert len(said) == 1
    assert "no finished history" in process.log
    assert date(2026, 11, 20) < datetime.now(UTC).date()  # the moments here have to be past
    assert pg.execute("SELECT count(*) FROM backfill_state").fetchone() == (0,)
