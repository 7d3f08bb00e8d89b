"""A real Prometheus with the file of the profile `grafana`, asking real processes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from shop.settings import Settings
from tests.support.event_samples import message, order, user
from tests.support.ingest_processes import Ingest, publish
from tests.support.waiting import wait_until

GRAFANA = Path(__file__).parents[2] / "deploy/grafana"
CONFIG = GRAFANA / "prometheus.yml"
BOARD = json.loads((GRAFANA / "dashboards/processes.json").read_text(encoding="utf-8"))
EXPRESSIONS = {
    f"{panel['title']}: {target['expr']}": target["expr"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
    if target.get("expr")
}


def program(name: str) -> str:
    if not (found := shutil.which(name)):
        pytest.skip(f"no `{name}` here (Debian's package prometheus has it)")
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def ask(port: int, query: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def answers(port: int) -> bool:
    try:
        return bool(ask(port, "up"))
    except OSError:
        return False


def test_promtool_takes_the_file() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", "--lint-fatal", str(CONFIG)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def asked(topics: object, env: dict[str, str], settings: Settings, tmp_path: Path) -> Iterator[int]:
    """The port of a Prometheus that asks an ingest, a cache worker and a grader.

    Its file is the one of the profile, with their addresses, and two looks a second.
    """
    server = program("prometheus")
    ports = {job: free_port() for job in ("ingest", "cache-worker", "grader", "prometheus")}
    where = {job: {**env, "METRICS_PORT": str(port)} for job, port in ports.items()}
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "400ms"}
    assert {job["job_name"] for job in config["scrape_configs"]} == ports.keys()
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    publish(settings, "users", [message("users", user(7))])
    sold = message("orders", order(1, user_id=7, product_id=3))
    publish(settings, "orders", [sold, (b"1", b"no JSON")])
    started = []
    with Ingest(where["ingest"], tmp_path / "ingest.log"), (tmp_path / "log").open("ab") as log:
        for command, e in (
            ([sys.executable, "-m", "jangteo", "generate", "cache"], where["cache-worker"]),
            ([sys.executable, "-m", "jangteo", "grade"], where["grader"]),
            (
                [
                    server,
                    f"--config.file={tmp_path}/prometheus.yml",
                    f"--storage.tsdb.path={tmp_path}/tsdb",
                    f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                ],
                env,
            ),
        ):
            started.append(subprocess.Popen(command, env=e, stdout=log, stderr=log))
        try:
            yield ports["prometheus"]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(timeout=20)
            print((tmp_path / "log").read_text(errors="replace")[-4000:])


def test_prometheus_reads_every_process_and_can_answer_every_panel(asked: int) -> None:
    def up() -> dict[str, str]:
        return {r["metric"]["job"]: r["value"][1] for r in ask(asked, "up")}

    wait_until(lambda: answers(asked), "Prometheus answers")
    wait_until(
        lambda: len(up()) == 4 and set(up().values()) == {"1"}, "all four are reached", timeout=90
    )
    wait_until(
        lambda: bool(ask(asked, 'jangteo_ingest_messages_total{outcome="stored"} > 0')),
        "the ingest's messages are seen",
    )
    wait_until(lambda: bool(ask(asked, "jangteo_grader_customers")), "a run of the grader is seen")
    wait_until(lambda: bool(ask(asked, "jangteo_cache_entries > 0")), "the cache is seen")
    time.sleep(1.5)  # a rate is of two looks
    empty = {
        title
        for title, expression in EXPRESSIONS.items()
        if not ask(asked, expression.replace("$__rate_interval", "5s"))
    }
    assert {title.partition(":")[0] for title in empty} == {"Servers that do not answer"}  # none
    lag = ask(asked, "sum by (topic) (jangteo_ingest_lag_messages)")
    assert {r["metric"]["topic"] for r in lag} == {"users", "products", "orders"}


def test_alert_rules_fire_when_they_should() -> None:
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts-test.yml"]):
        done = subprocess.run(
            [program("promtool"), *words], cwd=GRAFANA, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_rule_has_a_case() -> None:
    (group,) = yaml.safe_load((GRAFANA / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    cases = yaml.safe_load((GRAFANA / "alerts-test.yml").read_text(encoding="utf-8"))["tests"]
    assert [case["name"] for case in cases] == [rule["alert"] for rule in group["rules"]]
