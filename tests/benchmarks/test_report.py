"""The report of all benchmarks: how they are run, and what the README quotes from it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import benchmarks.__main__ as command
from benchmarks import common
from benchmarks.cache.filled_shop import statements_in
from benchmarks.common import Result
from benchmarks.reporting import readme
from benchmarks.reporting import run as runs
from benchmarks.reporting.pages import replaced
from benchmarks.reporting.plan import PLAN, Planned
from benchmarks.reporting.readme import CLAIMS, PAGES, Lang
from benchmarks.reporting.run import Entry
from shop import postgres
from shop.settings import Settings
from tests.support.guide_commands import ROOT
from tests.support.waiting import wait_until

SAMPLE = Planned("sample", "A sample", "sample", (), (), 60.0)


@pytest.fixture(autouse=True)
def no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no server to ask for its version."""
    monkeypatch.setattr(runs, "versions", dict)


def script(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, subprocess, time\n{code}"]


def entry(*results: Result, **fields: Any) -> Entry:
    given: dict[str, Any] = {
        "title": "A sample", "command": "python", "scale": "full", "at": "2026-11-29T02:00:00Z",
        "machine": "a machine, 2 cores", "versions": {}, "load": (0.4, 1.0), "seconds": 1.0,
    }  # fmt: skip
    return Entry(**{**given, "results": results, **fields})


@pytest.mark.parametrize("lang", PAGES)
def test_the_readme_shows_the_committed_report(lang: Lang) -> None:
    report = runs.load(command.COMMITTED / "report.json")
    assert report
    page = (ROOT / PAGES[lang]).read_text(encoding="utf-8")
    assert replaced(page, readme.BEGIN, readme.block(report, lang)) == page


@pytest.mark.parametrize("lang", PAGES)
def test_only_claims_with_figures_have_a_row(lang: Lang) -> None:
    console = entry(
        Result("live: CPU", 3.04, "% of a core"), Result("ordinary: first paint", 0.301, "s")
    )
    idle = entry(at="2026-11-30T02:00:00Z", error="exit code 1", load=(9.0, 9.0))
    block = readme.block({"console": console, "idle": idle, "unknown": console}, lang)
    rows = [line for line in block.splitlines() if line.startswith("| ")]
    assert len(rows) == 2
    assert "3.04" in rows[1]
    assert "0.3" in rows[1]
    assert "2026-11-29" in block
    assert "a machine, 2 cores" in block
    assert "2026-11-30" not in block  # a benchmark without a row is not part of what was measured
    assert readme.block({}, lang) == ""


def test_the_table_is_of_benchmarks_of_the_plan() -> None:
    assert {claim.benchmark for claim in CLAIMS} <= {planned.name for planned in PLAN}
    assert [p.name for p in PLAN if importlib.util.find_spec(p.module) is None] == []


def test_a_benchmark_is_ended_at_its_limit_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    argv = script(
        "idle = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = f'import subprocess as s; print(s.Popen({idle!r}, stdout=2).pid)'\n"
        f"orphan = subprocess.check_output([sys.executable, '-c', child], text=True)\n"
        f"open({str(pids)!r}, 'w').write(orphan)\n"
        "time.sleep(600)"
    )
    found = runs.run(SAMPLE, "small", argv, None, 4.0)
    assert "ended after 4 s" in found.error
    orphan = int(pids.read_text())
    wait_until(
        lambda: not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie",
        "the orphan's end",
    )


def test_a_failed_benchmark_is_reported_with_what_it_found() -> None:
    figures = json.dumps({"results": [{"name": "a", "value": 1, "unit": "s"}]})
    code = f"open(sys.argv[-1], 'w').write({figures!r}); sys.exit('no more of it')"
    found = runs.run(SAMPLE, "small", script(code), None, 60.0)
    assert "no more of it" in found.error
    assert found.find("a").value == 1
    cut = runs.run(SAMPLE, "small", script("open(sys.argv[-1], 'w').write('{')"), None, 60.0)
    assert "cannot be read" in cut.error
    assert not cut.results


def test_the_others_run_when_one_fails_and_none_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [Planned(name, name, "json.tool", ("--none",), (), 60.0) for name in ("one", "two")]
    monkeypatch.setattr(command, "PLAN", plan)
    assert command.run_all("small", [], tmp_path, 1.0) == 1
    report = runs.load(tmp_path / "report.json")
    assert {name: "exit code 2" in found.error for name, found in report.items()} == {
        "one": True, "two": True,
    }  # fmt: skip
    assert command.run_all("small", ["two"], tmp_path, 0.0) == 1
    report = runs.load(tmp_path / "report.json")
    assert "exit code 2" in report["one"].error
    assert "the time for all benchmarks is over" in report["two"].error
    assert (tmp_path / "report.md").is_file()


def test_figures_of_numpy_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    common.save(path, [], kept_up=np.bool_(True), lost=np.int64(3))
    saved = json.loads(path.read_text())
    assert (saved["kept_up"], saved["lost"]) == (True, 3)


def test_statements_are_counted_in_the_servers_log(servers: Any, settings: Settings) -> None:
    log, mark = servers.postgres.log, f"{os.getpid()}{time.monotonic_ns()}"
    start = log.stat().st_size
    with postgres.connect(settings.postgres, "counted", autocommit=True) as conn:
        conn.execute("SET log_statement = 'all'")
        for number in range(3):
            conn.execute(f"SELECT %s::int /* {mark} */\n, 1".encode(), (number,))
        with conn.transaction():
            conn.execute(f"SELECT 1 /* {mark} */".encode())
        conn.execute("SET log_statement = 'none'")
    found = statements_in(log, start)
    ours = [text for text in found if mark in text]
    assert [text.split(" /*")[0] for text in ours] == ["SELECT $1::int"] * 3 + ["SELECT 1"]
    assert found[found.index(ours[3]) - 1 : found.index(ours[3]) + 2 : 2] == ["BEGIN", "COMMIT"]
