"""The supervisor on real processes, with a clock that the test turns."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangteo.stack import supervisor
from jangteo.stack.supervisor import ProcessSpec, Supervisor
from shop import process_status
from shop.process_status import ProcessState, ProcessStatus
from tests.support.waiting import wait_until

ENV = {"PATH": os.environ["PATH"]}
SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('ready', flush=True); time.sleep(600)"
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(tmp_path: Path, clock: Clock) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, monotonic=clock)
    yield made
    made.kill()


def python(name: str, code: str, grace: float = 10.0) -> ProcessSpec:
    return ProcessSpec(name, [sys.executable, "-c", code], ENV, grace)


def status(watched: Supervisor, name: str) -> ProcessStatus:
    return next(s for s in watched.snapshot() if s.name == name)


def poll_until(watched: Supervisor, condition: Callable[[], bool]) -> list[str]:
    said: list[str] = []

    def seen() -> bool:
        return condition() or said.extend(watched.poll()) or False

    wait_until(seen, lambda: said)
    return said


def in_state(watched: Supervisor, name: str, state: ProcessState) -> Callable[[], bool]:
    return lambda: status(watched, name).state == state.value


def test_a_dead_process_is_started_again_after_its_backoff(
    watched: Supervisor, clock: Clock
) -> None:
    watched.start(python("a", "import sys; print('last words'); sys.exit(3)"))
    said = poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
    (line,) = said
    assert re.fullmatch(r"a ended \(exit 3\), starts again in 0\.[45] s: last words", line)
    seen = status(watched, "a")
    assert (seen.pid, seen.last_exit, seen.restarts, seen.up_since) == (None, "exit 3", 0, None)
    assert watched.poll() == []
    clock.now += 0.6
    (words,) = watched.poll()
    assert words.startswith("a started again (pid ")
    assert status(watched, "a").restarts == 1


def test_a_killed_process_is_told_by_its_signal(watched: Supervisor) -> None:
    watched.start(python("a", SLEEP))
    pid = status(watched, "a").pid
    assert pid
    psutil.Process(pid).kill()
    poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
    assert status(watched, "a").last_exit == "SIGKILL"


def test_waits_grow_and_are_forgotten_after_a_minute_of_health(
    watched: Supervisor, clock: Clock
) -> None:
    waits = []
    watched.start(python("a", "raise SystemExit(1)"))
    for lived in (0.0, 0.0, 0.0, 61.0):
        clock.now += lived
        poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
        wait = 0.0
        while status(watched, "a").state == ProcessState.BACKOFF.value:
            clock.now += 0.1
            wait += 0.1
            watched.poll()
        waits.append(wait)
    assert waits[0] < waits[1] < waits[2]
    assert waits[3] <= 0.7


@given(st.integers(1, 10_000))
def test_backoff_stays_within_its_bounds(failures: int) -> None:
    assert 0.4 <= supervisor.backoff(failures) <= supervisor.MAX_BACKOFF_S


def test_stop_ends_processes_for_good(watched: Supervisor, clock: Clock) -> None:
    for name in ("a", "b"):
        watched.start(python(name, SLEEP))
    watched.stop(["a", "never started"])
    poll_until(watched, lambda: watched.stopped(["a"]))
    assert status(watched, "b").state == ProcessState.RUNNING.value
    assert not watched.stopped()
    clock.now += 100
    assert watched.poll() == []
    assert watched.stopped(["a"])


def test_who_ignores_sigterm_is_killed_after_the_grace(watched: Supervisor, clock: Clock) -> None:
    watched.start(python("a", STUBBORN, grace=5.0))
    log = watched.log_of("a")
    poll_until(watched, lambda: log.read_text() == "ready\n")
    watched.stop(["a"])
    clock.now += 4.9
    assert watched.poll() == []
    assert status(watched, "a").state == ProcessState.STOPPING.value
    clock.now += 0.2
    said = poll_until(watched, lambda: watched.stopped(["a"]))
    assert said[0] == "a did not end in 5 s: killed"
    assert status(watched, "a").last_exit == "SIGKILL"


def test_stopping_during_a_backoff_starts_nothing(watched: Supervisor, clock: Clock) -> None:
    watched.start(python("a", "raise SystemExit(1)"))
    poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
    watched.stop(["a"])
    assert watched.stopped()
    clock.now += 100
    assert watched.poll() == []


def test_kill_leaves_nothing(watched: Supervisor) -> None:
    for name in ("a", "b"):
        watched.start(python(name, STUBBORN))
    processes = [psutil.Process(s.pid) for s in watched.snapshot()]
    watched.kill()
    assert watched.stopped()
    assert not any(p.is_running() for p in processes)


def test_snapshot_is_written_once_a_second_and_read_back(
    watched: Supervisor, clock: Clock, tmp_path: Path
) -> None:
    assert process_status.read_snapshot(tmp_path) == []
    watched.start(python("a", SLEEP))
    server = ProcessStatus("redis", 1, 2.0, "running", 0, None, None)
    watched.write_snapshot([server])
    assert process_status.read_snapshot(tmp_path) == [server, *watched.snapshot()]
    watched.stop(["a"])
    watched.write_snapshot()
    assert process_status.read_snapshot(tmp_path)[0] == server, "too early to write again"
    clock.now += 1.0
    watched.write_snapshot()
    assert process_status.read_snapshot(tmp_path) == watched.snapshot()
    (tmp_path / supervisor.SNAPSHOT).write_text("{half")
    assert process_status.read_snapshot(tmp_path) == []


def test_logs_are_appended_and_moved_aside_when_large(
    watched: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_ROTATE_BYTES", 10)
    log = watched.log_of("a")
    log.parent.mkdir()
    log.write_text("0123456789")
    code = "print('new')"
    watched.start(python("a", code))
    poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
    assert log.read_text() == "0123456789new\n"
    watched.start(python("a", code))
    poll_until(watched, in_state(watched, "a", ProcessState.BACKOFF))
    assert log.read_text() == "new\n"
    assert log.with_suffix(".log.1").read_text() == "0123456789new\n"
