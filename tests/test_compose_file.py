"""The compose file matches the guide; needs compose, but no engine."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jangteo.cli import init
from jangteo.stack.kafka import jars
from shop import settings
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


PROFILES = {"python-dev", "grafana", "prometheus", "console"}
# What a service says for itself, and where the image keeps what there is to keep.
OWN = {"INGEST_TOPICS", "METRICS_HOST", "METRICS_PORT", "JANGTEO_DATA_DIR"}
# Of the servers that `jangteo up` starts, which are containers here.
EMBEDDED = r"JANGTEO_(JAVA_HOME|KAFKA_HOME|MAVEN_REPOSITORY|(KAFKA|POSTGRES|REDIS)_PORT)"
CACHE = ["generate", "cache"]
IDENTITY = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"}
# As whom each logs in to PostgreSQL; the owner makes the schema, and is who develops.
LOGIN = {
    "init": None,
    "python-dev": None,
    "producer": "generator",
    "user-generator": "generator",
    "cache-worker": "generator",
    "redis-monitor": "console",
    "console": "console",
    "grade-updater": "grader",
    **{
        f"{topic}_consumer_{n}": "ingest"
        for topic in ("user", "product", "order")
        for n in (1, 2, 3)
    },
}


@functools.cache
def compose(*, old: bool) -> tuple[str, ...]:
    """Return the command of compose v2, or of docker-compose 1.29 (Debian's package)."""
    folders = os.environ["PATH"].split(":")
    found = [("docker", "compose"), *((f"{folder}/docker-compose",) for folder in folders)]
    for program in found:
        if path := shutil.which(program[0]):
            asked = [path, *program[1:], "version", "--short"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            if said and said.lstrip("v").startswith("1.") == old:
                return path, *program[1:]
    pytest.skip(f"no {'`docker-compose` 1' if old else 'compose v2'} here")


def read(*words: str, **env: str) -> dict[str, Any]:
    """The file as compose v2 understands it, with variables and nothing else from outside."""
    program = compose(old=False)
    env |= {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    done = subprocess.run(
        [*program, "--env-file", "/dev/null", *words, "config", "--format", "json"],
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
        # Two cores are enough: an engine refuses a limit beyond what the machine has.
        assert 0 < float(service["cpus"]) <= 2, name
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


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """Each variable of the example, with a value that is its own."""
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    found = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) - OWN
    wanted = {name for name in found if not re.fullmatch(EMBEDDED, name)}
    assert len(wanted) > 25
    return {name: f"given-{name}" for name in wanted}


def test_the_file_hands_on_every_variable_of_the_example(given: dict[str, str]) -> None:
    """As YAML, so that this holds where there is no compose."""
    services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))[
        "services"
    ]
    logins = {n for n in given if re.match("POSTGRES_[A-Z]+_PASSWORD", n)}
    for name in LOGIN:
        assert given.keys() - logins <= services[name]["environment"].keys(), name


@pytest.fixture(scope="module")
def ours(given: dict[str, str]) -> dict[str, dict[str, str]]:
    """The environments of the shop's own containers, with all of that given."""
    services = read("--profile", "*", **given)["services"]
    return {n: s["environment"] for n, s in services.items() if s["image"].startswith("jangteo")}


def test_every_variable_of_the_example_reaches_the_processes(
    given: dict[str, str], ours: dict[str, dict[str, str]]
) -> None:
    assert ours.keys() == LOGIN.keys()
    logins = {n for n in given if re.match("POSTGRES_[A-Z]+_PASSWORD", n)}
    assert len(logins) == 2 * len(settings.LOGINS)
    for name, there in ours.items():
        left = given.keys() - (set() if name == "init" else logins)
        left = left if LOGIN[name] is None else left - IDENTITY
        if name == "console":  # outside of the stack's network: where the servers are is its own
            left -= {"KAFKA_BOOTSTRAP_SERVERS", "POSTGRES_HOST", "POSTGRES_PORT", "REDIS_URL"}
        assert {n: there.get(n) for n in left} == {n: given[n] for n in left}, name


def test_each_process_logs_in_as_its_kind_and_knows_no_other_password(
    given: dict[str, str], ours: dict[str, dict[str, str]]
) -> None:
    passwords = {given[n] for n in given if n.startswith("POSTGRES_") and "PASSWORD" in n}
    assert len(passwords) == 2 * (1 + len(settings.LOGINS))
    for name, kind in LOGIN.items():
        there = ours[name]
        prefix = "POSTGRES_" + (f"{kind.upper()}_" if kind else "")
        user = f"shop_{kind}" if kind else given["POSTGRES_USER"]
        mine = {given[f"{prefix}PASSWORD"], given[f"{prefix}PASSWORD_FILE"]}
        assert there["POSTGRES_USER"] == user, name
        assert {there["POSTGRES_PASSWORD"], there["POSTGRES_PASSWORD_FILE"]} == mine, name
        if name != "init":  # which makes the logins
            assert passwords & set(there.values()) == mine, name


def test_grafana_looks_as_the_role_that_only_reads(given: dict[str, str]) -> None:
    there = read("--profile", "grafana", **given)["services"]["grafana"]["environment"]
    assert there["POSTGRES_USER"] == "shop_console"
    assert there["POSTGRES_PASSWORD"] == given["POSTGRES_CONSOLE_PASSWORD"]


def test_no_secret_stands_in_the_file() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text(encoding="utf-8")
    lines = re.findall(r"^.*(?:PASSWORD|SECRET|TOKEN)\S*:.*$", text, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        _, _, value = line.strip().partition(": ")
        found = re.fullmatch(
            r"(?:&[\w-]+ )?\$\{(\w+):-(\w*)\}|\*(?:console-)?password|", value.strip()
        )
        by_name = "{" in line and "*password" in line
        assert found or by_name, line
        if found and found[2]:
            assert_refused_in_production({"POSTGRES_PASSWORD": found[2]})


@pytest.mark.parametrize("name", ["init", "cache-worker", "order_consumer_1", "grade-updater"])
def test_production_refuses_what_stands_in_the_file(config: dict[str, Any], name: str) -> None:
    given: dict[str, str | None] = config["services"][name]["environment"]
    assert_refused_in_production({n: value for n, value in given.items() if value is not None})


def test_prometheus_asks_every_process_that_has_an_endpoint(everything: dict[str, Any]) -> None:
    services = everything["services"]
    asks = yaml.safe_load((DEPLOY / "grafana/prometheus.yml").read_text(encoding="utf-8"))
    asked = [
        target
        for job in asks["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    ]
    # The generators have none; the console would show its own numbers alone.
    with_endpoint = {
        n: s["environment"]["METRICS_PORT"]
        for n, s in services.items()
        if s["image"].startswith("jangteo:") and s.get("command") in (["ingest"], ["grade"], CACHE)
    }
    wanted = {f"{name}:{port}" for name, port in with_endpoint.items()} | {"127.0.0.1:9090"}
    assert sorted(asked) == sorted(wanted)
    mounts = {v["target"]: v["source"] for v in services["prometheus"]["volumes"]}
    assert mounts["/etc/prometheus/prometheus.yml"] == str(DEPLOY / "grafana/prometheus.yml")
    url = services["grafana"]["environment"]["PROMETHEUS_URL"]
    assert url == "http://prometheus:9090"


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
    assert images == {f"apache/kafka:{jars.version()}"}


def read_of_old(tmp_path: Path, lines: str) -> dict[str, Any]:
    """The file as docker-compose 1.29 understands it: it refuses what is new."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    (settings_file := tmp_path / "env").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [*compose(old=True), "--env-file", str(settings_file), "config"], cwd=DEPLOY, env=env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = yaml.safe_load(done.stdout)
    return loaded


SERVERS = {
    "LOCAL_POSTGRES": {"postgres"},
    "LOCAL_REDIS": {"redis"},
    "LOCAL_KAFKA": {"kafka1", "kafka2", "kafka3"},
}


def left_out(config: dict[str, Any]) -> set[str]:
    return {name for name, s in config["services"].items() if s.get("scale") == 0}


@pytest.mark.parametrize("variable", SERVERS)
def test_a_server_that_is_elsewhere_is_not_started(tmp_path: Path, variable: str) -> None:
    assert left_out(read_of_old(tmp_path, "")) == set()
    assert left_out(read_of_old(tmp_path, f"{variable}=0")) == SERVERS[variable]


@pytest.mark.parametrize("variable", SERVERS)
def test_compose_v2_starts_no_server_that_is_elsewhere(variable: str) -> None:
    assert left_out(read()) == set()
    assert left_out(read(**{variable: "0"})) == SERVERS[variable]


def test_three_lines_for_production_name_all_that_is_missing_at_once(tmp_path: Path) -> None:
    lines = "DB_TYPE=production\nPOSTGRES_HOST=db.example.com\nPOSTGRES_PASSWORD=secure_password\n"
    config = read_of_old(tmp_path, lines)
    env = {k: str(v) for k, v in config["services"]["init"]["environment"].items() if v is not None}
    assert (env["POSTGRES_HOST"], env["POSTGRES_PASSWORD"]) == ("db.example.com", "secure_password")
    with pytest.raises(UsageError) as refused:
        init._require_all(settings.load(env, use_stack=False), logins=True)
    for name in ("INGEST", "GENERATOR", "GRADER", "CONSOLE"):
        assert f"POSTGRES_{name}_PASSWORD" in str(refused.value)
    assert "REDIS_URL" in str(refused.value)
    lines += "REDIS_PASSWORD=deep_secret\nREDIS_URL=redis://:deep_secret@redis:6379/0\n"
    for name in ("INGEST", "GENERATOR", "GRADER", "CONSOLE"):
        lines += f"POSTGRES_{name}_PASSWORD=long_and_secret_{name}\n"
    services = read_of_old(tmp_path, lines)["services"]
    env = {k: str(v) for k, v in services["init"]["environment"].items() if v is not None}
    init._require_all(settings.load(env, use_stack=False), logins=True)  # nothing else is missing
    assert services["redis"]["command"][-2:] == ["--requirepass", "deep_secret"]
