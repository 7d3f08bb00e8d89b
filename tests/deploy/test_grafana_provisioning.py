"""The provisioning files hold only what Grafana's documentation allows.

Sources: grafana.com/docs/grafana, "Provision Grafana" (data sources, dashboards), "Configure the
PostgreSQL data source", "Configure the Prometheus data source"; of versions 11 to 13. There is no
schema to be had that a program could read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import yaml

PROVISIONING = Path(__file__).parents[2] / "deploy/grafana/provisioning"


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Secrets(_Strict):
    password: str


class PostgresOptions(_Strict, rename="camel", kw_only=True):
    database: str
    sslmode: str  # from the environment
    max_open_conns: int = 100
    max_idle_conns: int = 100
    max_idle_conns_auto: bool = True
    conn_max_lifetime: int = 14_400
    postgres_version: Literal[903, 904, 905, 906, 1000, 1100, 1200, 1300, 1400, 1500] = 903
    timescaledb: bool = False
    tls_configuration_method: Literal["file-path", "file-content"] = "file-path"
    ssl_root_cert_file: str = ""


class PrometheusOptions(_Strict, rename="camel", kw_only=True):
    http_method: Literal["GET", "POST"] = "POST"
    time_interval: str = "15s"
    manage_alerts: bool = True
    prometheus_type: str = ""
    prometheus_version: str = ""


class Source(_Strict, tag_field="type", rename="camel", kw_only=True):
    """Keys that all data sources have."""

    name: str
    access: Literal["proxy", "direct"]
    url: str
    uid: str = ""
    org_id: int = 1
    is_default: bool = False
    editable: bool = False
    version: int = 1


class Postgres(Source, tag="grafana-postgresql-datasource", rename="camel", kw_only=True):
    user: str
    json_data: PostgresOptions
    secure_json_data: Secrets


class Prometheus(Source, tag="prometheus", rename="camel", kw_only=True):
    json_data: PrometheusOptions


class Sources(_Strict, rename="camel", kw_only=True):
    """A file of `datasources/`."""

    api_version: Literal[1]
    datasources: list[Postgres | Prometheus]
    prune: bool = False


class Options(_Strict, rename="camel", kw_only=True):
    path: str
    folders_from_files_structure: bool = False


class Provider(_Strict, rename="camel", kw_only=True):
    name: str
    type: Literal["file"]
    options: Options
    org_id: int = 1
    folder: str = ""
    folder_uid: str = ""
    disable_deletion: bool = False
    update_interval_seconds: int = 10
    allow_ui_updates: bool = False


class Providers(_Strict, rename="camel", kw_only=True):
    """A file of `dashboards/`."""

    api_version: Literal[1]
    providers: list[Provider]


FOLDERS = {"datasources": Sources, "dashboards": Providers}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_nothing_else_is_provisioned() -> None:
    assert {p.name for p in PROVISIONING.iterdir()} == set(FOLDERS)
    assert {p.suffix for folder in PROVISIONING.iterdir() for p in folder.iterdir()} == {".yml"}


@pytest.mark.parametrize(
    "path", sorted(PROVISIONING.rglob("*.yml")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_a_file_holds_what_is_documented_and_nothing_else(path: Path) -> None:
    schema = FOLDERS[path.parent.name]
    msgspec.convert(load(path), schema)
    for spoilt in _spoilt(load(path)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(spoilt, schema)


def _spoilt(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return copies with a key misspelt: at the top, in a list, in an item of it."""
    kinds = ("datasources", "providers")
    found = []
    for where in ("", "item", "jsonData", "options"):
        copied = msgspec.yaml.decode(msgspec.yaml.encode(config))
        (items,) = (copied[k] for k in kinds if k in copied)
        at = {"": copied, "item": items[0]}.get(where, items[0].get(where))
        if at is not None:
            at["databse"] = 1
            found.append(copied)
    assert len(found) == 3
    return found


def test_there_is_one_default_and_each_has_a_name_of_its_own() -> None:
    sources: list[Source] = [
        source
        for path in (PROVISIONING / "datasources").iterdir()
        for source in msgspec.convert(load(path), Sources).datasources
    ]
    assert sum(s.is_default for s in sources) == 1
    assert len({s.uid for s in sources} - {""}) == len({s.name for s in sources}) == len(sources)
