"""The panels of the dashboards, which `build.py` writes as JSON.

A panel's query is a file of `sql/DASHBOARD/`, whose first comment is the panel's description.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

POSTGRES: Final = {"type": "grafana-postgresql-datasource", "uid": "jangteo-postgres"}
PROMETHEUS: Final = {"type": "prometheus", "uid": "jangteo-prometheus"}


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
        datasource: what answers it.
        warn: from where on a value is yellow and red; the second below the first: from where down.
        warn_of: the column that this is about; empty: all.
        word: of `--with`, where the panel is empty unless an optional topic is switched on.
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
    datasource: dict[str, str] = field(default_factory=lambda: POSTGRES)
    warn: tuple[float, float] | None = None
    warn_of: str = ""
    word: str = ""


@dataclass(frozen=True)
class Dashboard:
    """A page of panels, laid out from left to right; its name names file and SQL folder.

    Attributes:
        name: of its file and of its folder of SQL.
        title: shown above it.
        since: beginning of the range when it is opened.
        refresh: how often it is asked again.
        panels: in the order in which they are laid out.
        filters: names of `FILTERS`.
        annotations: names of files of `sql/annotations`.
    """

    name: str
    title: str
    since: str
    refresh: str
    panels: tuple[Panel, ...]
    filters: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


FILTERS: Final[dict[str, dict[str, Any]]] = {
    "category": {
        "label": "category",
        "type": "query",
        "datasource": POSTGRES,
        "query": "SELECT DISTINCT category FROM sales_by_category ORDER BY 1",
    },
    "scenario": {
        "label": "scenario",
        "type": "query",
        "datasource": POSTGRES,
        "query": "SELECT DISTINCT scenario FROM sales_by_hour ORDER BY 1",
    },
    "grade": {"label": "grade", "type": "custom", "query": "BRONZE,SILVER,GOLD,VIP,VVIP"},
    "target": {
        "label": "target: per cent above the same weekdays",
        "type": "custom",
        "query": "0,5,10,20",
    },
}
"""What is chosen at the top of a page; all but the target take several values, at first all."""

SHOP: Final = Dashboard("shop", "Jangteo: revenue", "now-30d", "1m", (
    Panel("Today against the target", "today", "stat", 24, 4, warn=(100, 80),
          warn_of="of target, per cent", units={"revenue today": "currencyKRW",
          "target until now": "currencyKRW", "of target, per cent": "percent"}),
    Panel("In this range", "totals", "stat", 24, 4,
          units={"revenue": "currencyKRW", "average order": "currencyKRW",
                 "taken back, per cent": "percent"}, warn=(10, 20),
          warn_of="taken back, per cent"),
    Panel("Today against other days", "compared", "table", 12, 6,
          units={"revenue": "currencyKRW", "today, per cent": "percent"}, warn=(0, -20),
          warn_of="today, per cent"),
    Panel("Grade flow", "grade-flow", "table", 12, 6),
    Panel("Revenue and target by day", "target", "timeseries", 12, 12, unit="currencyKRW"),
    Panel("Top movers", "top-movers", "table", 12, 12,
          units={"revenue": "currencyKRW", "period before": "currencyKRW",
                 "change": "currencyKRW"}, warn=(0, -1), warn_of="change"),
    Panel("Revenue by day", "revenue-by-day", "bars", unit="currencyKRW"),
    Panel("Orders by day", "orders-by-day", "bars", stacked=True),
    Panel("Revenue by hour", "revenue-by-hour", "timeseries", unit="currencyKRW"),
    Panel("Revenue by hour of day", "revenue-by-hour-of-day", "barchart", unit="currencyKRW"),
    Panel("Revenue by scenario and day", "revenue-by-scenario", "bars", unit="currencyKRW",
          stacked=True),
    Panel("Revenue by category", "revenue-by-category", "barchart", unit="currencyKRW"),
    Panel("Top products", "top-products", "table", 16, 12, units={"revenue": "currencyKRW"}),
    Panel("Payment methods", "payment-methods", "barchart", 8, 12),
), ("target", "scenario", "category", "grade"), ("scenarios", "actions"))  # fmt: skip

CUSTOMERS: Final = Dashboard("customers", "Jangteo: customers", "now-1y", "5m", (
    Panel("Customers", "now", "stat", 12, 5),
    Panel("Grades now", "grades-now", "barchart", 12, 5),
    Panel("Grades over time", "grades-over-time", "timeseries", 12, 9, stacked=True),
    Panel("Grade changes by day", "grade-moves-by-day", "bars", 12, 9, stacked=True),
    Panel("Sign-ups by day", "sign-ups-by-day", "bars", 12),
    Panel("Spend by month of sign-up", "cohorts-spend", "table", 12,
          units={"spent": "currencyKRW", "spent each": "currencyKRW"}),
    Panel("Orders per 100 customers by month of sign-up", "cohorts-orders", "table", 24, 10),
), ("grade",), ("scenarios", "actions"))  # fmt: skip

OPERATIONS: Final = Dashboard("operations", "Jangteo: operations", "now-1h", "10s", (
    Panel("Ingest", "offsets-totals", "stat", 24, 4, units={"newest batch": "s"},
          warn=(60, 300), warn_of="newest batch"),
    Panel("Orders stored per second", "throughput", "timeseries", unit="ops"),
    Panel("Delay from order to row", "delay", "timeseries", unit="s", warn=(5, 60)),
    Panel("Lag", "sum by (topic) (jangteo_ingest_lag_messages)", "timeseries", 12, 8,
          legend="{{topic}}", datasource=PROMETHEUS, warn=(10_000, 100_000),
          description="Messages in Kafka not yet applied: LAG of the console."),
    Panel("Rejects per second",
          "sum by (topic, reason) (rate(jangteo_ingest_rejects_total[$__rate_interval]))",
          "timeseries", unit="ops", legend="{{topic}} {{reason}}", datasource=PROMETHEUS,
          description="New dead letters by topic and reason."),
    Panel("Partitions", "partitions", "table", 12, 10, units={"newest batch": "s"},
          warn=(60, 300), warn_of="newest batch"),
    Panel("Grader runs", "grader-runs", "timeseries", 12, 10, units={"seconds": "s"}),
    Panel("Dead letters, open", "letters-open", "table", warn=(1, 100), warn_of="letters"),
    Panel("Dead letters over time", "letters-over-time", "bars", stacked=True),
    Panel("Newest dead letters", "letters-newest", "table", 24),
    Panel("Cache: products to draw from", "cache-products", "barchart", 8, 7),
    Panel("Cache: entries", "max by (side) (jangteo_cache_entries)", "timeseries", 8, 7,
          legend="{{side}}", datasource=PROMETHEUS,
          description="Customers and products, bought and new, that orders are made from."),
    Panel("Cache: hits", "sum(jangteo_cache_lookups{result=\"hit\"}) / sum(jangteo_cache_lookups)",
          "timeseries", 8, 7, unit="percentunit", legend="HIT", datasource=PROMETHEUS,
          warn=(0.95, 0.5),
          description="Look-ups of customers and products that found any: HIT of the console."),
), annotations=("actions",))  # fmt: skip

PROCESSES: Final = Dashboard("processes", "Jangteo: processes (Prometheus)", "now-1h", "10s", tuple(
    replace(panel, datasource=PROMETHEUS) for panel in (
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
)))  # fmt: skip

OPTIONAL: Final = Dashboard("optional", "Jangteo: optional topics", "now-30d", "1m", (
    Panel("Shipments", "shipments", "stat", 24, 4, units={
          "in time, per cent": "percent", "returned, per cent": "percent"}, warn=(95, 90),
          warn_of="in time, per cent", word="shipments"),
    Panel("Shipments by day of order", "shipments-by-day", "bars", stacked=True,
          word="shipments"),
    Panel("Days from dispatch to delivery by region", "shipments-by-region", "barchart",
          word="shipments"),
    Panel("Visits by channel: how far they came, per cent", "visits-by-channel", "table", 10,
          word="visits"),
    Panel("Visits by day", "visits-by-day", "bars", 8, stacked=True, word="visits"),
    Panel("Visits with an order", "conversion", "barchart", 6, unit="percent", word="visits"),
    Panel("Baskets", "baskets", "stat", 24, 4, units={
          "with several orders, per cent": "percent", "orders with a coupon, per cent": "percent",
          "taken off by coupons": "currencyKRW", "mean coupon": "currencyKRW"}, word="baskets"),
    Panel("Taken off by coupons, by day", "coupons-by-day", "bars", 8, unit="currencyKRW",
          word="baskets"),
    Panel("Changes of customers by day", "changes-by-day", "bars", 8, stacked=True,
          word="changes"),
    Panel("New prices and products off sale by day", "prices-by-day", "bars", 8, stacked=True,
          word="changes"),
), annotations=("scenarios", "actions"))  # fmt: skip

DASHBOARDS: Final = (SHOP, CUSTOMERS, OPERATIONS, PROCESSES, OPTIONAL)
