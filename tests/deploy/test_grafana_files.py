"""The dashboards: the files are what build.py writes, and name what is there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from flows.metrics import IngestMetrics
from generators.cache.metrics import CacheMetrics
from grading.metrics import GraderMetrics
from tests.deploy.dashboards import BUILD, EXPRESSIONS, GRAFANA, MODELS


def test_the_files_are_what_the_script_writes() -> None:
    written = {d.name: BUILD.as_json(d) for d in BUILD.DASHBOARDS}
    assert set(MODELS) == set(written)
    for name, text in written.items():
        there = (GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8")
        assert there == text, f"{name}: run python deploy/grafana/build.py"


def test_every_query_file_is_shown() -> None:
    shown = {
        f"{d.name}/{p.query}" for d in BUILD.DASHBOARDS for p in d.panels
        if p.datasource is BUILD.POSTGRES
    } | {f"annotations/{name}" for d in BUILD.DASHBOARDS for name in d.annotations}  # fmt: skip
    files = list((GRAFANA / "sql").rglob("*.sql"))
    shown |= {
        f"samples/{name}" for path in files for name in BUILD.SAMPLE.findall(path.read_text())
    }
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

    # What an annotation asks a data source is that data source's own.
    asked = {f"/annotations/list/{i}/target/{key}"
             for i in range(5) for key in ("rawSql", "rawQuery", "format", "refId")}  # fmt: skip
    assert set(_missing(MODELS[name], known(MODELS[name]))) <= asked
    spoilt = json.loads(json.dumps(MODELS[name]))
    spoilt["panels"][0]["fieldConfig"]["defaults"]["unti"] = "short"
    lost = "/panels/0/fieldConfig/defaults/unti"
    assert [path for path in _missing(spoilt, known(spoilt)) if path not in asked] == [lost]


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


def test_every_metric_of_the_expressions_is_one_of_ours() -> None:
    tally = IngestMetrics()
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
