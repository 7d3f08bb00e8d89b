"""Draw the dashboards from their JSON and the real data of a shop, as Grafana lays them out.

    python -m benchmarks.dashboard_pictures docs/images [--days 30]

Grafana itself is in no registry that development had. This draws each panel at its place of the
grid from its own query, so that a page can be looked at; fonts, colours and interaction are
matplotlib's. The address of PostgreSQL is that of the running stack or of `POSTGRES_*`. A panel
that asks Prometheus stays empty without `--prometheus`, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from shop import postgres, settings
from shop.clock import UTC, utc_now
from shop.postgres import Connection

DASHBOARDS: Final = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
SEOUL: Final = ZoneInfo("Asia/Seoul")
_ROW_INCHES: Final = 0.30
_COLOURS: Final = {"green": "#37872d", "yellow": "#b58900", "red": "#c4162a"}
_UNITS: Final = {"percent": "{:,.1f} %", "s": "{:,.1f} s", "percentunit": "{:.0%}"}
_ALL: Final = {
    "scenario": "SELECT DISTINCT scenario FROM sales_by_hour",
    "category": "SELECT DISTINCT category FROM sales_by_category",
    "grade": "'BRONZE','SILVER','GOLD','VIP','VVIP'",
}


def expanded(query: str, since: datetime, until: datetime) -> str:
    """Fill in Grafana's macros and variables, all values of a filter chosen."""
    low, high = (f"'{t:%Y-%m-%dT%H:%M:%SZ}'" for t in (since, until))
    query = re.sub(r"\$\{(\w+):sqlstring\}", lambda m: _ALL[m[1]], query)
    every = 86_400 if until - since > timedelta(days=3) else 60
    query = query.replace("$target", "5").replace("$__interval_ms", str(every * 1000))
    query = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {low} AND {high}", query)
    query = re.sub(
        r"\$__timeGroup\(([^,]*), ([^)]*)\)",
        lambda m: f"date_bin('{3600 if '1h' in m[2] else every} s', {m[1]}, '2020-01-01Z')",
        query,
    )
    return query.replace("$__timeFrom()", low).replace("$__timeTo()", high)


def measured(
    url: str, target: dict[str, Any], since: datetime, until: datetime
) -> list[tuple[datetime, str, float]]:
    """Ask Prometheus for a range; return times, the names of the series, and values."""
    asked = {
        "query": target["expr"].replace("$__rate_interval", "1m"),
        "start": since.timestamp(),
        "end": until.timestamp(),
        "step": (until - since).total_seconds() / 100,
    }
    with urlopen(f"{url}/api/v1/query_range?{urlencode(asked)}", timeout=10) as answer:
        found = json.load(answer)["data"]["result"]

    def name(labels: dict[str, str]) -> str:
        legend = target["legendFormat"]
        return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), legend)

    return [
        (datetime.fromtimestamp(at, UTC), name(series["metric"]), float(value))
        for series in found
        for at, value in series["values"]
    ]


def draw(
    conn: Connection,
    model: dict[str, Any],
    since: datetime,
    until: datetime,
    prometheus: str = "",
) -> Figure:
    """Return a page: its panels on a grid of 24 columns."""
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in model["panels"])
    height = (rows + 2) * _ROW_INCHES
    figure = plt.figure(figsize=(14, height), dpi=72)
    figure.text(0.01, 1 - 0.5 / (rows + 2), model["title"], fontsize=13, weight="bold", va="center")
    filters = " · ".join(
        f"{v['name']}: {v['current']['text']}" for v in model["templating"]["list"]
    )
    said = filters.replace("['All']", "All")
    figure.text(0.99, 1 - 0.5 / (rows + 2), said, fontsize=9, ha="right", va="center")
    marks = [
        row
        for annotation in model["annotations"]["list"]
        for row in conn.execute(
            expanded(annotation["target"]["rawSql"], since, until).encode()
        ).fetchall()
        if annotation["name"] == "scenarios"
    ]
    for panel in model["panels"]:
        g = panel["gridPos"]
        left, width = (g["x"] + 0.9) / 24, (g["w"] - 1.3) / 24
        bottom, tall = 1 - (g["y"] + g["h"] + 0.5) / (rows + 2), (g["h"] - 2.1) / (rows + 2)
        axes = figure.add_axes((left, bottom, width, tall))
        axes.set_title(panel["title"], fontsize=9, loc="left", weight="bold")
        (target,) = panel["targets"]
        if "rawSql" not in target:
            if not prometheus:
                axes.axis("off")
                axes.text(0.5, 0.5, "asks Prometheus", ha="center", color="grey", fontsize=9)
                continue
            answered = measured(prometheus, target, since, until)
            _series(axes, panel, ["time", "metric", "value"], answered)
            axes.set_xlim(since.astimezone(SEOUL), until.astimezone(SEOUL))  # type: ignore[arg-type]  # matplotlib converts dates
            continue
        cursor = conn.execute(expanded(target["rawSql"], since, until).encode())
        names = [c.name for c in cursor.description or ()]
        _DRAWN[panel["type"]](axes, panel, names, cursor.fetchall())
        if panel["type"] == "timeseries":
            axes.set_xlim(since.astimezone(SEOUL), until.astimezone(SEOUL))  # type: ignore[arg-type]  # matplotlib converts dates
            for begin, end, *_ in marks:
                axes.axvspan(
                    begin.astimezone(SEOUL), end.astimezone(SEOUL), color="purple", alpha=0.06
                )
    return figure


def _words(panel: dict[str, Any], column: str, value: Any) -> tuple[str, str]:
    """Return a value as text with its unit, and its colour by the thresholds."""
    properties = {"unit": panel["fieldConfig"]["defaults"]["unit"]}
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == column:
            properties |= {p["id"]: p["value"] for p in override["properties"]}
    colour = "black"
    if isinstance(value, int | float | Decimal):
        for step in properties.get("thresholds", {}).get("steps", []):
            if step["value"] is None or value >= step["value"]:
                colour = _COLOURS[step["color"]]
        unit = properties["unit"]
        text = f"₩{value:,.0f}" if unit == "currencyKRW" else _UNITS.get(unit, "{:,}").format(value)
        return text, colour
    if isinstance(value, datetime):
        return f"{value.astimezone(SEOUL):%m-%d %H:%M}", colour
    return "" if value is None else str(value), colour


def _stat(axes: Axes, panel: dict[str, Any], names: list[str], rows: list[Any]) -> None:
    axes.axis("off")
    if not rows:
        _nothing(axes, panel)
        return
    for i, (name, value) in enumerate(zip(names, rows[0], strict=True)):
        x = (i + 0.5) / len(names)
        text, colour = _words(panel, name, value)
        axes.text(x, 0.62, text, fontsize=15, ha="center", va="center", color=colour)
        axes.text(x, 0.08, name, fontsize=8, ha="center", va="center", color="grey")


def _table(axes: Axes, panel: dict[str, Any], names: list[str], rows: list[Any]) -> None:
    axes.axis("off")
    most = int(panel["gridPos"]["h"] * 1.2) - 1
    shown = rows[:most]
    if not shown:
        _nothing(axes, panel)
        return
    cells = [[_words(panel, n, v) for n, v in zip(names, row, strict=True)] for row in shown]
    widths = [max(len(n), *(len(row[i][0]) for row in cells)) + 2 for i, n in enumerate(names)]
    table = axes.table(
        cellText=[[text for text, _ in row] for row in cells], colLabels=names, loc="upper center",
        cellLoc="right", edges="horizontal", colWidths=[w / sum(widths) for w in widths],
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    for (row, column), cell in table.get_celld().items():
        cell.set_height(1 / (len(shown) + 1) if len(shown) == most else 1 / most)
        cell.set_edgecolor("#dddddd")
        if row:
            cell.get_text().set_color(cells[row - 1][column][1])


def _nothing(axes: Axes, panel: dict[str, Any]) -> None:
    """Say that a panel has no rows, as Grafana does."""
    text = panel["fieldConfig"]["defaults"].get("noValue", "No data")
    axes.text(0.5, 0.5, text, ha="center", color="grey", fontsize=9, transform=axes.transAxes)


def _bars(axes: Axes, panel: dict[str, Any], names: list[str], rows: list[Any]) -> None:
    if not rows:
        _nothing(axes, panel)
    axes.bar([str(row[0]) for row in rows], [float(row[1]) for row in rows], color="#5794f2")
    axes.set_ylabel(names[1], fontsize=7)
    _plain(axes, rotate=len(rows) > 6)


def _series(axes: Axes, panel: dict[str, Any], names: list[str], rows: list[Any]) -> None:
    series: dict[str, list[tuple[datetime, float]]] = {}
    for row in rows:
        at = row[0].astimezone(SEOUL)
        values = (
            [(row[1], row[2])]
            if names[1:] == ["metric", "value"]
            else zip(names[1:], row[1:], strict=True)
        )
        for name, value in values:
            series.setdefault(name, []).append((at, float(value or 0)))
    custom = panel["fieldConfig"]["defaults"]["custom"]
    if not series:
        _nothing(axes, panel)
    instants = sorted({row[0] for row in rows})
    gaps = [(b - a).total_seconds() for a, b in pairwise(instants)]
    width = 0.8 * min(gaps, default=60) / 86_400  # in days
    stacked = custom["stacking"]["mode"] == "normal"
    below: dict[tuple[datetime, bool], float] = {}  # what is negative is stacked downwards
    many = len(series) > 10
    colours = mpl.colormaps["tab20" if many else "tab10"]
    axes.set_prop_cycle(color=[colours(i) for i in range(20 if many else 10)])
    for name, points in series.items():
        times = [t for t, _ in points]
        heights = [v for _, v in points]
        if custom["drawStyle"] == "bars":
            base = [below.get((t, v < 0), 0.0) if stacked else 0.0 for t, v in points]
            axes.bar(times, heights, width=width, bottom=base, label=name)  # type: ignore[arg-type]  # as above
        elif stacked:
            base = [below.get((t, v < 0), 0.0) for t, v in points]
            tops = [a + b for a, b in zip(base, heights, strict=True)]
            axes.fill_between(times, base, tops, label=name, alpha=0.7)  # type: ignore[arg-type]  # as above
        else:
            axes.plot(times, heights, label=name, linewidth=1)  # type: ignore[arg-type]  # as above
        below |= {(t, v < 0): below.get((t, v < 0), 0.0) + v for t, v in points}
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
        if step["value"] is not None:
            axes.axhline(
                step["value"], color=_COLOURS[step["color"]], linewidth=0.7, linestyle="--"
            )
    if len(series) > 1:
        axes.legend(fontsize=6, ncol=5, loc="upper left", framealpha=0.7)
    most = max(3, panel["gridPos"]["w"] // 2)
    few = dates.AutoDateLocator(maxticks=most)  # type: ignore[no-untyped-call]  # matplotlib's
    axes.xaxis.set_major_locator(few)
    _plain(axes, rotate=False)


def _plain(axes: Axes, *, rotate: bool) -> None:
    axes.tick_params(labelsize=7)
    if rotate:
        axes.tick_params(axis="x", labelrotation=30)
    axes.yaxis.set_major_formatter(lambda v, _: _short(v))
    axes.xaxis.get_offset_text().set_visible(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def _short(value: float) -> str:
    """Return a number as Grafana's unit `short` shows it.

    >>> _short(1_250_000_000), _short(2_500), _short(7)
    ('1.25 B', '2.5 K', '7')
    """
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


_DRAWN: Final = {"stat": _stat, "table": _table, "barchart": _bars, "timeseries": _series}


def main() -> None:
    """Draw the pages that ask PostgreSQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=float, default=30, help="draw the last DAYS days")
    parser.add_argument(
        "--operations-hours",
        type=float,
        default=1,
        metavar="HOURS",
        help="draw the last HOURS hours of the operator's page",
    )
    parser.add_argument("--prometheus", default="", metavar="URL", help="ask this Prometheus")
    args = parser.parse_args()
    until = utc_now()
    plt.rcParams["font.sans-serif"] = ["Noto Sans CJK KR", "NanumGothic", "DejaVu Sans"]
    plt.rcParams["axes.unicode_minus"] = False
    reached = settings.load(dict(os.environ)).postgres
    with postgres.connect(reached, "pictures", autocommit=True) as conn:
        for name in ("shop", "customers", "operations", "optional"):
            model = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
            hours = args.operations_hours if name == "operations" else 24 * args.days
            figure = draw(conn, model, until - timedelta(hours=hours), until, args.prometheus)
            path = args.folder / f"grafana-{name}.png"
            figure.savefig(path, pil_kwargs={"optimize": True})
            # 64 colours are enough for lines and text, and a third of the bytes.
            Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
            plt.close(figure)


if __name__ == "__main__":
    main()
