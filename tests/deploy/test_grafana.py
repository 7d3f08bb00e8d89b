"""The dashboards: every panel's query answers, with what the tables have."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest

from flows.decoding.decode import decode_batch
from flows.transaction import Store
from shop.clock import utc_now
from shop.grading_policy import POLICY
from shop.ids import time_of
from shop.postgres import Connection
from tests.deploy.backfilled_shop import DAYS, LIVE, PARTITIONS, REJECTED, REPLAYED
from tests.deploy.dashboards import MODELS, PANELS, answer, ask
from tests.deploy.grafana_macros import expand
from tests.support.event_samples import order, orders_batch

SEOUL = ZoneInfo("Asia/Seoul")


# -- PostgreSQL ----------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_rows_of_the_right_shape(
    shop: Connection, now: datetime, panel: dict[str, Any]
) -> None:
    columns, rows = ask(shop, panel, now)
    assert rows
    assert len(set(columns)) == len(columns)
    shown = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
    assert shown <= set(columns), "a unit is given for a column that is not there"
    if panel["type"] == "timeseries":
        assert columns[0] == "time"
        assert all(isinstance(row[0], datetime | Decimal) for row in rows)
        times = [row[0] for row in rows]
        assert times == sorted(times)
        numbers = [row[2:] if columns[1:] == ["metric", "value"] else row[1:] for row in rows]
    elif panel["type"] == "barchart":
        assert all(isinstance(row[0], str) for row in rows), "the first column names the bars"
        numbers = [row[1:] for row in rows]
    elif panel["type"] == "stat":
        assert len(rows) == 1
        numbers = rows
    else:
        return
    assert numbers
    for row in numbers:
        assert row
        assert all(isinstance(n, int | float | Decimal) for n in row), row


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_bears_an_empty_shop(pg: Connection, panel: dict[str, Any]) -> None:
    ask(pg, panel, utc_now())


def test_revenue_adds_up(shop: Connection, now: datetime) -> None:
    (paid,) = shop.execute(
        "SELECT sum(amount), count(*) FROM orders WHERE status = 'PAID'"
    ).fetchall()
    (total,) = answer(shop, "shop", "In this range", now)
    assert (total["revenue"], total["orders paid"]) == paid
    for title in ("Revenue by day", "Revenue by hour", "Revenue by hour of day"):
        assert sum(row["revenue"] for row in answer(shop, "shop", title, now)) == paid[0], title
    by_scenario = answer(shop, "shop", "Revenue by scenario and day", now)
    assert sum(row["value"] for row in by_scenario) == paid[0]
    there = dict(
        shop.execute(
            "SELECT coalesce(scenario, 'none'), sum(amount) FROM orders"
            " WHERE status = 'PAID' GROUP BY 1"
        ).fetchall()
    )
    assert len(there) > 3, "the history must have had scenarios"
    for scenario, revenue in there.items():
        shown = [row["value"] for row in by_scenario if row["metric"] == scenario]
        assert sum(shown) == revenue, scenario
    assert {row["metric"] for row in by_scenario} == set(there)
    by_category = answer(shop, "shop", "Revenue by category", now)
    assert sum(row["revenue"] for row in by_category) == paid[0]
    (statuses,) = shop.execute(
        "SELECT count(*) FILTER (WHERE status = 'PAID'),"
        " count(*) FILTER (WHERE status = 'CANCELLED'),"
        " count(*) FILTER (WHERE status = 'REFUNDED') FROM orders"
    ).fetchall()
    assert all(statuses)
    days = answer(shop, "shop", "Orders by day", now)
    assert statuses == tuple(sum(d[k] for d in days) for k in ("paid", "cancelled", "refunded"))


def test_days_and_hours_are_those_of_seoul(shop: Connection, now: datetime) -> None:
    days: Counter[datetime] = Counter()
    hours: Counter[str] = Counter()
    for at, amount in shop.execute(
        "SELECT ordered_at, amount FROM orders WHERE status = 'PAID'"
    ).fetchall():
        seoul = at.astimezone(SEOUL)
        days[seoul.replace(hour=0, minute=0, second=0, microsecond=0)] += amount
        hours[f"{seoul:%H}"] += amount
    by_day = answer(shop, "shop", "Revenue by day", now)
    assert {row["time"].astimezone(SEOUL): row["revenue"] for row in by_day} == days
    by_hour = answer(shop, "shop", "Revenue by hour of day", now)
    assert {row["hour"]: row["revenue"] for row in by_hour} == hours


def test_grades_are_reckoned_back_to_where_everybody_began(shop: Connection, now: datetime) -> None:
    """Each point counts the grades that the customers who had signed up by then had."""
    points: dict[datetime, Counter[str]] = {}
    for row in answer(shop, "customers", "Grades over time", now):
        points.setdefault(row["time"], Counter())[row["metric"]] = row["value"]
    assert all(n >= 0 for grades in points.values() for n in grades.values())
    names = {g.name for g in POLICY.grades}
    assert all(set(grades) == names for grades in points.values())
    signed_up = dict(shop.execute("SELECT user_id, created_at FROM users").fetchall())
    moves = shop.execute(
        "SELECT as_of, user_id, to_grade FROM grade_history ORDER BY as_of"
    ).fetchall()
    runs = shop.execute("SELECT as_of FROM grade_runs ORDER BY as_of").fetchall()
    assert len(runs) == 1 + -(-DAYS // 7)
    assert {as_of for as_of, _, _ in moves} <= {as_of for (as_of,) in runs}
    grades: dict[int, str] = {}
    for at in sorted(points):
        while moves and moves[0][0] < at:
            _, user_id, grades[user_id] = moves.pop(0)
        # A stub, whose sign-up is not known, is counted from the beginning.
        expected = Counter(
            grades.get(user_id, "BRONZE")
            for user_id, since in signed_up.items()
            if since is None or since < at
        )
        assert +points[at] == expected, at
    assert not moves
    assert len(+points[min(points)]) == 1, "the history must begin before all grades"
    today = dict(shop.execute("SELECT grade, count(*) FROM users GROUP BY grade").fetchall())
    assert len(today) > 2, "the shop of the test must have several grades"
    assert +points[max(points)] == today
    now_shown = answer(shop, "customers", "Grades now", now)
    assert {row["grade"]: row["customers"] for row in now_shown if row["customers"]} == today
    assert {row["grade"] for row in now_shown} == names


def test_cohorts_are_of_those_who_signed_up(shop: Connection, now: datetime) -> None:
    """Every cell equals a count over customers and orders one by one."""
    whole = 1_000.0  # days: two fifths of the customers are older than the history
    members = Counter(
        f"{since.astimezone(SEOUL):%Y-%m}"
        for (since,) in shop.execute(
            "SELECT created_at FROM users WHERE created_at IS NOT NULL"
        ).fetchall()
    )
    spent: Counter[str] = Counter()
    orders: Counter[tuple[str, str]] = Counter()
    for user_id, at, amount in shop.execute(
        "SELECT user_id, ordered_at, amount FROM orders WHERE status = 'PAID'"
    ).fetchall():
        cohort = f"{time_of(user_id).astimezone(SEOUL):%Y-%m}"
        spent[cohort] += amount
        orders[cohort, f"{at.astimezone(SEOUL):%Y-%m}"] += 1
    title = "Orders per 100 customers by month of sign-up"
    cohorts = answer(shop, "customers", title, now, days=whole)
    assert [row["signed up"] for row in cohorts] == sorted(members)
    assert len(cohorts) > 3
    for row in cohorts:
        assert row["customers"] == members[row["signed up"]]
        for number in range(13):
            month = _months_later(row["signed up"], number)
            share = 100 * orders[row["signed up"], month] / row["customers"]
            shown = row["month 0" if not number else str(number)]
            assert float(shown or 0) == pytest.approx(share, abs=0.051), (row, number)
    totals = answer(shop, "customers", "Spend by month of sign-up", now, days=whole)
    assert {r["signed up"]: r["spent"] for r in totals} == dict(spent)
    assert sum(r["orders paid"] for r in totals) == sum(orders.values())


def test_numbers_of_customers_are_those_of_the_rows(shop: Connection, now: datetime) -> None:
    (rows,) = shop.execute(
        "SELECT count(*), count(*) FILTER (WHERE created_at IS NULL) FROM users"
    ).fetchall()
    (shown,) = answer(shop, "customers", "Customers", now)
    assert (shown["customers"], shown["stubs"]) == rows
    assert rows[1] == 1
    days = Counter(
        since.astimezone(SEOUL).date()
        for (since,) in shop.execute(
            "SELECT created_at FROM users WHERE created_at IS NOT NULL"
        ).fetchall()
    )
    by_day = answer(shop, "customers", "Sign-ups by day", now, days=1_000.0)
    assert {row["time"].astimezone(SEOUL).date(): row["sign-ups"] for row in by_day} == days
    moves = answer(shop, "shop", "Grade flow", now)
    flow = {
        (row["from"], name.removeprefix("to ")): n
        for row in moves for name, n in row.items() if name != "from" and n
    }  # fmt: skip
    there = shop.execute(
        "SELECT from_grade, to_grade, count(*) FROM grade_history GROUP BY 1, 2"
    ).fetchall()
    assert flow == {(a, b): n for a, b, n in there}


def test_targets_are_the_same_weekdays_four_weeks_long(shop: Connection, now: datetime) -> None:
    spent: Counter[date] = Counter()
    for at, amount in shop.execute(
        "SELECT ordered_at, amount FROM orders WHERE status = 'PAID'"
    ).fetchall():
        spent[at.astimezone(SEOUL).date()] += amount
    shown = answer(shop, "shop", "Revenue and target by day", now, days=30)
    assert 28 <= len(shown) <= 31
    for row in shown:
        day = row["time"].astimezone(SEOUL).date()
        before = [spent[day - timedelta(days=7 * n)] for n in range(1, 5)]
        assert row["revenue"] == spent[day]
        assert row["target"] == pytest.approx(np.median(before) * 1.05, abs=1)
    (today,) = answer(shop, "shop", "Today against the target", now)
    assert today["revenue today"] <= spent[now.astimezone(SEOUL).date()]


def test_a_filter_leaves_what_was_chosen(shop: Connection, now: datetime) -> None:
    scenario, category = (
        shop.execute(f"SELECT {c} FROM {t} GROUP BY 1 ORDER BY sum(spend) DESC LIMIT 1").fetchall()
        for c, t in (("scenario", "sales_by_hour"), ("category", "sales_by_category"))
    )
    chosen = {"scenario": ["sale's", *scenario[0]], "category": [*category[0]], "grade": ["GOLD"]}
    by_scenario = answer(shop, "shop", "Revenue by scenario and day", now, chosen=chosen)
    assert {row["metric"] for row in by_scenario} == {*scenario[0]}
    revenue = sum(row["value"] for row in by_scenario)
    (total,) = answer(shop, "shop", "In this range", now, chosen=chosen)
    assert total["revenue"] == revenue > 0
    for title in ("Revenue by category", "Top products", "Top movers"):
        rows = answer(shop, "shop", title, now, chosen=chosen)
        assert {row["category"] for row in rows} == {*category[0]}, title
    assert [
        row["grade"] for row in answer(shop, "customers", "Grades now", now, chosen=chosen)
    ] == ["GOLD"]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_filters_and_annotations_have_values(
    shop: Connection, now: datetime, model: dict[str, Any]
) -> None:
    for variable in model["templating"]["list"]:
        if variable["type"] == "query":
            assert len(shop.execute(variable["query"].encode()).fetchall()) > 3
    for annotation in model["annotations"]["list"]:
        query = expand(annotation["target"]["rawSql"], now - timedelta(days=91), now)
        cursor = shop.execute(query.encode())
        assert {"time", "text"} <= {c.name for c in cursor.description or ()}
        assert cursor.fetchall()


def _months_later(month: str, number: int) -> str:
    years, rest = divmod(int(month[5:]) - 1 + number, 12)
    return f"{int(month[:4]) + years}-{rest + 1:02}"


def test_operations_tell_what_was_stored(shop: Connection, now: datetime) -> None:
    partitions = answer(shop, "operations", "Partitions", now)
    assert [row["partition"] for row in partitions] == list(range(PARTITIONS)), "one log of two"
    (ingest,) = answer(shop, "operations", "Ingest", now)
    assert (ingest["stored"], ingest["rejected"]) == (LIVE, REJECTED)
    letters = answer(shop, "operations", "Dead letters, open", now)
    assert sum(row["letters"] for row in letters) == REJECTED - REPLAYED
    assert {row["reason"] for row in letters} == {"bad_json", "missing_field"}
    over_time = answer(shop, "operations", "Dead letters over time", now)
    assert sum(row["value"] for row in over_time) == REJECTED
    assert len(answer(shop, "operations", "Newest dead letters", now)) == REJECTED
    runs = answer(shop, "operations", "Grader runs", now)
    moves = answer(shop, "customers", "Grade changes by day", now)
    assert sum(r["grades changed"] for r in runs) == sum(m["up"] - m["down"] for m in moves) > 0


def test_a_history_is_neither_throughput_nor_delay(shop: Connection, now: datetime) -> None:
    """A backfill wrote ninety days of orders just now; only what came by Kafka was ingested."""
    stored = answer(shop, "operations", "Orders stored per second", now, days=1)
    assert sum(row["orders/s"] * 60 for row in stored) == pytest.approx(LIVE)
    (history,) = shop.execute("SELECT max(ends_at) FROM backfill_runs").fetchall()
    minutes: dict[float, list[float]] = {}
    for ordered_at, delay in shop.execute(
        "SELECT ordered_at, extract(epoch FROM ingested_at - ordered_at)::float FROM orders"
        " WHERE ordered_at >= %s",
        history,
    ).fetchall():
        minutes.setdefault(ordered_at.timestamp() // 60 * 60, []).append(delay)
    assert sum(map(len, minutes.values())) == LIVE
    delays = answer(shop, "operations", "Delay from order to row", now)
    assert {float(row["time"]) for row in delays} == set(minutes)
    for row in delays:
        shown = [row["half within"], row["95 % within"]]
        assert shown == pytest.approx(np.percentile(minutes[float(row["time"])], [50, 95]))
        assert 0 <= shown[0] <= shown[1] < 600


def test_a_cancellation_hours_later_is_no_delay(pg: Connection) -> None:
    """The latency of an order does not change when the order is cancelled later."""
    now = utc_now()
    ordered = now - timedelta(hours=5)
    store = Store("orders", window_s=300)
    store.prepare(pg)
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', 0, 'log-1', 0)"
    )
    placed = [order(n, ordered_at=ordered, updated_at=ordered) for n in range(1, 21)]
    store.apply(pg, decode_batch(orders_batch(placed)))
    pg.execute("UPDATE orders SET ingested_at = ordered_at + interval '1 second'")
    cancelled = [order(n, rev=2, status="CANCELLED", ordered_at=ordered, updated_at=now)
                 for n in range(1, 21)]  # fmt: skip
    store.apply(pg, decode_batch(orders_batch(cancelled, start=20)))
    (row,) = answer(pg, "operations", "Delay from order to row", now)
    assert (row["half within"], row["95 % within"]) == (1.0, 1.0)
    assert pg.execute("SELECT count(*) FROM orders WHERE status = 'CANCELLED'").fetchone() == (20,)


def test_a_reader_that_may_only_read_suffices(shop: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shop.execute("DELETE FROM orders")


# -- Prometheus ----------------------------------------------------------------------------------
