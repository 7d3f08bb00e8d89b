"""The compose file holds what the guide says; needs compose, but no engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shop import kafka_jars

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


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    docker = shutil.which("docker")
    asked = [docker or "docker", "compose", "version"]
    if not docker or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no `docker compose` here")
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", "config", "--format", "json"],
        cwd=DEPLOY, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def test_there_are_21_services_and_the_init(config: dict[str, Any]) -> None:
    assert len(config["services"].keys() - {"init"}) == 21


def test_containers_have_the_names_that_people_type(config: dict[str, Any]) -> None:
    assert set(SHOWN) <= {s["container_name"] for s in config["services"].values()}


def test_only_loopback_is_published(config: dict[str, Any]) -> None:
    ports = [p for s in config["services"].values() for p in s.get("ports", [])]
    assert ports
    assert {p["host_ip"] for p in ports} == {"127.0.0.1"}


def test_every_service_has_a_health_check_a_restart_and_a_limit(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        assert service.get("mem_limit"), name
        assert service.get("restart"), name
        assert service.get("healthcheck") or name == "init", name


def test_ours_cannot_write_their_file_system(config: dict[str, Any]) -> None:
    ours = [s for s in config["services"].values() if s["image"].startswith("jangteo:")]
    assert len(ours) == 15
    assert all(s["read_only"] and s["cap_drop"] == ["ALL"] for s in ours)


def test_the_brokers_are_of_the_version_that_the_tests_run(config: dict[str, Any]) -> None:
    images = {config["services"][f"kafka{n}"]["image"] for n in (1, 2, 3)}
    assert images == {f"apache/kafka:{kafka_jars.version()}"}
