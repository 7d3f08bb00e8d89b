"""The compose file holds what the guide says; needs compose, but no engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop import kafka_jars, settings
from shop.errors import UsageError

DEPLOY = Path(__file__).parents[1] / "deploy"
SHOWN = [
    "local_postgres",
    "local_redis",
    "kafka1",
    "kafka2",
    "kafka3",
    "producer",
    "cache_worker",
    "redis_monitor",
    "grade_updater",
    "user_consumer_1",
    "product_consumer_2",
    "order_consumer_3",
]


PROFILES = {"python-dev", "grafana", "console"}
# What a service says for itself, and where the image keeps what there is to keep.
OWN = {"INGEST_TOPICS", "METRICS_HOST", "METRICS_PORT", "JANGTEO_DATA_DIR"}


def read(*words: str, **env: str) -> dict[str, Any]:
    """The file as compose understands it, with variables and nothing else from outside."""
    docker = shutil.which("docker")
    asked = [docker or "docker", "compose", "version"]
    if not docker or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no `docker compose` here")
    env |= {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", *words, "config", "--format", "json"],
        cwd=DEPLOY, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return read()


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    """With the services of the profiles."""
    return read("--profile", "*")


def test_there_are_21_services_and_the_init(config: dict[str, Any]) -> None:
    assert len(config["services"].keys() - {"init"}) == 21


def test_containers_have_the_names_that_people_type(config: dict[str, Any]) -> None:
    assert set(SHOWN) <= {s["container_name"] for s in config["services"].values()}


def test_profiles_add_what_the_guide_says(
    config: dict[str, Any], everything: dict[str, Any]
) -> None:
    assert everything["services"].keys() - config["services"].keys() == PROFILES
    there = {s["container_name"] for s in everything["services"].values()}
    assert {"python_dev", "grafana", "console"} <= there


def test_only_loopback_is_published(everything: dict[str, Any]) -> None:
    ports = [p for s in everything["services"].values() for p in s.get("ports", [])]
    assert ports
    assert {p["host_ip"] for p in ports} == {"127.0.0.1"}


def test_every_service_has_a_health_check_a_restart_and_a_limit(
    everything: dict[str, Any],
) -> None:
    for name, service in everything["services"].items():
        assert service.get("mem_limit"), name
        assert service.get("pids_limit"), name
        assert service.get("restart"), name
        assert service.get("healthcheck") or name == "init", name


def test_ours_cannot_write_their_file_system(config: dict[str, Any]) -> None:
    ours = [s for s in config["services"].values() if s["image"].startswith("jangteo:")]
    assert len(ours) == 15
    assert all(s["read_only"] and s["cap_drop"] == ["ALL"] for s in ours)


def test_the_console_shares_the_network_of_the_machine_and_publishes_nothing(
    everything: dict[str, Any],
) -> None:
    console = everything["services"]["console"]
    assert console["network_mode"] == "host"
    assert not console.get("ports")
    assert console["command"][:2] == ["console", "--serve"]
    assert console["read_only"]


def test_every_variable_of_the_example_reaches_the_processes() -> None:
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    wanted = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) - OWN
    assert len(wanted) > 25
    given = {name: f"given-{name}" for name in wanted}
    services = read("--profile", "*", **given)["services"]
    for name, service in services.items():
        if service["image"].startswith("jangteo"):
            there = service["environment"]
            # The console is outside of the stack's network: where it finds the servers is its own.
            ours = {"KAFKA_BOOTSTRAP_SERVERS", "POSTGRES_HOST", "POSTGRES_PORT", "REDIS_URL"}
            left = wanted - ours if name == "console" else wanted
            assert {n: there.get(n) for n in left} == {n: given[n] for n in left}, name


def test_no_secret_stands_in_the_file() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text(encoding="utf-8")
    lines = re.findall(r"^.*(?:PASSWORD|SECRET|TOKEN)\S*:.*$", text, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        _, _, value = line.strip().partition(": ")
        told = re.fullmatch(r"(?:&\w+ )?\$\{(\w+):-(\w+)\}|\*password|", value.strip())
        by_name = "{" in line and "*password" in line
        assert told or by_name, line
        if told and told[2]:
            assert_refused_in_production({"POSTGRES_PASSWORD": told[2]})


def test_production_refuses_what_stands_in_the_file(config: dict[str, Any]) -> None:
    given: dict[str, str | None] = config["services"]["cache-worker"]["environment"]
    assert_refused_in_production({n: value for n, value in given.items() if value is not None})


def assert_refused_in_production(env: dict[str, str]) -> None:
    env = {"POSTGRES_HOST": "postgres", **env}
    assert settings.load(env, use_stack=False).postgres.password
    with pytest.raises(UsageError, match="refuses a missing or default POSTGRES_PASSWORD"):
        _ = settings.load({**env, "DB_TYPE": "production"}, use_stack=False).postgres


def test_grafana_finds_what_is_provisioned(everything: dict[str, Any]) -> None:
    service = everything["services"]["grafana"]
    mounts = {v["target"]: Path(v["source"]) for v in service["volumes"] if v["type"] == "bind"}
    assert mounts["/etc/grafana/provisioning"] == DEPLOY / "grafana/provisioning"
    (provider,) = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/jangteo.yml").read_text(encoding="utf-8")
    )["providers"]
    assert list(mounts[provider["options"]["path"]].glob("*.json"))
    asked = {
        name
        for path in (DEPLOY / "grafana/provisioning").rglob("*.yml")
        for name in re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8"))
    }
    assert asked <= service["environment"].keys()


def test_the_brokers_are_of_the_version_that_the_tests_run(config: dict[str, Any]) -> None:
    images = {config["services"][f"kafka{n}"]["image"] for n in (1, 2, 3)}
    assert images == {f"apache/kafka:{kafka_jars.version()}"}
