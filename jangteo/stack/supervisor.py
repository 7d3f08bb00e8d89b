"""Processes that are kept running: restart with backoff, a log each, an orderly end.

The supervisor has no thread and no loop of its own: the caller's loop calls `poll` a few times a
second, in the main thread (see `jangteo.stack.spawn`). It knows nothing of what the processes do.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from jangteo.stack.spawn import spawn, tail
from shop import retry
from shop.best_effort import BestEffort
from shop.boot_clock import process_started
from shop.clock import Clock, utc_now
from shop.private_files import write_private
from shop.process_status import SNAPSHOT, ProcessState, ProcessStatus, as_record

FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
HEALTHY_AFTER_S: Final = 60.0
"""A process that ran for this long starts again without backoff."""
LOG_ROTATE_BYTES: Final = 10 << 20
_SNAPSHOT_EVERY_S: Final = 1.0


_ENDING: Final = (ProcessState.STOPPING, ProcessState.RESTARTING)
"""States after SIGTERM; SIGKILL follows at the end of the grace period."""


@dataclass(frozen=True)
class ProcessSpec:
    """What to run.

    Attributes:
        name: name of the process and of its log.
        argv: the first element is an absolute path.
        env: its whole environment.
        grace: seconds between SIGTERM and SIGKILL.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    grace: float = 10.0


@dataclass
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    state: ProcessState = ProcessState.STOPPED
    restarts: int = 0
    failures: int = 0
    started: float = 0.0
    pid_started: str | None = None
    up_since: datetime | None = None
    due: float = 0.0
    """While in backoff: when it starts again. While stopping: when it is killed."""
    last_exit: str | None = None


def backoff(failures: int) -> float:
    """Return the seconds to wait before the next start, by the number of consecutive failures."""
    return retry.backoff(failures, first=FIRST_BACKOFF_S, longest=MAX_BACKOFF_S, spread=0.2)


def describe_exit(code: int) -> str:
    """Describe how a process ended.

    >>> describe_exit(3), describe_exit(-9)
    ('exit 3', 'SIGKILL')
    """
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class Supervisor:
    """Keeps a table of processes running.

    Args:
        data_dir: logs go to ``logs/NAME.log``, the snapshot to ``processes.json``.
        monotonic: seconds of a clock that never steps.
        clock: wall clock, for the snapshot.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Clock = utc_now,
    ) -> None:
        self._data_dir = data_dir
        self._monotonic = monotonic
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._written = float("-inf")
        self._messages: list[str] = []
        self._writing = BestEffort(SNAPSHOT, report=self._messages.append)

    def log_of(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._data_dir / "logs" / f"{name}.log"

    def start(self, process: ProcessSpec) -> None:
        """Start a process and keep it running from now on."""
        child = self._children.setdefault(process.name, _Child(process))
        child.spec = process
        child.failures = 0
        self._spawn(child)

    def poll(self) -> list[str]:
        """Notice exits, start what is due, kill what is overdue; return a line for each event."""
        messages, self._messages[:] = list(self._messages), []
        now = self._monotonic()
        for child in self._children.values():
            code = child.process.poll() if child.process else None
            if code is not None:
                messages += self._ended(child, code, now)
            elif child.state is ProcessState.BACKOFF and now >= child.due:
                child.restarts += 1
                if self._spawn(child):
                    messages.append(f"{child.spec.name} started again (pid {self._pid(child)})")
            elif child.state in _ENDING and child.process and now >= child.due:
                child.process.kill()
                messages.append(f"{child.spec.name} did not end in {child.spec.grace:g} s: killed")
                child.due = float("inf")
        return messages

    def stop(self, names: Iterable[str]) -> None:
        """Ask processes to end (SIGTERM) and do not start them again; `poll` does the rest."""
        for name in names:
            child = self._children.get(name)
            if child is None:
                continue
            if child.process is None:
                child.state = ProcessState.STOPPED
            elif child.state is not ProcessState.STOPPING:
                child.state = ProcessState.STOPPING
                child.due = self._monotonic() + child.spec.grace
                child.process.terminate()

    def restart(self, name: str) -> bool:
        """Ask a process to end and start it again at once; False if there is no such process."""
        child = self._children.get(name)
        if child is None:
            return False
        if child.state is ProcessState.RUNNING and child.process:
            child.state = ProcessState.RESTARTING
            child.due = self._monotonic() + child.spec.grace
            child.process.terminate()
        elif child.state is ProcessState.BACKOFF:
            child.due = self._monotonic()
        return True

    def kill(self) -> None:
        """Kill every running process at once (SIGKILL) and wait for all."""
        for child in self._children.values():
            child.state = ProcessState.STOPPED
            if child.process:
                child.state = ProcessState.STOPPING
                child.process.kill()
                self._ended(child, child.process.wait(), self._monotonic())

    def stopped(self, names: Iterable[str] | None = None) -> bool:
        """Return whether these processes, or all, have ended for good."""
        chosen = self._children if names is None else names
        return all(
            self._children[name].state is ProcessState.STOPPED
            for name in chosen
            if name in self._children
        )

    @property
    def names(self) -> list[str]:
        """Names of all processes, in order of their first start."""
        return list(self._children)

    def snapshot(self) -> list[ProcessStatus]:
        """Return the status of every process."""
        return [
            ProcessStatus(
                name=c.spec.name,
                pid=self._pid(c),
                pid_started=c.pid_started if c.process else None,
                state=c.state.value,
                restarts=c.restarts,
                up_since=c.up_since if c.process else None,
                last_exit=c.last_exit,
            )
            for c in self._children.values()
        ]

    def write_snapshot(self, others: Sequence[ProcessStatus] = (), *, force: bool = False) -> None:
        """Write the snapshot, at most once a second unless forced.

        Args:
            others: listed before the processes, such as servers.
            force: write even if a second has not passed.
        """
        now = self._monotonic()
        if not force and now < self._written + _SNAPSHOT_EVERY_S:
            return
        self._written = now
        record = {
            "at": self._clock().isoformat(),
            "processes": [as_record(s) for s in (*others, *self.snapshot())],
        }
        text = json.dumps(record, indent=1)
        self._writing.attempt(lambda: write_private(self._data_dir / SNAPSHOT, text))

    @staticmethod
    def _pid(child: _Child) -> int | None:
        return child.process.pid if child.process else None

    def _spawn(self, child: _Child) -> bool:
        """Start a child; where that is not possible now, try again later and return False."""
        log = self.log_of(child.spec.name)
        rotate(log)
        try:
            child.process = spawn(child.spec.argv, log=log, env=child.spec.env)
        except OSError as e:  # no descriptors, no memory, no processes left
            self._back_off(child, self._monotonic())
            child.last_exit = f"not started: {e.strerror}"
            self._messages.append(
                f"{child.spec.name} cannot be started, trying again: {e.strerror}"
            )
            return False
        child.state = ProcessState.RUNNING
        child.started = self._monotonic()
        child.pid_started = process_started(child.process.pid)
        child.up_since = self._clock()
        return True

    def _ended(self, child: _Child, code: int, now: float) -> list[str]:
        child.process = None
        child.last_exit = describe_exit(code)
        if child.state is ProcessState.STOPPING:
            child.state = ProcessState.STOPPED
            return [] if code == 0 else [f"{child.spec.name} ended ({child.last_exit})"]
        if child.state is ProcessState.RESTARTING:
            child.restarts += 1
            child.failures = 0
            if not self._spawn(child):
                return []
            return [f"{child.spec.name} restarted as asked (pid {self._pid(child)})"]
        if now - child.started >= HEALTHY_AFTER_S:
            child.failures = 0
        wait = self._back_off(child, now)
        last = tail(self.log_of(child.spec.name), 1)
        line = f"{child.spec.name} ended ({child.last_exit}), starts again in {wait:.1f} s"
        return [f"{line}: {last}" if last else line]

    def _back_off(self, child: _Child, now: float) -> float:
        """Let a child wait for its next start; return how long, in seconds."""
        child.failures += 1
        wait = backoff(child.failures)
        child.state = ProcessState.BACKOFF
        child.due = now + wait
        return wait


def rotate(log: Path) -> None:
    """Rotate a log that has grown beyond 10 MB; one former log is kept."""
    with contextlib.suppress(OSError):  # a log is not worth a process
        if log.is_file() and log.stat().st_size > LOG_ROTATE_BYTES:
            log.replace(log.with_suffix(".log.1"))
