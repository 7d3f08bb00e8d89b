"""The windows' length changes for all rows at once, or not at all; what slides over them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from jangteo.cli import windows
from jangteo.stack.consistency import check
from shop import command, postgres
from shop.clock import UTC
from shop.postgres import Connection, window_length
from shop.postgres.window_length import WindowLengthError
from shop.settings import Settings
from tests.support import python_process
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def conn(database: Settings) -> Iterator[Connection]:
    with postgres.connect(database.postgres, "test", autocommit=True) as connection:
        yield connection


def put_orders(conn: Connection, *orders: tuple[int, datetime, int, str]) -> None:
    """Orders (customer, time, amount, status) with the counters that they imply; no windows."""
    for i, (user, at, amount, status) in enumerate(orders, 1):
        conn.execute(
            "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price,"
            " discount, amount, payment_method, status, ordered_at, updated_at)"
            " VALUES (%s, 1, %s, 70, 1, %s, 0, %s, 'CARD', %s, %s, %s)",
            (i, user, amount, amount, status, at, at),
        )
    paid = "FROM orders WHERE status = 'PAID' GROUP BY 1"
    conn.execute(f"INSERT INTO users (user_id, order_count, total_spent)"
                 f" SELECT user_id, count(*), sum(amount) {paid}")  # fmt: skip
    conn.execute(
        f"INSERT INTO products (product_id, order_count) SELECT product_id, count(*) {paid}"
    )


ORDERS = (
    (7, NOON, 100, "PAID"),
    (7, NOON + timedelta(minutes=5), 200, "PAID"),
    (7, NOON + timedelta(minutes=14, seconds=59, microseconds=999_999), 400, "PAID"),
    (8, NOON - timedelta(microseconds=1), 800, "PAID"),
    (8, NOON, 1_600, "CANCELLED"),
)


def held(conn: Connection) -> list[tuple]:
    return conn.execute(
        "SELECT window_start, user_id, orders, spend FROM user_spend_windows ORDER BY 1, 2"
    ).fetchall()


def test_a_rebuild_folds_the_paid_orders_anew(conn: Connection) -> None:
    put_orders(conn, *ORDERS)
    assert window_length.rebuild(conn, 300) == window_length.Rebuilt(None, 300, 0, 4)
    minutes = [timedelta(minutes=m) for m in (-5, 0, 5, 10)]
    starts = [NOON + m for m in minutes]
    assert held(conn) == [
        (starts[0], 8, 1, 800), (starts[1], 7, 1, 100), (starts[2], 7, 1, 200),
        (starts[3], 7, 1, 400),
    ]  # fmt: skip
    assert check(conn) == []
    assert window_length.rebuild(conn, 900) == window_length.Rebuilt(300, 900, 4, 2)
    assert held(conn) == [(NOON - timedelta(minutes=15), 8, 1, 800), (NOON, 7, 3, 700)]
    assert window_length.length(conn) == 900
    assert check(conn) == []


def test_the_first_to_claim_decides(conn: Connection) -> None:
    assert window_length.length(conn) is None
    with conn.transaction(), conn.cursor() as cur:
        window_length.claim(cur, 300)
    with conn.transaction(), conn.cursor() as cur:
        window_length.claim(cur, 300)
    said = r"is 600 s, but .* holds windows of 300 s: set SPEND_WINDOW=300s"
    with pytest.raises(WindowLengthError, match=said), conn.transaction(), conn.cursor() as cur:
        window_length.claim(cur, 600)
    assert window_length.length(conn) == 300


def test_a_rebuild_waits_for_the_batch_and_the_next_batch_for_the_rebuild(
    database: Settings, conn: Connection
) -> None:
    """However they meet, nobody writes a window of the old length after the rebuild."""
    put_orders(conn, *ORDERS)
    window_length.rebuild(conn, 300)

    def waiting() -> int:
        (n,) = conn.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE NOT granted AND datname = current_database()"
        ).fetchone() or (0,)
        return n

    results: dict[str, object] = {}

    def rebuild() -> None:
        with postgres.connect(database.postgres, "rebuild") as other:
            results["rebuild"] = window_length.rebuild(other, 600).windows

    def batch() -> None:
        with postgres.connect(database.postgres, "batch") as other:
            try:
                with other.transaction(), other.cursor() as cur:
                    window_length.hold(cur, 300)
            except WindowLengthError as e:
                results["batch"] = str(e)

    threads = [threading.Thread(target=rebuild), threading.Thread(target=batch)]
    with postgres.connect(database.postgres, "under-way") as under_way, under_way.cursor() as cur:
        window_length.hold(cur, 300)
        for waiters, thread in enumerate(threads, 1):
            thread.start()
            wait_until(lambda n=waiters: waiting() >= n, f"{waiters} wait for the lock")
        assert not results
        assert window_length.length(conn) == 300
        assert len(held(conn)) == 4  # readers are not shut out
    for thread in threads:
        thread.join(30)
    assert results["rebuild"] == 3
    assert "windows of 600 s" in str(results["batch"])


def test_a_rebuild_that_fails_leaves_everything(conn: Connection) -> None:
    put_orders(conn, *ORDERS)
    window_length.rebuild(conn, 300)
    before = held(conn)
    with pytest.raises(psycopg.errors.CheckViolation):
        window_length.rebuild(conn, 7)  # does not divide a day
    assert held(conn) == before
    assert window_length.length(conn) == 300


def test_a_stack_of_its_own_folds_them_anew_and_others_are_asked(conn: Connection) -> None:
    put_orders(conn, *ORDERS)
    assert window_length.fit(conn, 600, alone=False) is None  # no windows yet
    window_length.rebuild(conn, 300)
    assert window_length.fit(conn, 300, alone=False) is None
    with pytest.raises(WindowLengthError):
        window_length.fit(conn, 600, alone=False)
    assert window_length.length(conn) == 300
    assert window_length.fit(conn, 600, alone=True) == window_length.Rebuilt(300, 600, 4, 3)
    assert check(conn) == []


@pytest.mark.usefixtures("topics")
def test_the_command_shows_and_rebuilds(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    put_orders(pg, *ORDERS)

    def call(*words: str, module: str = "jangteo.cli.windows") -> subprocess.CompletedProcess[str]:
        return python_process.run(
            [sys.executable, "-m", module, *words], cwd=ROOT,
            env={**env, "SPEND_WINDOW": "15m"}, capture_output=True, text=True, timeout=60
        )  # fmt: skip

    window_length.rebuild(pg, 300)
    shown = call("show")
    assert (shown.returncode, shown.stdout) == (1, "windows of 300 s; SPEND_WINDOW is 900 s\n")
    refused = call("flows.ingest", module="bytewax.run")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "jangteo windows rebuild" in refused.stderr
    rebuilt = call("rebuild")
    assert (rebuilt.returncode, rebuilt.stdout) == (
        0, "windows of 300 s rebuilt as windows of 900 s: 2 rows instead of 4\n",
    )  # fmt: skip
    assert call("show").returncode == 0


# -- sliding ---------------------------------------------------------------------------------


def last(conn: Connection, minutes: int, as_of: datetime) -> list[tuple]:
    query = "SELECT * FROM spend_of_last(%s, %s) ORDER BY 1"
    return conn.execute(query, (minutes, as_of)).fetchall()


def test_the_last_minutes_slide_over_the_windows(conn: Connection) -> None:
    put_orders(conn, *ORDERS)
    window_length.rebuild(conn, 300)
    after = NOON + timedelta(minutes=14, seconds=59)
    assert last(conn, 4, after) == [(7, 1, 400)]
    # A window counts if any part of it lies in the interval: 12:05 to 12:10 does.
    assert last(conn, 5, after) == [(7, 2, 600)]
    assert last(conn, 15, after) == [(7, 3, 700), (8, 1, 800)]
    assert last(conn, 15, NOON + timedelta(minutes=15)) == [(7, 3, 700)]
    assert last(conn, 5, NOON - timedelta(minutes=1)) == [(8, 1, 800)]  # nothing from the future
    assert last(conn, 5, NOON + timedelta(hours=5)) == []


def test_top_spenders_are_the_largest_sums(conn: Connection) -> None:
    put_orders(conn, *ORDERS, (9, NOON, 700, "PAID"))
    conn.execute("UPDATE users SET name = '김서연', grade = 'GOLD' WHERE user_id = 7")
    window_length.rebuild(conn, 300)
    top = "SELECT * FROM top_spenders(%s, %s, %s)"
    as_of = NOON + timedelta(minutes=14)
    assert conn.execute(top, (30, 2, as_of)).fetchall() == [
        (8, None, "BRONZE", 1, 800), (7, "김서연", "GOLD", 3, 700),
    ]  # fmt: skip
    assert [row[0] for row in conn.execute(top, (30, 10, as_of))] == [8, 7, 9]
    conn.execute("SELECT * FROM spend_last_hour")
    assert conn.execute("SELECT * FROM top_spenders()").fetchall() == []  # long ago


def test_bad_words_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(
            windows.configure, windows.run, prog="jangteo windows", argv=["shrink"], description=""
        )
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
