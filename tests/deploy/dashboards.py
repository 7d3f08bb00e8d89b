"""The models of the dashboards, as the files and the script have them, and what panels answer."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shop.postgres import Connection
from tests.deploy.backfilled_shop import DAYS
from tests.deploy.grafana_macros import expand

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


def _script(file: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GRAFANA / file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_script("panels.py", "panels")  # which the script finds next to it
BUILD = _script("build.py", "grafana_build")
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
    target["expr"]
    for model in MODELS.values()
    for panel in model["panels"]
    for target in panel["targets"]
    if "expr" in target
]


def ask(
    shop: Connection,
    panel: dict[str, Any],
    now: datetime,
    days: float = DAYS + 1,
    *,
    chosen: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a panel's query as Grafana would; return the names of the columns and the rows."""
    (target,) = panel["targets"]
    query = expand(
        target["rawSql"], now - timedelta(days=days), now + timedelta(seconds=5), chosen=chosen
    )
    cursor = shop.execute(query.encode())
    return [c.name for c in cursor.description or ()], cursor.fetchall()


def answer(
    shop: Connection,
    name: str,
    title: str,
    now: datetime,
    days: float = DAYS + 1,
    *,
    chosen: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """Return what a panel of a dashboard shows, a mapping a row."""
    (panel,) = (p for p in MODELS[name]["panels"] if p["title"] == title)
    columns, rows = ask(shop, panel, now, days, chosen=chosen)
    return [dict(zip(columns, row, strict=True)) for row in rows]
