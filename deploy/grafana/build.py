"""Write the dashboards' JSON from the panels below and the SQL next to them.

`python deploy/grafana/build.py` after a change; a test holds that the files are what it writes.
A panel's query is a file of `sql/DASHBOARD/`, whose first comment is the panel's description.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
POSTGRES: Final = {"type": "grafana-postgresql-datasource", "uid": "jangteo-postgres"}
PROMETHEUS: Final = {"type": "prometheus", "uid": "jangteo-prometheus"}
SCHEMA_VERSION: Final = 39  # Grafana 11; newer ones migrate it when they load it
_COLUMNS: Final = 24


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: shown above it.
        query: name of a file of the dashboard's folder, without `.sql`, or PromQL.
        kind: a panel type of Grafana; ``bars`` is a time series of bars.
        width: of 24 columns.
        height: in rows of 30 pixels.
        unit: a unit of Grafana's, such as ``s`` or ``currencyKRW``.
        stacked: add the series up.
        units: of single columns, where they differ.
        legend: how a series of PromQL is called.
        description: of PromQL; SQL has its own.
    """

    title: str
    query: str
    kind: str
    width: int = 12
    height: int = 8
    unit: str = "short"
    stacked: bool = False
    units: dict[str, str] = field(default_factory=dict)
    legend: str = "__auto"
    description: str = ""


@dataclass(frozen=True)
class Dashboard:
    """A page of panels, laid out from left to right; its name names file and SQL folder."""

    name: str
    title: str
    since: str
    refresh: str
    panels: tuple[Panel, ...]
    datasource: dict[str, str] = field(default_factory=lambda: POSTGRES)


SHOP: Final = Dashboard("shop", "Jangteo: revenue", "now-30d", "1m", (
    Panel("In this range", "totals", "stat", 24, 4,
          units={"revenue": "currencyKRW", "average order": "currencyKRW"}),
    Panel("Today against other days", "compared", "table", 12, 6,
          units={"revenue": "currencyKRW", "today, per cent": "percent"}),
    Panel("Top movers", "top-movers", "table", 12, 6,
          units={"revenue": "currencyKRW", "period before": "currencyKRW",
                 "change": "currencyKRW"}),
    Panel("Revenue by day", "revenue-by-day", "bars", unit="currencyKRW"),
    Panel("Orders by day", "orders-by-day", "bars", stacked=True),
    Panel("Revenue by hour", "revenue-by-hour", "timeseries", unit="currencyKRW"),
    Panel("Revenue by hour of day", "revenue-by-hour-of-day", "barchart", unit="currencyKRW"),
    Panel("Revenue by scenario and day", "revenue-by-scenario", "bars", unit="currencyKRW",
          stacked=True),
    Panel("Revenue by category", "revenue-by-category", "barchart", unit="currencyKRW"),
    Panel("Top products", "top-products", "table", 16, units={"revenue": "currencyKRW"}),
    Panel("Payment methods", "payment-methods", "barchart", 8),
))  # fmt: skip

CUSTOMERS: Final = Dashboard("customers", "Jangteo: customers", "now-1y", "5m", (
    Panel("Customers", "now", "stat", 12, 5),
    Panel("Grades now", "grades-now", "barchart", 12, 5),
    Panel("Grades over time", "grades-over-time", "timeseries", 12, 9, stacked=True),
    Panel("Grade changes by day", "grade-moves-by-day", "bars", 12, 9, stacked=True),
    Panel("Sign-ups by day", "sign-ups-by-day", "bars", 12),
    Panel("Spend by month of sign-up", "cohorts-spend", "table", 12,
          units={"spent": "currencyKRW", "spent each": "currencyKRW",
                 "buyers, per cent": "percent"}),
    Panel("Buyers by month of sign-up", "cohorts-active", "table", 24, 10,
          units={"month 0": "percent"} | {str(n): "percent" for n in range(1, 13)}),
))  # fmt: skip

OPERATIONS: Final = Dashboard("operations", "Jangteo: operations", "now-1h", "10s", (
    Panel("Ingest", "offsets-totals", "stat", 24, 4, units={"newest batch": "s"}),
    Panel("Orders stored per second", "throughput", "timeseries", unit="ops"),
    Panel("Delay from order to row", "delay", "timeseries", unit="s"),
    Panel("Partitions", "partitions", "table", 12, 10, units={"newest batch": "s"}),
    Panel("Grader runs", "grader-runs", "timeseries", 12, 10, units={"seconds": "s"}),
    Panel("Dead letters, open", "letters-open", "table"),
    Panel("Dead letters over time", "letters-over-time", "bars", stacked=True),
    Panel("Newest dead letters", "letters-newest", "table", 24),
    Panel("Cache: customers to draw from", "cache-customers", "barchart", 9, 7),
    Panel("Cache: products to draw from", "cache-products", "barchart", 9, 7),
    Panel("Cache: turns", "cache-turns", "stat", 6, 7, unit="s"),
))  # fmt: skip

PROCESSES: Final = Dashboard("processes", "Jangteo: processes (Prometheus)", "now-1h", "10s", (
    Panel("Processes that answer", "count by (job) (up == 1)", "timeseries", 8,
          legend="{{job}}", description="Only targets that Prometheus scrapes."),
    Panel("Lag", "sum by (topic) (jangteo_ingest_lag_messages)", "timeseries", 8,
          legend="{{topic}}", description="Messages in Kafka not yet applied."),
    Panel("Lag of the worst partition", "max by (topic) (jangteo_ingest_lag_messages)",
          "timeseries", 8, legend="{{topic}}"),
    Panel("Messages per second",
          "sum by (topic, outcome) (rate(jangteo_ingest_messages_total[$__rate_interval]))",
          "timeseries", unit="ops", legend="{{topic}} {{outcome}}"),
    Panel("Rejects per second",
          "sum by (topic, reason) (rate(jangteo_ingest_rejects_total[$__rate_interval]))",
          "timeseries", unit="ops", legend="{{topic}} {{reason}}"),
    Panel("Transaction, 95 % within",
          "histogram_quantile(0.95, sum by (topic, le) "
          "(rate(jangteo_ingest_transaction_seconds_bucket[$__rate_interval])))",
          "timeseries", 8, unit="s", legend="{{topic}}"),
    Panel("Messages in a batch",
          "sum by (topic) (rate(jangteo_ingest_batch_messages_sum[$__rate_interval])) / "
          "sum by (topic) (rate(jangteo_ingest_batch_messages_count[$__rate_interval]))",
          "timeseries", 8, legend="{{topic}}"),
    Panel("Since a batch was committed",
          "max by (topic) (jangteo_ingest_last_commit_age_seconds)",
          "timeseries", 8, unit="s", legend="{{topic}}"),
    Panel("Waiting for a server, share of the time",
          "sum by (server) (rate(jangteo_ingest_outage_seconds_total[$__rate_interval]))",
          "timeseries", 8, unit="percentunit", legend="{{server}}"),
    Panel("Servers that do not answer",
          "count by (server) (jangteo_ingest_server_answers == 0)",
          "timeseries", 8, legend="{{server}}",
          description="Nothing is drawn while all of them answer."),
    Panel("Attempts that failed, per second",
          "sum by (server) (rate(jangteo_ingest_retries_total[$__rate_interval]))",
          "timeseries", 8, unit="ops", legend="{{server}}"),
    Panel("Cache: entries", "max by (side) (jangteo_cache_entries)", "timeseries", 8,
          legend="{{side}}"),
    Panel("Cache: since the last refresh",
          "time() - max(jangteo_cache_refreshed_timestamp_seconds)", "timeseries", 8, unit="s",
          legend="age"),
    Panel("Cache: a refresh takes",
          "sum(rate(jangteo_cache_refresh_seconds_sum[$__rate_interval])) / "
          "sum(rate(jangteo_cache_refresh_seconds_count[$__rate_interval]))",
          "timeseries", 8, unit="s", legend="mean"),
    Panel("Cache: entries replaced", "sum(rate(jangteo_cache_replaced_total[$__rate_interval]))",
          "timeseries", 8, unit="ops", legend="replaced"),
    Panel("Grader: a run takes",
          "sum(rate(jangteo_grader_run_seconds_sum[$__rate_interval])) / "
          "sum(rate(jangteo_grader_run_seconds_count[$__rate_interval]))",
          "timeseries", 8, unit="s", legend="mean"),
    Panel("Customers by grade", "max by (grade) (jangteo_grader_customers)", "timeseries", 8,
          stacked=True, legend="{{grade}}"),
), PROMETHEUS)  # fmt: skip

DASHBOARDS: Final = (SHOP, CUSTOMERS, OPERATIONS, PROCESSES)


def query(dashboard: Dashboard, panel: Panel) -> tuple[str, str]:
    """Return a panel's query and its description."""
    if dashboard.datasource is PROMETHEUS:
        return panel.query, panel.description
    path = HERE / "sql" / dashboard.name / f"{panel.query}.sql"
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    return "\n".join(lines[len(said) :]), " ".join(said)


def as_json(dashboard: Dashboard) -> str:
    """Return a dashboard as the file that Grafana loads."""
    model = {
        "uid": f"jangteo-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["jangteo"],
        "timezone": "Asia/Seoul",
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,  # the same instant is shown in all panels
        "refresh": dashboard.refresh,
        "time": {"from": dashboard.since, "to": "now"},
        "panels": [
            _panel(dashboard, panel, number, place)
            for number, (panel, place) in enumerate(_placed(dashboard.panels), 1)
        ],
    }
    return json.dumps(model, ensure_ascii=False, indent=2) + "\n"


def _placed(panels: tuple[Panel, ...]) -> list[tuple[Panel, dict[str, int]]]:
    placed, x, y, lowest = [], 0, 0, 0
    for panel in panels:
        if x + panel.width > _COLUMNS:
            x, y = 0, lowest
        placed.append((panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, lowest = x + panel.width, max(lowest, y + panel.height)
    return placed


def _panel(
    dashboard: Dashboard, panel: Panel, number: int, place: dict[str, int]
) -> dict[str, Any]:
    text, description = query(dashboard, panel)
    target: dict[str, Any] = {"refId": "A", "datasource": dashboard.datasource}
    if dashboard.datasource is PROMETHEUS:
        target |= {"expr": text, "legendFormat": panel.legend, "range": True}
    else:
        over_time = panel.kind in ("timeseries", "bars")
        target |= {
            "rawQuery": True,
            "rawSql": text,
            "editorMode": "code",
            "format": "time_series" if over_time else "table",
        }
    kind, options, custom = _looks(panel)
    return {
        "id": number,
        "title": panel.title,
        "description": description,
        "type": kind,
        "datasource": dashboard.datasource,
        "gridPos": place,
        "targets": [target],
        "options": options,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": name},
                    "properties": [{"id": "unit", "value": unit}],
                }
                for name, unit in panel.units.items()
            ],
        },
    }


def _looks(panel: Panel) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the type of a panel, its options and what each series looks like."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    if panel.kind == "stat":
        # The one row's columns, each a figure of its own.
        figures = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return "stat", {"reduceOptions": figures, "colorMode": "none", "graphMode": "none"}, {}
    if panel.kind == "table":
        return "table", {"showHeader": True, "cellHeight": "sm"}, {"align": "auto"}
    if panel.kind == "barchart":
        return "barchart", {"legend": legend | {"showLegend": False}}, {"fillOpacity": 70}
    bars = panel.kind == "bars"
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 70 if bars else 10,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": stacking,
    }
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return "timeseries", options, custom


def main() -> None:
    """Write all dashboards."""
    for dashboard in DASHBOARDS:
        path = HERE / "dashboards" / f"{dashboard.name}.json"
        path.write_text(as_json(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
