"""Threads that are reused, and that keep no program from ending."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from shop.kafka.daemon_pool import DaemonPool
from tests.support.waiting import wait_until


def named(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == name]


def test_threads_are_started_as_needed_reused_and_ended() -> None:
    pool = DaemonPool(2, "reused")
    for n in range(5):
        assert pool.submit(pow, 2, n).result(10) == 2**n
    assert len(named("reused")) == 1, "one at a time needs one thread"
    gate = threading.Event()
    waiting = [pool.submit(gate.wait, 60) for _ in range(3)]
    assert len(named("reused")) == 2
    gate.set()
    assert [w.result(10) for w in waiting] == [True] * 3
    pool.close()
    wait_until(lambda: not named("reused"), "the threads end")


def test_an_exception_reaches_the_one_who_waits_and_no_other() -> None:
    pool = DaemonPool(1, "raising")
    with pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result(10)
    assert pool.submit(int, "7").result(10) == 7
    pool.close()


def test_a_program_ends_although_a_thread_waits_for_ever() -> None:
    code = (
        "import threading; from shop.kafka.daemon_pool import DaemonPool; "
        "DaemonPool(1, 'x').submit(threading.Event().wait); print('end')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout == "end\n"
