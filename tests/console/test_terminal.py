"""The real program at a real terminal: keys, sizes, signals, a terminal that goes, servers away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.console.terminal import Terminal
from tests.support import python_process


@pytest.fixture
def dead(tmp_path: Path) -> dict[str, str]:
    """An environment in which no server answers."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    outside = ("KAFKA_", "POSTGRES_", "REDIS_", "JANGTEO_", "NO_COLOR", "TMUX")
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(outside)},
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(port),
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{port}/0",
        "JANGTEO_DATA_DIR": str(tmp_path / "data"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*args: str, **more: Any) -> Terminal:
        opened.append(Terminal(*args, **more))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.end()


def test_keys_work_while_every_server_is_down(
    dead: dict[str, str], open_terminal: Callable[..., Terminal]
) -> None:
    t = open_terminal(env=dead, size=(120, 40))
    t.wait_for("unreachable")
    t.forget()
    t.press("?")
    t.wait_for("follow an id")
    t.press("?")
    t.forget()
    t.press("2")
    t.wait_for("members")
    t.forget()
    t.resize(60, 20)
    os.kill(t.process.pid, signal.SIGWINCH)
    t.wait_for("this terminal is 60x20")
    t.resize(80, 24)
    os.kill(t.process.pid, signal.SIGWINCH)
    t.forget()
    t.press("1")
    t.wait_for("Processes")
    before, began = t.cpu_s(), time.monotonic()
    while time.monotonic() - began < 4:
        t.pump()
    # Bare Textual without the guard needs 97 %, an animated indicator 24 to 78 %.
    assert (t.cpu_s() - before) / (time.monotonic() - began) < 0.20
    t.press("q")
    assert t.exit_code() == 0
    assert "hunter2" not in t.text


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it(
    dead: dict[str, str], open_terminal: Callable[..., Terminal], signum: signal.Signals
) -> None:
    t = open_terminal(env=dead)
    t.wait_for("unreachable")
    os.kill(t.process.pid, signum)
    assert t.exit_code() == (0 if signum == signal.SIGTERM else 129)
    assert "\x1b[?1049l" in t.raw.decode(errors="replace"), "the terminal is given back"


def test_a_terminal_that_goes_ends_it_even_where_hangups_are_ignored(
    dead: dict[str, str], open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """With nohup no SIGHUP arrives, and reading the terminal returns end-of-file for ever."""
    shield = tmp_path / "shield.py"
    shield.write_text(
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "set_ = signal.signal\n"
        "signal.signal = lambda s, h: None if s == signal.SIGHUP else set_(s, h)\n"
        "sys.argv = ['console']\n"
        "runpy.run_module('console', run_name='__main__')\n"
    )
    t = open_terminal(env={**dead, "PYTHONPATH": str(tmp_path)}, module="shield")
    t.wait_for("unreachable")
    t.hang_up()
    assert t.exit_code() == 129


def test_in_a_browser_it_ends_with_the_server_that_started_it(dead: dict[str, str]) -> None:
    """The driver for browsers does not notice: it continued alone, at a fifth of a core."""
    served = {**dead, "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"}
    with python_process.Popen(
        [sys.executable, "-m", "console", "--read-only"],
        env={**served, "COLUMNS": "80", "ROWS": "24"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.read(12) == b"__GANGLION__"  # the driver's first words
            process.stdin.close()
            while process.stdout.read(65_536):
                pass
            assert process.wait(30) == 129
        finally:
            process.kill()


def run(*args: str, env: dict[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "console", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        **more,
    )


def test_once_without_servers_says_which_and_exits_3(dead: dict[str, str]) -> None:
    done = run("--once", env=dead)
    assert done.returncode == 3
    assert "redis: Error 111" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(run("--once", "--json", env=dead).stdout)
    assert {found[n]["state"] for n in ("kafka", "redis", "postgres")} == {"down"}


def test_once_in_time_and_interrupted(dead: dict[str, str]) -> None:
    # Started, not forked: its sources are to be imported while it waits, as for a user.
    words = ["--once", "--slow", "20", "--timeout", "0.5"]
    late = [sys.executable, "-m", "console", *words]
    assert subprocess.run(late, env=dead, capture_output=True, check=False).returncode == 4
    process = python_process.Popen(
        [sys.executable, "-m", "console", "--once", "--slow", "20", "--timeout", "40"],
        env=dead,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    waiting = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while waiting.num_threads() < 8:  # it has begun to read
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_a_defect_is_not_taken_for_a_shop_that_is_not_well(
    dead: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import runpy, sys\n"
        "from console import plain\n"
        "def page(snapshot, lang):\n"
        "    secret = 'hunter2'\n"
        "    raise RuntimeError(f'broken {len(secret)}')\n"
        "plain.page = page\n"
        "sys.argv = ['console', '--once', '--timeout', '1']\n"
        "runpy.run_module('console', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, str(broken)], env=dead, capture_output=True, text=True, check=False
    )
    assert done.returncode == 70
    assert "a defect in this program; report: " in done.stderr
    (report,) = (tmp_path / "state" / "jangteo").glob("console-crash-*.txt")
    assert "RuntimeError: broken 7" in report.read_text()
    assert "Traceback" not in done.stderr


def test_without_a_terminal_lines_come_and_no_codes(dead: dict[str, str]) -> None:
    process = python_process.Popen(
        [sys.executable, "-m", "console"],
        env=dead,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(4)]
    before = psutil.Process(process.pid).cpu_times()
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "\x1b" not in "".join(lines) + errors
    assert any("health=unreachable" in line for line in lines)
    assert any("Redis does not answer" in line for line in lines)
    assert before.user < 30


def test_a_dumb_terminal_gets_lines(
    dead: dict[str, str], open_terminal: Callable[..., Terminal]
) -> None:
    t = open_terminal(env={**dead, "TERM": "dumb"})
    t.wait_for("health=unreachable")
    assert b"\x1b" not in t.raw
    t.press("\x03")
    assert t.exit_code() == 0


def test_watch_json_is_a_line_a_snapshot(dead: dict[str, str]) -> None:
    process = python_process.Popen(
        [sys.executable, "-m", "console", "--watch", "--json"],
        env=dead,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    found = [json.loads(process.stdout.readline()) for _ in range(3)]
    numbers = [s["sequence"] for s in found]
    assert numbers == sorted(set(numbers))
    seen = [e["n"] for s in found for e in s["events"]]
    assert len(seen) == len(set(seen)), "an event comes once"
    process.stdout.close()  # as `| head` does
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
