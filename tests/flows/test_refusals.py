"""What PostgreSQL refuses waits until it is fixed and is then stored; nothing is rejected."""

from __future__ import annotations

import psycopg
import pytest

from flows.batch import RawBatch
from flows.transaction import Store
from jangteo.stack.consistency import check
from shop import postgres
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.settings import Settings
from tests.flows.ingesting import TOPICS, WINDOW_S, Ingesting, batch_of
from tests.support.event_samples import (
    message,
    order,
    orders_batch,
    poison,
    product,
    raw_batch,
    user,
)
from tests.support.waiting import wait_until

RAISE = """CREATE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {1} END $$;
CREATE TRIGGER {0} BEFORE INSERT OR UPDATE ON {2} FOR EACH ROW EXECUTE FUNCTION {0}()"""
NO_TRIGGER = "DROP TRIGGER {0} ON {1}; DROP FUNCTION {0}"

REFUSALS: dict[str, tuple[str, str, str]] = {
    "constraint": (
        "orders", "ALTER TABLE orders ADD CONSTRAINT few CHECK (quantity < 3)",
        "ALTER TABLE orders DROP CONSTRAINT few",
    ),
    "constraint of customers": (
        "users", "ALTER TABLE users ADD CONSTRAINT old CHECK (birth_year < 1980)",
        "ALTER TABLE users DROP CONSTRAINT old",
    ),
    "constraint of products": (
        "products", "ALTER TABLE products ADD CONSTRAINT cheap CHECK (price < 10)",
        "ALTER TABLE products DROP CONSTRAINT cheap",
    ),
    "our constraint, made narrower": (
        "orders", ("ALTER TABLE orders DROP CONSTRAINT orders_status_check, ADD CONSTRAINT"
        " orders_status_check CHECK (status = 'REFUNDED')"),
        ("ALTER TABLE orders DROP CONSTRAINT orders_status_check, ADD CONSTRAINT"
        " orders_status_check CHECK (status IN ('PAID', 'CANCELLED', 'REFUNDED'))"),
    ),
    "constraint of windows": (
        "orders", "ALTER TABLE user_spend_windows ADD CONSTRAINT little CHECK (spend < 10)",
        "ALTER TABLE user_spend_windows DROP CONSTRAINT little",
    ),
    "foreign key": (
        "orders", ("ALTER TABLE orders ADD CONSTRAINT known FOREIGN KEY (user_id)"
        " REFERENCES users"), "ALTER TABLE orders DROP CONSTRAINT known",
    ),
    "unique index": (
        "orders", "CREATE UNIQUE INDEX one_each ON orders (user_id)", "DROP INDEX one_each",
    ),
    "exclusion": (
        "orders", "ALTER TABLE orders ADD CONSTRAINT apart EXCLUDE (payment_method WITH =)",
        "ALTER TABLE orders DROP CONSTRAINT apart",
    ),
    "trigger that raises": (
        "orders", RAISE.format("no", "RAISE EXCEPTION 'not today';", "orders"),
        NO_TRIGGER.format("no", "orders"),
    ),
    "trigger that raises a data error": (
        "orders", RAISE.format("no", "RAISE numeric_value_out_of_range;", "orders"),
        NO_TRIGGER.format("no", "orders"),
    ),
    "trigger that raises a check violation": (
        "users", RAISE.format("no", "RAISE check_violation;", "users"),
        NO_TRIGGER.format("no", "users"),
    ),
    "trigger that raises a unique violation": (
        "orders", RAISE.format("no", "RAISE unique_violation;", "orders"),
        NO_TRIGGER.format("no", "orders"),
    ),
    "trigger that drops orders": (
        "orders", RAISE.format("no", "RETURN NULL;", "orders"), NO_TRIGGER.format("no", "orders"),
    ),
    "trigger that drops customers": (
        "users", RAISE.format("no", "RETURN NULL;", "users"), NO_TRIGGER.format("no", "users"),
    ),
    "trigger that drops windows": (
        "orders", RAISE.format("no", "RETURN NULL;", "user_spend_windows"),
        NO_TRIGGER.format("no", "user_spend_windows"),
    ),
    "trigger that drops offsets": (
        "orders", RAISE.format("no", "RETURN NULL;", "ingest_offsets"),
        NO_TRIGGER.format("no", "ingest_offsets"),
    ),
    "type": (
        "orders", "ALTER TABLE orders ALTER amount TYPE smallint",
        "ALTER TABLE orders ALTER amount TYPE bigint",
    ),
    "integer for bigint": (
        "orders", "ALTER TABLE orders ALTER discount TYPE integer",
        "ALTER TABLE orders ALTER discount TYPE bigint",
    ),
    "bigint for integer": (
        "orders", "ALTER TABLE users ALTER order_count TYPE bigint",
        "ALTER TABLE users ALTER order_count TYPE integer",
    ),
    "type as wide as ours": (
        "orders", "ALTER TABLE orders ALTER amount TYPE double precision",
        "ALTER TABLE orders ALTER amount TYPE bigint",
    ),
    "time without a zone": (
        "orders", "ALTER TABLE orders ALTER ordered_at TYPE timestamp",
        "ALTER TABLE orders ALTER ordered_at TYPE timestamptz",
    ),
    "text as bytes": (
        "orders", "ALTER TABLE orders ALTER payment_method TYPE bytea USING ''",
        "ALTER TABLE orders ALTER payment_method TYPE text USING ''",
    ),
    "type of sums": (
        "orders", "ALTER TABLE user_spend_windows ALTER spend TYPE double precision",
        "ALTER TABLE user_spend_windows ALTER spend TYPE bigint",
    ),
    "type of totals": (
        "orders", "ALTER TABLE users ALTER total_spent TYPE double precision",
        "ALTER TABLE users ALTER total_spent TYPE bigint",
    ),
    "type of another kind": (
        "products", ("ALTER TABLE products DROP CONSTRAINT products_price_check,"
        " ALTER price TYPE boolean USING true"),
        "ALTER TABLE products ALTER price TYPE bigint USING 0",
    ),
    "length": (
        "products", "ALTER TABLE products ALTER name TYPE varchar(2)",
        "ALTER TABLE products ALTER name TYPE text",
    ),
    "domain": (
        "orders", ("CREATE DOMAIN few AS integer CHECK (VALUE < 3);"
        "ALTER TABLE orders ALTER quantity TYPE few"),
        "ALTER TABLE orders ALTER quantity TYPE integer; DROP DOMAIN few",
    ),
    "column that must be given": (
        "orders", "ALTER TABLE orders ADD COLUMN shop text NOT NULL",
        "ALTER TABLE orders DROP COLUMN shop",
    ),
    "column that must be given, of customers": (
        "orders", "ALTER TABLE users ADD COLUMN shop text NOT NULL",
        "ALTER TABLE users DROP COLUMN shop",
    ),
    "generated column": (
        "orders", ("ALTER TABLE orders DROP COLUMN amount, ADD COLUMN amount bigint"
        " GENERATED ALWAYS AS (quantity * unit_price) STORED"),
        "ALTER TABLE orders ALTER amount DROP EXPRESSION, ALTER amount SET NOT NULL",
    ),
    "column removed": (
        "products", "ALTER TABLE products DROP COLUMN brand",
        "ALTER TABLE products ADD COLUMN brand text",
    ),
    "column of orders removed": (
        "orders", "ALTER TABLE orders RENAME scenario TO campaign",
        "ALTER TABLE orders RENAME campaign TO scenario",
    ),
    "column of offsets removed": (
        "users", "ALTER TABLE ingest_offsets RENAME gaps TO holes",
        "ALTER TABLE ingest_offsets RENAME holes TO gaps",
    ),
    **{f"{table} removed": (
        topic, f"ALTER TABLE {table} RENAME TO elsewhere",
        f"ALTER TABLE elsewhere RENAME TO {table}",
    ) for topic, table in (
        ("users", "users"), ("products", "products"), ("orders", "orders"), ("orders", "users"),
        ("orders", "products"), ("orders", "user_spend_windows"), ("orders", "ingest_offsets"),
        ("users", "ingest_offsets"),
    )},
    "trigger that raises for one row": (
        "orders", RAISE.format(
            "no", "IF NEW.order_id = 2 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW;",
            "orders",
        ),
        NO_TRIGGER.format("no", "orders"),
    ),
    "trigger at commit": (
        "orders", ("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'not today'; END $$; CREATE CONSTRAINT TRIGGER no AFTER INSERT ON orders"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no()"),
        NO_TRIGGER.format("no", "orders"),
    ),
    "disk full": (
        "orders", RAISE.format("no", "RAISE SQLSTATE '53100';", "orders"),
        NO_TRIGGER.format("no", "orders"),
    ),
    "deadlock": (
        "orders", RAISE.format("no", "RAISE SQLSTATE '40P01';", "users"),
        NO_TRIGGER.format("no", "users"),
    ),
    "serialization": (
        "products", RAISE.format("no", "RAISE SQLSTATE '40001';", "products"),
        NO_TRIGGER.format("no", "products"),
    ),
    "rule": (
        "users", "CREATE RULE nothing AS ON INSERT TO users DO INSTEAD NOTHING",
        "DROP RULE nothing ON users",
    ),
    "read only": (
        "orders", "ALTER DATABASE {db} SET default_transaction_read_only = on",
        ("SET default_transaction_read_only = off;"
        "ALTER DATABASE {db} RESET default_transaction_read_only"),
    ),
    "partition missing": (
        "orders",
        ("ALTER TABLE orders RENAME TO whole; CREATE TABLE orders (LIKE whole INCLUDING ALL"
        " EXCLUDING STORAGE) PARTITION BY RANGE (order_id); DROP TABLE whole"),
        "CREATE TABLE orders_rest PARTITION OF orders DEFAULT",
    ),
}  # fmt: skip

WAITED = {"read only", "disk full", "deadlock", "serialization"}
"""These pass by themselves; the others are reported to an operator."""

RAW: dict[str, RawBatch] = {
    "orders": orders_batch([order(1), order(2, quantity=5), order(3)]),
    "users": raw_batch("users", [message("users", user(7)), message("users", user(8))]),
    "products": raw_batch("products", [message("products", product())]),
}


def run(pg: Connection, sql: str, settings: Settings) -> None:
    pg.execute(sql.format(db=settings.postgres.db) if "{db}" in sql else sql)  # type: ignore[arg-type]  # not a literal


def end_sessions(pg: Connection) -> None:
    """A member keeps what it had at its start, such as the defaults of its database."""
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'jangteo-ingest%' AND datname = current_database()"
    )


def empty(pg: Connection) -> None:
    pg.execute("TRUNCATE orders, users, products, user_spend_windows")
    pg.execute("UPDATE ingest_offsets SET next_offset = 0, stored = 0")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_refusal_is_reported_waited_for_and_stored_when_it_is_fixed(
    topic: str,
    ingesting: dict[str, Ingesting],
    settings: Settings,
    pg: Connection,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One member and one database for all of them, as making each takes longer than the test."""
    member, raw = ingesting[topic], RAW[topic]
    for kind, (of, cause, cure) in REFUSALS.items():
        if of != topic:
            continue
        empty(pg)
        run(pg, cause, settings)
        if kind == "read only":
            end_sessions(pg)
        member.put(raw)
        wait_until(member.held, f"{kind} is held")
        assert not member.stored()
        run(pg, cure, settings)
        wait_until(member.stored, f"{kind} is stored")
        assert not member.held()
        said = capfd.readouterr().err
        begins = "waiting for server" if kind in WAITED else "refused: waiting"
        assert said.count(begins) == 1, said
        assert "Traceback" not in said
        counts = (
            "SELECT next_offset, stored, rejected, ignored FROM ingest_offsets WHERE topic = %s"
        )
        assert pg.execute(counts, (topic,)).fetchone() == (len(raw), len(raw), 0, 0), kind
        assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (0,), kind
        assert check(pg) == [], kind


RIGHTS: dict[str, tuple[str, str]] = {
    **{f"{right} on {table}": (
        f"REVOKE {right} ON {table} FROM {{0}}", f"GRANT {right} ON {table} TO {{0}}",
    ) for right, table in (
        ("INSERT", "orders"), ("ALL", "orders"), ("UPDATE", "users"), ("INSERT", "users"),
        ("UPDATE", "products"), ("INSERT", "user_spend_windows"), ("UPDATE", "user_spend_windows"),
        ("SELECT", "ingest_offsets"), ("UPDATE", "ingest_offsets"), ("INSERT", "rejected_messages"),
        ("ALL", "users"), ("ALL", "rejected_messages"),
    )},
    "right to the schema": (
        "REVOKE ALL ON SCHEMA public FROM {0}, public", "GRANT ALL ON SCHEMA public TO {0}, public",
    ),
    "policy": (
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
    ),
    "policy of customers": (
        ("ALTER TABLE users ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY few ON users USING (user_id < 0)"),
        "DROP POLICY few ON users; ALTER TABLE users DISABLE ROW LEVEL SECURITY",
    ),
}  # fmt: skip


def test_a_missing_right_is_waited_for(
    settings: Settings, pg: Connection, env: dict[str, str]
) -> None:
    """As a role of its own: an owner has every right, and no policy holds for it."""
    name = f"ingest_{settings.postgres.db}"
    pg.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', 0, 'log-1', 0)"
    )
    own = {**env, "POSTGRES_USER": name, "POSTGRES_PASSWORD": "secret"}
    member = Ingesting(shop_settings.load(own, use_stack=False), "orders")
    try:
        pg.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        for kind, (cause, cure) in RIGHTS.items():
            empty(pg)
            pg.execute(cause.format(name))  # type: ignore[arg-type]  # not a literal
            good, bad = message("orders", order(1)), poison(order())["bad_json"]
            member.put(raw_batch("orders", [good, bad]))
            wait_until(member.held, f"{kind} is held")
            pg.execute(cure.format(name))  # type: ignore[arg-type]  # not a literal
            wait_until(member.stored, f"{kind} is stored")
            assert pg.execute("SELECT next_offset, stored FROM ingest_offsets").fetchone() == (2, 1)
            assert check(pg) == []
    finally:
        member.end()
        pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def transactions(pg: Connection) -> int:
    row = pg.execute(
        "SELECT pg_stat_clear_snapshot(), xact_commit + xact_rollback FROM pg_stat_database"
        " WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[1])


def test_a_large_refused_batch_costs_one_transaction_a_try(
    settings: Settings, pg: Connection
) -> None:
    """25,000 of 50,000 orders are refused: one transaction finds out, and one stores all."""
    pg.execute("ALTER TABLE orders ADD CONSTRAINT even CHECK (order_id % 2 = 0)")
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', 0, 'log-1', 0)"
    )
    batch = batch_of(orders_batch([order(i + 1) for i in range(50_000)]))
    before = transactions(pg)
    with postgres.connect(settings.postgres, "refused") as conn:
        store = Store("orders", window_s=WINDOW_S)
        store.prepare(conn)
        with pytest.raises(psycopg.errors.CheckViolation, match="even"):
            store.apply(conn, batch)
        pg.execute("ALTER TABLE orders DROP CONSTRAINT even")
        conn.execute("DISCARD TEMP")
        conn.commit()
        store.prepare(conn)
        assert store.apply(conn, batch).stored == 50_000
    # Statistics of a session are counted for certain when it ends.
    wait_until(lambda: transactions(pg) > before, "counted")
    assert transactions(pg) - before < 60
