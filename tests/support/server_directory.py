"""Where the servers of a test worker keep their data: in memory, where the machine has enough."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

MEMORY: Final = Path("/dev/shm")
"""Files there survive the end of a process, as on a disk: what a test kills finds them again.

Each test copies the 415 files of a database, which on ext4 costs the kernel 41 ms of CPU, there 8;
the shop's topics cost the broker 79 ms instead of 120.
"""
ENOUGH_BYTES: Final = 2 << 30
"""Free memory for the servers of a worker, which take 150 MB. A container has 64 MB by default."""
_PREFIX: Final = "jangteo-tests-"
_NEW_S: Final = 60.0
"""A directory that is newer may not be locked yet."""


@contextmanager
def server_directory(on_disk: Callable[[], Path], memory: Path = MEMORY) -> Iterator[Path]:
    """Yield a directory in memory, which is removed at the end; on the disk if there is too little.

    Args:
        on_disk: creates the directory on the disk.
        memory: a file system in memory.
    """
    if not _has_room(memory):
        yield on_disk()
        return
    _remove_leftovers(memory)
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=memory))
    lock = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _has_room(memory: Path) -> bool:
    try:
        free = shutil.disk_usage(memory).free
    except OSError:  # macOS has none
        return False
    return (
        os.access(memory, os.W_OK) and min(free, psutil.virtual_memory().available) > ENOUGH_BYTES
    )


def _remove_leftovers(memory: Path) -> None:
    """Remove directories of workers that were killed: nobody holds their locks.

    The workers begin at the same time and find the same ones: each may be gone at any step.
    """
    for path in memory.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, PermissionError):  # or another user's
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    if time.time() - path.stat().st_mtime < _NEW_S:
        return
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass  # its worker runs, or another removes it
    finally:
        os.close(lock)
