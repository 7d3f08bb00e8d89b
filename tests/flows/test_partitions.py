"""The layout by month: counts stay exact while months are made, detached, attached, dropped."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from grading.store import grade_users
from jangteo.cli import partitions as command_line
from jangteo.stack.consistency import check
from shop import command, postgres
from shop.errors import UsageError
from shop.events import Order
from shop.ids import EPOCH, make_id
from shop.postgres import Connection, partitions, window_length
from shop.postgres import months as of_months
from shop.settings import Settings
from tests.flows.store_steps import WINDOW_S, apply, fetch, register
from tests.support.event_samples import order, orders_batch

JANUARY = date(2025, 1, 1)
BEGIN = datetime(2024, 12, 31, 15, tzinfo=UTC)  # midnight in Seoul


@pytest.fixture
def layout() -> str:
    return "partitioned"


@pytest.fixture
def owner(conn: Connection, settings: Settings) -> Iterator[Connection]:
    register(conn)
    with postgres.connect(settings.postgres, "owner", autocommit=True) as connection:
        with connection.transaction(), connection.cursor() as cur:
            partitions.make(cur, BEGIN, BEGIN + timedelta(days=40))
        yield connection


def order_at(at: datetime, n: int, **changes) -> Order:
    id_ = make_id((at - EPOCH) // timedelta(milliseconds=1), sequence=n)
    return order(id_, **{"ordered_at": at, "updated_at": at, "user_id": n % 5 + 1, **changes})


def events(seed: int) -> list[Order]:
    """Return orders of three months, with other ids' times, revisions and duplicates among them."""
    rng = random.Random(seed)
    made = []
    for n in range(60):
        at = BEGIN + timedelta(seconds=rng.randrange(80 * 86_400))
        changes = {"product_id": 70 + n % 3, "quantity": 1 + n % 4}
        if n % 7 == 0:  # a wrong clock
            changes["ordered_at"] = BEGIN + timedelta(seconds=rng.randrange(80 * 86_400))
        first = order_at(at, n, **changes)
        made.append(first)
        if n % 3 == 0:
            status = rng.choice(["CANCELLED", "REFUNDED"])
            made.append(order_at(at, n, rev=2, status=status, **changes))
        if n % 5 == 0:
            made.append(first)
    rng.shuffle(made)
    return made


def months(conn: Connection) -> dict[str, str]:
    return {m.month: m.state for m in of_months.months(conn) if m.month < "2026"}


def in_table(conn: Connection, table: str) -> int:
    return conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.mark.parametrize("seed", range(3))
def test_counts_match_at_every_moment_of_a_month(owner: Connection, conn: Connection, seed: int):
    """Whatever the order of arrival, and while a month is away."""
    todo = events(seed)
    newest: dict[int, Order] = {}
    for event in todo:
        if event.order_id not in newest or event.rev > newest[event.order_id].rev:
            newest[event.order_id] = event
    for start in range(0, len(todo), 20):
        apply(conn, orders_batch(todo[start : start + 20], start=start))
        assert check(owner) == []
    everything = "SELECT * FROM orders ORDER BY order_id"
    windows = (
        "SELECT user_id, window_start, orders, spend FROM user_spend_windows"
        " WHERE orders <> 0 ORDER BY 1, 2"
    )
    before, folded = fetch(owner, everything), fetch(owner, windows)
    assert {(row[0], row[1]) for row in before} == {(o.order_id, o.rev) for o in newest.values()}
    assert in_table(owner, "orders_2025_01"), in_table(owner, "orders_default")

    n = of_months.detach(owner, JANUARY)
    assert check(owner) == []
    assert in_table(owner, "orders") == len(before) - n < len(before)
    later = [order_at(BEGIN + timedelta(days=200, seconds=i), i) for i in range(5)]
    apply(conn, orders_batch(later, start=len(todo)))
    assert check(owner) == []
    with owner.transaction():
        owner.execute("SELECT rebuild_sales()")
    assert check(owner) == []
    window_length.rebuild(owner, WINDOW_S)
    assert check(owner) == []

    assert of_months.attach(owner, JANUARY) == n
    assert check(owner) == []
    kept = [row for row in fetch(owner, everything) if row[0] < later[0].order_id]
    assert kept == before
    assert [w for w in fetch(owner, windows) if w[1] < later[0].ordered_at] == folded
    assert (in_table(owner, "detached_spend"), in_table(owner, "detached_sales")) == (0, 0)


def test_an_order_is_unique_over_all_months(owner: Connection, conn: Connection):
    """Its id decides the partition: no other time of order puts a second one beside it."""
    here = order_at(BEGIN + timedelta(days=1), 1)
    apply(conn, orders_batch([here]))
    elsewhere = {"ordered_at": BEGIN + timedelta(days=45), "rev": 2, "status": "CANCELLED"}
    moved = order_at(BEGIN + timedelta(days=1), 1, **elsewhere)
    apply(conn, orders_batch([here, moved, moved], start=1))
    assert fetch(owner, "SELECT order_id, rev, tableoid::regclass::text FROM orders") == [
        (here.order_id, 2, "orders_2025_01")
    ]
    assert check(owner) == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute("INSERT INTO orders SELECT * FROM orders")


def test_a_dropped_month_leaves_its_sums(owner: Connection, conn: Connection):
    apply(conn, orders_batch([order_at(BEGIN + timedelta(days=d), d) for d in range(60)]))
    spent = fetch(owner, "SELECT user_id, total_spent FROM users ORDER BY 1")
    assert of_months.detach(owner, JANUARY, drop=True) == 31
    assert months(owner) == {"2025-01": "dropped", "2025-02": "attached"}
    assert check(owner) == []
    assert fetch(owner, "SELECT user_id, total_spent FROM users ORDER BY 1") == spent
    assert in_table(owner, "orders") == 29
    with pytest.raises(UsageError, match="is dropped, not detached"):
        of_months.attach(owner, JANUARY)


def test_a_month_stored_again_is_not_attached(owner: Connection, conn: Connection):
    first = order_at(BEGIN + timedelta(days=1), 1)
    apply(conn, orders_batch([first]))
    of_months.detach(owner, JANUARY)
    apply(conn, orders_batch([first], start=1))
    assert check(owner) == []
    with pytest.raises(UsageError, match="1 orders of 2025-01 were stored again"):
        of_months.attach(owner, JANUARY)


def test_what_came_without_a_partition_moves_into_it(owner: Connection, conn: Connection):
    late = [order_at(BEGIN + timedelta(days=70 + d), d) for d in range(4)]
    apply(conn, orders_batch(late))
    assert in_table(owner, "orders_default") == 4
    with owner.transaction(), owner.cursor() as cur:
        partitions.make(cur, BEGIN + timedelta(days=65), BEGIN + timedelta(days=65))
    assert (in_table(owner, "orders_default"), in_table(owner, "orders_2025_03")) == (0, 4)
    assert in_table(owner, "user_spend_windows_2025_03") == 4
    assert check(owner) == []


def test_an_ingest_makes_the_months_ahead(settings: Settings, owner: Connection):
    """Its login owns no table."""
    postgres.grant_roles(owner)
    month = max(m.month for m in of_months.months(owner))
    table = month.replace("-", "_")
    owner.execute(f"DROP TABLE orders_{table}, user_spend_windows_{table}")
    with postgres.connect(settings.postgres, "ingest", autocommit=True) as member:
        member.execute("SET ROLE jangteo_ingest")
        ahead = partitions.MonthsAhead()
        with owner.transaction():  # somebody holds the table: later, and nobody is stopped
            owner.execute("LOCK TABLE orders_default IN ROW EXCLUSIVE MODE")
            ahead.keep(member)
        assert month not in {m.month for m in of_months.months(owner)}
        partitions.MonthsAhead().keep(member)
        assert month in {m.month for m in of_months.months(owner)}


def test_a_database_is_converted_there_and_back(settings: Settings, owner: Connection, conn):
    apply(conn, orders_batch(events(1)))
    grade_users(owner, wait=True, clock=lambda: BEGIN + timedelta(days=90))
    postgres.grant_roles(owner)
    queries = """
SELECT * FROM orders ORDER BY order_id
SELECT * FROM user_spend_windows ORDER BY 1, 2
SELECT conname FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype <> 'n' ORDER BY 1
SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1
SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'user_spend_windows'::regclass
SELECT acl.* FROM pg_class, aclexplode(relacl) AS acl WHERE oid = 'orders'::regclass ORDER BY 2, 3
SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass ORDER BY 1
SELECT obj_description('orders'::regclass), col_description('orders'::regclass, 1)
""".strip().splitlines()
    before = [fetch(owner, query) for query in queries]
    for partitioned in (False, True):
        postgres.migrate(owner, partitioned=partitioned)
        assert partitions.partitioned(owner) is partitioned
        assert [fetch(owner, query) for query in queries] == before
        assert check(owner) == []
        apply(conn, orders_batch(events(1)))
    partitions.fit(owner, wanted=True)
    with owner.transaction(), owner.cursor() as cur:
        partitions.make(cur, BEGIN, BEGIN)
    of_months.detach(owner, JANUARY)
    with pytest.raises(UsageError, match="2025-01: detached; attach or drop"):
        postgres.migrate(owner, partitioned=False)


def run(argv: list[str], settings: Settings) -> int:
    parser = command.Parser(prog="jangteo partitions")
    command_line.configure(parser)
    return command_line.run(parser.parse_args(argv), settings)


def test_the_command_drops_old_months_and_asks_before(
    owner: Connection, conn: Connection, settings: Settings, capsys, monkeypatch
):
    apply(conn, orders_batch([order_at(BEGIN + timedelta(days=d), d) for d in range(40)]))
    drop = ["drop", "--older-than", "2025-02"]
    assert run([*drop, "--dry-run"], settings) == 0
    assert "would drop 1 months" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert run(drop, settings) == 1
    assert months(owner)["2025-01"] == "attached"
    assert run(["detach", "2025-01"], settings) == 0
    assert run(["attach", "2025-01"], settings) == 0
    assert run([*drop, "--yes"], settings) == 0
    assert months(owner) == {"2025-01": "dropped", "2025-02": "attached"}
    assert run(["list"], settings) == 0
    assert "2025-02  attached" in capsys.readouterr().out
    with pytest.raises(UsageError, match="still counts for grades"):
        run(["detach", max(m.month for m in of_months.months(owner))], settings)
    with pytest.raises(UsageError, match="not a month"):
        run(["attach", "2025-13"], settings)
