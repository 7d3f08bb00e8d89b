"""Each least-privilege role can do its work, by the real programs, and is refused the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from jangteo.stack.consistency import check
from shop import kafka, postgres
from shop import settings as shop_settings
from shop.clock import UTC
from shop.postgres import Connection
from shop.settings import LOGINS, Settings
from tests.support import python_process
from tests.support.event_samples import message, order, user
from tests.support.ingest_processes import Ingest, publish, wait_caught_up

ROLES = ("ingest", "generator", "grader", "console")
PASSWORD = "not-a-secret"
# What each may not do; none of these may change the schema, delete an order or a customer.
REFUSED = {
    "ingest": [
        "UPDATE users SET grade = 'VIP'",
        "INSERT INTO users (user_id, grade) VALUES (1, 'VIP')",
        "INSERT INTO grade_history SELECT * FROM grade_history",
        "DELETE FROM rejected_messages",
        "UPDATE spend_window_length SET seconds = 60",
        "UPDATE node_leases SET ceiling_ms = 0",
    ],
    "generator": [
        "UPDATE users SET name = 'x'",
        "INSERT INTO orders SELECT * FROM orders",
        "SELECT * FROM rejected_messages",
        "CREATE TEMP TABLE t (i integer)",
        "DELETE FROM node_leases",
        "UPDATE node_leases SET node = 1",
    ],
    "grader": [
        "UPDATE users SET total_spent = 0",
        "UPDATE orders SET amount = 0",
        "UPDATE grade_history SET from_grade = 'VIP'",
        "UPDATE grade_history SET as_of = now()",
        "DELETE FROM grade_history",
        "DELETE FROM grade_runs",
        "CREATE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION touch_changed_at()",
        "UPDATE sales_by_hour SET spend = 0",
    ],
    "console": [
        "UPDATE users SET grade = 'VIP'",
        "DELETE FROM rejected_messages",
        "CREATE TEMP TABLE t (i integer)",
    ],
}
FOR_ALL = [
    "DELETE FROM orders",
    "DELETE FROM users",
    "TRUNCATE orders",
    "DROP TABLE orders",
    "ALTER TABLE orders ADD COLUMN x integer",
    "CREATE TABLE t (i integer)",
    "CREATE ROLE x",
    "UPDATE schema_migrations SET version = 9",
    "SELECT pg_read_file('PG_VERSION')",
]


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "jangteo", *words],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def passwords(word: str) -> dict[str, str]:
    """Return variables that give the login of each kind of process its own password."""
    return {name: f"{word}-{kind}" for kind, name in LOGINS.items()}


@pytest.fixture
def members(topics: object, env: dict[str, str], pg: Connection) -> dict[str, dict[str, str]]:
    """Return the environment of a process that logs in as a member of a role."""
    done = run({**env, **passwords(PASSWORD)}, "init", "--logins")
    assert done.returncode == 0, done.stderr
    assert all(f"jangteo_{role}" in done.stdout and f"shop_{role}" in done.stdout for role in ROLES)
    assert PASSWORD not in done.stdout + done.stderr
    return {
        role: {**env, "POSTGRES_USER": f"shop_{role}", "POSTGRES_PASSWORD": f"{PASSWORD}-{role}"}
        for role in ROLES
    }


def connect(env: dict[str, str]) -> Connection:
    where = shop_settings.load(env, use_stack=False).postgres
    return postgres.connect(where, "test", autocommit=True)


def test_roles_have_no_login_and_no_password(
    members: dict[str, dict[str, str]], env: dict[str, str], pg: Connection
) -> None:
    again = run({**env, **passwords(PASSWORD)}, "init", "--logins")
    assert again.returncode == 0, again.stderr
    assert all(f"jangteo_{role}" in again.stdout for role in ROLES)
    rows = pg.execute(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolpassword"
        " FROM pg_authid WHERE rolname ~ '^jangteo_'"
    ).fetchall()
    assert rows == [(False, False, False, False, False, None)] * len(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_refused_what_is_not_its_work(
    members: dict[str, dict[str, str]], role: str
) -> None:
    with connect(members[role]) as conn:
        for statement in [*REFUSED[role], *FOR_ALL]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


def test_the_shop_works_with_four_roles(
    members: dict[str, dict[str, str]], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    first = order(1, user_id=7, product_id=3)
    publish(settings, "orders", [message("orders", first), (b"1", b"no JSON")])
    now = datetime.now(UTC)
    dear = order(3, user_id=8, product_id=3, unit_price=5_000_000, ordered_at=now, updated_at=now)
    publish(settings, "orders", [message("orders", dear)])
    publish(settings, "users", [message("users", user(7)), message("users", user(8))])
    with Ingest(members["ingest"], tmp_path / "ingest.log") as ingest:
        wait_caught_up(settings, pg, ("orders", "users"))
        # A second time, so that rows are merged and not only inserted.
        fields = {f: getattr(first, f) for f in first.__struct_fields__}
        again = type(first)(**{**fields, "rev": 2, "status": "CANCELLED"})
        publish(settings, "orders", [message("orders", again)])
        publish(settings, "orders", [message("orders", order(2, user_id=7, product_id=3))])
        wait_caught_up(settings, pg, ("orders", "users"))
        assert ingest.stop() == 0
    assert pg.execute("SELECT order_id, status FROM orders ORDER BY 1").fetchall() == [
        (1, "CANCELLED"),
        (2, "PAID"),
        (3, "PAID"),
    ]
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (1,)
    assert check(pg) == []

    done = run(members["grader"], "grade", "--once")
    assert done.returncode == 0, done.stderr
    assert pg.execute("SELECT count(*) FROM grade_runs").fetchone() == (1,)
    assert pg.execute("SELECT user_id FROM grade_history").fetchall() == [(8,)]
    assert pg.execute("SELECT count(*) FROM grade_state").fetchone() == (1,)
    done = run(members["grader"], "grade", "--once")
    assert done.returncode == 0, done.stderr
    runs = pg.execute("SELECT mode FROM grade_runs ORDER BY run_id").fetchall()
    assert runs == [("full",), ("incremental",)]

    done = run(members["generator"], "generate", "cache", "--once")
    assert done.returncode == 0, done.stderr
    done = run(members["generator"], "generate", "users", "--limit", "3", "--rate", "100")
    assert done.returncode == 0, done.stderr

    done = run(members["console"], "console", "--once", "--json")
    assert json.loads(done.stdout), done.stderr
    assert "permission denied" not in done.stdout + done.stderr


def test_a_changed_password_is_taken_at_the_next_init(
    env: dict[str, str], members: dict[str, dict[str, str]], pg: Connection
) -> None:
    def let_in(role: str, word: str) -> bool:
        try:
            connect({**members[role], "POSTGRES_PASSWORD": f"{word}-{role}"}).close()
        except psycopg.OperationalError as e:
            if "authentication failed" not in str(e):
                raise
            return False
        return True

    done = run({**env, **passwords("another")}, "init", "--logins")
    assert done.returncode == 0, done.stderr
    assert all(let_in(role, "another") and not let_in(role, PASSWORD) for role in ROLES)
    stored = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname ~ '^shop_'").fetchall()
    assert len(stored) == len(ROLES)
    assert all(kept.startswith("SCRAM-SHA-256$") for (kept,) in stored)


def test_a_server_is_never_told_the_password(env: dict[str, str], pg: Connection) -> None:
    """The server logs what it is sent, so it is sent only the hash that it stores."""
    sent: list[str] = []
    where = shop_settings.load(env, use_stack=False).postgres
    postgres.grant_roles(pg)
    with postgres.connect(where, "test", autocommit=True) as conn:
        conn.execute("SET log_statement = 'all'; SET client_min_messages = 'log'")
        conn.add_notice_handler(lambda d: sent.append(d.message_primary or ""))
        postgres.make_logins(conn, {"ingest": "Tr0ub4dor&3"})
    assert any("SCRAM-SHA-256$" in line for line in sent)
    assert not any("Tr0ub4dor" in line for line in sent)


def test_a_later_table_can_be_read_and_not_written(
    members: dict[str, dict[str, str]], pg: Connection
) -> None:
    pg.execute("CREATE TABLE later (i integer)")
    for role in ("ingest", "grader", "console"):
        with connect(members[role]) as conn:
            assert conn.execute("SELECT * FROM later").fetchall() == []
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("INSERT INTO later VALUES (1)")


@pytest.mark.usefixtures("topics")
def test_who_is_not_the_owner_is_told_so(
    members: dict[str, dict[str, str]], settings: Settings
) -> None:
    done = run(members["console"], "init", "--roles")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "permission denied" in done.stderr or "refuses" in done.stderr
    assert kafka.describe_topics(kafka.admin(settings.kafka))
