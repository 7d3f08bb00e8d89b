"""The grader's HTTP endpoint."""

from __future__ import annotations

import json
import sys
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shop import metrics_endpoint
from shop.clock import UTC
from shop.settings import Settings
from tests.support import python_process
from tests.support.waiting import wait_until


def test_a_grader_shows_its_runs_and_withdraws_when_it_ends(
    env: dict[str, str],
    settings: Settings,
    shop: Any,
    tmp_path: Path,
) -> None:
    shop.user(1)
    shop.order(1, 100_000, datetime.now(UTC) - timedelta(days=1))
    folder = settings.data_dir / metrics_endpoint.FOLDER
    with (tmp_path / "log").open("wb") as log:
        process = python_process.Popen(
            [sys.executable, "-m", "grading.updater"], env=env, stderr=log
        )
    try:
        wait_until(shop.runs, "a run")
        wait_until(lambda: list(folder.glob("grader-*.json")), "the discovery file")
        (record,) = folder.glob("grader-*.json")
        ((address,),) = [group["targets"] for group in json.loads(record.read_text())]

        def shown() -> str:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                return answer.read().decode()

        wait_until(lambda: "jangteo_grader_run_seconds_count 1.0" in shown(), "its count")
        assert 'jangteo_grader_changed_total{direction="up"} 1.0' in shown()
        assert 'jangteo_grader_customers{grade="SILVER"} 1.0' in shown()
        process.terminate()
        assert process.wait(60) == 0
        assert not record.exists()
    finally:
        process.kill()
        process.wait()
