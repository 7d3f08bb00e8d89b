"""Write the dashboards' JSON from `panels.py` and the SQL next to it.

`python deploy/grafana/build.py` after a change; a test holds that the files are what it writes.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from panels import DASHBOARDS, FILTERS, POSTGRES, PROMETHEUS, Dashboard, Panel

HERE: Final = Path(__file__).parent
SCHEMA_VERSION: Final = 39  # Grafana 11; newer ones migrate it when they load it
_COLUMNS: Final = 24
SAMPLE: Final = re.compile(r"\{\{ (\w+) \}\}")
"""Where a query has a file of `sql/samples`: the rows that several panels look at."""
_COLOURS: Final = {"scenarios": "purple", "actions": "orange"}


def query(dashboard: Dashboard, panel: Panel) -> tuple[str, str]:
    """Return a panel's query and its description."""
    if panel.datasource is PROMETHEUS:
        return panel.query, panel.description
    return _sql(dashboard.name, panel.query)


def _sql(folder: str, name: str) -> tuple[str, str]:
    path = HERE / "sql" / folder / f"{name}.sql"
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("--").strip() for line in takewhile(_is_comment, lines)]
    text = "\n".join(lines[len(said) :])
    return SAMPLE.sub(lambda match: _sql("samples", match[1])[0], text), " ".join(said)


def _is_comment(line: str) -> bool:
    return line.startswith("--")


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
        # The other pages, with the same range.
        "links": [
            {
                "type": "dashboards",
                "title": "Jangteo",
                "tags": ["jangteo"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            },
        ],
        "templating": {"list": [_variable(name) for name in dashboard.filters]},
        "annotations": {"list": [_annotation(name) for name in dashboard.annotations]},
        "panels": [
            _panel(dashboard, panel, number, place)
            for number, (panel, place) in enumerate(_placed(dashboard.panels), 1)
        ],
    }
    return json.dumps(model, ensure_ascii=False, indent=2) + "\n"


def _variable(name: str) -> dict[str, Any]:
    chosen = FILTERS[name]
    if name == "target":
        first = {"text": "5", "value": "5"}
        return {"name": name, **chosen, "multi": False, "includeAll": False, "current": first}
    everything = {"text": ["All"], "value": ["$__all"]}
    refreshed = {"refresh": 2} if chosen["type"] == "query" else {}  # 2: when the range changes
    return {
        "name": name, **chosen, **refreshed, "multi": True, "includeAll": True,
        "current": everything,
    }  # fmt: skip


def _annotation(name: str) -> dict[str, Any]:
    text, _ = _sql("annotations", name)
    return {
        "name": name,
        "enable": True,
        "hide": False,
        "iconColor": _COLOURS[name],
        "datasource": POSTGRES,
        "target": {"refId": "Anno", "rawQuery": True, "rawSql": text, "format": "table"},
    }


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
    target: dict[str, Any] = {"refId": "A", "datasource": panel.datasource}
    if panel.datasource is PROMETHEUS:
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
        "datasource": panel.datasource,
        "gridPos": place,
        "targets": [target],
        "options": options,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom}
            | ({"noValue": f"off: jangteo up --with {panel.word}"} if panel.word else {})
            | ({} if panel.warn_of else _thresholds(panel)),
            "overrides": [_override(name, {"unit": unit}) for name, unit in panel.units.items()]
            + ([_override(panel.warn_of, _warning(panel, kind))] if panel.warn_of else []),
        },
    }


def _override(column: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": id_, "value": value} for id_, value in properties.items()],
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    """Return a panel's thresholds; its values are green where it has none to warn of."""
    if panel.warn is None:
        return {}
    yellow, red = panel.warn
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if red > yellow:
        steps += [{"color": "yellow", "value": yellow}, {"color": "red", "value": red}]
    else:
        steps = [{"color": "red", "value": None}, {"color": "yellow", "value": red},
                 {"color": "green", "value": yellow}]  # fmt: skip
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def _warning(panel: Panel, kind: str) -> dict[str, Any]:
    """Return what one column of a panel looks like that has thresholds."""
    looks = {"color": {"mode": "thresholds"}, **_thresholds(panel)}
    if kind == "table":
        looks["custom.cellOptions"] = {"type": "color-text"}
    return looks


def _looks(panel: Panel) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the type of a panel, its options and what each series looks like."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    if panel.kind == "stat":
        # The one row's columns, each a figure of its own.
        figures = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return (
            "stat",
            {
                "reduceOptions": figures,
                "colorMode": "value" if panel.warn else "none",
                "graphMode": "none",
            },
            {},
        )
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
    if panel.warn:
        custom["thresholdsStyle"] = {"mode": "line"}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return "timeseries", options, custom


def main() -> None:
    """Write all dashboards."""
    for dashboard in DASHBOARDS:
        path = HERE / "dashboards" / f"{dashboard.name}.json"
        path.write_text(as_json(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
