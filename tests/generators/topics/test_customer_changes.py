"""Customers change as the targets say, live as in a history, and nobody orders who has closed."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from benchmarks.realism import topic_statistics
from generators.behaviour import customer_changes, population
from generators.behaviour.customer_model import NEVER
from generators.history.history import Ending, HistorySimulation, midnight
from generators.history.plan import Day, Plan
from generators.random_streams import stream
from generators.topics.customer_changes import changes
from generators.topics.history import TopicHistories
from shop.clock import KST, UTC
from shop.events import SCHEMAS
from shop.grading_policy import POLICY
from shop.ids import EPOCH_MS, ids_at

SEED = 1
DAYS = 80
TOPIC = "customer_changes"
YEAR_US = 365 * 86_400_000_000


class Written(NamedTuple):
    """A history with the topic."""

    days: list[Day]
    changes: pl.DataFrame
    prices: pl.DataFrame
    ending: Ending
    end: datetime


@pytest.fixture(scope="module")
def written() -> Written:
    start = date(2026, 1, 5)
    policy = POLICY
    plan = Plan(
        midnight(start).astimezone(KST), DAYS, 150, SEED,
        thresholds=policy.thresholds[1:], grades=policy.names, months=policy.months,
    )  # fmt: skip
    end = midnight(start + timedelta(days=DAYS - 1)) + timedelta(hours=13)
    simulation = HistorySimulation(plan, policy, end, keep_state=True)
    topics = TopicHistories([TOPIC], SEED, end)
    days = list(simulation.days())
    added = [topics.of(day.block())[TOPIC] for day in days]
    return Written(
        days,
        pl.concat(a.events for a in added),
        pl.concat(a.derived["product_prices"] for a in added),
        simulation.ending(),
        end,
    )


def test_live_has_the_changes_of_the_history(written: Written) -> None:
    """From what PostgreSQL holds when it ends; so the live shop continues it without a seam."""
    users = pl.concat(day.users for day in written.days)
    shop = written.ending.shop
    assert shop is not None
    gone = pl.col("due").is_null()
    state = shop.customers.select("user_id", "orders", "last_order_id", gone=gone)
    found = changes(SEED, users.join(state, on="user_id"), written.end)
    columns = ["user_id", "rev"]
    assert found.sort(columns).equals(written.changes.sort(columns))


def test_the_changes_of_a_customer_are_numbered_by_their_times(written: Written) -> None:
    by_user = written.changes.sort("user_id", "rev").group_by("user_id", maintain_order=True)
    rows = by_user.agg(
        numbered=(pl.col("rev") == pl.int_range(1, pl.len() + 1)).all(),
        rising=pl.col("updated_at").is_sorted(),
        signed_up=(pl.col("kind") == "SIGNED_UP").sum(),
        first=pl.col("kind").first() == "SIGNED_UP",
        closed_last=~(pl.col("kind") == "CLOSED").slice(0, pl.len() - 1).any(),
    )
    assert rows.select(pl.col("numbered", "rising", "first", "closed_last").all()).row(0) == (
        True, True, True, True,
    )  # fmt: skip
    assert (rows["signed_up"] == 1).all()
    assert len(rows) == sum(len(day.users) for day in written.days)
    assert written.changes["change_id"].is_unique().all()


def test_nobody_orders_who_has_closed_the_account(written: Written) -> None:
    closed = written.changes.filter(kind="CLOSED")
    orders = pl.concat(day.orders for day in written.days)
    ordered = orders.group_by("user_id").agg(pl.col("ordered_at").max(), n=pl.len())
    both = closed.join(ordered, on="user_id")
    assert len(both) > 0
    assert len(closed) > 2 * len(both)
    gap = both["updated_at"] - both["ordered_at"]
    assert gap.min() >= timedelta(days=customer_changes.LEAST_DAYS)
    assert closed.select(pl.col("name", "city", "marketing_consent").null_count()).row(0) == (
        (len(closed),) * 3
    )


def test_each_order_was_charged_the_price_of_its_time(written: Written) -> None:
    orders = pl.concat(day.orders for day in written.days).sort("ordered_at")
    prices = written.prices.sort("valid_from")
    joined = orders.join_asof(
        prices, left_on="ordered_at", right_on="valid_from", by="product_id",
        strategy="backward", check_sortedness=False,
    )  # fmt: skip
    assert len(joined) > 10_000
    assert joined["price"].null_count() == 0
    assert (joined["price"] == joined["unit_price"]).all()
    assert (joined["sale_status"] == "LISTED").all()
    assert prices["rev"].max() > 2
    assert (prices["sale_status"] == "DELISTED").sum() > 10


# -- the targets --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def users() -> pl.DataFrame:
    n = 60_000
    ms = np.sort(stream(SEED, "sign-ups").random(n)) * 86_400_000 * 365
    began = datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1_000 - EPOCH_MS
    ids = ids_at(np.unique((ms + began).astype(np.int64)), 1)
    return population.users(stream(SEED, "people").random((len(ids), 6)), ids)


def test_the_rates_of_changes_are_those_of_their_sources(users: pl.DataFrame) -> None:
    until = round(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    signed_up, state = customer_changes.begin(SEED, users)
    later, _ = customer_changes.advance(SEED, state, until)
    moment = datetime.fromtimestamp(until / 1e6, UTC)
    found = topic_statistics.of_changes(pl.concat([signed_up, later]), moment)
    # Nobody closes the account here: who buys no more is not known without orders.
    missed = [s.name for s in found if not s.met]
    assert missed == ["accounts closed, a customer and year"]


def test_a_change_changes_what_it_says_and_nothing_else(users: pl.DataFrame) -> None:
    until = round(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    signed_up, state = customer_changes.begin(SEED, users)
    later, _ = customer_changes.advance(SEED, state, until)
    rows = pl.concat([signed_up, later]).sort("user_id", "rev")
    was = [pl.col(c).shift().alias(f"{c}_was") for c in ("name", "city", "marketing_consent")]
    rows = rows.with_columns(was).filter(pl.col("rev") > 1)
    other = {c: pl.col(c) != pl.col(f"{c}_was") for c in ("name", "city", "marketing_consent")}
    changed = rows.select("kind", **other).group_by("kind").agg(pl.all().mean())
    found = {row["kind"]: row for row in changed.iter_rows(named=True)}
    assert found["MOVED"] == {"kind": "MOVED", "name": 0, "city": 1, "marketing_consent": 0}
    assert found["CONSENT"] == {"kind": "CONSENT", "name": 0, "city": 0, "marketing_consent": 1}
    assert found["RENAMED"]["city"] == found["RENAMED"]["marketing_consent"] == 0
    assert found["RENAMED"]["name"] > 0.95
    moved = rows.filter(kind="MOVED")
    assert set(moved["city"]) <= population.cities()
    renamed = rows.filter(kind="RENAMED")
    assert (renamed["name"].str.head(1) == renamed["name_was"].str.head(1)).all()


def test_changes_do_not_depend_on_when_they_are_looked_for(users: pl.DataFrame) -> None:
    some = users.head(5_000)
    _, state = customer_changes.begin(SEED, some)
    first = int(some["created_at"].cast(pl.Int64).min() or 0)
    whole, _ = customer_changes.advance(SEED, state, first + 3 * YEAR_US)
    parts = []
    for month in range(1, 37):
        part, state = customer_changes.advance(SEED, state, first + month * 3 * YEAR_US // 36)
        parts.append(part)
    assert pl.concat(parts).sort("change_id").equals(whole.sort("change_id"))
    assert whole.columns == list(SCHEMAS[TOPIC])


def test_people_of_an_unknown_city_and_name_change_too() -> None:
    users = pl.DataFrame(
        [(i << 12, "Ann", "a@example.com", None, None, "Paris", datetime(2025, 1, 1, tzinfo=UTC))
         for i in range(1, 2_001)],
        schema=SCHEMAS["users"], orient="row",
    )  # fmt: skip
    _, state = customer_changes.begin(SEED, users)
    later, _ = customer_changes.advance(SEED, state, 60 * YEAR_US)
    assert set(later["kind"]) == {"MOVED", "RENAMED", "CONSENT"}
    assert later.filter(kind="MOVED")["city"].is_in(list(population.cities())).all()


def test_a_scheduled_win_back_keeps_accounts_open() -> None:
    """Whom a campaign of the next years brings back closes nothing; an account-year closes 3 %."""
    ids = np.arange(1, 40_001) << 12
    since = np.full(len(ids), round(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6))
    at = customer_changes.closings(SEED, ids, np.ones(len(ids), np.int64), since)
    share = (at < NEVER).mean()
    assert 0.7 * customer_changes.CLOSES < share < 0.9 * customer_changes.CLOSES
    days = (at[at < NEVER] - since[0]) / 86_400_000_000
    assert days.min() >= customer_changes.LEAST_DAYS
    assert days.mean() == pytest.approx(
        customer_changes.LEAST_DAYS + customer_changes.MEAN_DAYS, rel=0.1
    )
