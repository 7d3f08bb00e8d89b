"""What steps of the wall clock cannot change: the identity of a process, and seconds since boot.

A process is identified by its number and by the clock ticks between the boot of the machine and
its start, together with the id of that boot. A start time by the wall clock would move whenever
the clock is set.
"""

from __future__ import annotations

import platform
import sys
import time
from functools import cache
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD: Final = 19
"""Of /proc/PID/stat, after the name in parentheses: field 22 of proc(5), `starttime`."""


def boottime() -> float:
    """Return seconds since the machine booted, including time suspended where the system counts it.

    A deadline that another machine counts on must not stand still while this one sleeps.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@cache
def host_id() -> str:
    """Return an id of this boot of this machine, within which a pid means one process.

    Containers of one machine share its boot and not its pids, so the pid namespace belongs to it.
    """
    try:
        return f"{_BOOT_ID.read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # macOS: pids with exact start times are not reused there either
        return platform.node()


def process_started(pid: int) -> str | None:
    """Return text that distinguishes a process from an earlier or later one with the same pid.

    Args:
        pid: its number.

    Returns:
        Text that stays the same while the process lives, even if the wall clock is set; None if
        there is no such process or it is only waiting to be reaped.
    """
    if not sys.platform.startswith("linux"):
        return _started_elsewhere(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in {b"Z", b"X"}:
        return None
    return f"{host_id()}:{fields[_START_FIELD].decode()}"


def _started_elsewhere(pid: int) -> str | None:
    import psutil  # noqa: PLC0415  (13 ms that a command without a running shop does not need)

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # What macOS keeps of a process is a time stamp, taken once; a later step does not move it.
        return f"{host_id()}:{process.create_time():.6f}"
    except psutil.Error:
        return None


def same_process(pid: int, started: str) -> bool:
    """Return whether `pid` is alive and is the process that `process_started` described then."""
    return process_started(pid) == started
