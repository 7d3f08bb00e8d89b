"""The dbt project builds on a shop that is seeded, has a history, and was fed faults."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from flows.decoding.decode import decode_batch
from flows.transaction import Store
from generators.faults.kinds import KINDS, FaultGenerator
from generators.random_streams import stream
from shop.clock import utc_now
from shop.events import Order
from shop.ids import EPOCH, make_id
from shop.postgres import Connection
from tests.deploy.backfilled_shop import fill
from tests.support import guide_commands, python_process
from tests.support.event_samples import Message, message, order, raw_batch
from tests.support.guide_commands import GUIDES, ROOT, Line

PROJECT = ROOT / "deploy" / "dbt"
PROGRAMS = Path(sys.prefix) / "dbt" / "bin"
needs_dbt = pytest.mark.skipif(
    not (PROGRAMS / "dbt").exists(), reason="dbt is not installed: `make dbt`"
)
OPTIONAL_BUILT = ("fct_shipments", "deliveries", "fct_visits", "funnel_by_day",
                  "attribution_by_day", "fct_baskets", "customer_versions",
                  "orders_as_of")  # fmt: skip
BUILT = ("fct_orders", "customer_months", "sales_by_day", "customers", "cohorts", "product_months",
         *OPTIONAL_BUILT)  # fmt: skip


def test_the_sources_are_described_by_the_comments(pg: Connection) -> None:
    spec = importlib.util.spec_from_file_location("dbt_sources", PROJECT / "sources.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.as_yaml(pg)
    assert module.FILE.read_text(encoding="utf-8") == written, "run python deploy/dbt/sources.py"
    assert "null" not in written.replace("null:", "").replace("null ", "").replace("null;", "")


def dbt(env: Mapping[str, str], root: Path, command: str) -> str:
    """Run a command of the guide's kind in a copy of the project."""
    project = root / "deploy" / "dbt"
    if not project.exists():
        copytree(PROJECT, project, ignore=ignore_patterns("target", "logs", "profiles.yml"))
    searched = f"{PROGRAMS}:/usr/bin:/bin"
    return guide_commands.run(Line(command, "", False), {**env, "PATH": searched}, root)


def tables(pg: Connection) -> dict[str, Any]:
    """Return a digest of each table that dbt has built."""
    return {
        name: pg.execute(
            f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM analytics.{name} AS t"
        ).fetchone()
        for name in BUILT
    }


def store(pg: Connection, messages: list[Message], log_id: str) -> int:
    """Store messages as the ingest does; return the number of those that were rejected."""
    pg.execute(
        "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
        " VALUES ('orders', 0, %s, 0)",
        (log_id,),
    )
    orders = Store("orders", window_s=300)
    orders.prepare(pg)
    batch = raw_batch("orders", messages, log_id=log_id)
    return orders.apply(pg, decode_batch(batch, clock=utc_now)).rejected


def faulty(pg: Connection, moment: datetime) -> list[Message]:
    """Return three faults of each kind that an order can have."""
    made = FaultGenerator("orders", 1.0, stream(1, "faults"), clock=lambda: moment)
    products = [row[0] for row in pg.execute("SELECT product_id FROM products LIMIT 3").fetchall()]
    customers = [row[0] for row in pg.execute("SELECT user_id FROM users LIMIT 3").fetchall()]
    ms = int((moment - EPOCH).total_seconds() * 1000)
    return [
        sent
        for number, kind in enumerate(k for k in KINDS if "orders" in k.topics)
        for n in range(3)
        for good in [
            order(make_id(ms - 1, sequence=number * 3 + n), user_id=customers[n],
                  product_id=products[n], ordered_at=moment, updated_at=moment)
        ]
        for sent, _, _ in made.messages(kind, "orders", good)
    ]  # fmt: skip


@needs_dbt
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_seeded_shop_builds(env: dict[str, str], pg: Connection, tmp_path: Path) -> None:
    """Nobody has ordered yet."""
    python_process.run(
        [sys.executable, "-m", "generators.seed", "--users", "300", "--products", "60",
         "--no-publish"],
        env=env, check=True, timeout=120,
    )  # fmt: skip
    dbt(env, tmp_path, "cd deploy/dbt && jangteo env --format dbt > profiles.yml && dbt build")
    segments = pg.execute("SELECT segment, count(*) FROM analytics.customers GROUP BY 1").fetchall()
    assert segments == [("never ordered", 300)]
    for name in OPTIONAL_BUILT:
        assert pg.execute(f"SELECT count(*) FROM analytics.{name}").fetchone() == (0,), name


@needs_dbt
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_guide_on_a_shop_with_a_history_and_faults(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    fill(env)
    moment = utc_now().replace(microsecond=0)
    rejected = store(pg, faulty(pg, moment), "faults")
    assert rejected > 10
    dbt(env, tmp_path, "true")
    for page in GUIDES:
        for line in guide_commands.lines(page, "dbt"):
            guide_commands.run(
                line, {**env, "PATH": f"{PROGRAMS}:/usr/bin:/bin"}, tmp_path / "deploy" / "dbt"
            )
    ((stubs, unknown),) = pg.execute(
        "SELECT (SELECT count(*) FROM analytics.customers WHERE is_stub AND orders_placed > 0),"
        " (SELECT count(*) FROM analytics.stg_products WHERE is_stub)"
    ).fetchall()
    assert stubs >= 3
    assert unknown >= 3

    # An incremental run leaves what a full one does: new orders, cancelled ones, late ones.
    paid = [
        Order(v=1, **dict(zip(Order.__struct_fields__[1:], row, strict=True)))
        for row in pg.execute(
            f"SELECT {', '.join(Order.__struct_fields__[1:])} FROM orders"
            " WHERE status = 'PAID' AND rev = 1 ORDER BY md5(order_id::text) LIMIT 40"
        ).fetchall()
    ]
    cancelled = [{"rev": 2, "status": "CANCELLED", "updated_at": moment} for _ in paid]
    ms = int((moment - EPOCH).total_seconds() * 1000)
    news = [
        *(order(**{**_fields(o), **c}) for o, c in zip(paid, cancelled, strict=True)),
        *(order(**{**_fields(o), "order_id": make_id(ms - 2, sequence=n),
                   "ordered_at": o.ordered_at + timedelta(hours=1)})
          for n, o in enumerate(paid[:20])),
    ]  # fmt: skip
    before = tables(pg)
    pg.execute(
        "INSERT INTO page_views (view_id, session_id, user_id, page, order_id, channel, device,"
        " viewed_at) SELECT 1, 1, user_id, 'CHECKOUT', order_id, 'EMAIL', 'TABLET', ordered_at"
        " FROM orders AS o WHERE status = 'PAID' AND NOT EXISTS ("
        "     SELECT FROM page_views AS v WHERE v.order_id = o.order_id)"
        " AND EXISTS (SELECT FROM baskets AS b WHERE b.order_id = o.order_id)"
        " ORDER BY order_id LIMIT 1"
    )
    assert store(pg, [message("orders", o) for o in news], "later") == 0
    said = dbt(env, tmp_path, "cd deploy/dbt && dbt build --no-use-colors")
    assert "WARN=0 ERROR=0" in said
    incremental = tables(pg)
    assert {name for name in BUILT if incremental[name] == before[name]} == {"deliveries"}
    dbt(env, tmp_path, "cd deploy/dbt && dbt run --full-refresh")
    assert tables(pg) == incremental

    # What is wrong in the shop is found, each by the test that says so.
    pg.execute("UPDATE sales_by_hour SET spend = spend + 1 WHERE ctid = '(0,1)'")
    pg.execute("UPDATE user_spend_windows SET spend = spend + 1 WHERE ctid = '(0,1)'")
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    pg.execute("UPDATE shipments SET returned_at = NULL, lost_at = NULL WHERE shipment_id ="
               " (SELECT min(order_id) FROM orders WHERE status = 'REFUNDED')")  # fmt: skip
    pg.execute("UPDATE shipments SET user_id = 1 WHERE ctid = '(0,1)'")
    pg.execute("UPDATE page_views SET user_id = 1 WHERE view_id = 1")
    pg.execute("UPDATE baskets SET coupon_discount = 9000000 WHERE ctid = '(0,1)'")
    with pytest.raises(AssertionError) as failed:
        dbt(env, tmp_path, "cd deploy/dbt && dbt test --no-use-colors -s test_type:singular")
    spoilt = ("rollup_by_hour_adds_up_to_orders", "spend_windows_add_up_to_orders",
              "stubs_have_orders", "refunds_follow_returns", "parcels_belong_to_orders",
              "visits_belong_to_orders", "baskets_belong_to_orders")  # fmt: skip
    for name in spoilt:
        assert f"Failure in test {name}" in str(failed.value)
    assert f"ERROR={len(spoilt)}" in str(failed.value)


def _fields(event: Order) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}
