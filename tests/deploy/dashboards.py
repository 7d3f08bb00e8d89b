"""The models of the dashboards, as the files and the script have them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
    target["expr"]
    for model in MODELS.values()
    for panel in model["panels"]
    for target in panel["targets"]
    if "expr" in target
]
