"""The dashboards: the files are what build.py writes, and every panel's query answers."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml
from grafana_macros import expand
from shop_of_ninety_days import CUSTOMERS, DAYS, ORDERS, fill

from flows.tally import Tally
from generators.cache_metrics import CacheMetrics
from grading.metrics import GraderMetrics
from grading.policy import POLICY
from shop import postgres
from shop.clock import utc_now
from shop.postgres import Connection

SEOUL = ZoneInfo("Asia/Seoul")
GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


def _build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BUILD = _build()
MODELS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}/{panel['title']}")
    for name, model in MODELS.items()
    for panel in model["panels"]
    if "rawSql" in panel["targets"][0]
]
EXPRESSIONS = [
    target["expr"] for panel in MODELS["processes"]["panels"] for target in panel["targets"]
]


@pytest.fixture(scope="module")
def now() -> datetime:
    return utc_now().replace(microsecond=0)


@pytest.fixture(scope="module")
def shop(servers: Any, now: datetime) -> Iterator[Connection]:
    """One filled database for all panels, which only read."""
    servers.revive()
    name = servers.create_database()
    reached = servers.settings(POSTGRES_DB=name).postgres
    with postgres.connect(reached, "test", autocommit=True) as conn:
        fill(conn, now)
        conn.execute("SET ROLE pg_read_all_data")  # of PostgreSQL itself: reads and nothing else
        yield conn
    servers.drop_database(name)


def ask(
    shop: Connection, panel: dict[str, Any], now: datetime, days: float = DAYS + 1
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a panel's query as Grafana would; return the names of the columns and the rows."""
    (target,) = panel["targets"]
    query = expand(target["rawSql"], now - timedelta(days=days), now + timedelta(seconds=5))
    cursor = shop.execute(query.encode())
    return [c.name for c in cursor.description or ()], cursor.fetchall()


def answer(
    shop: Connection, name: str, title: str, now: datetime, days: float = DAYS + 1
) -> list[dict[str, Any]]:
    (panel,) = (p for p in MODELS[name]["panels"] if p["title"] == title)
    columns, rows = ask(shop, panel, now, days)
    return [dict(zip(columns, row, strict=True)) for row in rows]


# -- the files -----------------------------------------------------------------------------------


def test_the_files_are_what_the_script_writes() -> None:
    written = {d.name: BUILD.as_json(d) for d in BUILD.DASHBOARDS}
    assert set(MODELS) == set(written)
    for name, text in written.items():
        there = (GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8")
        assert there == text, f"{name}: run python deploy/grafana/build.py"


def test_every_query_file_is_shown() -> None:
    shown = {
        f"{d.name}/{p.query}" for d in BUILD.DASHBOARDS if d is not BUILD.PROCESSES
        for p in d.panels
    }  # fmt: skip
    files = (GRAFANA / "sql").rglob("*.sql")
    assert shown == {str(p.relative_to(GRAFANA / "sql").with_suffix("")) for p in files}


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    for model in MODELS.values():
        cells = [
            (x, y)
            for panel in model["panels"]
            for g in [panel["gridPos"]]
            for x in range(g["x"], g["x"] + g["w"])
            for y in range(g["y"], g["y"] + g["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_grafanas(name: str) -> None:
    """Every key survives a way through the classes generated from Grafana's own schemas.

    They drop what the schemas do not know; they do not check the types of values.
    """
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="made for Python 3.11 and newer"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415  (skipped where it is not installed)
    from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: PLC0415  (skipped where it is not installed)

    register_default_plugins()

    def known(model: dict[str, Any]) -> Any:
        return json.loads(JSONEncoder(sort_keys=True).encode(models.Dashboard.from_json(model)))

    assert _missing(MODELS[name], known(MODELS[name])) == []
    spoilt = json.loads(json.dumps(MODELS[name]))
    spoilt["panels"][0]["fieldConfig"]["defaults"]["unti"] = "short"
    assert _missing(spoilt, known(spoilt)) == ["/panels/0/fieldConfig/defaults/unti"]


def _missing(wanted: Any, there: Any, path: str = "") -> list[str]:
    if isinstance(wanted, dict) and isinstance(there, dict):
        return [
            lost
            for key, value in wanted.items()
            for lost in (
                _missing(value, there[key], f"{path}/{key}") if key in there else [f"{path}/{key}"]
            )
        ]
    if isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        pairs = enumerate(zip(wanted, there, strict=True))
        return [lost for i, (a, b) in pairs for lost in _missing(a, b, f"{path}/{i}")]
    return [] if wanted == there else [path]


def test_the_data_sources_of_the_panels_are_provisioned() -> None:
    folder = GRAFANA / "provisioning"
    provisioned = {
        (source["type"], source["uid"])
        for path in (folder / "datasources").glob("*.yml")
        for source in yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]
    }
    used = {
        (source["type"], source["uid"])
        for model in MODELS.values()
        for panel in model["panels"]
        for source in (panel["datasource"], *(t["datasource"] for t in panel["targets"]))
    }
    assert used == provisioned
    passwords = re.findall(r"password: (.*)", (folder / "datasources/postgres.yml").read_text())
    assert passwords == ["${POSTGRES_PASSWORD}"]


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
    assert {row["metric"] for row in by_scenario} == {"none", "payday"}
    by_category = answer(shop, "shop", "Revenue by category", now)
    assert sum(row["revenue"] for row in by_category) == paid[0]
    days = answer(shop, "shop", "Orders by day", now)
    assert sum(d["paid"] + d["cancelled"] + d["refunded"] for d in days) == ORDERS


def test_days_and_hours_are_those_of_seoul(shop: Connection, now: datetime) -> None:
    days = answer(shop, "shop", "Revenue by day", now)
    assert {row["time"].astimezone(SEOUL).hour for row in days} == {0}
    hours = answer(shop, "shop", "Revenue by hour of day", now, days=0.02)
    seoul = {(now - timedelta(minutes=m)).astimezone(SEOUL) for m in range(30)}
    assert {row["hour"] for row in hours} <= {f"{t:%H}" for t in seoul}


def test_grades_are_reckoned_back_to_where_everybody_began(shop: Connection, now: datetime) -> None:
    points = answer(shop, "customers", "Grades over time", now)
    at: dict[datetime, dict[str, int]] = {}
    for row in points:
        at.setdefault(row["time"], {})[row["metric"]] = row["value"]
    today = dict(shop.execute("SELECT grade, count(*) FROM users GROUP BY grade").fetchall())
    assert {g: n for g, n in at[max(at)].items() if n} == today
    assert len(today) > 2, "the shop of the test must have several grades"
    # Before the first sign-up there was but the stub, of which nobody knows since when.
    assert {g: n for g, n in at[min(at)].items() if n} == {"BRONZE": 1}
    # Between two runs of the grader only sign-ups change anything.
    middle = [t for t in at if now - timedelta(days=59) < t < now - timedelta(days=32)]
    assert len({tuple(at[t][g] for g in ("SILVER", "GOLD", "VIP", "VVIP")) for t in middle}) == 1
    assert any(n for g, n in at[middle[0]].items() if g != "BRONZE")
    signed_up = shop.execute(
        "SELECT count(*) FROM users WHERE created_at < %s", (middle[0],)
    ).fetchall()
    assert sum(at[middle[0]].values()) == signed_up[0][0] + 1
    assert all(n >= 0 for grades in at.values() for n in grades.values())
    grades = {row["grade"] for row in answer(shop, "customers", "Grades now", now)}
    assert grades == {g.name for g in POLICY.grades} == set(at[max(at)])


def test_cohorts_are_of_those_who_signed_up(shop: Connection, now: datetime) -> None:
    cohorts = answer(shop, "customers", "Buyers by month of sign-up", now)
    assert sum(row["customers"] for row in cohorts) == CUSTOMERS
    shares = [v for row in cohorts for k, v in row.items() if k not in ("signed up", "customers")]
    assert all(v is None or 0 < v <= 100 for v in shares)
    (buyers,) = shop.execute(
        "SELECT count(DISTINCT user_id) FROM orders JOIN users USING (user_id)"
        " WHERE status = 'PAID' AND date_trunc('month', ordered_at, 'Asia/Seoul')"
        "   = date_trunc('month', created_at, 'Asia/Seoul')"
    ).fetchall()
    first = sum(float(row["month 0"] or 0) * row["customers"] / 100 for row in cohorts)
    assert first == pytest.approx(buyers[0], abs=0.0005 * CUSTOMERS * len(cohorts))
    spent = answer(shop, "customers", "Spend by month of sign-up", now)
    (paid,) = shop.execute("SELECT sum(amount) FROM orders WHERE status = 'PAID'").fetchall()
    assert sum(row["spent"] for row in spent) == paid[0]


def test_operations_tell_what_was_stored(shop: Connection, now: datetime) -> None:
    partitions = answer(shop, "operations", "Partitions", now)
    assert [row["partition"] for row in partitions] == list(range(12)), "one log of two"
    (ingest,) = answer(shop, "operations", "Ingest", now)
    assert (ingest["stored"], ingest["rejected"]) == (24 * 740, 0)
    stored = answer(shop, "operations", "Orders stored per second", now, days=1)
    (fresh,) = shop.execute(
        "SELECT count(*) FROM orders WHERE ingested_at >= %s AND ingested_at <= %s",
        (now - timedelta(days=1), now + timedelta(seconds=5)),
    ).fetchall()
    assert sum(row["orders/s"] * 60 for row in stored) == pytest.approx(fresh[0])
    delays = answer(shop, "operations", "Delay from order to row", now, days=1)
    assert {(row["half within"], row["95 % within"]) for row in delays} == {(2.0, 2.0)}
    letters = answer(shop, "operations", "Dead letters, open", now)
    assert sum(row["letters"] for row in letters) == 32
    over_time = answer(shop, "operations", "Dead letters over time", now)
    assert sum(row["value"] for row in over_time) == 40
    assert len(answer(shop, "operations", "Newest dead letters", now)) == 40
    runs = answer(shop, "operations", "Grader runs", now)
    moves = answer(shop, "customers", "Grade changes by day", now)
    assert sum(r["grades changed"] for r in runs) == sum(m["up"] - m["down"] for m in moves) > 0
    drawn = answer(shop, "operations", "Cache: customers to draw from", now)
    assert sum(row["how many"] for row in drawn) == CUSTOMERS + 1


def test_a_reader_that_may_only_read_suffices(shop: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shop.execute("DELETE FROM orders")


# -- Prometheus ----------------------------------------------------------------------------------


def test_every_metric_of_the_expressions_is_one_of_ours() -> None:
    tally = Tally()
    there = {
        f"{metric.name}{suffix}"
        for registry in (tally.registry, CacheMetrics().registry, GraderMetrics().registry)
        for metric in registry.collect()
        for suffix in _SUFFIXES[metric.type]
    }
    asked = {name for e in EXPRESSIONS for name in re.findall(r"\bjangteo_\w+", e)}
    assert asked
    assert asked <= there


_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
