"""Backfill: a history that adds up, survives kills, and refuses what would harm."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import redis

from generators.history.history import HistorySimulation, midnight
from generators.history.plan import Day
from generators.history.request import HistoryRequest
from generators.history.targets.postgres import GUARDED, PostgresTarget
from generators.publishing.order_lifecycle import PENDING
from grading.store import grade_users
from jangteo.stack import consistency
from shop import postgres
from shop.clock import KST, UTC
from shop.errors import JangteoError, UsageError
from shop.events import SCHEMAS
from shop.grading_policy import POLICY
from shop.postgres import Connection, partitions
from shop.settings import Settings
from tests.support import python_process

SIZE = ["--days", "24", "--orders-per-day", "150"]
END = ["--end", "2026-11-20"]
QUERIES = {
    "users": "SELECT user_id, name, email, gender, birth_year, city, grade, created_at,"
    " last_ordered_at, order_count, total_spent FROM users ORDER BY user_id",
    "products": "SELECT product_id, name, category, brand, price, created_at, order_count"
    " FROM products ORDER BY product_id",
    "orders": "SELECT order_id, rev, user_id, product_id, quantity, unit_price, discount, amount,"
    " payment_method, status, scenario, ordered_at, updated_at FROM orders ORDER BY order_id",
    "windows": "SELECT window_start, user_id, orders, spend FROM user_spend_windows"
    " ORDER BY window_start, user_id",
    "history": "SELECT as_of, user_id, from_grade, to_grade, cumulative_spend FROM grade_history"
    " ORDER BY as_of, user_id",
    "runs": "SELECT as_of, users, changed, upgraded, downgraded FROM grade_runs ORDER BY as_of",
    "length": "SELECT seconds FROM spend_window_length",
}
Fill = Callable[..., "subprocess.CompletedProcess[str]"]


def everything(pg: Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {name: pg.execute(query).fetchall() for name, query in QUERIES.items()}


def number(pg: Connection, query: str) -> int:
    row = pg.execute(query).fetchone()
    assert row
    return int(row[0])


def backfill(env: dict[str, str], *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "generators.backfill", *SIZE, *words],
        env={**env, **extra}, capture_output=True, text=True, timeout=120
    )  # fmt: skip


@pytest.fixture
def fill(env: dict[str, str]) -> Fill:
    return functools.partial(backfill, env)


@pytest.fixture(scope="module")
def history(
    servers: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """The history of `SIZE` and `END`: its database, which tests get copies of, and its Redis."""
    name = servers.create_database()
    folder = tmp_path_factory.mktemp("history")
    given = {**servers.env, "POSTGRES_DB": name, "JANGTEO_DATA_DIR": str(folder)}
    with redis.Redis.from_url(given["REDIS_URL"]) as client:
        client.flushall()
        # What an earlier shop left: its order is gone, so nobody is to hear of its cancellation.
        client.zadd(PENDING, {json.dumps({"order_id": 1, "rev": 2}): 9e9})
        done = backfill(given, *END)
        assert done.returncode == 0, done.stderr
        keys: dict[bytes, bytes] = {key: client.dump(key) for key in client.scan_iter()}
    yield name, keys
    servers.drop_database(name)


@pytest.fixture
def env(env: dict[str, str], request: pytest.FixtureRequest, servers: Any) -> dict[str, str]:
    """For a test that uses `filled`, the database and the Redis hold the history."""
    if "filled" in request.fixturenames:
        database, keys = request.getfixturevalue("history")
        servers.replace_database(env["POSTGRES_DB"], database)
        with redis.Redis.from_url(env["REDIS_URL"]) as client:
            client.flushall()
            for key, value in keys.items():
                client.restore(key, 0, value)
    return env


@pytest.fixture
def filled(env: dict[str, str]) -> None:
    """Let `env` name a shop with the history."""


@pytest.mark.usefixtures("filled")
def test_a_history_adds_up(pg: Connection, redis_client: redis.Redis):
    assert consistency.check(pg) == []
    orders = number(pg, "SELECT count(*) FROM orders")
    assert 2_500 < orders < 6_000  # 24 days of 150, with growth, holidays, scenarios
    users = number(pg, "SELECT count(*) FROM users")
    assert orders < users < 3 * orders  # most are new in the first month of a shop
    assert 1_000 < number(pg, "SELECT count(*) FROM products") < 1_100
    # The live shop continues with these customers.
    clock = pg.execute("SELECT orders, sign_ups, seed, orders_per_day FROM simulation.clock")
    assert clock.fetchall() == [(orders, users, 1, 150)]
    assert not number(
        pg,
        "SELECT count(*) FROM users FULL JOIN simulation.customers AS c USING (user_id)"
        " LEFT JOIN (SELECT user_id, count(*) AS n, max(order_id) AS newest FROM orders"
        " GROUP BY user_id) AS o USING (user_id) WHERE c.orders <> coalesce(n, 0)"
        " OR c.last_order_id IS DISTINCT FROM newest OR c.user_id IS NULL",
    )
    assert number(pg, "SELECT count(*) FROM simulation.customers WHERE due IS NULL") > users / 5
    end = midnight(datetime(2026, 11, 21, tzinfo=KST).date())
    row = pg.execute(
        "SELECT min(ordered_at), max(ordered_at), max(updated_at), "
        "count(*) FILTER (WHERE rev = 2), count(*) FILTER (WHERE status <> 'PAID') FROM orders"
    ).fetchone()
    assert row
    first, last, changed, second, undone = row
    assert end - timedelta(days=24) <= first < end - timedelta(days=23)
    assert last < end
    assert changed < end
    assert second == undone > 0
    # The newest order of each customer, cancelled or not, and nothing for who never ordered.
    assert not number(
        pg,
        "SELECT count(*) FROM users LEFT JOIN (SELECT user_id, max(ordered_at) AS newest "
        "FROM orders GROUP BY user_id) AS o USING (user_id) "
        "WHERE last_ordered_at IS DISTINCT FROM newest",
    )
    waiting = redis_client.zrange(PENDING, 0, -1, withscores=True)
    assert waiting
    for text, due in waiting:
        event = json.loads(text)
        assert due >= end.timestamp()
        there = pg.execute(
            "SELECT rev, status FROM orders WHERE order_id = %s", (event["order_id"],)
        ).fetchone()
        assert there == (1, "PAID")
        assert event["rev"] == 2
    # It is a shop like any other: nothing guards it, and it can be written to.
    pg.execute("UPDATE users SET city = city")
    assert number(pg, "SELECT count(*) FROM pg_stats WHERE tablename = 'orders'") > 10
    assert not number(pg, "SELECT count(*) FROM pg_trigger WHERE tgname = 'backfill_guard'")
    assert not number(
        pg, "SELECT count(*) FROM pg_class WHERE array_to_string(reloptions, ' ') LIKE '%vacuum%'"
    )


@pytest.mark.usefixtures("filled")
def test_grades_are_what_a_grader_would_have_given(pg: Connection, settings: Settings):
    """Every change follows from the orders of its time, and customers' rows from the last."""
    wrong = pg.execute(
        "SELECT h.user_id, h.as_of, cumulative_spend FROM grade_history AS h "
        "WHERE cumulative_spend <> (SELECT coalesce(sum(amount), 0) FROM orders AS o "
        "  WHERE o.user_id = h.user_id AND ordered_at < as_of "
        "  AND ordered_at >= as_of - interval '6 months' "
        "  AND (status = 'PAID' OR updated_at > as_of))"
    ).fetchall()
    assert wrong == []
    assert number(pg, "SELECT count(*) FROM grade_history") > 20
    assert number(pg, "SELECT count(*) FROM grade_runs") == 4  # of day 0, 7, 14, 21
    assert not number(
        pg,
        "SELECT count(*) FROM users WHERE grade <> coalesce((SELECT to_grade FROM grade_history "
        "AS h WHERE h.user_id = users.user_id ORDER BY as_of DESC LIMIT 1), 'BRONZE')",
    )
    # The live grader continues from there: a full run, then what changed.
    with postgres.connect(settings.postgres, "test") as conn:
        now = midnight(datetime(2026, 11, 21, tzinfo=KST).date())
        first = grade_users(conn, wait=True, clock=lambda: now)
        again = grade_users(conn, wait=True, clock=lambda: now + timedelta(hours=1))
    assert first
    assert again
    assert (first.mode, again.mode, again.changed) == ("full", "incremental", 0)


@pytest.mark.usefixtures("filled")
def test_killed_at_any_moment_it_goes_on_and_nothing_is_doubled(
    fill: Fill, env: dict[str, str], pg: Connection
):
    expected = everything(pg)
    # To be seen to be replaced.
    pg.execute(
        "UPDATE orders SET unit_price = unit_price + 1, amount = amount + quantity WHERE rev = 2"
    )
    begun = [sys.executable, "-m", "generators.backfill", *SIZE, *END, "--truncate"]
    kills = 0
    for day in (3, 16):
        process = python_process.Popen(begun, env=env, stderr=subprocess.PIPE, text=True)
        ends = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < ends:
            half = pg.execute(
                "SELECT next_day FROM backfill_runs WHERE finished_at IS NULL"
            ).fetchone()
            if half and half[0] >= day:
                process.kill()
                kills += 1
                break
        process.communicate()
    assert kills
    assert fill(*END, "--truncate").returncode == 0
    assert everything(pg) == expected
    assert consistency.check(pg) == []


def half(settings: Settings, asked: HistoryRequest, days: int) -> None:
    """Write some days of a history, as a backfill that was killed leaves them."""
    target = PostgresTarget(
        settings.postgres, window_s=settings.spend_window, policy=POLICY, truncate=False
    )
    end = asked.ends_at(datetime(2026, 11, 25, tzinfo=UTC))
    target.begin(asked, end)
    history = HistorySimulation(asked.plan(end, POLICY), POLICY, end)
    for _, day in zip(range(days), history.days(), strict=False):
        target.prepare(day)()
    target.close()


def request() -> HistoryRequest:
    """Return the request that `SIZE` and `END` make."""
    return HistoryRequest(
        days=24, orders_per_day=150,
        end=datetime(2026, 11, 20).date(), policy=POLICY.as_json(),  # noqa: DTZ001  (only its date is used)
    )  # fmt: skip


def test_what_would_harm_is_refused(fill: Fill, settings: Settings, pg: Connection):
    half(settings, request(), 3)
    before = everything(pg)
    other = fill(*END, "--seed", "7", "--truncate")
    assert other.returncode == 2
    assert "a history is unfinished (3 of 24 days), with seed 1, not 7" in other.stderr
    production = fill(*END, DB_TYPE="production")
    assert production.returncode == 2
    assert "Traceback" not in production.stderr
    for table in GUARDED:  # half a history is nobody's to write to
        with pytest.raises(psycopg.errors.LockNotAvailable):
            pg.execute(f"TRUNCATE {table}")
    seeded = python_process.run(
        [sys.executable, "-m", "generators.seed", "--users", "10"],
        env={**settings.env}, capture_output=True, text=True
    )  # fmt: skip
    assert "a backfill is half done" in seeded.stderr
    assert "Traceback" not in seeded.stderr
    assert everything(pg) == before
    assert fill("--discard").returncode == 0
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    full = fill(*END)
    assert full.returncode == 2
    assert "--truncate empties it" in full.stderr
    assert number(pg, "SELECT count(*) FROM users") == 1


def test_days_that_come_out_otherwise_are_not_gone_on_with(
    fill: Fill, settings: Settings, pg: Connection
):
    asked = request()
    half(settings, asked, 9)
    kept = number(pg, "SELECT fingerprint FROM backfill_runs")
    pg.execute("UPDATE backfill_runs SET fingerprint = fingerprint # 1")
    before = everything(pg)
    refused = fill(*END)
    assert refused.returncode == 1
    assert "day 0 to 8, simulated again, are not those that are written" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert everything(pg) == before
    # Begun by a version that did not keep it: nothing to compare with.
    pg.execute("UPDATE backfill_runs SET fingerprint = NULL")
    assert fill(*END).returncode == 0
    assert kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--end", "2199-01-01"], "has not begun yet"),
        (["--days", "0"], "--days is 1 to"),
        (["--orders-per-day", "3"], "is at least 20, not 3"),
        (["--scale", "1e9"], "is at most 10000000, not 150000000000"),
        (["--to", "mars"], "postgres, parquet DIR, or kafka"),
        (["--speed", "3"], "--to kafka"),
        (["--end", "tomorrow"], "invalid"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(fill: Fill, words: list[str], says: str):
    refused = fill(*words)
    assert refused.returncode == 2
    assert says in refused.stderr
    # Next to the line that names the servers, which is logged before the database is asked.
    said = [line for line in refused.stderr.splitlines() if "event=servers" not in line]
    assert len(said) == 1


@pytest.mark.usefixtures("filled")
def test_files_hold_what_the_database_holds(fill: Fill, pg: Connection, tmp_path: Path):
    folder = tmp_path / "year"
    done = fill(*END, "--to", "parquet", str(folder))
    assert done.returncode == 0, done.stderr
    assert fill(*END, "--to", "parquet", str(folder)).returncode == 0  # there already
    assert "another history" in fill(*END, "--seed", "2", "--to", "parquet", str(folder)).stderr
    for table, key in (
        ("orders", ["order_id"]),
        ("users", ["user_id"]),
        ("products", ["product_id"]),
        ("user_spend_windows", ["window_start", "user_id"]),
        ("grade_history", ["as_of", "user_id"]),
    ):
        files = pl.read_parquet(folder / table / "**/*.parquet", hive_partitioning=False).sort(key)
        columns = ", ".join(files.columns)
        stored = pg.execute(f"SELECT {columns} FROM {table} ORDER BY {', '.join(key)}")
        assert files.rows() == stored.fetchall(), table
    assert len(list((folder / "orders").iterdir())) == 24


def test_windows_of_a_day_lie_across_business_days(fill: Fill, pg: Connection):
    done = fill(*END, "--days", "9", SPEND_WINDOW="24h")
    assert done.returncode == 0, done.stderr
    assert consistency.check(pg) == []
    assert number(pg, "SELECT seconds FROM spend_window_length") == 86_400


def test_the_end_cuts_the_last_day():
    asked = HistoryRequest(days=9, orders_per_day=200)
    now = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)  # half past three in Seoul
    end = asked.ends_at(now)
    assert end == now
    cut = list(HistorySimulation(asked.plan(end, POLICY), POLICY, end).days())
    later = midnight(datetime(2026, 11, 21, tzinfo=KST).date())
    whole_request = asked.plan(later, POLICY)
    whole = list(HistorySimulation(whole_request, POLICY, later).days())
    assert len(cut) == len(whole) == 9
    known = pl.concat(d.orders for d in cut)
    full = pl.concat(d.orders for d in whole)
    assert known["order_id"].equals(full.filter(pl.col("ordered_at") < now)["order_id"])
    assert known.filter(pl.col("updated_at") >= now).is_empty()
    assert max(d.users["created_at"].max() for d in cut if len(d.users)) < now  # type: ignore[type-var]  # max() of a column may be None; not of these


def test_another_backfill_is_not_let_in(settings: Settings):
    def open_one() -> PostgresTarget:
        return PostgresTarget(settings.postgres, window_s=300, policy=POLICY, truncate=False)

    first = open_one()
    with pytest.raises(UsageError, match="another backfill"):
        open_one()
    first.close()
    open_one().close()


def test_days_must_come_in_order(settings: Settings):
    asked = HistoryRequest(days=2, orders_per_day=50, policy="p")
    half(settings, asked, 1)
    target = PostgresTarget(settings.postgres, window_s=300, policy=POLICY, truncate=False)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    none = pl.DataFrame(schema=SCHEMAS["orders"])
    day = Day(7, now, now, none, none, none, None, 0)
    with pytest.raises(JangteoError, match="not the next one"):
        target.prepare(day)()
    target.close()


def test_a_history_fills_partitions_of_a_month(
    fill: Fill, settings: Settings, pg: Connection
) -> None:
    partitions.fit(pg, wanted=True)
    done = fill("--days", "10", "--orders-per-day", "60", "--end", "2026-11-05")
    assert done.returncode == 0, done.stderr
    assert consistency.check(pg) == []
    for table in ("orders", "user_spend_windows"):
        assert number(pg, f"SELECT count(*) FROM {table}_2026_10")
        assert number(pg, f"SELECT count(*) FROM {table}_2026_11")
        assert number(pg, f"SELECT count(*) FROM {table}_default") == 0
    assert (
        number(pg, "SELECT count(*) FROM pg_class WHERE 'autovacuum_enabled=off' = ANY(reloptions)")
        == 0
    )
    with postgres.connect(settings.postgres, "grader", autocommit=True) as conn:
        for _ in range(2):  # the first is full, the second starts from it
            assert grade_users(conn, wait=True) is not None
