"""A forked process does what a started one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import python_process

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAMS = {
    "words": "print(*sys.argv[1:], __name__, sys.argv[0] == __file__, os.getcwd(), sys.path[0])",
    "stdin": "print(sys.stdin.read().upper(), end='')",
    "variables": "print(os.environ['GIVEN'], 'HOME' in os.environ, os.system('exit $CODE') >> 8)",
    "streams": "print(*((s.encoding, s.errors, s.line_buffering, s.name, s.isatty(), s.fileno(),"
    " s.write_through) for s in (sys.stdin, sys.stdout, sys.stderr)))",
    "code": "sys.exit(7)",
    "message": "sys.exit('one line')",
    "traceback": "raise ValueError('why')",
    "ctrl_c": "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "at_exit": "atexit.register(print, 'bye'); print('up'); threading.Thread(target=work).start()",
    "closed": "os.close(1); print('lost')",
    "signals": "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
    " signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    "descriptors": "print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:3])",
    "limits": "print(*map(resource.getrlimit, (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)))",
    "family": "print(os.getppid(), os.getpgrp(), os.getsid(0))",
}
IMPORTS = """
import atexit, os, resource, signal, sys, threading, time
def work():
    time.sleep(0.05)
    print('worked')
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, line in PROGRAMS.items():
        (tmp_path / f"{name}_program.py").write_text(IMPORTS + line + "\n")
    return tmp_path


def run(how: Run, folder: Path, name: str, *words: str, **options: Any) -> tuple[int, str, str]:
    done = how(
        [sys.executable, "-m", f"{name}_program", *words],
        cwd=folder,
        env={**os.environ, "GIVEN": "한글", "CODE": "3"},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    frames = [line for line in done.stderr.splitlines() if "fork_server" not in line]
    error = "\n".join(frames[-3:] if done.stderr.startswith("Traceback") else frames)
    return done.returncode, done.stdout, error


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_and_prints_as_a_started_one(
    programs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"input": "one\r\ntwo\n"} if name == "stdin" else {}
    started = run(subprocess.run, programs, name, "a", "b c", **options)
    monkeypatch.setattr(python_process, "START", refused)
    assert run(python_process.run, programs, name, "a", "b c", **options) == started


def refused(*_args: object) -> None:
    raise AssertionError("was started, not forked")


def test_a_session_of_its_own(programs: Path) -> None:
    def family(how: Run) -> list[str]:
        return run(how, programs, "family", start_new_session=True)[1].split()

    parent, group, session = family(python_process.run)
    assert group == session != str(os.getsid(0))
    assert parent == family(subprocess.run)[0] == str(os.getpid())


@pytest.mark.parametrize(
    "variable", ["PYTHONUTF8", "TZ", "LC_ALL", "POLARS_MAX_THREADS", "LD_PRELOAD", "TEXTUAL"]
)
def test_what_is_read_at_the_start_starts_an_interpreter(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_process, "START", refused)
    with pytest.raises(AssertionError, match="started"):
        python_process.run([sys.executable, "-m", "this"], env={**os.environ, variable: ""})


def test_a_stopped_process_stops_and_a_killed_one_is_gone(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    process = python_process.Popen([sys.executable, "-m", "sleeper"], cwd=tmp_path)
    try:
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert process.poll() is None
    finally:
        process.kill()
    assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
