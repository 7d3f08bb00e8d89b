import json
import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from generators import seed
from generators.random_streams import stream
from shop.clock import KST, UTC
from shop.errors import UsageError
from shop.ids import time_of
from shop.postgres import Connection
from tests.support import python_process

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)  # 12:00 in Seoul
ANCHOR = datetime(2026, 11, 22, 15, tzinfo=UTC)  # the midnight before


def counts(pg: Connection) -> tuple[int, int]:
    row = pg.execute("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM products)")
    users, products = row.fetchone() or (0, 0)
    return users, products


def everything(pg: Connection) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Return all rows without their last two columns, when they were stored and changed."""
    users = pg.execute("SELECT * FROM users ORDER BY user_id").fetchall()
    products = pg.execute("SELECT * FROM products ORDER BY product_id").fetchall()
    return [row[:-2] for row in users], [row[:-2] for row in products]


def fill(pg: Connection, users: int, products: int, *, s: int = 1, now: datetime = NOON):
    return seed.seed_shop(pg, users=users, products=products, seed=s, clock=lambda: now)


def test_seeding_again_adds_nothing(pg: Connection):
    assert fill(pg, 500, 200) == (500, 200)
    before = everything(pg)
    for later in (0, 1, 400):
        assert fill(pg, 500, 200, now=NOON + timedelta(days=later)) == (0, 0)
    assert everything(pg) == before


def test_the_same_seed_gives_the_same_shop(pg: Connection):
    fill(pg, 300, 100)
    first = everything(pg)
    pg.execute("TRUNCATE users, products")
    fill(pg, 300, 100)
    assert everything(pg) == first
    pg.execute("TRUNCATE users, products")
    fill(pg, 300, 100, s=2)
    assert [u[1] for u in everything(pg)[0]] != [u[1] for u in first[0]]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_tiny_shop_finds_its_anchor_again(pg: Connection, n: int):
    for s in range(20):
        pg.execute("TRUNCATE users, products")
        fill(pg, n, 0, s=s)
        assert fill(pg, n, 0, s=s, now=NOON + timedelta(days=200)) == (0, 0)


def test_a_larger_seed_adds_the_difference(pg: Connection):
    fill(pg, 300, 100)
    assert fill(pg, 500, 100) == (200, 0)
    assert counts(pg) == (500, 100)


def test_rows_of_others_stay_as_they_are(pg: Connection):
    pg.execute("INSERT INTO users (user_id, order_count) VALUES (1, 7)")  # a stub
    fill(pg, 10, 10)
    assert pg.execute("SELECT order_count, name FROM users WHERE user_id = 1").fetchall() == [
        (7, None)
    ]


def test_a_seeded_shop_is_two_years_old_and_growing(pg: Connection):
    fill(pg, 5_000, 1_000)
    rows = pg.execute("SELECT user_id, created_at, grade, order_count FROM users").fetchall()
    times = [created for _, created, _, _ in rows]
    assert all(time_of(user_id) == created for user_id, created, _, _ in rows)
    assert ANCHOR - seed.SPAN <= min(times) < ANCHOR - seed.SPAN + timedelta(days=20)
    assert ANCHOR - timedelta(days=1) <= max(times) < ANCHOR
    late = sum(t > ANCHOR - timedelta(days=73) for t in times)
    early = sum(t < ANCHOR - timedelta(days=657) for t in times)
    assert 2.5 < late / early < 5  # four times the density at the end
    assert {(grade, orders) for _, _, grade, orders in rows} == {("BRONZE", 0)}


@hypothesis_settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_ids_of_creation_are_ascending_and_before_the_anchor(s: int, n: int):
    ids = seed.creation_ids(stream(s, "t").random(n), ANCHOR)
    assert len(ids) == n
    assert np.all(np.diff(ids) > 0)
    assert ANCHOR - timedelta(days=1) <= time_of(int(ids[-1])) < ANCHOR
    assert time_of(int(ids[0])) >= ANCHOR - seed.SPAN - timedelta(milliseconds=1)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)))  # noqa: DTZ001  (hypothesis wants naive bounds)
def test_midnight_after(naive: datetime):
    moment = naive.replace(tzinfo=UTC)
    midnight = seed.midnight_after(moment)
    assert timedelta(0) <= midnight - moment < timedelta(days=1)
    assert midnight.astimezone(KST).timetz().replace(tzinfo=None).isoformat() == "00:00:00"


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "generators.seed", *args],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_command_seeds_truncates_and_says_what_it_did(env: dict[str, str], pg: Connection):
    done = run({**env, "LOG_FORMAT": "json"}, "--users", "1_000", "--products", "300")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stderr.splitlines()[-1])
    assert (said["event"], said["users"], said["products"]) == ("seeded", 1_000, 300)
    assert done.stdout == ""
    assert counts(pg) == (1_000, 300)
    pg.execute("INSERT INTO user_spend_windows VALUES (1, now(), 1, 1)")
    assert run(env, "--users", "10", "--products", "0", "--truncate").returncode == 0
    assert counts(pg) == (10, 0)
    assert pg.execute("SELECT count(*) FROM user_spend_windows").fetchone() == (0,)


def test_production_is_not_emptied_by_accident(env: dict[str, str], pg: Connection):
    fill(pg, 5, 5)
    production = {**env, "DB_TYPE": "production"}
    done = run(production, "--truncate")
    assert done.returncode == UsageError.exit_code
    assert "--yes-production" in done.stderr
    assert done.stderr.count("\n") == 1
    assert counts(pg) == (5, 5)
    meant = ("--truncate", "--yes-production", "--no-publish", "--users=3", "--products=3")
    assert run(production, *meant).returncode == 0
    assert counts(pg) == (3, 3)


def test_without_a_schema_or_a_server_one_line_says_what_to_do(env: dict[str, str]):
    done = run({**env, "POSTGRES_DB": "postgres"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "jangteo init" in done.stderr
    done = run({**env, "POSTGRES_PORT": "1"})
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "cannot reach PostgreSQL" in done.stderr
    done = run(env, "--users", "-3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_large_seed_goes_in_pieces(pg: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seed, "CHUNK", 1_000)
    assert fill(pg, 4_500, 2_500) == (4_500, 2_500)
    in_pieces = everything(pg)
    pg.execute("TRUNCATE users, products")
    monkeypatch.setattr(seed, "CHUNK", 250_000)
    assert fill(pg, 4_500, 2_500) == (4_500, 2_500)
    assert everything(pg) == in_pieces
