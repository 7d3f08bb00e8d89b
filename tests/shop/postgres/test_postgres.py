"""Migrations and COPY on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop import postgres
from shop.errors import JangteoError, UnreachableError
from shop.events import SCHEMAS
from shop.postgres import Connection, schema
from shop.settings import PostgresSettings, Settings


@pytest.fixture
def empty(settings: Settings, servers: Any) -> Iterator[PostgresSettings]:
    """A database without a schema."""
    name = "without_schema"
    with postgres.connect(settings.postgres, "test", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        yield servers.settings(POSTGRES_DB=name).postgres
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_migrations_are_applied_once(empty: PostgresSettings) -> None:
    names = [name for _, name, _ in postgres.migrations()]
    with postgres.connect(empty, "test") as conn:
        assert postgres.schema_version(conn) is None
        assert postgres.migrate(conn) == names
        assert postgres.migrate(conn) == []
        assert postgres.schema_version(conn) == len(names)


def test_many_may_migrate_at_once(empty: PostgresSettings) -> None:
    applied: list[str] = []
    together = threading.Barrier(4)

    def migrate() -> None:
        with postgres.connect(empty, "test") as conn:
            together.wait(30)
            applied.extend(postgres.migrate(conn))

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert applied == [name for _, name, _ in postgres.migrations()]


def test_a_newer_schema_is_refused_and_left_alone(pg: Connection) -> None:
    newer = len(postgres.migrations()) + 1
    pg.execute("UPDATE schema_migrations SET version = version - 1000")  # wherever there are gaps
    pg.execute("INSERT INTO schema_migrations VALUES (%s, 'later')", (newer,))
    with pytest.raises(JangteoError, match="install the newer jangteo"):
        postgres.migrate(pg)
    assert postgres.schema_version(pg) == newer


def test_a_migration_that_fails_leaves_nothing(
    empty: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = postgres.migrations()
    broken = (len(known) + 1, "broken", "CREATE TABLE half (); SELECT 1/0")
    monkeypatch.setattr(schema, "migrations", lambda: [*known, broken])
    with postgres.connect(empty, "test") as conn:
        with pytest.raises(Exception, match="division by zero"):
            postgres.migrate(conn)
        assert postgres.schema_version(conn) is None


def test_the_tables_have_the_columns_of_the_events_in_their_order(pg: Connection) -> None:
    for topic, fields in SCHEMAS.items():
        rows = pg.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
            "AND table_schema = 'public' ORDER BY ordinal_position",
            (topic,),
        ).fetchall()
        columns = [name for (name,) in rows]
        assert [c for c in columns if c in fields] == list(fields)


def test_an_unreachable_server_is_one_line(servers: Any) -> None:
    nowhere = servers.settings(POSTGRES_PORT="1").postgres
    with (
        pytest.raises(UnreachableError, match=r"cannot reach PostgreSQL at 127\.0\.0\.1:1") as e,
        postgres.connection(nowhere, "test"),
    ):
        pass
    assert "\n" not in str(e.value)
    assert nowhere.password not in str(e.value)


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), _texts | st.none())))
def test_copy_keeps_every_text_and_number(
    pg: Connection, rows: list[tuple[int, str | None]]
) -> None:
    frame = pl.DataFrame(rows, schema={"n": pl.Int64, "t": pl.String}, orient="row")
    with pg.transaction(force_rollback=True), pg.cursor() as cur:
        cur.execute("CREATE TEMP TABLE copied (n bigint, t text)")
        assert postgres.copy_frame(cur, "copied", frame) == len(rows)
        assert cur.execute("SELECT n, t FROM copied ORDER BY ctid").fetchall() == rows
