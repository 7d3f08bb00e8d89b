"""One server process in a data directory: a lock that the process itself holds until it ends.

Two JVMs in one directory of Kafka corrupt its metadata, and Kafka does not notice. The lock is
inherited by the server, so it lasts exactly as long as the server, even if the process
that started it is killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from jangteo.stack.server import StartError
from shop.boot_clock import process_started, same_process
from shop.errors import UsageError

LOCK_FILE: Final = "lock"
_KILL_WAIT_S: Final = 10.0


class DirectoryLock:
    """Guards one directory.

    Args:
        directory: data directory of the server.
        title: name of the server in messages.
        mark: an argument on the command line of the server by which it is recognised.
        grace: seconds that a leftover server gets to end properly.
    """

    def __init__(self, directory: Path, *, title: str, mark: str, grace: float) -> None:
        self._directory = directory
        self._title = title
        self._mark = mark
        self._grace = grace

    @contextmanager
    def held(self) -> Iterator[int]:
        """Hold the directory; yield the file descriptor that a server has to inherit.

        A server that outlived the process which started it is ended first.

        Raises:
            UsageError: if another process runs a server here; names it.
            StartError: if a leftover server does not end.
        """
        descriptor = os.open(self._directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _lock(descriptor):
                self._end_leftover(descriptor)
            os.ftruncate(descriptor, 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def record(self, descriptor: int, pid: int) -> None:
        """Write down which server inherited the lock, and who started it."""
        owner = os.getpid()
        record = {"pid": pid, "owner": owner, "owner_started": process_started(owner)}
        os.pwrite(descriptor, json.dumps(record).encode(), 0)

    def _end_leftover(self, descriptor: int) -> None:
        try:
            record = json.loads(os.pread(descriptor, 4096, 0))
            pid, owner, started = record["pid"], record["owner"], record["owner_started"]
        except (ValueError, KeyError, TypeError):  # it has the lock, but has not written yet
            raise UsageError(
                f"{self._title} is being started in {self._directory} by another process: "
                "use another --data-dir"
            ) from None
        if same_process(owner, started or ""):
            raise UsageError(
                f"{self._title} runs in {self._directory} already (pid {pid}, started by process "
                f"{owner}): stop that one, or use another --data-dir"
            )
        try:
            server = psutil.Process(pid)
            if self._mark in server.cmdline():
                server.terminate()
                _, stubborn = psutil.wait_procs([server], timeout=self._grace)
                for process in stubborn:
                    process.kill()
        except psutil.Error:
            pass  # it has just ended, or belongs to another user: the lock decides
        deadline = time.monotonic() + _KILL_WAIT_S
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self._title} with pid {pid}, left behind by an earlier run, still holds "
                    f"{self._directory} and does not end: kill {pid}"
                )
            time.sleep(0.05)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
