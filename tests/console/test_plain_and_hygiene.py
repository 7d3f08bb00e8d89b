"""The headless side: text, JSON, exit codes, and no terminal library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import plain, text
from console.snapshot.model import READINGS, Snapshot, encode
from console.sources import SOURCES, CurrentSettings, LazySource
from shop.errors import ExitCode
from shop.settings import load
from tests.console import console_samples as samples
from tests.support import python_process


@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (samples.well(), ExitCode.OK),
        (samples.fine(), ExitCode.FAILED),
        (samples.redis_stale(), ExitCode.FAILED),
        (samples.broker_away(), ExitCode.FAILED),
        (samples.kafka_down(), ExitCode.UNREACHABLE),
        (samples.all_down(), ExitCode.UNREACHABLE),
        (Snapshot(sequence=0, at=samples.NOW), ExitCode.TIMEOUT),
    ],
)
def test_the_exit_code_says_how_it_is(snapshot: Snapshot, code: ExitCode) -> None:
    assert plain.exit_code(snapshot) == code


def test_the_line_names_every_figure() -> None:
    line = plain.line(samples.fine())
    for part in (
        *("health=degraded", "in=180/s", "lag=191", "verdict=warn", "due=31s", "hit=75.0%"),
        *("dead_letters=37", "processes=9/9", 'why="orders_group: warn"', "orders_10m=2500"),
        *("brokers=3", "out_of_sync=0", "below_min_isr=0"),
    ):
        assert part in line
    assert "\n" not in line
    away = plain.line(samples.broker_away())
    for part in ("brokers=2/3", "out_of_sync=12", "below_min_isr=4", "kafka: brokers away: 1"):
        assert part in away
    down = plain.line(samples.all_down())
    for part in ("kafka=down", "lag=-", "in=-/s", "cache=unknown"):
        assert part in down


def test_the_monitor_line_is_the_monitors_own() -> None:
    line = plain.monitor_line(samples.fine(), "en")
    assert line == (
        "[12:03:41] [18/50s #######-------------] | MEM: 50.00M | OPS/s: 3100 | HIT: 98.7% |"
        " CACHE: users=1000, products=1000 | replaced: 128"
    )
    assert "connection refused" in plain.monitor_line(samples.all_down(), "en")
    assert "다시 시도함" in plain.monitor_line(samples.all_down(), "ko")


def test_json_holds_what_was_seen() -> None:
    found = json.loads(encode(samples.kafka_down()))
    assert found["schema"] == 1
    assert found["kafka"]["state"] == "down"
    assert found["kafka"]["value"]["topics"][0]["lag"] == 184
    assert found["kafka"]["value"]["topics"][1]["partitions"][1]["lag"] is None


def test_two_moments_are_compared() -> None:
    lines = plain.comparison(samples.well(), samples.kafka_down()).splitlines()
    assert any(line.startswith("* health") and "unreachable" in line for line in lines)
    assert any(line.startswith("  mem ") for line in lines)


@given(st.floats(0, 9e14))
def test_numbers_are_short(value: float) -> None:
    assert len(text.number(value)) <= 5
    assert len(text.size(value)) <= 7


ROOT = Path(__file__).parents[2]
WITH_TERMINAL = {"__init__", "__main__", "cli", "tui", "web"}
"""Modules that may import a terminal or browser library; `cli` only when it shows a screen."""
CORE = sorted({p.stem for p in (ROOT / "console").iterdir() if "__" not in p.name} - WITH_TERMINAL)
MODULES = sorted(
    ".".join(p.relative_to(ROOT / "console").with_suffix("").parts)
    for p in (ROOT / "console").rglob("*.py")
    if p.relative_to(ROOT / "console").parts[0].removesuffix(".py") in CORE and "__" not in p.name
)
WITHOUT = """
import importlib, importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("textual", "rich", "textual_serve", "aiohttp"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Missing())
for name in sys.argv[1:]:
    importlib.import_module(f"console.{name}")
print("imported")
"""


def test_the_core_does_where_no_terminal_library_is_installed() -> None:
    """structlog uses Rich if it is installed; this program never does."""
    sources = [module.removeprefix("console.") for module, _ in SOURCES.values()]
    assert {"actions", "plain", "poller", "recording", "series", "sources"} <= set(CORE)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "cli", *MODULES, *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "imported\n", done.stderr


def test_the_first_picture_waits_for_no_client_of_a_server() -> None:
    """These take half a second of CPU to import, and the first screen needs none of them."""
    late = {"redis", "psycopg", "confluent_kafka", "structlog", "sqlite3", "polars", "numpy"}
    code = f"import sys, console.cli, console.tui.start; print({late!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_reading_has_a_source() -> None:
    current = CurrentSettings(load({}, use_stack=False), follow=False)
    assert {*READINGS, "events"} == set(SOURCES)
    for name in SOURCES:
        assert LazySource(name, current).make().name == name


def test_the_import_contract_names_all_of_the_core() -> None:
    contracts = (ROOT / "pyproject.toml").read_text().split("[[tool.importlinter.contracts]]")
    (ours,) = (c for c in contracts if "The console's core does without a terminal" in c)
    assert [name for name in CORE if f'"console.{name}"' not in ours] == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--once", "--watch"], "not allowed with argument"),
        (["--compare", "1", "2"], "--compare needs --replay"),
        (["--port", "1"], "--port needs --serve"),
        (["--replay", "/nonexistent"], "no recording /nonexistent"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(args: list[str], words: str, tmp_path: object) -> None:
    done = python_process.run(
        [sys.executable, "-m", "console", *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=str(tmp_path),
        env={"PATH": "/usr/bin", "XDG_STATE_HOME": str(tmp_path), "LANG": "C.UTF-8"},
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
